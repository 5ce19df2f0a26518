//! Every type of PostgreSQL, in through a parameter and out through a row.

use super::values::*;
use super::world::*;
use crate::broker::sql::Value;

/// A type, what goes in, what comes out; where they differ, the third says how.
fn table() -> Vec<Case> {
    let long = "12345678901234567890123456789012345678.90123456789";
    let uuid = "6ccd780c-baba-1026-9564-5b8c656024db";
    let mut table: Vec<Case> = vec![
        same("boolean", Value::Boolean(true)),
        same("smallint", Value::Int64(-32_768)),
        same("integer", Value::Int64(2_147_483_647)),
        same("bigint", Value::Int64(i64::MIN)),
        same("bigint", Value::Int64(i64::MAX)),
        ("bigint", text("42"), Value::Int64(42)),
        ("real", Value::Float64(0.5), Value::Float64(0.5)),
        same("double precision", Value::Float64(0.1)),
        same("double precision", Value::Float64(f64::INFINITY)),
        same("double precision", Value::Float64(f64::NEG_INFINITY)),
        same("double precision", Value::Float64(f64::MIN_POSITIVE)),
        ("double precision", Value::Int64(3), Value::Float64(3.0)),
        same("numeric", decimal(long)),
        same(
            "numeric",
            decimal("-0.000000000000000000000000000000000001"),
        ),
        same("numeric", decimal("10000")),
        same("numeric", decimal("100000000")),
        same("numeric", decimal("0")),
        same("numeric", decimal("NaN")),
        same(
            "numeric(40,2)",
            decimal("12345678901234567890123456789012345678.10"),
        ),
        (
            "numeric",
            Value::Int64(i64::MIN),
            decimal("-9223372036854775808"),
        ),
        same("text", text("가나다 🦀 '; drop table t; --")),
        ("text", Value::Int64(7), text("7")),
        same("varchar(20)", text("é")),
        same("char(5)", text("ab   ")),
        same("name", text("n")),
        same("bytea", Value::Blob((0..=255).collect())),
        same("bytea", Value::Blob(vec![7; 1024 * 1024])),
        same("timestamp", time("2026-01-02T03:04:05.000006")),
        same("timestamp", time("0001-01-01T00:00:00")),
        (
            "timestamp",
            time("2026-01-02T03:04:05+09:00"),
            time("2026-01-01T18:04:05"),
        ),
        (
            "timestamptz",
            time("2026-01-02T03:04:05.5+09:00"),
            time("2026-01-01T18:04:05.5Z"),
        ),
        (
            "timestamptz",
            time("2026-01-02T03:04:05"),
            time("2026-01-02T03:04:05Z"),
        ),
        same("timestamptz", other("timestamptz", "infinity")),
        same("timestamp", other("timestamp", "-infinity")),
        same("timestamp", other("timestamp", "0044-03-15 10:00:00 BC")),
        same("date", other("date", "infinity")),
        same("date", time("2024-02-29")),
        same("date", other("date", "12024-02-29")),
        same("time", time("23:59:59.999999")),
        same("json", Value::Json(r#"{ "a":[1,null] , "a":2}"#.to_owned())),
        (
            "jsonb",
            Value::Json(r#"{"가":1.50}"#.to_owned()),
            Value::Json(r#"{"가": 1.50}"#.to_owned()),
        ),
        same("uuid", Value::Uuid(uuid.to_owned())),
        (
            "uuid",
            text("{6CCD780C-BABA-1026-9564-5B8C656024DB}"),
            Value::Uuid(uuid.to_owned()),
        ),
        same("mood", other("mood", "happy")),
        ("mood", text("sad"), other("mood", "sad")),
        same("integer[]", other("int4[]", "{1,NULL,3}")),
        same("text[]", other("text[]", r#"{"a b","c\"d"}"#)),
        same("interval", other("interval", "1 mon 2 days 03:04:05")),
        same("inet", other("inet", "10.0.0.0/8")),
        same("int4range", other("int4range", "[1,5)")),
        same("bit(3)", other("bit", "101")),
        same("money", other("money", "$1.50")),
        same("point", other("point", "(1,2)")),
    ];
    table.extend(nothing(&[
        "boolean",
        "integer",
        "numeric",
        "text",
        "bytea",
        "timestamptz",
        "jsonb",
        "uuid",
        "mood",
        "integer[]",
    ]));
    table
}

#[tokio::test]
async fn every_type_of_postgresql_comes_back_as_it_went_in() {
    on_postgres(|world| async move {
        let made = "create type mood as enum ('sad', 'happy')";
        world.raw.run(made).await;
        // Two types without equality.
        let is_found = |kind: &str| !matches!(kind, "json" | "point");
        each_comes_back(&world, table(), is_found).await;
        let nan = world
            .query("select $1::float8", &[Value::Float64(f64::NAN)])
            .await
            .unwrap();
        assert!(matches!(nan[0][0], Value::Float64(number) if number.is_nan()));
    })
    .await;
}

#[tokio::test]
async fn a_value_that_a_type_cannot_take_is_an_error_and_not_another_value() {
    on_postgres(|world| async move {
        let made = "create table t (i integer, b bytea, s text, n numeric(3,1), u uuid)";
        world.raw.run(made).await;
        let cases = [
            ("i", Value::Int64(5_000_000_000), "sql.22003"),
            ("i", text("many"), "sql.22P02"),
            ("i", Value::Blob(vec![1]), "sql.42804"),
            ("b", text("\\x00"), "sql.42804"),
            ("s", Value::Blob(vec![1]), "sql.42804"),
            ("s", text("a\0b"), "sql.22021"),
            ("n", decimal("1000"), "sql.22003"),
            ("u", text("none"), "sql.22P02"),
        ];
        each_is_refused(&world, &cases).await;
        let refusal = world.query("select $1::int8", &[]).await.unwrap_err();
        assert_eq!(refusal.code, "sql.invalid");
    })
    .await;
}

#[tokio::test]
async fn casts_go_to_the_parameters_and_to_nothing_that_looks_like_one() {
    on_postgres(|world| async move {
        let tricky = "select '$1', \"$1\", $2::numeric + $2, E'\\'$1', $$ $1 $$,\n 'é$2', $1 from (select 1 as \"$1\") as t";
        let rows = world
            .query(tricky, &[text("x"), Value::Decimal("0.10".to_owned())])
            .await
            .unwrap();
        let wanted = ["$1", "'$1", " $1 ", "é$2", "x"].map(text);
        let texts: Vec<_> = [0, 3, 4, 5, 6].map(|at| rows[0][at].clone()).into();
        assert_eq!(texts, wanted);
        assert_eq!(rows[0][2], Value::Decimal("0.20".to_owned()));
    })
    .await;
}
