//! `make demo`: the demo world and a daemon side by side, the sample workflow run once, and the
//! article it published fetched like any reader would. With `--keep` both stay up (`make serve`).
//!
//! It drives the real binaries; nothing of the product lives here.

#![allow(clippy::print_stdout, reason = "the demo tells what it did")]

use std::error::Error;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use serde_json::Value;

/// The demo's own folder: settings, state, the knowledge database. Safe to delete.
const FOLDER: &str = ".demo";

/// What the demo world accepts (its README lists them); the daemon reads them as secrets.
const SECRETS: &[(&str, &str)] = &[
    ("FLOWWEAVER_SECRET_OPENAI_API_KEY", "demo-llm-key"),
    ("FLOWWEAVER_SECRET_GOOGLE_API_KEY", "demo-google-key"),
    ("FLOWWEAVER_SECRET_S3_ACCESS_KEY", "AKIADEMOWORLD0000001"),
    (
        "FLOWWEAVER_SECRET_S3_SECRET_KEY",
        "demo/world+secret/access+key/0000000001",
    ),
    // Basic credentials: base64 of `demo-editor:abcd EFGH 1234 ijkl MNOP 5678`.
    (
        "FLOWWEAVER_SECRET_WORDPRESS_BASIC",
        "ZGVtby1lZGl0b3I6YWJjZCBFRkdIIDEyMzQgaWprbCBNTk9QIDU2Nzg=",
    ),
];

/// A child that does not outlive the demo.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        // Errors mean that it has ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let keep = std::env::args().any(|argument| argument == "--keep");
    let examples = std::env::current_exe()?
        .parent()
        .ok_or("no folder")?
        .to_owned();
    let flowweaver = examples.parent().ok_or("no folder")?.join("flowweaver");
    fs::create_dir_all(FOLDER)?;

    let (world, base) = start_world(&examples.join("demo_world"))?;
    let settings = write_settings(&base)?;
    write_knowledge(&Path::new(FOLDER).join("blog.db"))?;
    let daemon = start_daemon(&flowweaver, &settings)?;

    if keep {
        println!(
            "world:  {base}\ndaemon: {} --config {} runs",
            flowweaver.display(),
            settings.display()
        );
        println!("Ctrl-C stops both.");
        tokio::signal::ctrl_c().await?;
        drop((daemon, world));
        return Ok(());
    }

    let command = |arguments: &[&str]| {
        let mut command = Command::new(&flowweaver);
        command.arg("--config").arg(&settings).args(arguments);
        command
    };
    let status = command(&["run", "product-blog"]).status()?;
    if !status.success() {
        return Err(format!("the run ended with {status}").into());
    }
    let newest = json(command(&["--json", "runs", "--limit", "1"]))?;
    let id = newest
        .pointer("/data/0/id")
        .and_then(Value::as_str)
        .ok_or("no run")?
        .to_owned();
    let shown = json(command(&["--json", "run", "show", &id]))?;
    let title = output(&shown, "compose", "title").ok_or("no title")?;
    let url = output(&shown, "publish", "post_url").ok_or("no address")?;
    let page = fetch(&url)?;
    if !page.contains(&title) {
        return Err(format!("the page at {url} does not show the title").into());
    }
    println!(
        "\narticle: {title}\nat:      {url} ({} bytes, fetched)",
        page.len()
    );
    drop((daemon, world));
    Ok(())
}

/// Fetches a page as any reader would.
fn fetch(url: &str) -> Result<String, Box<dyn Error>> {
    let (host, path) = url
        .trim_start_matches("http://")
        .split_once('/')
        .ok_or("no path")?;
    let mut stream = TcpStream::connect(host)?;
    write!(
        stream,
        "GET /{path} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n"
    )?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let (head, body) = answer.split_once("\r\n\r\n").ok_or("no answer")?;
    if !head.starts_with("HTTP/1.1 200 ") {
        return Err(format!("{url} answered {head}").into());
    }
    Ok(body.to_owned())
}

/// A field of a task's output.
fn output(run: &Value, task: &str, field: &str) -> Option<String> {
    let rows = run.get("io")?.as_array()?;
    let row = rows
        .iter()
        .find(|row| row["kind"] == "output" && row["task"] == task)?;
    row.pointer(&format!("/data/{field}"))?
        .as_str()
        .map(str::to_owned)
}

fn json(mut command: Command) -> Result<Value, Box<dyn Error>> {
    Ok(serde_json::from_slice(&command.output()?.stdout)?)
}

fn start_world(program: &Path) -> Result<(Process, String), Box<dyn Error>> {
    let mut child = Command::new(program)
        .args(["--listen", "127.0.0.1:0"])
        .stdout(Stdio::piped())
        .spawn()?;
    let stdout = child.stdout.take().ok_or("no output")?;
    let world = Process(child);
    let mut line = String::new();
    BufReader::new(stdout).read_line(&mut line)?;
    let base = line
        .trim()
        .rsplit(' ')
        .next()
        .unwrap_or_default()
        .to_owned();
    Ok((world, base))
}

/// Starts the daemon and waits for the line that says it listens; the rest of its log goes to a file.
fn start_daemon(program: &Path, settings: &Path) -> Result<Process, Box<dyn Error>> {
    let mut child = Command::new(program)
        .arg("--config")
        .arg(settings)
        .arg("serve")
        .envs(SECRETS.iter().copied())
        .stderr(Stdio::piped())
        .spawn()?;
    let stderr = child.stderr.take().ok_or("no log")?;
    let daemon = Process(child);
    let log = PathBuf::from(FOLDER).join("daemon.log");
    let mut file = fs::File::create(&log)?;
    let (listening, wait) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        for line in BufReader::new(stderr).lines().map_while(Result::ok) {
            if line.contains("listening") {
                let _ = listening.send(());
            }
            let _ = writeln!(file, "{line}");
        }
    });
    wait.recv()
        .map_err(|_| format!("the daemon ended; its log is {}", log.display()))?;
    Ok(daemon)
}

fn write_settings(base: &str) -> Result<PathBuf, Box<dyn Error>> {
    let root = std::env::current_dir()?;
    let root = root.display();
    let address = base.trim_start_matches("http://");
    let settings = format!(
        r#"# Written by `make demo`: the sample workflow against the demo world.
[server]
listen = "127.0.0.1:0"

[paths]
flows = "{root}/flows"
tasks = "{root}/tasks"
state = "{root}/{FOLDER}/state"

[network]
allow = ["{address}"]

[databases.blog]
url = "sqlite:{root}/{FOLDER}/blog.db"
tables = ["product_review"]

[workflows.product-blog.vars]
trend_url = "{base}/trend"
mall_url = "{base}/mall"
s3_url = "{base}/s3"
vision_url = "{base}/vision"
translate_url = "{base}/translate"
llm_url = "{base}/llm"
blog_url = "{base}/blog"
"#
    );
    let path = PathBuf::from(FOLDER).join("flowweaver.toml");
    fs::write(&path, settings)?;
    Ok(path)
}

/// What the writers of the shop know: a few rows that the article may draw on.
fn write_knowledge(path: &Path) -> Result<(), Box<dyn Error>> {
    let database = rusqlite::Connection::open(path)?;
    database.execute_batch(
        "create table if not exists product_review (product_review_id integer primary key, title text not null, body text not null);
         delete from product_review;",
    )?;
    let rows = [
        (
            "원목 수납장",
            "습기가 많은 욕실에서는 원목보다 방수 코팅 제품이 오래갑니다.",
        ),
        (
            "텀블러",
            "진공 이중 구조 텀블러는 여섯 시간 뒤에도 60도를 지킵니다.",
        ),
        (
            "여름 원피스",
            "린넨 혼방은 구김이 덜하고 세탁 뒤 빨리 마릅니다.",
        ),
        (
            "캠핑 의자",
            "알루미늄 프레임은 가볍지만 모래밭에서는 넓은 발판이 필요합니다.",
        ),
        (
            "무선 이어폰",
            "통화가 잦다면 마이크가 두 개 이상인 제품이 낫습니다.",
        ),
    ];
    for (title, body) in rows {
        database.execute(
            "insert into product_review (title, body) values (?, ?)",
            (title, body),
        )?;
    }
    Ok(())
}
