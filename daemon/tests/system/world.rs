//! The demo world as a test's outside: started for one test, faulted, gated and asked what it saw.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};

use super::rig::{PATIENCE, Rig, root};

/// What the daemon must know as secrets to be let in.
pub const SECRETS: &[(&str, &str)] = &[
    ("OPENAI_API_KEY", "demo-llm-key"),
    ("GOOGLE_API_KEY", "demo-google-key"),
    ("S3_ACCESS_KEY", "AKIADEMOWORLD0000001"),
    ("S3_SECRET_KEY", "demo/world+secret/access+key/0000000001"),
    (
        "WORDPRESS_BASIC",
        "ZGVtby1lZGl0b3I6YWJjZCBFRkdIIDEyMzQgaWprbCBNTk9QIDU2Nzg=",
    ),
];

/// A running demo world.
pub struct World {
    child: Child,
    address: String,
}

impl World {
    /// Starts one.
    pub fn start() -> Self {
        let tests = std::env::current_exe().unwrap();
        let program: PathBuf = tests
            .parent()
            .unwrap()
            .parent()
            .unwrap()
            .join("examples/demo_world");
        let mut child = Command::new(&program)
            .args(["--listen", "127.0.0.1:0"])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| {
                panic!(
                    "{}: {error}; `cargo build --examples` makes it",
                    program.display()
                )
            });
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap())
            .read_line(&mut line)
            .unwrap();
        let address = line.trim().rsplit("http://").next().unwrap().to_owned();
        assert!(address.contains(':'), "{line}");
        Self { child, address }
    }

    /// Host and port.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Its base address.
    pub fn base(&self) -> String {
        format!("http://{}", self.address)
    }

    /// A request to it, like any client's.
    pub fn request(&self, method: &str, path: &str, body: &str) -> (u16, String) {
        self.request_as("application/json", method, path, body)
    }

    /// A request with a body of another type.
    pub fn request_as(&self, media: &str, method: &str, path: &str, body: &str) -> (u16, String) {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let head = format!(
            "{method} {path} HTTP/1.1\r\nhost: {}\r\nconnection: close\r\ncontent-type: {media}\r\ncontent-length: {}\r\n\r\n",
            self.address,
            body.len()
        );
        stream.write_all(head.as_bytes()).unwrap();
        stream.write_all(body.as_bytes()).unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap();
        let answer = String::from_utf8_lossy(&answer).into_owned();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        (
            head.split(' ').nth(1).unwrap().parse().unwrap(),
            body.to_owned(),
        )
    }

    /// A control route.
    pub fn control(&self, method: &str, path: &str, body: &Value) -> Value {
        let text = if body.is_null() {
            String::new()
        } else {
            body.to_string()
        };
        let (status, answer) = self.request(method, &format!("/control/{path}"), &text);
        assert!(
            (200..300).contains(&status),
            "{method} {path}: {status} {answer}"
        );
        serde_json::from_str(&answer).unwrap_or(Value::Null)
    }

    /// Adds a fault rule.
    pub fn fault(&self, rule: &Value) {
        self.control("POST", "faults", rule);
    }

    /// Holds requests that match until [`World::release`].
    pub fn gate(&self, rule: &Value) {
        self.control("POST", "gate", rule);
    }

    /// Waits until a request is held.
    pub fn held(&self) -> Value {
        self.control("GET", "gate?wait=1", &Value::Null)
    }

    /// Lets held requests go and takes the rules away.
    pub fn release(&self) {
        self.control("POST", "gate/release", &json!({}));
    }

    /// What was asked of a section.
    pub fn requests(&self, section: &str) -> Vec<Value> {
        let answer = self.control("GET", &format!("requests?section={section}"), &Value::Null);
        answer["requests"].as_array().unwrap().clone()
    }

    /// All posts on the blog.
    pub fn posts(&self) -> Vec<Value> {
        self.control("GET", "posts", &Value::Null)["posts"]
            .as_array()
            .unwrap()
            .clone()
    }
}

impl Drop for World {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A rig with the sample workflow, its ten modules, and a world to run against. None where the
/// modules are not built, said in the output.
pub fn product_blog() -> Option<(Rig, World)> {
    let world = World::start();
    let mut rig = Rig::new();
    for entry in std::fs::read_dir(root().join("tasks")).unwrap() {
        let path = entry.unwrap().path();
        if path
            .extension()
            .is_some_and(|extension| extension == "wasm")
        {
            std::fs::copy(&path, rig.path("tasks").join(path.file_name().unwrap())).unwrap();
        }
    }
    if !rig.path("tasks/article-publish.wasm").exists() {
        println!("skipped: tasks/*.wasm are not built; `make tasks` builds them");
        return None;
    }
    std::fs::copy(
        root().join("flows/product-blog.toml"),
        rig.path("flows/product-blog.toml"),
    )
    .unwrap();
    let base = world.base();
    let database = rig.path("blog.db");
    rusqlite::Connection::open(&database)
        .unwrap()
        .execute_batch("create table product_review (product_review_id integer primary key, title text not null, body text not null);")
        .unwrap();
    rig.settings(&format!(
        "[network]\nallow = [\"{}\"]\n\n[databases.blog]\nurl = \"sqlite:{}\"\ntables = [\"product_review\"]\n\n\
         [workflows.product-blog.vars]\ntrend_url = \"{base}/trend\"\nmall_url = \"{base}/mall\"\ns3_url = \"{base}/s3\"\n\
         vision_url = \"{base}/vision\"\ntranslate_url = \"{base}/translate\"\nllm_url = \"{base}/llm\"\nblog_url = \"{base}/blog\"\n",
        base.trim_start_matches("http://"),
        database.display(),
    ));
    for (name, value) in SECRETS {
        rig.environment(&format!("FLOWWEAVER_SECRET_{name}"), value);
    }
    Some((rig, world))
}

/// A rig with the workflow `call`, whose first task asks the world and is held there, and whose
/// second uses the module that adds a field. `drain` is how long SIGTERM waits. None where the
/// module is not built.
pub fn caller(drain: &str) -> Option<(Rig, World)> {
    let module = root().join("tasks/http-request.wasm");
    if !module.exists() {
        println!("skipped: tasks/*.wasm are not built; `make tasks` builds them");
        return None;
    }
    let world = World::start();
    let mut rig = Rig::with_add_field();
    std::fs::copy(module, rig.path("tasks/http-request.wasm")).unwrap();
    let base = world.base();
    rig.settings(&format!(
        "[network]\nallow = [\"{}\"]\n\n[engine]\ndrain = \"{drain}\"\n",
        base.trim_start_matches("http://")
    ));
    rig.write(
        "flows/call.toml",
        format!(
            "flowweaver = 1\nname = \"call\"\n\n[[job]]\nname = \"only\"\n
[[job.task]]\nname = \"ask\"\nuses = \"http-request\"\nwith = {{ url = \"{base}/blog/\" }}\n
[[job.task.http]]\nurl = \"{base}/blog/*\"\n
[[job.task]]\nname = \"after\"\nuses = \"add-field\"\nwith = {{ field = \"f\", value = 1 }}\n"
        ),
    );
    world.gate(&json!({ "section": "blog" }));
    Some((rig, world))
}
