//! Users, tokens and organizations as an operator meets them: the first start, a daemon elsewhere, two organizations.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::process::Output;

use serde_json::{Value, json};

use super::basics::HELLO;
use super::rig::{PATIENCE, Rig};

fn said(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Where the daemon's API is.
pub fn address(rig: &Rig) -> String {
    let line = rig.log().wait("where it answers", |line| {
        line.contains("the API answers over TCP")
    });
    let (_, rest) = line.split_once("127.0.0.1:").unwrap();
    let port: String = rest.chars().take_while(char::is_ascii_digit).collect();
    format!("127.0.0.1:{port}")
}

/// A request over TCP: status, head and body.
pub fn ask(
    rig: &Rig,
    method: &str,
    path: &str,
    headers: &[&str],
    body: &Value,
) -> (u16, String, Value) {
    let address = address(rig);
    let mut stream = TcpStream::connect(&address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let body = match body {
        Value::Null => String::new(),
        body => body.to_string(),
    };
    let more: String = headers.iter().map(|line| format!("{line}\r\n")).collect();
    let request = format!(
        "{method} {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\ncontent-type: application/json\r\n{more}content-length: {}\r\n\r\n{body}",
        body.len(),
    );
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    (
        status,
        head.to_owned(),
        serde_json::from_str(body).unwrap_or(Value::Null),
    )
}

fn cookie(head: &str) -> String {
    let line = head
        .lines()
        .find(|line| line.to_lowercase().starts_with("set-cookie:"))
        .unwrap();
    let (_, value) = line.split_once(':').unwrap();
    format!("cookie: {}", value.split(';').next().unwrap().trim())
}

/// A token of a user made on the daemon's machine, for the root organization or another.
pub fn token(rig: &Rig, words: &[&str]) -> String {
    let mut arguments = vec!["token", "create", "test"];
    arguments.extend(words);
    rig.json(&arguments)["token"].as_str().unwrap().to_owned()
}

/// A command against the daemon's address, with this token.
fn remote(rig: &Rig, token: &str, words: &[&str]) -> Output {
    let server = format!("http://{}", address(rig));
    let mut command = rig.command();
    command.args(["--server", &server]).args(words);
    command.env("FLOWWEAVER_TOKEN", token).output().unwrap()
}

#[test]
fn the_first_start_prints_a_password_once_and_it_must_be_changed() {
    let mut rig = Rig::new();
    let log = rig.start();
    let line = log.wait("how to log in", |line| {
        line.contains("first start: log in as admin@localhost")
    });
    let one_time = line
        .split("one-time password ")
        .nth(1)
        .unwrap()
        .split(' ')
        .next()
        .unwrap()
        .to_owned();
    assert!(line.starts_with("(stdout)"), "{line}: not in the log");
    let login = |rig: &Rig, password: &str| {
        let body = json!({ "email": "admin@localhost", "password": password });
        ask(rig, "POST", "/v0/auth/login", &[], &body)
    };
    assert_eq!(login(&rig, "not the password").0, 401);
    let (status, head, _) = login(&rig, &one_time);
    assert_eq!(status, 200);
    let first = cookie(&head);
    assert_eq!(
        ask(&rig, "GET", "/v0/users", &[&first], &Value::Null).0,
        403
    );
    // Nobody has changed it yet: the owner of the folder can have another.
    let made = rig.cli(&["user", "password"]);
    assert!(made.status.success(), "{}", said(&made.stderr));
    let second = said(&made.stdout).trim().to_owned();
    assert_eq!(login(&rig, &one_time).0, 401);
    let (_, head, _) = login(&rig, &second);
    let admin = cookie(&head);
    let body = json!({ "oldPassword": second, "newPassword": "correct horse battery" });
    let (status, head, _) = ask(&rig, "POST", "/v0/users/me/password", &[&admin], &body);
    assert_eq!(status, 200);
    let admin = cookie(&head);
    assert_eq!(
        ask(&rig, "GET", "/v0/users", &[&admin], &Value::Null).0,
        200
    );
    let refused = rig.cli(&["user", "password"]);
    assert_eq!(refused.status.code(), Some(5), "{}", said(&refused.stderr));
    assert!(rig.stop().success());
    let log = rig.start();
    assert!(!log.text().contains("one-time password"));
    // A restart logs nobody out.
    assert_eq!(
        ask(&rig, "GET", "/v0/users", &[&admin], &Value::Null).0,
        200
    );
    let (_, _, session) = ask(
        &rig,
        "GET",
        "/v0/auth/check-session",
        &[&admin],
        &Value::Null,
    );
    assert_eq!(session["data"]["user"]["email"], "admin@localhost");
}

#[test]
fn commands_work_against_a_daemon_elsewhere_and_say_why_they_may_not() {
    let mut rig = Rig::with_add_field();
    rig.write("flows/hello.toml", HELLO);
    rig.start();
    rig.json(&["user", "create", "dev@example.com", "--role", "USER"]);
    let full = token(&rig, &["--user", "dev@example.com"]);
    let reader = token(
        &rig,
        &[
            "--user",
            "dev@example.com",
            "--permission",
            "workflows.read",
        ],
    );

    let none = rig
        .command()
        .args([
            "--server",
            &format!("http://{}", address(&rig)),
            "workflows",
        ])
        .output()
        .unwrap();
    assert_eq!(none.status.code(), Some(5));
    assert!(
        said(&none.stderr).contains("FLOWWEAVER_TOKEN"),
        "{}",
        said(&none.stderr)
    );
    for (token, words, why) in [
        ("fwt_nonsense", ["workflows", "--json"], "not a token"),
        (reader.as_str(), ["run", "hello"], "workflows.execute"),
        (full.as_str(), ["user", "list"], "users.read"),
    ] {
        let refused = remote(&rig, token, &words);
        let text = said(&refused.stderr);
        assert_eq!(refused.status.code(), Some(5), "{words:?}: {text}");
        assert!(text.contains(why), "{words:?}: {text}");
    }
    let unknown = remote(&rig, &full, &["run", "helo"]);
    assert_eq!(unknown.status.code(), Some(4), "{}", said(&unknown.stderr));
    let run = remote(&rig, &full, &["--json", "run", "hello"]);
    assert!(run.status.success(), "{}", said(&run.stderr));
    let run: Value = serde_json::from_slice(&run.stdout).unwrap();
    assert_eq!(run["status"], "succeeded");
    let id = run["id"].as_str().unwrap();
    for words in [
        vec!["logs", "-f", id],
        vec!["run", "show", id],
        vec!["runs"],
        vec!["tasks"],
        vec!["kv", "list", "hello"],
    ] {
        let done = remote(&rig, &full, &words);
        assert!(done.status.success(), "{words:?}: {}", said(&done.stderr));
    }
    let shown = remote(&rig, &reader, &["run", "show", id]);
    assert_eq!(
        shown.status.code(),
        Some(5),
        "inputs and outputs are more than the run"
    );
    let tokens = rig.json(&["token", "list"]);
    let row = tokens
        .as_array()
        .unwrap()
        .iter()
        .find(|row| full.starts_with(row["beginsWith"].as_str().unwrap()));
    let row = row.unwrap();
    assert!(!row["lastUsedAt"].is_null());
    rig.json(&["token", "revoke", row["id"].as_str().unwrap()]);
    let revoked = remote(&rig, &full, &["workflows"]);
    assert_eq!(revoked.status.code(), Some(5));
    assert!(said(&revoked.stderr).contains("revoked"));

    let mut command = rig.command();
    command
        .env("FLOWWEAVER_TOKEN", &reader)
        .env("FLOWWEAVER_SERVER", "http://flow.example.com");
    let plain = command.arg("workflows").output().unwrap();
    assert_eq!(
        plain.status.code(),
        Some(2),
        "a token goes nowhere without TLS"
    );
    let mut command = rig.command();
    command.args(["--server", "http://127.0.0.1:1", "workflows"]);
    assert_eq!(command.output().unwrap().status.code(), Some(3));
    let mut command = rig.command();
    command.args(["--server", "nowhere", "workflows"]);
    assert_eq!(command.output().unwrap().status.code(), Some(2));
    assert!(
        !rig.log().text().contains(&full),
        "tokens stay out of the log"
    );
}

#[test]
fn users_and_roles_are_kept_from_the_command_line_with_or_without_a_daemon() {
    let mut rig = Rig::new();
    let made = rig.cli(&["user", "create", "minji@example.com", "--name", "Minji"]);
    assert!(made.status.success(), "{}", said(&made.stderr));
    assert_eq!(said(&made.stdout).trim().len(), 23, "the password alone");
    rig.json(&[
        "role",
        "create",
        "auditor",
        "--permission",
        "audit.read",
        "--description",
        "reads",
    ]);
    rig.start();
    assert!(
        !rig.log().text().contains("first start"),
        "there is a user already"
    );
    let shown = rig.json(&["user", "roles", "minji@example.com", "auditor", "GUEST"]);
    assert_eq!(shown["roles"], json!(["GUEST", "auditor"]));
    let unknown = rig.cli(&["user", "roles", "minji@example.com", "KING"]);
    assert_eq!(unknown.status.code(), Some(4), "{}", said(&unknown.stderr));
    assert!(said(&unknown.stderr).contains("KING"));
    rig.json(&["user", "disable", "minji@example.com"]);
    assert_eq!(
        rig.json(&["user", "show", "minji@example.com"])["status"],
        "disabled"
    );
    rig.json(&["user", "enable", "minji@example.com"]);
    assert_eq!(rig.json(&["user", "list"]).as_array().unwrap().len(), 1);
    assert!(
        rig.json(&["role", "list"])
            .as_array()
            .unwrap()
            .iter()
            .any(|row| row["name"] == "auditor")
    );
    rig.json(&["role", "delete", "auditor"]);
    rig.json(&["user", "delete", "minji@example.com"]);
    let gone = rig.cli(&["user", "show", "minji@example.com"]);
    assert_eq!(gone.status.code(), Some(4));
    let log = rig.json(&["audit", "--action", "user."]);
    let deeds: Vec<_> = log["data"]
        .as_array()
        .unwrap()
        .iter()
        .map(|row| row["action"].as_str().unwrap())
        .collect();
    assert_eq!(
        deeds,
        [
            "user.delete",
            "user.enable",
            "user.disable",
            "user.roles",
            "user.create"
        ]
    );
    let text = rig.cli(&["audit"]);
    assert!(said(&text.stdout).contains("owner"));
}

#[test]
fn a_folder_is_an_organization_with_workflows_runs_and_events_of_its_own() {
    let mut rig = Rig::with_add_field();
    rig.write("flows/hello.toml", HELLO);
    std::fs::create_dir(rig.path("flows/acme")).unwrap();
    rig.write(
        "flows/acme/hello.toml",
        HELLO
            .replace("[[job]]", "[vars]\nwhose = \"acme\"\n\n[[job]]")
            .as_str(),
    );
    std::fs::create_dir(rig.path("flows/Not A Name")).unwrap();
    rig.start();
    assert!(
        rig.problem("flows/Not A Name").unwrap()["text"]
            .as_str()
            .unwrap()
            .contains("organization")
    );
    let root = rig.json(&["workflows"]);
    let acme = rig.json(&["--organization", "acme", "workflows"]);
    let file = |found: &Value| found.to_string();
    assert!(
        file(&root).contains("flows/hello.toml") && !file(&root).contains("acme"),
        "{root}"
    );
    assert!(file(&acme).contains("flows/acme/hello.toml"), "{acme}");
    let checked = rig.cli(&["check"]);
    assert!(
        said(&checked.stdout).contains("2 files checked"),
        "{}",
        said(&checked.stdout)
    );
    let run = rig.cli(&["--json", "--organization", "acme", "run", "hello"]);
    assert!(run.status.success(), "{}", said(&run.stderr));
    let run: Value = serde_json::from_slice(&run.stdout).unwrap();
    let id = run["id"].as_str().unwrap();
    assert!(rig.json(&["runs"])["data"].as_array().unwrap().is_empty());
    assert_eq!(rig.cli(&["run", "show", id]).status.code(), Some(4));
    assert_eq!(
        rig.cli(&["--organization", "nowhere", "runs"])
            .status
            .code(),
        Some(4)
    );
    // An edit is live, a broken one is told to its organization alone, and a file that goes is retired.
    rig.write(
        "flows/acme/broken.toml",
        "flowweaver = 1\nname = \"broken\"\n",
    );
    rig.until("the broken file is told", || {
        let (_, told) = rig.call_with(
            &["x-organization: acme"],
            "GET",
            "/v0/problems",
            &Value::Null,
        );
        told.to_string()
            .contains("flows/acme/broken.toml")
            .then_some(())
    });
    assert!(rig.problem("flows/acme/broken.toml").is_none());
    std::fs::remove_file(rig.path("flows/acme/hello.toml")).unwrap();
    rig.until("the workflow is gone", || {
        let left = rig.json(&["--organization", "acme", "workflows"]);
        (!left.to_string().contains("flows/acme/hello.toml")).then_some(())
    });
    assert!(
        rig.json(&["workflows"])
            .to_string()
            .contains("flows/hello.toml")
    );
    assert!(rig.stop().success());
    rig.start();
    let again = rig.json(&["--organization", "acme", "run", "show", id]);
    assert_eq!(again["status"], "succeeded");
}
