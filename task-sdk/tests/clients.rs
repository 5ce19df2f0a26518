//! What the clients promise to a task, against the fake brokers: the refusals first.

use std::time::Duration;

use flowweaver_task::{
    Context, Error, Result, Value as Json, http, json, kv, log,
    log::Level,
    sql::{Database, Value, params},
    task,
    testing::{self, Answer, Reply, World},
};

#[test]
fn a_host_error_reaches_the_task_whole() {
    let world = World::new();
    let refusal = Error::retryable("http.timeout", "no answer within 5 s")
        .with_retry_after(Duration::from_secs(9))
        .with_details(json!({ "hop": 2 }));
    world
        .when("GET", "https://mall.test/")
        .reply(Reply::error(refusal.clone()));
    assert_eq!(http::get("https://mall.test/").send().unwrap_err(), refusal);
}

#[test]
fn headers_that_belong_to_the_host_are_refused() {
    let world = World::new();
    world.when("*", "*").reply(Reply::text(200, ""));
    for (name, value) in [
        ("Host", "other.test"),
        ("content-length", "1"),
        ("x-a", "b\r\nc: d"),
        ("x y", "z"),
    ] {
        let error = http::get("https://mall.test/")
            .header(name, value)
            .send()
            .unwrap_err();
        assert_eq!(error.code, "http.invalid", "{name}");
    }
    assert_eq!(
        http::get("/relative").send().unwrap_err().code,
        "http.invalid"
    );
}

#[test]
fn a_later_rule_wins_and_the_last_reply_of_a_rule_stays() {
    let world = World::new();
    world
        .when("GET", "https://mall.test/*")
        .reply(Reply::text(200, "any"));
    world
        .when("GET", "https://mall.test/page?n=*")
        .reply(Reply::text(503, ""))
        .reply(Reply::text(200, "page"));
    let text = |url: &str| {
        http::get(url)
            .send()
            .and_then(http::Response::text)
            .unwrap()
    };
    assert_eq!(text("https://mall.test/page?n=1"), "");
    assert_eq!(text("https://mall.test/page?n=1"), "page");
    assert_eq!(text("https://mall.test/page?n=2"), "page");
    assert_eq!(text("https://mall.test/other?x=1"), "any");
}

#[test]
fn an_error_for_a_status_keeps_no_query() {
    let world = World::new();
    world
        .when("GET", "https://mall.test/*")
        .reply(Reply::text(401, "who are you?"));
    let error = http::get("https://mall.test/a")
        .query("key", "s3cr3t")
        .send()
        .unwrap()
        .error_for_status()
        .unwrap_err();
    assert_eq!(
        (error.code.as_str(), error.retryable),
        ("http.status", false)
    );
    assert_eq!(
        error.message,
        "https://mall.test/a answered 401: who are you?"
    );
    assert_eq!(
        error.details,
        Some(json!({ "status": 401, "url": "https://mall.test/a", "body": "who are you?" }))
    );
}

#[test]
fn a_body_that_nobody_decoded_is_refused_as_text_and_handed_on_as_bytes() {
    let world = World::new();
    for (path, status) in [("good", 200), ("bad", 400)] {
        let reply =
            Reply::bytes(status, b"\x28\xb5\x2f\xfd".to_vec()).header("content-encoding", "zstd");
        world
            .when("GET", &format!("https://mall.test/{path}"))
            .reply(reply);
    }
    let get = |path: &str| {
        http::get(format!("https://mall.test/{path}"))
            .send()
            .unwrap()
    };
    let text = get("good").text().unwrap_err();
    let json = get("good").json::<serde_json::Value>().unwrap_err();
    for error in [text, json] {
        assert_eq!(error.code, "http.encoding");
        assert!(error.message.contains("`zstd`"), "{}", error.message);
    }
    assert_eq!(get("good").encoding(), Some("zstd"));
    assert_eq!(get("good").bytes().unwrap(), b"\x28\xb5\x2f\xfd");
    let status = get("bad").error_for_status().unwrap_err();
    assert_eq!(status.message, "https://mall.test/bad answered 400");
}

#[test]
fn a_body_larger_than_the_task_takes_is_refused() {
    let world = World::new();
    world
        .when("GET", "https://mall.test/")
        .reply(Reply::bytes(200, vec![7; 200_000]));
    let get = || http::get("https://mall.test/").send().unwrap();
    assert_eq!(
        get().bytes_up_to(199_999).unwrap_err().code,
        "limit.http-body"
    );
    assert_eq!(get().bytes_up_to(200_000).unwrap().len(), 200_000);
}

#[test]
fn an_answer_that_does_not_fit_names_the_field() {
    let world = World::new();
    world
        .when("GET", "https://mall.test/")
        .reply(Reply::json(200, json!([{ "rank": "one" }])));
    #[derive(Debug, serde::Deserialize)]
    struct Entry {
        #[allow(dead_code)]
        rank: u32,
    }
    let error = http::get("https://mall.test/")
        .send()
        .unwrap()
        .json::<Vec<Entry>>()
        .unwrap_err();
    assert_eq!(error.code, "json.invalid");
    assert!(error.message.contains("[0].rank"), "{}", error.message);
}

#[test]
fn many_requests_answer_in_order_and_never_more_than_allowed_are_open() {
    let world = World::new();
    world
        .when("GET", "https://mall.test/*")
        .answer(|sent| match sent.query("n").as_deref() {
            Some("3") => Reply::error(Error::retryable("http.connect", "refused")),
            n => Reply::text(200, n.unwrap_or_default()),
        });
    let requests = (0..10).map(|n| http::get("https://mall.test/p").query("n", n.to_string()));
    let results = http::send_all(requests, 4);
    let texts: Vec<String> = results
        .into_iter()
        .map(|result| {
            result
                .and_then(http::Response::text)
                .unwrap_or_else(|error| error.code)
        })
        .collect();
    assert_eq!(
        texts,
        ["0", "1", "2", "http.connect", "4", "5", "6", "7", "8", "9"]
    );
    assert_eq!(world.most_in_flight(), 4);
}

#[test]
fn an_unknown_database_and_an_unscripted_statement_are_refused() {
    let world = World::new();
    assert_eq!(
        Database::open("blog").unwrap_err().code,
        "sql.unknown-database"
    );
    world.database("blog");
    let blog = Database::open("blog").unwrap();
    assert_eq!(blog.query("select 1", &[]).unwrap_err().code, "sql.denied");
}

#[test]
fn rows_are_read_by_column_and_by_type() {
    #[derive(Debug, PartialEq, serde::Deserialize)]
    struct Product {
        id: u32,
        price: f64,
        active: bool,
        note: Option<String>,
        tags: Vec<String>,
        image: Vec<u8>,
    }
    let world = World::new();
    world
        .database("blog")
        .when("select * from product where id = ?")
        .rows(
            &["id", "price", "active", "note", "tags", "image"],
            vec![vec![
                Value::Int64(7),
                Value::Decimal("12.50".into()),
                Value::Int64(1),
                Value::Null,
                Value::Json(r#"["a"]"#.into()),
                Value::Blob(vec![1, 2]),
            ]],
        );
    let blog = Database::open("blog").unwrap();
    let statement = "select *\n  from product where id = ?";
    let expected = Product {
        id: 7,
        price: 12.5,
        active: true,
        note: None,
        tags: vec!["a".into()],
        image: vec![1, 2],
    };
    assert_eq!(
        blog.query_as::<Product>(statement, params![7]).unwrap(),
        [expected]
    );

    let row = blog.query_one(statement, params![7]).unwrap().unwrap();
    assert_eq!(row.get::<String>("price").unwrap(), "12.50");
    assert_eq!(row.get::<Option<String>>("note").unwrap(), None);
    assert_eq!(row.get::<Json>("tags").unwrap(), json!(["a"]));
    let missing = row.get::<i64>("prize").unwrap_err();
    assert_eq!(
        (missing.code.as_str(), missing.retryable),
        ("sql.value", false)
    );
    let wrong = row.get::<bool>("id").unwrap_err();
    assert_eq!(wrong.message, "column `id` holds an integer, not a boolean");
    let wrong = row.get::<String>("note").unwrap_err();
    assert_eq!(wrong.message, "column `note` holds NULL, not text");
    assert_eq!(world.statements()[0].parameters, [Value::Int64(7)]);
}

#[test]
fn an_integer_is_never_rounded_on_its_way() {
    let world = World::new();
    world
        .database("blog")
        .when("select n")
        .rows(&["n"], vec![vec![Value::Int64((1 << 53) + 1)]]);
    let blog = Database::open("blog").unwrap();
    let row = blog.query_one("select n", &[]).unwrap().unwrap();
    assert!(row.get::<f64>("n").is_err());
    assert!(row.get::<i32>("n").is_err());
    assert_eq!(row.get::<u64>("n").unwrap(), (1 << 53) + 1);
    assert_eq!(
        Value::from(u64::MAX),
        Value::Decimal("18446744073709551615".into())
    );
}

#[test]
fn more_rows_than_one_portion_are_all_read() {
    let world = World::new();
    world.database("blog").when("select id").rows(
        &["id"],
        (0..1000).map(|id| vec![Value::Int64(id)]).collect(),
    );
    let blog = Database::open("blog").unwrap();
    let ids: Vec<i64> = blog
        .query("select id", &[])
        .unwrap()
        .map(|row| row.unwrap().get("id").unwrap())
        .collect();
    assert_eq!(ids, (0..1000).collect::<Vec<_>>());
}

#[test]
fn a_failed_transaction_is_rolled_back_and_a_good_one_committed() {
    let world = World::new();
    world
        .database("blog")
        .when("insert into seen *")
        .error(Error::permanent("sql.23505", "there already"))
        .answer(|statement| Ok(Answer::Affected(statement.parameters.len() as u64)));
    let blog = Database::open("blog").unwrap();
    let insert =
        || blog.transaction(|tx| tx.execute("insert into seen (id) values (?)", params!["a"]));
    assert_eq!(insert().unwrap_err().code, "sql.23505");
    assert_eq!(insert().unwrap(), 1);
    let texts: Vec<String> = world
        .statements()
        .into_iter()
        .map(|statement| statement.text)
        .collect();
    let insert = "insert into seen (id) values (?)";
    assert_eq!(
        texts,
        ["begin", insert, "rollback", "begin", insert, "commit"]
    );
}

#[test]
fn a_second_transaction_waits_for_the_first_to_end() {
    let world = World::new();
    world.database("blog");
    let blog = Database::open("blog").unwrap();
    let first = blog.begin().unwrap();
    assert_eq!(blog.begin().unwrap_err().code, "sql.invalid");
    drop(first);
    blog.begin().unwrap().rollback().unwrap();
}

#[test]
fn rows_of_a_transaction_are_read_before_its_next_statement() {
    let world = World::new();
    let rule = world.database("blog").when("select id from queue");
    rule.rows(&["id"], vec![vec![Value::from(1)], vec![Value::from(2)]]);
    world.database("blog").when("delete *").affected(1);
    let blog = Database::open("blog").unwrap();
    let result = blog.transaction(|tx| {
        for row in tx.query("select id from queue", &[])? {
            row?;
            tx.execute("delete from queue", &[])?;
        }
        Ok(())
    });
    assert_eq!(result.unwrap_err().code, "sql.invalid");
    let result = blog.transaction(|tx| {
        let rows = tx.query("select id from queue", &[])?.all()?;
        tx.execute("delete from queue", &[])?;
        Ok(rows.len())
    });
    assert_eq!(result, Ok(2));
}

#[test]
fn an_effect_happens_once_and_every_attempt_gets_its_result() {
    let world = World::new();
    let orders = world.database("shop").when("insert into orders *");
    orders
        .error(Error::retryable("sql.timeout", "locked"))
        .affected(1);
    let attempt = |result: i64| {
        let order = move |_: Nothing, cx: &Context| {
            let shop = Database::open("shop")?;
            let placed = shop.once(cx, "order", |tx| {
                tx.execute("insert into orders values (1)", &[])?;
                Ok(result)
            })?;
            Ok((placed.is_new(), placed.into_result()))
        };
        testing::run(order, json!({}))
    };
    assert_eq!(attempt(1).unwrap_err().code, "sql.timeout");
    assert_eq!(
        attempt(2),
        Ok(json!([true, 2])),
        "the failed one kept no key"
    );
    assert_eq!(attempt(3), Ok(json!([false, 2])), "the first result");
    world.context(|facts| facts.idempotency_key = "another task".to_owned());
    assert_eq!(attempt(4), Ok(json!([true, 4])));
    let inserted = |statement: &&testing::Statement| statement.text.contains("into orders");
    assert_eq!(world.statements().iter().filter(inserted).count(), 3);

    let shop = Database::open("shop").unwrap();
    let wide = |_: Nothing, cx: &Context| {
        shop.once(cx, "wide", |_| Ok("x".repeat(70_000)))
            .map(|_| ())
    };
    assert_eq!(testing::run(wide, json!({})).unwrap_err().code, "sql.value");
    let shop = Database::open("shop").unwrap();
    let evil = |_: Nothing, cx: &Context| {
        shop.once_in("t; drop table x", cx, "e", |_| Ok(1))
            .map(|_| ())
    };
    assert_eq!(
        testing::run(evil, json!({})).unwrap_err().code,
        "sql.invalid"
    );
}

#[test]
fn only_the_first_to_claim_a_key_gets_it() {
    let world = World::new();
    assert_eq!(kv::set("", "x", None).unwrap_err().code, "kv.invalid");
    assert_eq!(kv::keys("", None, 0).unwrap_err().code, "kv.invalid");
    let first = kv::compare_and_set("claim", None, "me", Some(Duration::from_secs(60))).unwrap();
    assert!(first.is_some());
    assert_eq!(
        kv::compare_and_set("claim", None, "you", None).unwrap(),
        None
    );
    assert_eq!(world.kv_get("claim").as_deref(), Some(&b"me"[..]));
    assert_eq!(world.kv_ttl("claim"), Some(Duration::from_secs(60)));
    let second = kv::compare_and_set("claim", first, "you", None).unwrap();
    assert!(second > first);
    assert!(kv::delete("claim").unwrap());
    assert!(!kv::delete("claim").unwrap());
}

#[test]
fn of_all_who_insert_a_key_once_the_first_hears_so_and_nobody_else() {
    let world = World::new();
    assert_eq!(kv::insert_once("", None).unwrap_err().code, "kv.invalid");
    let kept = Some(Duration::from_secs(60));
    assert!(!kv::contains("seen/1").unwrap());
    assert!(kv::insert_once("seen/1", kept).unwrap());
    assert!(kv::contains("seen/1").unwrap());
    assert!(!kv::insert_once("seen/1", None).unwrap());
    assert_eq!(world.kv_ttl("seen/1"), kept, "a loser changes nothing");
    assert!(kv::insert_once("seen/2", None).unwrap());
    // A key that somebody wrote with a value is there as well.
    world.kv_set("cursor", "17");
    assert!(!kv::insert_once("cursor", None).unwrap());
    assert_eq!(world.kv_get("cursor").as_deref(), Some(&b"17"[..]));
    assert!(kv::delete("seen/1").unwrap());
    assert!(kv::insert_once("seen/1", kept).unwrap());
}

#[test]
fn keys_are_listed_in_order_after_a_key_and_json_is_kept() {
    let world = World::new();
    for key in ["post/b", "post/a", "other", "post/c"] {
        kv::set_json(key, &json!({ "key": key }), None).unwrap();
    }
    assert_eq!(kv::keys("post/", Some("post/a"), 1).unwrap(), ["post/b"]);
    assert_eq!(
        kv::get_json::<Json>("other").unwrap(),
        Some(json!({ "key": "other" }))
    );
    assert_eq!(kv::get_json::<Json>("absent").unwrap(), None);
    world.kv_set("broken", "{");
    assert_eq!(
        kv::get_json::<Json>("broken").unwrap_err().code,
        "json.invalid"
    );
}

#[derive(serde::Deserialize, schemars::JsonSchema)]
struct Nothing {}

#[derive(serde::Serialize, schemars::JsonSchema)]
struct Seen {
    attempt: u32,
    item: Option<u32>,
    cancelled: bool,
    late: bool,
}

/// Says what it sees.
///
/// In several paragraphs.
#[task(name = "look", version = "2.1.0", requires("kv"))]
fn look(_: Nothing, cx: &Context) -> Result<Seen> {
    log::warn("looking", &[("attempt", &cx.attempt())]);
    cx.progress(1, Some(2), "half");
    let late = cx.time_left().is_zero();
    Ok(Seen {
        attempt: cx.attempt(),
        item: cx.item_index(),
        cancelled: cx.cancelled(),
        late,
    })
}

#[test]
fn the_context_is_the_tests_and_lines_and_progress_are_kept() {
    let world = World::new();
    world.context(|facts| {
        facts.attempt = 3;
        facts.item_index = Some(4);
        facts.deadline = std::time::UNIX_EPOCH;
    });
    world.cancel();
    let output = testing::run(look, json!({})).unwrap();
    assert_eq!(
        output,
        json!({ "attempt": 3, "item": 4, "cancelled": true, "late": true })
    );
    let line = &world.logs()[0];
    assert_eq!(
        (line.level, line.message.as_str()),
        (Level::Warn, "looking")
    );
    assert_eq!(line.fields, [("attempt".to_owned(), "3".to_owned())]);
    assert_eq!(world.progress()[0].total, Some(2));
}

#[test]
fn a_dropped_world_leaves_nothing_behind() {
    let world = World::new();
    world.kv_set("a", "b");
    drop(world);
    assert_eq!(kv::get("a").unwrap(), None);
}

#[test]
fn the_attributes_options_become_the_description() {
    let described: Json = flowweaver_task::serde_json::from_str(&look::describe()).unwrap();
    assert_eq!(described["name"], "look");
    assert_eq!(described["version"], "2.1.0");
    assert_eq!(described["summary"], "Says what it sees.");
    assert_eq!(described["requires"], json!(["kv"]));
    assert_eq!(described["defaults"], json!({}));
}
