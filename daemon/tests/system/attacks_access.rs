//! What somebody of one organization tries on the workflows, runs, state and secrets of another.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpStream;

use serde_json::{Value, json};

use super::access::{address, ask, token};
use super::basics::HELLO;
use super::rig::{PATIENCE, Rig};

/// Attack: Runs, logs, data, events, state, secrets and workflows of another organization, by their ids and names. 404 with the same body as for what does not exist, and no event of theirs in the stream.
#[test]
fn nothing_of_another_organization_is_read_or_written() {
    let mut rig = Rig::with_add_field();
    std::fs::create_dir(rig.path("flows/acme")).unwrap();
    rig.write(
        "flows/acme/theirs.toml",
        HELLO.replace("hello", "theirs").as_str(),
    );
    rig.write("flows/hello.toml", HELLO);
    rig.start();
    let run = rig.json(&["--organization", "acme", "run", "theirs"]);
    let run = run["id"].as_str().unwrap();
    rig.json(&[
        "--organization",
        "acme",
        "kv",
        "set",
        "theirs",
        "key",
        "value",
    ]);
    rig.json(&["user", "create", "chief@example.com", "--role", "ORG_ADMIN"]);
    let header = format!(
        "authorization: Bearer {}",
        token(&rig, &["--user", "chief@example.com"])
    );
    let workflows = rig.json(&["--organization", "acme", "workflows"]);
    let workflow = workflows.to_string();
    let id = workflow
        .split("\"id\":\"")
        .nth(1)
        .unwrap()
        .split('"')
        .next()
        .unwrap();
    const NOTHING: &str = "01ARZ3NDEKTSV4RRFFQ69G5FAV";
    for (method, path, theirs, body) in [
        ("GET", "/v0/workflow-runs/{}", run, Value::Null),
        ("GET", "/v0/workflow-runs/{}/logs", run, Value::Null),
        ("GET", "/v0/workflow-runs/{}/io", run, Value::Null),
        ("POST", "/v0/workflow-runs/{}/cancel", run, json!({})),
        ("POST", "/v0/workflow-runs/{}/rerun", run, json!({})),
        ("GET", "/v0/events?runId={}", run, Value::Null),
        ("GET", "/v0/workflows/{}/detail", "theirs", Value::Null),
        ("GET", "/v0/workflows/{}/detail", id, Value::Null),
        ("POST", "/v0/workflows/{}/run", "theirs", json!({})),
        ("GET", "/v0/workflows/{}/kv", "theirs", Value::Null),
        (
            "GET",
            "/v0/workflows/{}/kv/entry?key=key",
            "theirs",
            Value::Null,
        ),
        (
            "PUT",
            "/v0/workflows/{}/kv/entry?key=key",
            "theirs",
            json!({ "value": "mine" }),
        ),
        (
            "DELETE",
            "/v0/workflows/{}/kv/entry?key=key",
            "theirs",
            Value::Null,
        ),
    ] {
        let (status, _, answer) = ask(&rig, method, &path.replace("{}", theirs), &[&header], &body);
        assert_eq!(status, 404, "{method} {path}: {answer}");
        let (_, _, unknown) = ask(
            &rig,
            method,
            &path.replace("{}", NOTHING),
            &[&header],
            &body,
        );
        assert_eq!(answer, unknown, "{method} {path}");
    }
    for path in [
        "/v0/workflow-runs",
        "/v0/workflows",
        "/v0/tasks",
        "/v0/problems",
        "/v0/secrets",
    ] {
        let (status, _, list) = ask(&rig, "GET", path, &[&header], &Value::Null);
        assert_eq!(status, 200, "{path}");
        assert!(!list.to_string().contains("theirs"), "{path}: {list}");
    }
    assert_eq!(
        rig.json(&["--organization", "acme", "kv", "get", "theirs", "key"])["value"],
        "value"
    );
    // The stream of all events: theirs came first, and ours is the first to be seen.
    let mine = rig.detach("hello", &[]);
    let mut stream = TcpStream::connect(address(&rig)).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    write!(
        stream,
        "GET /v0/events?after=0 HTTP/1.1\r\nhost: x\r\n{header}\r\n\r\n"
    )
    .unwrap();
    let mut lines = BufReader::new(stream).lines().map_while(Result::ok);
    let seen = lines.find_map(|line| {
        let row: Value = serde_json::from_str(line.strip_prefix("data:")?).ok()?;
        assert_ne!(row["runId"], run, "{row}");
        (row["kind"] == "run.finished").then_some(row)
    });
    assert_eq!(seen.unwrap()["runId"].as_str(), Some(mine.as_str()));
}

/// Attack: A task that calls the daemon's own port, which the operator's `[network] allow` names too. Denied: the daemon's own ports never.
#[test]
fn a_task_does_not_reach_the_daemons_own_port() {
    let mut rig = Rig::new();
    let wasm = super::rig::root().join("tasks/http-request.wasm");
    std::fs::copy(wasm, rig.path("tasks/http-request.wasm")).unwrap();
    let free = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    rig.edit_settings(|text| text.replace("127.0.0.1:0", &free.to_string()));
    rig.settings(&format!("[network]\nallow = [\"{free}\"]\n"));
    rig.write(
        "flows/inward.toml",
        format!(
            "flowweaver = 1\nname = \"inward\"\n\n[[job]]\nname = \"only\"\n\n[[job.task]]\nname = \"call\"\nuses = \"http-request\"\n\
             with = {{ url = \"http://{free}/ping\" }}\n\n[[job.task.http]]\nurl = \"http://{free}/*\"\n"
        ),
    );
    rig.start();
    let run = rig.run("inward", &[]);
    assert_eq!(run["status"], "failed", "{run:#}");
    assert_eq!(
        super::rig::failure(&run, "call")["code"],
        "http.denied",
        "{run:#}"
    );
}
