//! What the module promises, against scripted databases.

use flowweaver_task::sql::Value as Sql;
use flowweaver_task::testing::{self, World};
use flowweaver_task::{Error, Value, json};

use super::run;

fn ask(input: Value) -> Result<Value, Error> {
    testing::run(run, input)
}

fn texts(world: &World) -> Vec<String> {
    world
        .statements()
        .into_iter()
        .map(|statement| statement.text)
        .collect()
}

#[test]
fn a_database_that_is_not_granted_is_the_tasks_failure() {
    let _world = World::new();
    let error = ask(json!({ "database": "shop", "statement": "select 1" })).unwrap_err();
    assert!(
        error.code.starts_with("sql.") && !error.retryable,
        "{error}"
    );
}

#[test]
fn input_out_of_shape_is_refused_before_anything_is_run() {
    let world = World::new();
    world.database("shop").when("*").affected(1);
    for (input, told) in [
        (json!({}), "only one of them"),
        (
            json!({ "statement": "a", "statements": [{ "statement": "b" }] }),
            "only one of them",
        ),
        (
            json!({ "statements": [{ "statement": "b" }], "parameters": [1] }),
            "of its own",
        ),
        (
            json!({ "statements": [{ "statement": "b" }], "mode": "execute" }),
            "of its own",
        ),
        (json!({ "statement": "a", "mode": "all" }), "mode"),
        (json!({ "statement": "a", "max_rows": 0 }), "max_rows"),
        (json!({ "statement": "a", "limit": 1 }), "limit"),
        (
            json!({ "statement": "a", "parameters": [[1]] }),
            "`parameters[0]`: a list is no parameter",
        ),
        (
            json!({ "statement": "a", "parameters": [1, {}] }),
            "`parameters[1]`: an object must have one key",
        ),
        (
            json!({ "statement": "a", "parameters": [{ "decimal": "1", "json": 1 }] }),
            "one key",
        ),
        (
            json!({ "statement": "a", "parameters": [{ "money": "1" }] }),
            "there is no type `money`",
        ),
        (
            json!({ "statement": "a", "mode": "batch", "parameters": [[1], 2] }),
            "`parameters[1]`: a batch",
        ),
        (
            json!({ "statement": "a", "mode": "batch", "parameters": [[1, [2]]] }),
            "`parameters[0][1]`",
        ),
        (
            json!({ "statements": [{ "statement": "a" }, { "statement": "b", "parameters": [{ "uuid": 1 }] }] }),
            "`statements[1].parameters[0]`",
        ),
    ] {
        let mut input = input;
        input["database"] = json!("shop");
        let error = ask(input.clone()).unwrap_err();
        assert_eq!(
            (error.code.as_str(), error.retryable),
            ("input.invalid", false),
            "{input}"
        );
        assert!(error.message.contains(told), "{input}: {}", error.message);
    }
    assert!(world.statements().is_empty());
}

#[test]
fn a_typed_parameter_out_of_shape_is_refused() {
    let _world = World::new();
    for parameter in [
        json!({ "decimal": "1e3" }),
        json!({ "decimal": "1." }),
        json!({ "decimal": ".5" }),
        json!({ "decimal": 1.5 }),
        json!({ "decimal": "1.2; drop table a" }),
        json!({ "timestamp": "yesterday" }),
        json!({ "timestamp": "2026-11-22T10" }),
        json!({ "timestamp": "2026-11-22T10:00:00+0900" }),
        json!({ "timestamp": 1_700_000_000 }),
        json!({ "timestamp": "2026-13-45" }),
        json!({ "timestamp": "2026-00-10" }),
        json!({ "timestamp": "2026-02-29" }),
        json!({ "timestamp": "1900-02-29T00:00:00Z" }),
        json!({ "timestamp": "2026-04-31 10:00" }),
        json!({ "timestamp": "24:00" }),
        json!({ "timestamp": "10:60:00" }),
        json!({ "timestamp": "2026-11-22T10:00:60Z" }),
        json!({ "timestamp": "2026-11-22T10:00:00+24:00" }),
        json!({ "timestamp": "2026-11-22T10:00:00-09:60" }),
        json!({ "uuid": "5e5e5e5e" }),
        json!({ "uuid": "5e5e5e5e-5e5e-5e5e-5e5e-5e5e5e5e5e5g" }),
        json!({ "blob_base64": "%%" }),
    ] {
        let asked = json!({ "database": "shop", "statement": "a", "parameters": [parameter] });
        assert_eq!(ask(asked).unwrap_err().code, "input.invalid", "{parameter}");
    }
}

#[test]
fn a_day_that_the_calendar_has_not_is_refused_with_the_parameters_name() {
    let world = World::new();
    let asked = json!({
        "database": "shop", "statement": "a", "parameters": [1, { "timestamp": "2026-13-45" }],
    });
    let error = ask(asked).unwrap_err();
    assert_eq!(
        (error.code.as_str(), error.retryable),
        ("input.invalid", false)
    );
    assert_eq!(
        error.message,
        "`parameters[1]`: `2026-13-45`: the calendar has no such day"
    );
    assert!(world.statements().is_empty());
    world.database("shop").when("*").rows(&["n"], Vec::new());
    for real in [
        "2024-02-29",
        "2000-02-29T23:59:59.999Z",
        "2026-12-31 00:00",
        "23:59:59",
        "2026-11-22T10:00:00-23:59",
    ] {
        let parameters = json!([{ "timestamp": real }]);
        let asked = json!({ "database": "shop", "statement": "a", "parameters": parameters });
        assert!(ask(asked).is_ok(), "{real}");
    }
}

#[test]
fn parameters_travel_with_their_types_and_text_stays_text() {
    let world = World::new();
    world.database("shop").when("insert *").affected(1);
    let hostile = "'; drop table product; --";
    let parameters = json!([
        null, true, -3, u64::MAX, 1.5, hostile,
        { "decimal": "-1.20" }, { "decimal": 7 }, { "timestamp": "2026-11-22T10:00:00.5+09:00" }, { "timestamp": "2026-11-22" },
        { "timestamp": "2026-11-22 10:00:00" }, { "timestamp": "10:00" }, { "uuid": "5E5E5E5E-5e5e-5e5e-5e5e-5e5e5e5e5e5e" },
        { "json": { "a": [1] } }, { "json": null }, { "blob_base64": "AAH/" },
    ]);
    let asked = json!({
        "database": "shop", "statement": "insert into t values (…)", "mode": "execute", "parameters": parameters,
    });
    assert_eq!(ask(asked).unwrap()["affected"], 1);
    let text = |text: &str| text.to_owned();
    assert_eq!(
        world.statements()[0].parameters,
        [
            Sql::Null,
            Sql::Boolean(true),
            Sql::Int64(-3),
            Sql::Decimal(u64::MAX.to_string()),
            Sql::Float64(1.5),
            Sql::Text(text(hostile)),
            Sql::Decimal(text("-1.20")),
            Sql::Decimal(text("7")),
            Sql::Timestamp(text("2026-11-22T10:00:00.5+09:00")),
            Sql::Timestamp(text("2026-11-22")),
            Sql::Timestamp(text("2026-11-22 10:00:00")),
            Sql::Timestamp(text("10:00")),
            Sql::Uuid(text("5e5e5e5e-5e5e-5e5e-5e5e-5e5e5e5e5e5e")),
            Sql::Json(text("{\"a\":[1]}")),
            Sql::Json(text("null")),
            Sql::Blob(vec![0, 1, 255]),
        ]
    );
}

#[test]
fn rows_come_as_objects_and_keep_what_json_has_not_as_text() {
    let world = World::new();
    let row = vec![
        Sql::Int64(i64::MAX),
        Sql::Decimal("1.20".to_owned()),
        Sql::Timestamp("2026-11-22T01:00:00Z".to_owned()),
        Sql::Json("{\"a\":1}".to_owned()),
        Sql::Uuid("5e5e5e5e-5e5e-5e5e-5e5e-5e5e5e5e5e5e".to_owned()),
        Sql::Blob(vec![0, 1, 255]),
        Sql::Null,
        Sql::Boolean(false),
        Sql::Float64(f64::NAN),
        Sql::Other {
            type_name: "inet".to_owned(),
            text: "::1".to_owned(),
        },
    ];
    let columns = ["n", "price", "at", "j", "u", "b", "z", "f", "nan", "ip"];
    world
        .database("shop")
        .when("select *")
        .rows(&columns, vec![row]);
    let output = ask(json!({ "database": "shop", "statement": "select * from t" })).unwrap();
    assert_eq!(
        output["rows"],
        json!([{
            "n": i64::MAX, "price": "1.20", "at": "2026-11-22T01:00:00Z", "j": { "a": 1 },
            "u": "5e5e5e5e-5e5e-5e5e-5e5e-5e5e5e5e5e5e", "b": "AAH/", "z": null, "f": false, "nan": null, "ip": "::1",
        }])
    );
    assert_eq!(output["truncated"], false);
}

#[test]
fn more_rows_than_asked_for_are_left_out_and_it_says_so() {
    let world = World::new();
    let rows = |count: i64| (0..count).map(|n| vec![Sql::Int64(n)]).collect::<Vec<_>>();
    world
        .database("shop")
        .when("select *")
        .rows(&["n"], rows(3))
        .rows(&["n"], rows(2));
    let asked = json!({ "database": "shop", "statement": "select n from t", "max_rows": 2 });
    for truncated in [true, false] {
        let output = ask(asked.clone()).unwrap();
        assert_eq!(output["rows"], json!([{ "n": 0 }, { "n": 1 }]));
        assert_eq!(output["truncated"], truncated);
    }
}

#[test]
fn one_and_value_refuse_what_they_would_have_to_drop() {
    let world = World::new();
    let shop = world.database("shop");
    shop.when("select two")
        .rows(&["n"], vec![vec![Sql::Int64(1)], vec![Sql::Int64(2)]]);
    shop.when("select wide")
        .rows(&["a", "b"], vec![vec![Sql::Int64(1), Sql::Int64(2)]]);
    shop.when("select twins")
        .rows(&["id", "id"], vec![vec![Sql::Int64(1), Sql::Int64(2)]]);
    shop.when("select none").rows(&["n"], Vec::new());
    let ask = |statement: &str, mode: &str| {
        ask(json!({ "database": "shop", "statement": format!("select {statement}"), "mode": mode }))
    };
    let code = |statement: &str, mode: &str| ask(statement, mode).unwrap_err().code;
    assert_eq!(code("two", "one"), "rows.many");
    assert_eq!(code("two", "value"), "rows.many");
    assert_eq!(code("wide", "value"), "columns.many");
    assert_eq!(code("twins", "rows"), "columns.twice");
    assert_eq!(code("twins", "one"), "columns.twice");
    assert_eq!(ask("none", "one").unwrap()["row"], Value::Null);
    assert_eq!(ask("none", "value").unwrap()["value"], Value::Null);
    assert_eq!(
        ask("wide", "one").unwrap()["row"],
        json!({ "a": 1, "b": 2 })
    );
}

#[test]
fn a_batch_runs_once_for_each_list_and_an_empty_one_not_at_all() {
    let world = World::new();
    world.database("shop").when("insert *").affected(1);
    let asked = |lists: Value| json!({ "database": "shop", "statement": "insert into t values (?)", "mode": "batch", "parameters": lists });
    assert_eq!(ask(asked(json!([]))).unwrap()["affected"], 0);
    assert!(world.statements().is_empty());
    assert_eq!(ask(asked(json!([[1], [2], [3]]))).unwrap()["affected"], 3);
    assert_eq!(world.statements().len(), 3);
}

#[test]
fn several_statements_are_committed_together_or_not_at_all() {
    let world = World::new();
    let shop = world.database("shop");
    shop.when("insert *").affected(2);
    shop.when("select count*")
        .rows(&["n"], vec![vec![Sql::Int64(5)]]);
    shop.when("update *")
        .error(Error::permanent("sql.23505", "duplicate key"));
    let asked = |last: &str, mode: &str| {
        json!({ "database": "shop", "statements": [
            { "statement": "insert into t values (?)", "parameters": [1] },
            { "statement": last, "mode": mode },
        ] })
    };
    let error = ask(asked("update t set a = 1", "execute")).unwrap_err();
    assert_eq!(error.code, "sql.23505");
    assert!(
        error.message.starts_with("statements[1]: "),
        "{}",
        error.message
    );
    assert_eq!(
        texts(&world),
        [
            "begin",
            "insert into t values (?)",
            "update t set a = 1",
            "rollback"
        ]
    );

    let output = ask(asked("select count(*) n from t", "value")).unwrap();
    assert_eq!(
        (&output["affected"], &output["results"][0]["affected"]),
        (&json!(2), &json!(2))
    );
    assert_eq!(output["results"][1]["value"], 5);
    assert_eq!(texts(&world).last().map(String::as_str), Some("commit"));
}

#[test]
fn a_change_whose_rows_do_not_fit_is_undone() {
    let world = World::new();
    let shop = world.database("shop");
    let two = vec![vec![Sql::Int64(1)], vec![Sql::Int64(2)]];
    shop.when("* returning id").rows(&["id"], two);
    shop.when("* returning id, id")
        .rows(&["id", "id"], vec![vec![Sql::Int64(1), Sql::Int64(1)]]);
    for (change, mode, code) in [
        (
            "insert into t values (1), (2) returning id",
            "one",
            "rows.many",
        ),
        ("UPDATE t set a = 1 returning id", "value", "rows.many"),
        ("delete from t returning id, id", "rows", "columns.twice"),
        ("delete from t returning id, id", "value", "columns.many"),
        (
            "with w(a) as (select 1)insert into t select a from w returning id",
            "one",
            "rows.many",
        ),
    ] {
        let before = texts(&world).len();
        let asked = json!({ "database": "shop", "statement": change, "mode": mode });
        assert_eq!(ask(asked).unwrap_err().code, code, "{change}");
        assert_eq!(
            texts(&world)[before..],
            ["begin", change, "rollback"],
            "{change}"
        );
    }
}

#[test]
fn a_change_is_committed_after_its_rows_were_read_and_a_query_needs_no_transaction() {
    let world = World::new();
    let shop = world.database("shop");
    let rows = || (0..3).map(|n| vec![Sql::Int64(n)]).collect::<Vec<_>>();
    shop.when("insert * returning id").rows(&["id"], rows());
    shop.when("select *").rows(&["id"], rows());
    let change = "insert into t select id from s returning id";
    let asked = json!({ "database": "shop", "statement": change, "max_rows": 2 });
    let output = ask(asked).unwrap();
    assert_eq!(output["rows"], json!([{ "id": 0 }, { "id": 1 }]));
    assert_eq!(output["truncated"], true);
    assert_eq!(texts(&world), ["begin", change, "commit"]);

    let query = "select id from t where last_update > 3";
    ask(json!({ "database": "shop", "statement": query })).unwrap();
    assert_eq!(texts(&world)[3..], [query]);
}

#[test]
fn what_is_done_once_is_not_done_again_by_the_next_attempt() {
    let world = World::new();
    let shop = world.database("shop");
    shop.when("insert into orders *")
        .rows(&["id"], vec![vec![Sql::Int64(7)]]);
    shop.when("update stock *").affected(3);
    let made = || {
        let is_made = |text: &String| text.starts_with("insert into orders");
        texts(&world).into_iter().filter(is_made).count()
    };
    let one = json!({
        "database": "shop", "statement": "insert into orders values (1) returning id", "mode": "value", "once": true,
    });
    let first = ask(one.clone()).unwrap();
    assert_eq!(
        (&first["value"], &first["already_done"]),
        (&json!(7), &json!(false))
    );
    let again = ask(one).unwrap();
    assert_eq!(
        (&again["value"], &again["already_done"]),
        (&json!(7), &json!(true))
    );
    assert_eq!(made(), 1);

    world.context(|facts| facts.idempotency_key = "f".repeat(64));
    let several = json!({ "database": "shop", "once": true, "statements": [
        { "statement": "insert into orders values (1) returning id", "mode": "one" },
        { "statement": "update stock set n = 0" },
    ] });
    let first = ask(several.clone()).unwrap();
    assert_eq!(
        (&first["affected"], &first["already_done"]),
        (&json!(3), &json!(false))
    );
    let again = ask(several).unwrap();
    assert_eq!(again["already_done"], true);
    assert_eq!(again["results"], first["results"]);
    assert_eq!(again["affected"], 3);
    assert_eq!(made(), 2);
}

#[test]
fn what_failed_is_not_taken_for_done() {
    let world = World::new();
    let shop = world.database("shop");
    shop.when("insert into orders *").affected(1);
    shop.when("update stock *")
        .error(Error::retryable("sql.40001", "try again"))
        .affected(1);
    let asked = json!({ "database": "shop", "once": true, "statements": [
        { "statement": "insert into orders values (1)" },
        { "statement": "update stock set n = 0" },
    ] });
    let error = ask(asked.clone()).unwrap_err();
    assert_eq!((error.code.as_str(), error.retryable), ("sql.40001", true));
    assert!(error.message.starts_with("statements[1]: "), "{error}");
    assert_eq!(texts(&world).last().map(String::as_str), Some("rollback"));
    let output = ask(asked).unwrap();
    assert_eq!(
        (&output["affected"], &output["already_done"]),
        (&json!(2), &json!(false))
    );
}

#[test]
fn a_result_too_large_to_keep_leaves_nothing_done() {
    let world = World::new();
    let long = vec![vec![Sql::Text("x".repeat(70_000))]];
    world
        .database("shop")
        .when("insert into orders *")
        .rows(&["note"], long);
    let change = "insert into orders values (1) returning note";
    let error = ask(json!({ "database": "shop", "statement": change, "once": true })).unwrap_err();
    assert_eq!(error.code, "sql.value");
    assert_eq!(texts(&world).last().map(String::as_str), Some("rollback"));
}

#[test]
fn the_description_names_the_need_and_the_defaults() {
    let described: Value = flowweaver_task::serde_json::from_str(&run::describe()).unwrap();
    assert_eq!(described["requires"], json!(["sql"]));
    assert_eq!(described["defaults"]["mode"], "rows");
    assert_eq!(described["defaults"]["max_rows"], 1000);
    assert_eq!(described["input"]["required"], json!(["database"]));
}
