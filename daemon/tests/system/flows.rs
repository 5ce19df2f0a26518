//! The example workflows: every file in `flows/` passes the check, and each does what its first line says.

use std::collections::BTreeSet;
use std::fs;

use serde_json::{Value, json};

use super::canary_search::{Search, everything};
use super::rig::{Rig, failure, output, root, task, tasks};
use super::world::{World, product_blog};

/// The files that a test of this folder runs; `product-blog` in all of them, `etl` and `sql-report` in `databases`.
const RUN: &[&str] = &[
    "alarm",
    "conditions",
    "etl",
    "fan-out",
    "feed-digest",
    "page-check",
    "product-blog",
    "site-check",
    "site-down",
    "sql-report",
];

/// As the demo world's webhook sink has it by default.
const WEBHOOK_SECRET: &str = "whsec_ZGVtby13b3JsZC13ZWJob29rLXNlY3JldC0wMDAx";

/// A rig with all examples, pointed to the demo world.
fn examples() -> Option<(Rig, World)> {
    let (mut rig, world) = product_blog()?;
    for entry in fs::read_dir(root().join("flows")).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap();
        let text = fs::read_to_string(&path).unwrap();
        // Nobody waits a second for a world that is told to fail.
        let quick = text.replace("delay = \"1s\"", "delay = \"10ms\"");
        rig.write(&format!("flows/{}", name.to_str().unwrap()), quick);
    }
    let base = world.base();
    rig.settings(&format!(
        "\n[workflows.fan-out.vars]\nmall_url = \"{base}/mall\"\n\n\
         [workflows.alarm.vars]\npage_url = \"{base}/blog/\"\nhook_url = \"{base}/blog/hook\"\n\n\
         [workflows.page-check.vars]\nsite_url = \"{base}/blog\"\n\n\
         [workflows.site-down.vars]\nhook_url = \"{base}/blog/hook\"\n\n\
         [workflows.feed-digest.vars]\nfeed_url = \"{base}/mall/shop/rss.php\"\nhook_url = \"{base}/blog/hook\"\n\n\
         [databases.shop]\nurl = \"sqlite:shop.db\"\n\n[databases.orders]\nurl = \"sqlite:orders.db\"\n\n\
         [databases.warehouse]\nurl = \"sqlite:warehouse.db\"\nmode = \"read-write\"\n"
    ));
    rig.environment("FLOWWEAVER_SECRET_WEBHOOK", WEBHOOK_SECRET);
    Some((rig, world))
}

#[test]
fn every_example_is_run_by_a_test_says_what_it_shows_and_passes_the_check() {
    let mut found = BTreeSet::new();
    for entry in fs::read_dir(root().join("flows")).unwrap() {
        let path = entry.unwrap().path();
        let text = fs::read_to_string(&path).unwrap();
        let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
        assert!(
            text.starts_with("# "),
            "{name}: the first line says what it shows"
        );
        assert!(text.contains(&format!("name = \"{name}\"")), "{name}");
        found.insert(name);
    }
    let run: BTreeSet<String> = RUN.iter().map(|name| (*name).to_owned()).collect();
    assert_eq!(found, run);
    let Some((rig, _world)) = examples() else {
        return;
    };
    let checked = rig.cli(&["check"]);
    assert!(
        checked.status.success(),
        "{}",
        String::from_utf8_lossy(&checked.stdout)
    );
}

#[test]
fn fan_out_asks_for_every_word_and_goes_on_without_the_one_that_fails() {
    let Some((mut rig, world)) = examples() else {
        return;
    };
    // Two are under way at once: both are held at the same time.
    world.gate(&json!({ "section": "mall", "count": 2 }));
    rig.start();
    let run = rig.detach("fan-out", &[]);
    world.control("GET", "gate?wait=2", &Value::Null);
    assert_eq!(world.requests("mall").len(), 2, "and the third waits");
    world.fault(&json!({ "section": "mall", "kind": "status", "status": 404, "count": 1 }));
    world.release();
    let run = rig.finished(&run);
    assert_eq!(run["status"], "succeeded", "{run:#}");
    assert_eq!(run["toleratedFailures"], 1, "{run:#}");
    let items: Vec<&Value> = tasks(&run)
        .into_iter()
        .filter(|task| task["task"] == "pages" && task["itemIndex"].is_u64())
        .collect();
    assert_eq!(items.len(), 3);
    let failed = items
        .iter()
        .filter(|item| item["status"] == "failed")
        .count();
    assert_eq!(failed, 1, "{run:#}");
    assert_eq!(task(&run, "answered")["status"], "succeeded");
}

#[test]
fn conditions_skip_a_task_and_give_a_value_for_what_it_did_not_make() {
    let Some((mut rig, world)) = examples() else {
        return;
    };
    rig.start();
    let loose = rig.run("conditions", &[]);
    assert_eq!(loose["status"], "succeeded", "{loose:#}");
    assert_eq!(task(&loose, "sift")["status"], "skipped");
    let strict = rig.run("conditions", &["strict=true"]);
    assert_eq!(strict["status"], "succeeded", "{strict:#}");
    assert_eq!(task(&strict, "sift")["status"], "succeeded");
    for run in [&loose, &strict] {
        let top = output(run, "rank")["top_products"].as_array().unwrap();
        assert_eq!(top[0]["title"], "경량 백팩", "{run:#}");
    }
    assert!(world.requests("mall").is_empty());
}

#[test]
fn alarm_calls_for_help_after_a_failure_and_only_then() {
    let Some((mut rig, world)) = examples() else {
        return;
    };
    rig.start();
    let quiet = rig.run("alarm", &[]);
    assert_eq!(quiet["status"], "succeeded", "{quiet:#}");
    assert_eq!(task(&quiet, "call")["status"], "skipped");
    assert_eq!(
        output(&quiet, "seen")["matched_products"][0]["title"],
        "page 200"
    );
    world.fault(&json!({ "section": "blog", "method": "GET", "kind": "status", "status": 500 }));
    world.fault(&json!({ "section": "blog", "method": "POST", "kind": "status", "status": 200, "body": "{\"heard\": true}" }));
    let loud = rig.run("alarm", &[]);
    assert_eq!(loud["status"], "failed", "{loud:#}");
    assert_eq!(output(&loud, "call")["body"]["heard"], true);
    assert_eq!(
        output(&loud, "seen")["matched_products"][0]["title"],
        "page gone"
    );
    let calls = world.requests("blog");
    let call = calls.iter().find(|call| call["method"] == "POST").unwrap();
    assert!(
        call["body"]
            .as_str()
            .unwrap()
            .contains(loud["id"].as_str().unwrap())
    );
}

#[test]
fn site_check_asks_for_every_page_in_a_run_of_its_own_and_a_retry_continues_the_one_that_failed() {
    let Some((mut rig, world)) = examples() else {
        return;
    };
    // The first rule that fits counts: one page is missing once.
    world.fault(
        &json!({ "section": "blog", "method": "GET", "kind": "status", "status": 404, "count": 1 }),
    );
    world.fault(&json!({ "section": "blog", "method": "GET", "kind": "status", "status": 200, "body": "{}" }));
    rig.start();
    let run = rig.run("site-check", &[]);
    assert_eq!(run["status"], "succeeded", "{run:#}");
    let title = &output(&run, "seen")["matched_products"][0]["title"];
    assert_eq!(title, "pages: 2, first 200");
    let children = run["children"].as_array().unwrap();
    assert_eq!(children.len(), 3, "{run:#}");
    let again: Vec<&Value> = children
        .iter()
        .filter(|child| child["rerunOf"].is_string())
        .collect();
    assert_eq!(again.len(), 1, "{run:#}");
    assert!(run["deliveries"].as_array().unwrap().is_empty());
}

#[test]
fn site_down_calls_for_help_after_a_failed_check_and_says_which_and_why() {
    let Some((mut rig, world)) = examples() else {
        return;
    };
    world.fault(&json!({ "section": "blog", "method": "GET", "kind": "status", "status": 404 }));
    world.fault(&json!({ "section": "blog", "method": "POST", "kind": "status", "status": 200, "body": "{\"heard\": true}" }));
    rig.start();
    let failed = rig.run("site-check", &[]);
    assert_eq!(failed["status"], "failed", "{failed:#}");
    let id = failed["id"].as_str().unwrap();
    let called = rig.until("that help was called", || {
        let delivery = rig.tree(id)["deliveries"][0].clone();
        Some(delivery["runId"].as_str()?.to_owned())
    });
    let call = rig.finished(&called);
    assert_eq!(output(&call, "call")["body"]["heard"], true, "{call:#}");
    let calls = world.requests("blog");
    let call = calls.iter().find(|call| call["method"] == "POST").unwrap();
    assert!(call["body"].as_str().unwrap().contains(id), "{call:#}");
}

/// What the webhook sink took.
fn notices(world: &World) -> Vec<Value> {
    let mut posts = world.posts();
    posts.retain(|post| post["platform"] == "webhook");
    posts
}

#[test]
fn feed_digest_with_a_wrong_secret_is_not_believed_by_the_receiver() {
    let Some((mut rig, world)) = examples() else {
        return;
    };
    // Another key of the right shape.
    rig.environment(
        "FLOWWEAVER_SECRET_WEBHOOK",
        "whsec_c29tZWJvZHktZWxzZXMtc2VjcmV0LTAwMDAx",
    );
    rig.start();
    let run = rig.run("feed-digest", &[]);
    assert_eq!(run["status"], "failed", "{run:#}");
    assert_eq!(failure(&run, "post")["details"]["status"], 401, "{run:#}");
    assert!(notices(&world).is_empty());
}

#[test]
fn feed_digest_posts_what_is_new_once_though_the_receivers_answer_is_lost() {
    let Some((mut rig, world)) = examples() else {
        return;
    };
    // The receiver takes the notice, and its answer never arrives: the retry must be known as the same.
    world.fault(&json!({ "section": "blog", "method": "POST", "kind": "status", "status": 503, "when": "after", "count": 1 }));
    rig.start();
    let run = rig.run("feed-digest", &[]);
    assert_eq!(run["status"], "succeeded", "{run:#}");
    assert_eq!(task(&run, "post")["attempts"].as_array().unwrap().len(), 2);
    let notices = notices(&world);
    assert_eq!(notices.len(), 1, "{notices:#?}");
    assert_eq!(notices[0]["deliveries"], 2);
    assert_eq!(notices[0]["title"], "5 new in 싸다구 데모몰 새 상품");
    let text = notices[0]["content"].as_str().unwrap();
    assert_eq!(text.lines().count(), 10, "{text}");
    let link = format!(
        "  {}/mall/shop/view.php?platform=1688&num_iid=",
        world.base()
    );
    assert!(
        text.starts_with("• ") && text.lines().nth(1).unwrap().starts_with(&link),
        "{text}"
    );
    assert_eq!(output(&run, "post")["status"], 200);
}

#[test]
fn feed_digest_says_nothing_when_nothing_is_new() {
    let Some((mut rig, world)) = examples() else {
        return;
    };
    world.fault(&json!({
        "section": "mall", "kind": "status", "status": 200,
        "body": "<rss version=\"2.0\"><channel><title>t</title><item><title>old</title><pubDate>Sun, 22 Nov 2020 10:00:00 GMT</pubDate></item></channel></rss>",
    }));
    rig.start();
    let run = rig.run("feed-digest", &[]);
    assert_eq!(run["status"], "succeeded", "{run:#}");
    assert_eq!(
        output(&run, "feed")["entries"][0]["published"],
        "2020-11-22T10:00:00Z"
    );
    assert_eq!(task(&run, "post")["status"], "skipped");
    assert!(notices(&world).is_empty());
}

#[test]
fn an_article_for_a_webhook_is_signed_by_the_host_and_delivered_once() {
    let Some((mut rig, world)) = examples() else {
        return;
    };
    let article = |sign: &str| {
        format!(
            "flowweaver = 1\nname = \"article\"\n\n[defaults]\nretry = {{ attempts = 2, delay = \"10ms\" }}\n\n\
             [[job]]\nname = \"only\"\n\n[[job.task]]\nname = \"publish\"\nuses = \"article-publish\"\nkv = \"read-write\"\n\n\
             [job.task.with]\ntag = \"webhook\"\npost_title = \"제목\"\npost_content = \"<p>본문</p>\"\nwebhook_url = \"{base}/blog/hook\"\n\n\
             [[job.task.http]]\nurl = \"{base}/blog/hook\"\nmethods = [\"POST\"]\n{sign}\n",
            base = world.base()
        )
    };
    rig.write("flows/article.toml", article(""));
    rig.start();
    let unsigned = rig.run("article", &[]);
    assert_eq!(
        failure(&unsigned, "publish")["details"]["status"],
        401,
        "{unsigned:#}"
    );
    assert!(notices(&world).is_empty());

    let version = Value::String(rig.version("article").unwrap());
    rig.write(
        "flows/article.toml",
        article("sign = { kind = \"standard-webhooks\", secret = \"{{ secret.WEBHOOK }}\" }"),
    );
    rig.newer_is_live("article", &version);
    world.fault(&json!({ "section": "blog", "method": "POST", "kind": "drop", "when": "after", "count": 1 }));
    let run = rig.run("article", &[]);
    assert_eq!(run["status"], "succeeded", "{run:#}");
    let notices = notices(&world);
    assert_eq!(
        (notices.len(), &notices[0]["deliveries"]),
        (1, &json!(2)),
        "{notices:#?}"
    );
    assert_eq!(notices[0]["content"], "<p>본문</p>");
    let secret = WEBHOOK_SECRET.trim_start_matches("whsec_");
    Search::new(&[secret]).finds_nothing(&everything(&rig));
}

#[test]
fn a_filter_without_end_is_ended_by_the_hosts_limits() {
    let Some((mut rig, _world)) = examples() else {
        return;
    };
    for (name, filter) in [
        ("turns", "last(repeat(1))"),
        ("grows", "[repeat(\"many letters, again and again\")]"),
        ("dives", "def f: 1 + f; f"),
    ] {
        rig.write(
            &format!("flows/{name}.toml"),
            format!(
                "flowweaver = 1\nname = \"{name}\"\n\n[[job]]\nname = \"only\"\n\n[[job.task]]\nname = \"filter\"\nuses = \"json-transform\"\n\
                 cpu = \"2s\"\nmemory = \"64 MiB\"\nwith = {{ filter = '{filter}' }}\n"
            ),
        );
    }
    rig.start();
    let ended = |name: &str| {
        let run = rig.run(name, &[]);
        assert_eq!(run["status"], "failed", "{run:#}");
        failure(&run, "filter")["code"].as_str().unwrap().to_owned()
    };
    assert_eq!(ended("turns"), "limit.cpu");
    assert_eq!(ended("grows"), "limit.memory");
    // Which of a guest's two stacks ends first is the compiler's affair.
    let dived = ended("dives");
    assert!(
        ["trap.stack-overflow", "trap.memory-out-of-bounds"].contains(&dived.as_str()),
        "{dived}"
    );
}
