//! Every type of MariaDB, in through a parameter and out through a row.

use super::values::*;
use super::world::*;
use crate::broker::sql::Value;

/// A type, what goes in, what comes out; where they differ, the third says how.
fn table() -> Vec<Case> {
    let json = r#"{"a": "가"}"#;
    let uuid = "6ccd780c-baba-1026-9564-5b8c656024db";
    let mut table: Vec<Case> = vec![
        same("boolean", Value::Boolean(true)),
        same("tinyint(1)", Value::Boolean(false)),
        same("tinyint(1)", Value::Int64(-7)),
        same("tinyint", Value::Int64(-128)),
        same("tinyint unsigned", Value::Int64(255)),
        same("smallint", Value::Int64(-32_768)),
        same("mediumint", Value::Int64(-8_388_608)),
        same("mediumint unsigned", Value::Int64(16_777_215)),
        same("int", Value::Int64(-2_147_483_648)),
        same("int unsigned", Value::Int64(4_294_967_295)),
        same("bigint", Value::Int64(i64::MIN)),
        same("bigint", Value::Int64(i64::MAX)),
        same("bigint unsigned", Value::Int64(i64::MAX)),
        same("bigint unsigned", decimal("18446744073709551615")),
        same("float", Value::Float64(0.5)),
        same("double", Value::Float64(0.1)),
        same("double", Value::Float64(f64::MAX)),
        same(
            "decimal(65,30)",
            decimal("-12345678901234567890123456789012345.678901234567890123456789012345"),
        ),
        same(
            "decimal(38,0)",
            decimal("12345678901234567890123456789012345678"),
        ),
        same("varchar(200)", text("가나다 🦀 '; drop table t; --")),
        same("varchar(20) collate utf8mb4_bin", text("é\\'\"")),
        same("char(5)", text("ab")),
        same("tinytext", text("t")),
        same("longtext", text(&"ü".repeat(512 * 1024))),
        same("binary(3)", Value::Blob(vec![0, 255, 7])),
        same("varbinary(300)", Value::Blob((0..=255).collect())),
        same("longblob", Value::Blob(vec![7; 1024 * 1024])),
        same("date", time("2024-02-29")),
        same("date", other("date", "0000-00-00")),
        same("datetime(6)", time("2026-01-02T03:04:05.000006")),
        same("datetime", other("datetime", "0000-00-00 00:00:00")),
        (
            "datetime",
            time("2026-01-02T03:04:05+09:00"),
            time("2026-01-01T18:04:05"),
        ),
        (
            "timestamp(3) null",
            time("2026-01-02T03:04:05.5+09:00"),
            time("2026-01-01T18:04:05.5Z"),
        ),
        (
            "timestamp null",
            time("2026-01-02T03:04:05"),
            time("2026-01-02T03:04:05Z"),
        ),
        same("time(6)", time("23:59:59.999999")),
        same("time", other("time", "-838:59:59")),
        same("time", other("time", "100:00:00")),
        same("year", Value::Int64(2026)),
        ("json", Value::Json(json.to_owned()), text(json)),
        ("uuid", Value::Uuid(uuid.to_owned()), text(uuid)),
        ("inet6", text("::1"), text("::1")),
        same("bit(5)", Value::Int64(21)),
        same("bit(64)", decimal("18446744073709551615")),
        same("enum('a','b')", text("b")),
        same("set('x','y')", text("x,y")),
    ];
    table.extend(nothing(&[
        "boolean",
        "int",
        "decimal(5,2)",
        "text",
        "blob",
        "datetime",
        "json",
        "uuid",
        "enum('a')",
    ]));
    table
}

#[tokio::test]
async fn every_type_of_mariadb_comes_back_as_it_went_in() {
    on_mariadb(|world| async move {
        let is_decimal = |kind: &str| kind.starts_with("decimal");
        each_comes_back(&world, table(), is_decimal).await;
        // Exactly: compared as floats, a neighbour would be found too.
        let near = decimal("12345678901234567890123456789012345679");
        for (number, (kind, ..)) in table().into_iter().enumerate() {
            if is_decimal(kind) {
                let found = format!("select count(*) from t{number} where v = ?");
                let rows = world.query(&found, std::slice::from_ref(&near)).await;
                assert_eq!(rows, Ok(vec![vec![Value::Int64(0)]]), "{kind}");
            }
        }
    })
    .await;
}

#[tokio::test]
async fn a_value_that_a_column_cannot_take_is_an_error_and_not_another_value() {
    on_mariadb(|world| async move {
        let made = "create table t (i int, s varchar(2), n decimal(3,1), d date, e enum('a'))";
        world.raw.run(made).await;
        let cases = [
            ("i", Value::Int64(5_000_000_000), "sql.22003"),
            ("i", text("many"), "sql.22007"),
            ("i", Value::Float64(f64::NAN), "sql.22003"),
            ("s", text("long"), "sql.22001"),
            ("n", decimal("1000"), "sql.22003"),
            ("n", decimal("1 or 1"), "sql.22003"),
            ("d", text("2026-02-30"), "sql.22007"),
            ("e", text("b"), "sql.01000"),
        ];
        each_is_refused(&world, &cases).await;
        let refusal = world.query("select ?", &[]).await.unwrap_err();
        assert_eq!(refusal.code, "sql.invalid");
    })
    .await;
}
