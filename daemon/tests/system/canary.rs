//! Secrets in every place that takes one, servers that send them back in every form, and a task that shows all it can
//! see: they are found nowhere afterwards.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use super::canary_search::{Search, everything, forms};
use super::databases::{Database, Kind};
use super::guests;
use super::rig::{Rig, failure, output, root, task};

const HEADER: &str = "canary/header+do=not%show \"me\"";
const ACCESS: &str = "CANARYACCESS/0001+x";
const SIGNING: &str = "canary/signing+key=do.not&show";
const PASSWORD: &str = "canary-sql-password-do-not-show";
/// The bytes of the webhook's key; the secret has them in base64.
const WEBHOOK_KEY: &str = "canary?webhook>key~do-not-show";
/// No secret: what is written in a run's input is found again.
const PLANTED: &str = "planted/for+the=search";

fn webhook() -> String {
    format!("whsec_{}", STANDARD.encode(WEBHOOK_KEY))
}

/// A server that knows the secrets of each of its paths, and says them in every form that is known here.
struct Parrot {
    address: String,
    heard: Arc<Mutex<Vec<u8>>>,
}

impl Parrot {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let heard = Arc::new(Mutex::new(Vec::new()));
        let ears = Arc::clone(&heard);
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                // A connection that breaks off is its client's to notice.
                let _ = answer(stream, &ears);
            }
        });
        Self { address, heard }
    }
}

fn answer(mut client: TcpStream, heard: &Mutex<Vec<u8>>) -> std::io::Result<()> {
    let mut request = Vec::new();
    let head = loop {
        let mut portion = [0; 4096];
        let count = client.read(&mut portion)?;
        if count == 0 {
            return Ok(());
        }
        request.extend_from_slice(&portion[..count]);
        if let Some(end) = request.windows(4).position(|end| end == b"\r\n\r\n") {
            break String::from_utf8_lossy(&request[..end]).into_owned();
        }
    };
    let length = head
        .lines()
        .find_map(|line| line.strip_prefix("content-length: "))
        .map_or(0, |length| length.parse().unwrap());
    while request.len() < head.len() + 4 + length {
        let mut portion = [0; 4096];
        let count = client.read(&mut portion)?;
        request.extend_from_slice(&portion[..count]);
    }
    heard.lock().unwrap().extend(&request);
    let path = head.split(' ').nth(1).unwrap();
    let known: Vec<String> = match path {
        "/signed" => vec![ACCESS.to_owned(), SIGNING.to_owned()],
        "/hook" => vec![webhook(), WEBHOOK_KEY.to_owned()],
        _ => vec![HEADER.to_owned()],
    };
    let mut body = b"the parrot says\n".to_vec();
    for secret in &known {
        for (_, form) in forms(secret) {
            body.extend(form);
            body.push(b'\n');
        }
        // Inside of something else that is encoded.
        body.extend(STANDARD.encode(format!("user:{secret}:end")).into_bytes());
        body.push(b'\n');
    }
    let said = &known[0];
    let length = body.len();
    let head = match path {
        "/redirect" => {
            let query = forms(said).swap_remove(4).1;
            let query = String::from_utf8(query).unwrap();
            format!("302 Found\r\nLocation: /landed?key={query}\r\nContent-Length: {length}")
        }
        "/refuse" | "/hook" => format!("403 {said}\r\nContent-Length: {length}"),
        "/broken" => format!("200 OK\r\nContent-Length: {said}"),
        _ => format!("200 OK\r\nContent-Length: {length}"),
    };
    let head = format!("HTTP/1.1 {head}\r\nX-Echo: {said}\r\nConnection: close\r\n\r\n");
    client.write_all(head.as_bytes())?;
    client.write_all(&body)
}

/// The state's `get`, for a guest written by hand.
const KV: &str = r#"(import "flowweaver:kv/store@0.1.0" (instance $kv
    (alias outer 1 $error (type $x))
    (export "error" (type $e (eq $x)))
    (type $r (record (field "value" (list u8)) (field "revision" u64)))
    (export "entry" (type $entry (eq $r)))
    (export "get" (func (param "key" string) (result (result (option $entry) (error $e)))))))
"#;

/// A task that asks for environment, arguments, folders, its context and a key of its state, and then answers with all of
/// its memory: what it asked for, its input, and whatever else there is.
fn witness() -> Vec<u8> {
    let body = r#"(local $at i32) (local $end i32) (local $out i32) (local $to i32)
        (call $environment (i32.const 2048)) (call $arguments (i32.const 2056))
        (call $directories (i32.const 2064)) (call $folder (i32.const 2072))
        (call $trace-id (i32.const 2088)) (drop (call $attempt))
        (call $kv-get (i32.const 256) (i32.const 4) (i32.const 2104))
        (local.set $end (i32.mul (memory.size) (i32.const 65536)))
        (local.set $out (call $realloc (i32.const 0) (i32.const 0) (i32.const 1)
            (i32.add (i32.mul (local.get $end) (i32.const 2)) (i32.const 13))))
        (memory.copy (local.get $out) (i32.const 264) (i32.const 11))
        (local.set $to (i32.add (local.get $out) (i32.const 11)))
        (loop $more
            (i32.store8 (local.get $to)
                (i32.load8_u (i32.add (i32.const 280) (i32.shr_u (i32.load8_u (local.get $at)) (i32.const 4)))))
            (i32.store8 offset=1 (local.get $to)
                (i32.load8_u (i32.add (i32.const 280) (i32.and (i32.load8_u (local.get $at)) (i32.const 15)))))
            (local.set $to (i32.add (local.get $to) (i32.const 2)))
            (local.set $at (i32.add (local.get $at) (i32.const 1)))
            (br_if $more (i32.lt_u (local.get $at) (local.get $end))))
        (memory.copy (local.get $to) (i32.const 275) (i32.const 2))
        (call $ok (local.get $out) (i32.add (i32.mul (local.get $end) (i32.const 2)) (i32.const 13)))"#;
    guests::run(body)
        .surroundings()
        .context()
        .import("kv", KV, &[("get", "kv-get", "(param i32 i32 i32)")])
        .data(r#"(data (i32.const 256) "kept") (data (i32.const 264) "{\"memory\":\"\"}") (data (i32.const 280) "0123456789abcdef")"#)
        .bytes()
}

/// One task of the flow.
fn task_text(name: &str, uses: &str, with: &str, more: &str) -> String {
    format!(
        "\n[[job.task]]\nname = \"{name}\"\nuses = \"{uses}\"\non_failure = \"continue\"\nretry = {{ attempts = 1 }}\n\
         with = {{ {with} }}\n{more}\n"
    )
}

fn flow(address: &str) -> String {
    let base = format!("http://{address}");
    let mut text = "flowweaver = 1\nname = \"canary\"\n\n[inputs.planted]\ntype = \"string\"\ndefault = \"\"\n\n\
        [[job]]\nname = \"only\"\n"
        .to_owned();
    let header = "headers = { Authorization = \"Bearer {{ secret.CANARY_HEADER }}\" }";
    let aws = "sign = { kind = \"aws-sigv4\", service = \"s3\", region = \"us-east-1\", \
        access_key = \"{{ secret.CANARY_ACCESS }}\", secret_key = \"{{ secret.CANARY_SIGNING }}\" }";
    let hook = "sign = { kind = \"standard-webhooks\", secret = \"{{ secret.CANARY_WEBHOOK }}\" }";
    let grant = |secret: &str| {
        format!(
            "\n[[job.task.http]]\nurl = \"{base}/*\"\nmethods = [\"GET\", \"POST\"]\n{secret}\n"
        )
    };
    for (name, secret) in [
        ("echo", header),
        ("redirect", header),
        ("refuse", header),
        ("broken", header),
        ("signed", aws),
    ] {
        let with = format!("url = \"{base}/{name}\"");
        text += &task_text(name, "http-request", &with, &grant(secret));
    }
    let notice =
        format!("url = \"{base}/hook\", title = \"a notice\", text = \"{{{{ inputs.planted }}}}\"");
    text += &task_text("hook", "notify-webhook", &notice, &grant(hook));
    for database in ["shop", "absent"] {
        let with = format!("database = \"{database}\", statement = \"select title from product\"");
        let sql =
            format!("\n[[job.task.sql]]\ndatabase = \"{database}\"\ntables = [\"product\"]\n");
        text += &task_text(database, "sql-query", &with, &sql);
    }
    let seen: Vec<String> = [
        "echo", "redirect", "refuse", "broken", "signed", "hook", "shop", "absent",
    ]
    .iter()
    .map(|name| format!("{name} = \"{{{{ tasks.{name} | default('nothing') }}}}\""))
    .collect();
    let with = format!(
        "planted = \"{{{{ inputs.planted }}}}\", {}",
        seen.join(", ")
    );
    text + &task_text("look", "witness", &with, "kv = \"read\"")
}

/// A rig with the flow, its modules, its secrets and its server. None where something is not there, said in the output.
fn rig() -> Option<(Rig, Parrot, Database)> {
    let shop = Database::make(
        Kind::Postgres,
        &[
            "create table product (title text not null)",
            "insert into product values ('a cup')",
        ],
    )?;
    let mut rig = Rig::new();
    for module in ["http-request", "notify-webhook", "sql-query"] {
        let built = root().join(format!("tasks/{module}.wasm"));
        if !built.exists() {
            println!("skipped: tasks/{module}.wasm is not built; `make tasks` builds it");
            return None;
        }
        std::fs::copy(built, rig.path(&format!("tasks/{module}.wasm"))).unwrap();
    }
    rig.write("tasks/witness.wasm", witness());
    let parrot = Parrot::start();
    rig.write("flows/canary.toml", flow(&parrot.address));
    let mut url: url::Url = shop.url().parse().unwrap();
    // The server trusts this machine, so that any password is right.
    url.set_password(Some(PASSWORD)).unwrap();
    let mut absent = url.clone();
    absent.set_path("flowweaver_no_such_database");
    rig.settings(&format!(
        "[network]\nallow = [\"{}\"]\n\n[databases.shop]\nurl = \"{url}\"\n\n[databases.absent]\nurl = \"{absent}\"\n",
        parrot.address
    ));
    std::fs::create_dir(rig.path("tmp")).unwrap();
    let temporary = rig.path("tmp").display().to_string();
    for (name, value) in [
        ("TMPDIR", temporary.as_str()),
        ("FLOWWEAVER_SECRET_CANARY_HEADER", HEADER),
        ("FLOWWEAVER_SECRET_CANARY_ACCESS", ACCESS),
        ("FLOWWEAVER_SECRET_CANARY_SIGNING", SIGNING),
        ("FLOWWEAVER_SECRET_CANARY_WEBHOOK", &webhook()),
    ] {
        rig.environment(name, value);
    }
    Some((rig, parrot, shop))
}

/// The memory of the task that looks around.
fn memory(run: &Value) -> Vec<u8> {
    hex::decode(output(run, "look")["memory"].as_str().unwrap()).unwrap()
}

#[test]
fn the_search_finds_what_is_planted_in_every_form_and_in_every_place() {
    let search = Search::new(&[PLANTED]);
    for (form, bytes) in forms(PLANTED) {
        let place = [b"before ", &bytes[..], b" after"].concat();
        assert!(!search.hits(&[(form.clone(), place)]).is_empty(), "{form}");
        let cut = bytes[..bytes.len() - 1].to_vec();
        assert!(search.hits(&[(form.clone(), cut)]).is_empty(), "{form}");
    }
    for before in ["", "a", "ab", "abc"] {
        let place = STANDARD
            .encode(format!("{before}{PLANTED}after"))
            .into_bytes();
        assert!(
            !search.hits(&[("base64".to_owned(), place)]).is_empty(),
            "{before}"
        );
    }
    let mixed = b"plan%74ed/for+%74he%3dsearch".to_vec();
    assert!(!search.hits(&[("mixed".to_owned(), mixed)]).is_empty());

    let Some((mut rig, parrot, _shop)) = rig() else {
        return;
    };
    rig.start();
    let run = rig.run("canary", &[&format!("planted={PLANTED}")]);
    let id = run["id"].as_str().unwrap();
    let mut all = everything(&rig);
    all.push(("memory".to_owned(), memory(&run)));
    all.push(("heard".to_owned(), parrot.heard.lock().unwrap().clone()));
    let hits = search.hits(&all);
    for place in [
        "state/flowweaver.db".to_owned(),
        "table task_io_data: ".to_owned(),
        format!("GET /v0/workflow-runs/{id}/io: "),
        format!("command --json run show {id}: "),
        "memory: ".to_owned(),
        "heard: ".to_owned(),
    ] {
        assert!(hits.iter().any(|hit| hit.starts_with(&place)), "{place}");
    }
}

#[test]
fn a_canary_in_every_place_that_takes_a_secret_is_found_nowhere_afterwards() {
    let Some((mut rig, parrot, _shop)) = rig() else {
        return;
    };
    rig.start();
    let kept = rig.cli(&["kv", "set", "canary", "kept", "a value of the state"]);
    assert!(kept.status.success(), "{kept:?}");
    let run = rig.run("canary", &[]);
    // Everything was used, by those who were to have it.
    for name in ["echo", "redirect", "signed", "shop", "look"] {
        assert_eq!(task(&run, name)["status"], "succeeded", "{name}: {run:#}");
    }
    for (name, code) in [
        ("refuse", "http.status"),
        ("broken", "http.protocol"),
        ("hook", "http.status"),
        ("absent", "sql.connect"),
    ] {
        assert_eq!(failure(&run, name)["code"], code, "{run:#}");
    }
    let heard = parrot.heard.lock().unwrap().clone();
    let heard = String::from_utf8_lossy(&heard).into_owned();
    for part in [HEADER, ACCESS, "webhook-signature: v1,"] {
        assert!(heard.contains(part), "{part}: {heard}");
    }
    let echoed = output(&run, "echo")["body"].as_str().unwrap();
    assert!(echoed.matches("***").count() > 10, "{echoed}");
    let landed = output(&run, "redirect")["url"].as_str().unwrap();
    assert!(landed.ends_with("/landed?key=***"), "{landed}");
    let memory = memory(&run);
    let saw = |text: &str| {
        memory
            .windows(text.len())
            .any(|part| part == text.as_bytes())
    };
    for part in ["the parrot says", "a cup", "a value of the state", "***"] {
        assert!(saw(part), "the task that looks around saw {part}");
    }

    let key = webhook();
    let (_, key) = key.split_once('_').unwrap();
    let search = Search::new(&[HEADER, ACCESS, SIGNING, PASSWORD, WEBHOOK_KEY, key]);
    let mut all = everything(&rig);
    all.push(("run show".to_owned(), run.to_string().into_bytes()));
    all.push(("memory".to_owned(), memory));
    search.finds_nothing(&all);
    assert!(rig.stop().success());
    search.finds_nothing(&rig.files());
}
