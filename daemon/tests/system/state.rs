//! A workflow's key-value state as an operator meets it: listed, read, mended, and within its quota.

use std::fs;

use serde_json::{Value, json};

use super::rig::Rig;

fn rig() -> Rig {
    let mut rig = Rig::with_add_field();
    rig.settings("[limits]\nkv_keys = 3\nkv_bytes = \"100 B\"\n");
    rig.write(
        "flows/keeper.toml",
        "flowweaver = 1\nname = \"keeper\"\n\n[[job]]\nname = \"only\"\n\n[[job.task]]\nname = \"add\"\nuses = \"add-field\"\n\
         with = { field = \"f\", value = 1 }\n",
    );
    rig
}

fn text(rig: &Rig, words: &[&str]) -> (Option<i32>, String) {
    let output = rig.cli(words);
    let said = format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    (output.status.code(), said)
}

#[test]
fn a_key_or_revision_that_can_be_none_is_wrong_usage() {
    let mut rig = rig();
    rig.start();
    let kv = |words: &[&str]| text(&rig, &[&["kv"], words].concat());
    for wrong in [
        &["set", "keeper", "", "v"][..],
        &["set", "keeper", "a\nb", "v"],
        &["set", "keeper", "k", "v", "--expect", "soon"],
    ] {
        let (code, said) = kv(wrong);
        assert_eq!(code, Some(2), "{wrong:?}: {said}");
    }
}

#[test]
fn state_is_listed_read_and_mended_from_the_command_line() {
    let mut rig = rig();
    rig.start();
    let kv = |words: &[&str]| text(&rig, &[&["kv"], words].concat());
    for absent in [
        &["list", "nobody"][..],
        &["get", "keeper", "k"],
        &["delete", "keeper", "k"],
        &["set", "keeper", "k", "v", "--expect", "7"],
    ] {
        let (code, said) = kv(absent);
        assert_eq!(code, Some(4), "{absent:?}: {said}");
    }
    let hostile = "a/../한글?&%00 \u{202E}";
    let set = rig.json(&["kv", "set", "keeper", hostile, "one", "--expect", "absent"]);
    let revision = set["revision"].as_u64().unwrap();
    assert_eq!(
        kv(&["set", "keeper", hostile, "two", "--expect", "absent"]).0,
        Some(4)
    );
    let expect = revision.to_string();
    assert_eq!(
        kv(&[
            "set", "keeper", hostile, "two", "--expect", &expect, "--ttl", "90d"
        ])
        .0,
        Some(0)
    );
    let entry = rig.json(&["kv", "get", "keeper", hostile]);
    assert_eq!(entry["value"], "two");
    assert!(entry["revision"].as_u64().unwrap() > revision);
    assert!(entry["expiresAt"].is_string());
    let binary = rig.cli_with(&["kv", "set", "keeper", "binary"], b"\x00\xff\x1b[2J");
    assert!(binary.status.success());
    let entry = rig.json(&["kv", "get", "keeper", "binary"]);
    assert_eq!(
        (&entry["value"], &entry["base64"]),
        (&Value::Null, &json!("AP8bWzJK"))
    );
    assert!(
        kv(&["get", "keeper", "binary"])
            .1
            .starts_with("base64:AP8bWzJK\n")
    );
    rig.cli_with(&["kv", "set", "keeper", "binary"], b"\x1b[2Jx\n");
    let shown = kv(&["get", "keeper", "binary"]).1;
    assert!(shown.starts_with("\\u{1b}[2Jx\\u{a}\n"), "{shown}");

    let (_, listed) = kv(&["list", "keeper"]);
    assert!(
        listed.contains("2 of 3 keys") && listed.contains("until 20"),
        "{listed}"
    );
    assert!(!listed.contains('\u{202E}'), "{listed}");
    let page = rig.json(&["kv", "list", "keeper", "--limit", "1"]);
    assert_eq!(page["data"].as_array().unwrap().len(), 1);
    let next = page["nextCursor"].as_str().unwrap();
    assert_eq!(next, hostile);
    let page = rig.json(&["kv", "list", "keeper", "--limit", "5", "--after", next]);
    assert_eq!(page["data"][0]["key"], "binary");
    let page = rig.json(&["kv", "list", "keeper", "--prefix", "bin"]);
    assert_eq!(page["data"].as_array().unwrap().len(), 1);
    assert_eq!(kv(&["delete", "keeper", "binary"]).0, Some(0));
    assert_eq!(kv(&["get", "keeper", "binary"]).0, Some(4));

    // The state outlives the file.
    fs::remove_file(rig.path("flows/keeper.toml")).unwrap();
    rig.log().wait("that the workflow is gone", |line| {
        line.contains("file is gone")
    });
    assert_eq!(rig.json(&["kv", "get", "keeper", hostile])["value"], "two");
}

#[test]
fn what_get_shows_set_takes_whatever_it_begins_with() {
    let mut rig = rig();
    rig.start();
    let kv = |words: &[&str]| text(&rig, &[&["kv"], words].concat());
    let literal = rig.cli_with(&["kv", "set", "keeper", "binary"], b"base64:AP8=");
    assert!(literal.status.success());
    let entry = rig.json(&["kv", "get", "keeper", "binary"]);
    assert_eq!(entry["value"], "base64:AP8=");
    let shown = kv(&["get", "keeper", "binary"]).1;
    let shown = shown.lines().next().unwrap();
    assert_eq!(shown, "base64:YmFzZTY0OkFQOD0=");
    assert_eq!(kv(&["set", "keeper", "binary", shown]).0, Some(0));
    let entry = rig.json(&["kv", "get", "keeper", "binary"]);
    assert_eq!(entry["value"], "base64:AP8=");
    assert_eq!(kv(&["set", "keeper", "binary", "base64:AP8="]).0, Some(0));
    let entry = rig.json(&["kv", "get", "keeper", "binary"]);
    assert_eq!(entry["base64"], "AP8=");
    let (code, said) = kv(&["set", "keeper", "binary", "base64:?"]);
    assert!(
        code == Some(2) && said.contains("not base64") && said.contains("standard input"),
        "{said}"
    );
}

#[test]
fn an_end_at_once_or_in_more_than_a_hundred_years_is_refused() {
    let mut rig = rig();
    rig.start();
    let kv = |words: &[&str]| text(&rig, &[&["kv"], words].concat());
    for ttl in ["0s", "36501d", "18446744073709551615ms"] {
        let (code, said) = kv(&["set", "keeper", "binary", "v", "--ttl", ttl]);
        assert!(
            code == Some(4) && said.contains("longer than zero and at most 36500d"),
            "{ttl}: {said}"
        );
    }
    for ttl in ["99999999999999999999d", "soon"] {
        let (code, said) = kv(&["set", "keeper", "binary", "v", "--ttl", ttl]);
        assert!(
            code == Some(2) && said.contains("is not a duration"),
            "{ttl}: {said}"
        );
    }
    let longest = kv(&["set", "keeper", "binary", "v", "--ttl", "36500d"]);
    assert_eq!(longest.0, Some(0), "{}", longest.1);
}

#[test]
fn a_full_state_is_told_with_the_limit_and_the_setting() {
    let mut rig = rig();
    rig.start();
    let put = |key: &str, value: &str| {
        let path = format!("/v0/workflows/keeper/kv/entry?key={key}");
        rig.call("PUT", &path, &json!({ "value": value }))
    };
    assert_eq!(put("a", &"x".repeat(50)).0, 200);
    let (status, answer) = put("b", &"x".repeat(50));
    assert_eq!(
        (status, &answer["code"]),
        (422, &json!("limit.kv-bytes")),
        "{answer}"
    );
    assert!(
        answer["message"]
            .as_str()
            .unwrap()
            .contains("[limits] kv_bytes")
    );
    assert_eq!(put("b", "").0, 200);
    assert_eq!(put("c", "").0, 200);
    let (status, answer) = put("d", "");
    assert_eq!(
        (status, &answer["code"]),
        (422, &json!("limit.kv-keys")),
        "{answer}"
    );
    assert_eq!(put("a", "x").0, 200);
    let usage = rig.get("/v0/workflows/keeper/kv")["usage"].take();
    assert_eq!(
        usage,
        json!({ "keys": 3, "keysMax": 3, "bytes": 4, "bytesMax": 100 })
    );
    for (body, status) in [
        (json!({}), 400),
        (json!({ "value": "a", "base64": "YQ==" }), 400),
        (json!({ "base64": "?" }), 400),
        (json!({ "value": "a", "ttl": "soon" }), 400),
        (json!({ "value": "a", "ttl": "0s" }), 422),
        (json!({ "value": "a", "ttl": "36501d" }), 422),
        (json!({ "value": "a", "more": 1 }), 400),
        (json!({ "value": "x".repeat((1 << 20) + 1) }), 422),
    ] {
        let (found, answer) = rig.call("PUT", "/v0/workflows/keeper/kv/entry?key=a", &body);
        assert_eq!(found, status, "{answer}");
    }
    for path in [
        "/v0/workflows/keeper/kv/entry",
        "/v0/workflows/keeper/kv?limit=x",
    ] {
        assert_eq!(rig.call("GET", path, &Value::Null).0, 400);
    }
}
