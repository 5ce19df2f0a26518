//! `polyglot/javascript/chat-notify.js` with both engines.

use serde_json::json;

use super::chat::Chat;
use super::rig::{Rig, failure, output, task};
use super::{flow, log, module, rig, tries};

/// One source, two engines.
const MODULES: [&str; 2] = ["chat-notify-javascript", "chat-notify-starlingmonkey"];

/// A daemon with a workflow for each module that may post to the chat's hooks.
fn world() -> Option<(Rig, Chat)> {
    let mut rig = rig(&MODULES)?;
    let chat = Chat::start();
    rig.settings(&chat.reachable());
    for module in MODULES {
        let grant = format!(
            "retry = {{ attempts = 2, delay = \"10ms\" }}\n[[job.task.http]]\nurl = \"{}/hooks/*\"\nmethods = [\"POST\"]\n",
            chat.base()
        );
        rig.write(
            &format!("flows/{module}.toml"),
            flow(module, module, &["url", "text"], &grant),
        );
    }
    rig.start();
    Some((rig, chat))
}

/// Runs the workflow of a module.
fn post(rig: &Rig, module: &str, url: &str, text: &str) -> serde_json::Value {
    rig.run(module, &[&format!("url={url}"), &format!("text={text}")])
}

#[test]
fn a_javascript_task_is_denied_what_is_not_granted_and_reaches_what_is() {
    let Some((rig, chat)) = world() else { return };
    for module in MODULES {
        let run = post(&rig, module, &format!("{}/admin", chat.base()), "hi");
        assert_eq!(run["status"], "failed", "{module}: {run:#}");
        let denied = failure(&run, "it");
        assert_eq!(denied["code"], "http.denied", "{module}: {denied:#}");
        let said = denied["message"].as_str().unwrap();
        assert!(said.contains(&format!("flows/{module}.toml")), "{said}");
        assert!(chat.take().is_empty(), "{module}: something was sent");

        let url = format!("{}/hooks/ok", chat.base());
        let run = post(&rig, module, &url, "안녕, \"world\" 🐙");
        assert_eq!(run["status"], "succeeded", "{module}: {run:#}");
        let expected = json!({ "status": 200, "attempt": 1, "reply": "ok" });
        assert_eq!(*output(&run, "it"), expected, "{module}");
        let [posted] = chat.take().try_into().unwrap();
        assert_eq!(posted.body, json!({ "text": "안녕, \"world\" 🐙" }));
        assert_eq!(posted.headers["content-type"], "application/json");
        let rows = log(&rig, &run);
        let line = rows
            .iter()
            .find(|row| row["message"] == "the message was posted")
            .unwrap_or_else(|| panic!("{module}: {rows:#?}"));
        assert_eq!(line["fields"]["status"], "200", "{line:#}");
    }
}

#[test]
fn a_javascript_tasks_error_record_decides_whether_it_is_tried_again() {
    let Some((rig, chat)) = world() else { return };
    for module in MODULES {
        let run = post(&rig, module, &format!("{}/hooks/ok", chat.base()), "  ");
        let invalid = failure(&run, "it");
        assert_eq!(invalid["code"], "input.invalid", "{module}: {invalid:#}");
        assert_eq!(invalid["details"], json!({ "field": "text" }));
        assert_eq!((tries(&run), chat.take().len()), (1, 0), "{module}");

        let run = post(&rig, module, &format!("{}/hooks/closed", chat.base()), "hi");
        let refused = failure(&run, "it");
        let said = log(&rig, &run);
        assert_eq!(refused["code"], "chat.status", "{module}: {said:#?}");
        assert_eq!(refused["details"], json!({ "status": 403, "reply": "no" }));
        assert_eq!((tries(&run), chat.take().len()), (1, 1), "{module}");

        let run = post(&rig, module, &format!("{}/hooks/busy", chat.base()), "hi");
        assert_eq!(run["status"], "succeeded", "{module}: {run:#}");
        assert_eq!(output(&run, "it")["attempt"], 2, "{module}");
        let busy = &task(&run, "it")["attempts"][0]["failure"];
        assert_eq!(busy["code"], "chat.status", "{module}: {busy:#}");
        assert_eq!(busy["retry_after_ms"], 1_000, "{module}: {busy:#}");
        let [first, second] = chat.take().try_into().unwrap();
        let key = |posted: &super::chat::Posted| posted.headers["idempotency-key"].clone();
        assert_eq!(key(&first), key(&second), "{module}");
        assert_eq!(key(&first).len(), 64, "{module}");
    }
}

#[test]
fn a_javascript_task_that_waits_for_an_answer_is_cancelled() {
    let Some((rig, chat)) = world() else { return };
    for module in MODULES {
        let url = format!("url={}/hooks/hold", chat.base());
        let run = rig.detach(module, &[&url, "text=hi"]);
        chat.next();
        rig.json(&["cancel", &run]);
        let run = rig.finished(&run);
        assert_eq!(run["status"], "cancelled", "{module}: {run:#}");
        assert_eq!(task(&run, "it")["attempts"][0]["status"], "cancelled");
    }
}

#[test]
fn what_a_javascript_task_says_of_itself_is_shown_and_checked() {
    let Some((rig, _chat)) = world() else { return };
    for name in MODULES {
        let shown = module(&rig, name);
        let description = &shown["description"];
        assert_eq!(description["name"], "chat-notify", "{shown:#}");
        assert_eq!(description["requires"], json!(["http"]));
        assert_eq!(description["defaults"], json!({ "channel": "" }));
        assert_eq!(description["input"]["required"], json!(["url", "text"]));

        let wrong = flow("wrong", name, &["url", "txet"], "");
        rig.write("wrong.toml", wrong);
        let output = rig.cli(&["check", rig.path("wrong.toml").to_str().unwrap()]);
        assert_eq!(output.status.code(), Some(1));
        let said = String::from_utf8(output.stderr).unwrap()
            + std::str::from_utf8(&output.stdout).unwrap();
        assert!(said.contains("text") && said.contains("txet"), "{said}");
        assert!(said.contains("http"), "{said}");
    }
}
