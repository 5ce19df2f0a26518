//! Secrets as an operator meets them: set, listed, rotated without a restart, and never seen again.

use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::process::Output;
use std::sync::{Arc, Mutex};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::canary_search::{Search, everything};
use super::rig::{Rig, failure, output, root};

/// A server that remembers what it was sent in `authorization`, and says it back in its body and its headers.
struct Echo {
    address: String,
    heard: Arc<Mutex<Vec<String>>>,
}

impl Echo {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let heard = Arc::new(Mutex::new(Vec::new()));
        let ears = Arc::clone(&heard);
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                // A connection that breaks off is its client's to notice.
                let _ = echo(stream, &ears);
            }
        });
        Self { address, heard }
    }

    fn last(&self) -> String {
        self.heard.lock().unwrap().last().cloned().unwrap()
    }
}

fn echo(mut client: TcpStream, heard: &Mutex<Vec<String>>) -> std::io::Result<()> {
    let mut request = Vec::new();
    while !request.windows(4).any(|end| end == b"\r\n\r\n") {
        let mut portion = [0; 4096];
        let count = client.read(&mut portion)?;
        if count == 0 {
            return Ok(());
        }
        request.extend_from_slice(&portion[..count]);
    }
    let request = String::from_utf8_lossy(&request).into_owned();
    let value = request
        .lines()
        .find_map(|line| line.strip_prefix("authorization: "))
        .unwrap_or_default()
        .to_owned();
    heard.lock().unwrap().push(value.clone());
    let status = if request.starts_with("GET /refuse") {
        "403 Forbidden"
    } else {
        "200 OK"
    };
    let body = format!("you sent {value}");
    write!(
        client,
        "HTTP/1.1 {status}\r\nx-echo: {value}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
        body.len()
    )
}

/// A rig whose workflow `ask` sends the secret `KEY` to the echo, and whose workflow `refused` fails with it. None
/// where the module is not built.
fn asking() -> Option<(Rig, Echo)> {
    let module = root().join("tasks/http-request.wasm");
    if !module.exists() {
        println!("skipped: tasks/*.wasm are not built; `make tasks` builds them");
        return None;
    }
    let echo = Echo::start();
    let mut rig = Rig::with_add_field();
    fs::copy(module, rig.path("tasks/http-request.wasm")).unwrap();
    fs::create_dir(rig.path("keys")).unwrap();
    fs::create_dir(rig.path("credentials")).unwrap();
    let credentials = rig.path("credentials").display().to_string();
    rig.environment("CREDENTIALS_DIRECTORY", &credentials);
    rig.settings(&format!(
        "[network]\nallow = [\"{}\"]\n\n[secrets]\nfolder = \"keys\"\n",
        echo.address
    ));
    for (name, path) in [("ask", "/"), ("refused", "/refuse"), ("denied", "/")] {
        flow(&rig, &echo, name, path, "KEY");
    }
    Some((rig, echo))
}

/// A workflow of one request with a secret. `denied` asks for what it is not granted.
fn flow(rig: &Rig, echo: &Echo, name: &str, path: &str, secret: &str) {
    let base = format!("http://{}", echo.address);
    let granted = if name == "denied" { "/elsewhere" } else { "/*" };
    rig.write(
        &format!("flows/{name}.toml"),
        format!(
            "flowweaver = 1\nname = \"{name}\"\n\n[[job]]\nname = \"only\"\n\n[[job.task]]\nname = \"ask\"\nuses = \"http-request\"\n\
             retry = {{ attempts = 1 }}\nwith = {{ url = \"{base}{path}\" }}\n\n[[job.task.http]]\nurl = \"{base}{granted}\"\n\
             headers = {{ Authorization = \"{{{{ secret.{secret} }}}}\" }}\n"
        ),
    );
}

fn said(output: &Output) -> String {
    format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}

fn new_key(rig: &Rig) -> String {
    let made = rig.cli(&["secret", "key"]);
    assert!(made.status.success());
    let key = String::from_utf8(made.stdout).unwrap().trim().to_owned();
    assert_eq!(STANDARD.decode(&key).unwrap().len(), 32);
    key
}

fn keep_keys(rig: &Rig, keys: &str) {
    let beside = rig.path("secrets.new");
    fs::write(&beside, keys).unwrap();
    fs::set_permissions(&beside, fs::Permissions::from_mode(0o600)).unwrap();
    fs::rename(beside, rig.path("secrets.key")).unwrap();
}

fn set(rig: &Rig, name: &str, value: &str) -> Output {
    rig.cli_with(&["secret", "set", name], format!("{value}\n").as_bytes())
}

#[test]
fn every_source_is_rotated_under_the_running_daemon() {
    let Some((mut rig, echo)) = asking() else {
        return;
    };
    let key = new_key(&rig);
    rig.environment("FLOWWEAVER_SECRETS_KEY", &key);
    rig.start();
    let pid = rig.pid();
    let missing = rig.run("ask", &[]);
    let denied = failure(&missing, "ask");
    assert_eq!(denied["code"], "http.denied", "{denied:#}");
    // From the last source to the first: each stands before the one that was used until now.
    for source in ["table", "credentials", "keys"] {
        for turn in ["one", "two"] {
            let value = format!("geheim-{source}-{turn}");
            if source == "table" {
                assert!(set(&rig, "KEY", &value).status.success());
            } else {
                rig.write(&format!("{source}/KEY"), format!("{value}\n"));
            }
            let run = rig.run("ask", &[]);
            assert_eq!(run["status"], "succeeded", "{run:#}");
            assert_eq!(echo.last(), value);
            assert_eq!(output(&run, "ask")["body"], "you sent ***");
        }
    }
    for (source, next) in [
        ("keys", "geheim-credentials-two"),
        ("credentials", "geheim-table-two"),
    ] {
        fs::remove_file(rig.path(source).join("KEY")).unwrap();
        rig.run("ask", &[]);
        assert_eq!(echo.last(), next);
    }
    assert_eq!(rig.pid(), pid);
}

#[test]
fn a_running_attempt_keeps_its_value_while_a_file_is_written_slowly() {
    let Some((mut rig, echo)) = asking() else {
        return;
    };
    rig.write("keys/KEY", "geheim-whole");
    rig.start();
    rig.run("ask", &[]);
    // The name beside it is no secret's name, and an emptied file is no value.
    fs::write(rig.path("keys/KEY.new"), "geheim-ha").unwrap();
    rig.run("ask", &[]);
    assert_eq!(echo.last(), "geheim-whole");
    fs::write(rig.path("keys/KEY"), "").unwrap();
    rig.run("ask", &[]);
    assert_eq!(echo.last(), "geheim-whole");
    let listed = rig.json(&["secret", "list"]);
    assert_eq!(listed["secrets"].as_array().unwrap().len(), 1, "{listed:#}");
}

#[test]
fn the_list_tells_where_a_secret_comes_from_who_uses_it_and_what_is_missing() {
    let Some((mut rig, echo)) = asking() else {
        return;
    };
    flow(&rig, &echo, "other", "/", "ABSENT");
    let key = new_key(&rig);
    rig.environment("FLOWWEAVER_SECRETS_KEY", &key);
    rig.environment("FLOWWEAVER_SECRET_KEY", "geheim-env");
    rig.start();
    let shadowed = set(&rig, "KEY", "geheim-table");
    assert!(shadowed.status.success());
    assert!(
        said(&shadowed).contains("the environment has a KEY too"),
        "{}",
        said(&shadowed)
    );
    assert!(set(&rig, "UNUSED", "geheim-unused").status.success());
    let listed = rig.json(&["secret", "list"]);
    let row = |name: &str, source: &str| {
        let rows = listed["secrets"].as_array().unwrap().iter();
        let mut rows = rows.filter(|row| row["name"] == name && row["source"] == source);
        rows.next()
            .unwrap_or_else(|| panic!("{name}: {listed:#}"))
            .clone()
    };
    let used = row("KEY", "environment");
    let users: Vec<_> = used["usedBy"]
        .as_array()
        .unwrap()
        .iter()
        .map(|user| user["workflow"].as_str().unwrap())
        .collect();
    assert_eq!(users, ["ask", "denied", "refused"]);
    assert_eq!(used["usedBy"][0]["task"], "ask");
    assert_eq!(used["usedBy"][0]["file"], "flows/ask.toml");
    assert!(used["usedBy"][0]["line"].as_u64().unwrap() > 5);
    let stored = row("KEY", "table");
    assert_eq!(stored["shadowedBy"], "environment");
    assert_eq!(stored["revision"], 1);
    assert_eq!(stored["updatedBy"], "owner");
    assert!(stored["updatedAt"].is_string() && stored["keyId"].is_string());
    assert_eq!(row("UNUSED", "table")["usedBy"], json!([]));
    let missing = listed["missing"].as_array().unwrap();
    assert_eq!(missing.len(), 1, "{listed:#}");
    assert_eq!(missing[0]["name"], "ABSENT");
    assert_eq!(missing[0]["usedBy"][0]["file"], "flows/other.toml");
    let text = said(&rig.cli(&["secret", "list"]));
    assert!(
        text.contains("ABSENT") && text.contains("does not exist"),
        "{text}"
    );
    assert!(
        text.contains("not used: the environment has it too"),
        "{text}"
    );
    // `check` knows what the daemon knows: the table's names too.
    flow(&rig, &echo, "table", "/", "UNUSED");
    let checked = |file: &str| said(&rig.cli(&["check", rig.path(file).to_str().unwrap()]));
    assert!(checked("flows/other.toml").contains("there is no secret `ABSENT`"));
    let table = checked("flows/table.toml");
    assert!(!table.contains("no secret"), "{table}");

    let elsewhere = rig.cli(&["secret", "delete", "KEY"]);
    assert!(elsewhere.status.success(), "the table's own");
    let elsewhere = rig.cli(&["secret", "delete", "KEY"]);
    assert_eq!(elsewhere.status.code(), Some(4));
    assert!(
        said(&elsewhere).contains("from the environment"),
        "{}",
        said(&elsewhere)
    );
    let absent = rig.cli(&["secret", "delete", "NEVER"]);
    assert_eq!(absent.status.code(), Some(4));
}

#[test]
fn keys_are_made_kept_rotated_and_told_apart() {
    let Some((mut rig, echo)) = asking() else {
        return;
    };
    rig.start();
    let refused = set(&rig, "KEY", "geheim");
    assert_eq!(refused.status.code(), Some(4));
    assert!(
        said(&refused).contains("flowweaver secret key"),
        "{}",
        said(&refused)
    );
    assert!(rig.stop().success());

    rig.settings("key_file = \"secrets.key\"\n");
    let missing = rig.cli(&["serve"]);
    assert!(!missing.status.success());
    let cure = format!(
        "flowweaver secret key > {}",
        rig.path("secrets.key").display()
    );
    assert!(said(&missing).contains(&cure), "{}", said(&missing));
    let (old, new) = (new_key(&rig), new_key(&rig));
    keep_keys(&rig, &old);
    fs::set_permissions(rig.path("secrets.key"), fs::Permissions::from_mode(0o644)).unwrap();
    let open = rig.cli(&["serve"]);
    assert!(!open.status.success());
    assert!(said(&open).contains("chmod 600"), "{}", said(&open));
    keep_keys(&rig, &old);
    rig.start();
    assert!(set(&rig, "KEY", "geheim").status.success());
    keep_keys(&rig, &format!("{new}\n{old}\n"));
    let done = rig.json(&["secret", "rekey"]);
    assert_eq!((&done["rekeyed"], &done["failed"]), (&json!(1), &json!([])));
    keep_keys(&rig, &new);
    assert!(rig.stop().success());
    rig.start();
    rig.run("ask", &[]);
    assert_eq!(echo.last(), "geheim");
    assert!(rig.stop().success());

    // Another key: the daemon starts, other secrets work, and this one says what is wrong.
    let listed_id = |listed: &Value| listed["secrets"][0]["keyId"].as_str().unwrap().to_owned();
    keep_keys(&rig, &old);
    rig.write("keys/OTHER", "geheim-other");
    flow(&rig, &echo, "other", "/", "OTHER");
    rig.start();
    let run = rig.run("other", &[]);
    assert_eq!(run["status"], "succeeded", "{run:#}");
    assert_eq!(echo.last(), "geheim-other");
    let run = rig.run("ask", &[]);
    let told = failure(&run, "ask")["message"].as_str().unwrap();
    let id = listed_id(&rig.json(&["secret", "list"]));
    assert!(told.contains("`KEY`") && told.contains(&id), "{told}");
    let log = rig.log().text();
    assert!(log.contains(&id), "{log}");
    let failed = rig.cli(&["secret", "rekey"]);
    assert_eq!(failed.status.code(), Some(1), "{}", said(&failed));
    assert!(said(&failed).contains(&id), "{}", said(&failed));
    // What would be sealed with the wrong key, or with one that is gone, is refused.
    let refused = set(&rig, "KEY", "geheim-lost");
    assert_eq!(refused.status.code(), Some(4));
    assert!(said(&refused).contains(&id), "{}", said(&refused));
    fs::remove_file(rig.path("secrets.key")).unwrap();
    let refused = set(&rig, "KEY", "geheim-lost");
    assert_eq!(refused.status.code(), Some(4));
    assert!(said(&refused).contains(&cure), "{}", said(&refused));
    keep_keys(&rig, &format!("{old}\n{new}\n"));
    assert!(set(&rig, "KEY", "geheim-kept").status.success());
    rig.run("ask", &[]);
    assert_eq!(echo.last(), "geheim-kept");
}

#[test]
fn what_is_unsafe_about_a_secret_is_told_where_it_is_set_listed_and_logged() {
    let Some((mut rig, _echo)) = asking() else {
        return;
    };
    let key = new_key(&rig);
    rig.environment("FLOWWEAVER_SECRETS_KEY", &key);
    rig.write("keys/OPEN", "geheim");
    let path = rig.path("keys/OPEN");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o666)).unwrap();
    rig.start();
    let short = set(&rig, "SHORT", "abc");
    assert!(short.status.success());
    let warned = said(&short);
    assert!(
        warned.contains("warning: SHORT has fewer than 4 bytes"),
        "{warned}"
    );
    let long = said(&set(&rig, "LONG", "abcd"));
    assert!(!long.contains("warning"), "{long}");
    let listed = said(&rig.cli(&["secret", "list"]));
    let cure = format!("chmod 600 {}", path.display());
    assert!(
        listed.contains("cannot be used: it has fewer than 4 bytes")
            && listed.contains("warning: its file has mode 0666")
            && listed.contains(&cure),
        "{listed}"
    );
    let log = rig.log().text();
    assert!(log.contains(&cure), "{log}");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    let listed = said(&rig.cli(&["secret", "list"]));
    assert!(!listed.contains("warning"), "{listed}");
}

#[test]
fn a_value_among_the_arguments_or_in_a_wrong_body_is_refused_and_not_repeated() {
    let mut rig = Rig::new();
    let key = new_key(&rig);
    rig.environment("FLOWWEAVER_SECRETS_KEY", &key);
    rig.start();
    for words in [
        &["secret", "set", "KEY", "geheim-argument"][..],
        &["secret", "set", "KEY", "--geheim-argument"],
        &["secret", "set", "KEY", "geheim", "argument"],
    ] {
        let refused = rig.cli_with(words, b"");
        assert_eq!(refused.status.code(), Some(2));
        assert!(!said(&refused).contains("geheim"), "{}", said(&refused));
    }
    let refused = rig.cli_with(&["secret", "set", "KEY"], b"\n");
    assert_eq!(refused.status.code(), Some(2));
    for body in [
        json!("geheim-body"),
        json!(["geheim-body"]),
        json!({ "geheim-body": 1 }),
        json!({ "value": ["geheim-body"] }),
        json!({ "value": "geheim-body", "other": "geheim-body" }),
        json!({ "value": "" }),
        json!({ "value": "geheim".repeat(11_000) }),
    ] {
        let (status, answer) = rig.call("PUT", "/v0/secrets/KEY", &body);
        assert!(status == 400 || status == 422, "{status}");
        assert!(!answer.to_string().contains("geheim"), "{answer}");
    }
    for (method, path) in [
        ("PUT", "/v0/secrets/1KEY"),
        ("PUT", "/v0/secrets/a-b"),
        ("DELETE", "/v0/secrets/..%2fKEY"),
    ] {
        let (status, answer) = rig.call(method, path, &json!({ "value": "geheim" }));
        assert_eq!(status, 400, "{answer}");
    }
    // There is no way to read one.
    assert_eq!(rig.call("GET", "/v0/secrets/KEY", &Value::Null).0, 405);
    assert_eq!(rig.get("/v0/secrets")["secrets"], json!([]));
    assert!(!rig.log().text().contains("geheim"));
}

#[test]
fn secrets_of_every_source_are_found_nowhere_afterwards() {
    let Some((mut rig, echo)) = asking() else {
        return;
    };
    let key = new_key(&rig);
    let values = |turn: &str| {
        ["env", "keys", "credentials", "table"]
            .map(|source| format!("canary/{source}+{turn}=do.not%show"))
    };
    let [env, ..] = values("one");
    rig.environment("FLOWWEAVER_SECRETS_KEY", &key);
    rig.environment("FLOWWEAVER_SECRET_ENV", &env);
    for (workflow, path, secret) in [
        ("env", "/", "ENV"),
        ("file", "/", "FILE"),
        ("credential", "/refuse", "CREDENTIAL"),
        ("table", "/", "TABLE"),
        ("refused", "/refuse", "TABLE"),
        ("denied", "/", "TABLE"),
    ] {
        flow(&rig, &echo, workflow, path, secret);
    }
    let mut all = Vec::new();
    rig.start();
    for turn in ["one", "two"] {
        let [_, file, credential, table] = values(turn);
        rig.write("keys/FILE", &file);
        rig.write("credentials/CREDENTIAL", &credential);
        let set = set(&rig, "TABLE", &table);
        assert!(set.status.success());
        all.push(("secret set".to_owned(), said(&set).into_bytes()));
        let body = json!({ "value": table });
        let (_, answer) = rig.call("PUT", "/v0/secrets/TABLE", &body);
        all.push(("PUT".to_owned(), answer.to_string().into_bytes()));
        for workflow in ["env", "file", "credential", "table", "refused", "denied"] {
            let run = rig.run(workflow, &[]);
            let good = ["env", "file", "table"].contains(&workflow);
            assert_eq!(run["status"] == "succeeded", good, "{run:#}");
            // What the guest saw is what it returned.
            all.push(("run show".to_owned(), run.to_string().into_bytes()));
        }
        all.extend(everything(&rig));
    }
    let heard = echo.heard.lock().unwrap().clone();
    let mut secrets: Vec<String> = values("one")
        .into_iter()
        .chain(values("two").into_iter().skip(1))
        .collect();
    for value in &secrets {
        assert!(heard.contains(value), "{value} was sent");
    }
    secrets.push(key);
    Search::new(&secrets).finds_nothing(&all);
    let names = Search::new(&["TABLE"]).hits(&all);
    assert!(!names.is_empty(), "names are shown");
}
