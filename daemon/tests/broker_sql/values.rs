//! Values go in and come out as they are, or are refused; none is changed in silence.

use flowweaver::broker::sql::Value;
use flowweaver::workflow::grant::SqlMode;

use crate::world::*;

fn decimal(text: &str) -> Value {
    Value::Decimal(text.to_owned())
}

fn timestamp(text: &str) -> Value {
    Value::Timestamp(text.to_owned())
}

fn json(text: &str) -> Value {
    Value::Json(text.to_owned())
}

/// SQLite: how a column is declared, what goes in, what comes out.
#[tokio::test]
async fn sqlite_gives_back_what_it_was_given() {
    let digits = "-12345678901234567890123456789.012345678";
    let same: &[(&str, Value)] = &[
        ("integer", Value::Null),
        ("text", Value::Null),
        ("integer", Value::Int64(i64::MIN)),
        ("integer", Value::Int64(i64::MAX)),
        ("integer", Value::Int64(0)),
        ("boolean", Value::Boolean(true)),
        ("boolean", Value::Boolean(false)),
        ("real", Value::Float64(0.1)),
        ("real", Value::Float64(f64::MAX)),
        ("real", Value::Float64(f64::MIN_POSITIVE)),
        ("real", Value::Float64(f64::INFINITY)),
        ("real", Value::Float64(f64::NEG_INFINITY)),
        ("decimal text", decimal(digits)),
        ("decimal text(38, 9)", decimal(digits)),
        ("decimal text", decimal("0.10")),
        ("decimal text", decimal("1e400")),
        ("timestamp", timestamp("2026-01-02T03:04:05.123456+09:00")),
        ("timestamp", timestamp("2026-01-02T03:04:05Z")),
        ("datetime", timestamp("2026-01-02T03:04:05")),
        ("date", timestamp("2026-01-02")),
        ("time", timestamp("23:59:59.999999")),
        ("json", json("{\"a\":[1,2.50,\"한글\"]}")),
        ("json", json("\"text\"")),
        ("json", json("12")),
        ("json text", json("12345678901234567890.10")),
        (
            "uuid",
            Value::Uuid("0f8fad5b-d9cb-469f-a165-70867728950e".to_owned()),
        ),
        (
            "blob",
            Value::Blob((0..1024 * 1024).map(|n| (n % 251) as u8).collect()),
        ),
        ("blob", Value::Blob(Vec::new())),
        ("text", words("")),
        ("text", words("한글 🦀 e\u{301} \u{202e}")),
        ("text", words("'; drop table product --")),
        ("text", words("a\0b")),
        ("text", words("00012")),
    ];
    let world = World::new(Kind::Sqlite);
    let writer = world.attempt(SqlMode::ReadWrite, &["kept"]);
    for (declared, value) in same {
        assert_eq!(
            kept(&world, &writer, declared, value.clone()).await,
            *value,
            "{declared}"
        );
    }
    // What SQLite makes of a column's declaration, said plainly in the contract.
    let changed = [
        ("decimal(10, 2)", decimal("4.50"), Value::Float64(4.5)),
        ("decimal(10, 2)", decimal("4"), Value::Int64(4)),
        ("integer", Value::Boolean(true), Value::Int64(1)),
        (
            "text",
            Value::Uuid("0F8FAD5B-D9CB-469F-A165-70867728950E".to_owned()),
            words("0F8FAD5B-D9CB-469F-A165-70867728950E"),
        ),
        (
            "point",
            Value::Other(("point".to_owned(), "(1,2)".to_owned())),
            words("(1,2)"),
        ),
    ];
    for (declared, given, back) in changed {
        assert_eq!(
            kept(&world, &writer, declared, given).await,
            back,
            "{declared}"
        );
    }
}

async fn kept(
    world: &World,
    writer: &crate::broker_world::Attempt,
    declared: &str,
    value: Value,
) -> Value {
    world.owner(&format!(
        "drop table if exists kept; create table kept (v {declared})"
    ));
    let insert = "insert into kept values (?)";
    assert_eq!(
        execute(writer, insert, vec![value]).await,
        Ok(1),
        "{declared}"
    );
    let rows = query(writer, "select v from kept", Vec::new())
        .await
        .unwrap();
    rows[0][0].clone()
}

#[tokio::test]
async fn a_value_that_sqlite_cannot_store_is_refused_and_not_stored_as_null() {
    let world = World::new(Kind::Sqlite);
    let writer = world.attempt(SqlMode::ReadWrite, &["product"]);
    let insert = "insert into product (id, name, stock) values (?, ?, ?)";
    let values = vec![Value::Int64(3), words("x"), Value::Float64(f64::NAN)];
    let refusal = execute(&writer, insert, values).await.unwrap_err();
    assert_eq!(refusal.code, "sql.invalid");
    assert!(
        refusal.message.contains("parameter 3") && refusal.message.contains("NaN"),
        "{refusal}"
    );
    let refusal = query(&writer, "select ?", vec![Value::Float64(f64::NAN)]).await;
    assert_eq!(refusal.unwrap_err().code, "sql.invalid");
    assert_eq!(world.count("product"), 2);
}
