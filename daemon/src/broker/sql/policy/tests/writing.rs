//! What is run is what was understood: spellings that two readers read in two ways.

use super::*;

fn text(dialect: Dialect, statement: &str) -> String {
    write(dialect, statement)
        .unwrap_or_else(|refusal| panic!("{statement}: {refusal}"))
        .text
}

#[test]
fn every_name_is_put_into_quotes_so_that_it_can_be_nothing_else() {
    assert_eq!(
        text(
            Dialect::Sqlite,
            "select [A], \"b\", c.D as e from Review as c"
        ),
        "SELECT `A`, `b`, `c`.`D` AS `e` FROM `Review` AS `c`"
    );
    assert_eq!(
        text(
            Dialect::Postgres,
            "select A, \"B\", c.D as e from public.Review as C"
        ),
        "SELECT \"a\", \"B\", \"c\".\"d\" AS \"e\" FROM \"public\".\"review\" AS \"c\""
    );
    assert_eq!(
        text(Dialect::MariaDb, "select A, `b` from shop.sale as C"),
        "SELECT `A`, `b` FROM `shop`.`sale` AS `C`"
    );
    // Words that a parser takes for names and a database may not.
    assert_eq!(
        text(
            Dialect::Postgres,
            "with \"table\" as (select 1) select * from \"table\" secret"
        ),
        "WITH \"table\" AS (SELECT 1) SELECT * FROM \"table\" \"secret\""
    );
}

#[test]
fn comments_are_not_run() {
    for dialect in ALL {
        for statement in [
            "select 1 -- x",
            "select /* x */ 1",
            "select 1 /* from secret */",
            "/* a */ select /* b */ 1 -- c",
        ] {
            assert_eq!(
                text(dialect, statement),
                "SELECT 1",
                "{dialect:?}: {statement}"
            );
        }
    }
    assert_eq!(text(Dialect::MariaDb, "select 1 # x"), "SELECT 1");
    assert_eq!(
        text(Dialect::Postgres, "select 1 /* a /* b */ from secret */"),
        "SELECT 1"
    );
}

#[test]
fn two_signs_do_not_become_a_comment_or_another_operator() {
    for dialect in ALL {
        assert_eq!(text(dialect, "select - -1"), "SELECT -(-1)", "{dialect:?}");
        assert_eq!(
            text(dialect, "select 1 - - 1"),
            "SELECT 1 - -1",
            "{dialect:?}"
        );
        assert_eq!(
            text(dialect, "select - - -1"),
            "SELECT -(-(-1))",
            "{dialect:?}"
        );
    }
    // No comment on MariaDB, where a blank must follow it: two signs.
    assert_eq!(text(Dialect::MariaDb, "select 1--1"), "SELECT 1 - -1");
    for dialect in [Dialect::Sqlite, Dialect::Postgres] {
        assert_eq!(text(dialect, "select 1--1"), "SELECT 1", "{dialect:?}");
    }
    all_refused(
        Dialect::Postgres,
        &[
            "select @ -1",
            "select |/ 4",
            "select !! 4",
            "select 4 !",
            "select 1 @-@ 2",
        ],
    );
}

#[test]
fn a_literal_is_written_in_the_spelling_that_no_setting_changes() {
    let postgres = |statement| text(Dialect::Postgres, statement);
    assert_eq!(postgres("select 'a''b'"), "SELECT 'a''b'");
    assert_eq!(postgres(r"select 'a\b'"), r"SELECT E'a\\b'");
    assert_eq!(postgres(r"select '\'"), r"SELECT E'\\'");
    assert_eq!(
        postgres(r"select '\'' from secret --'"),
        r"SELECT E'\\\' from secret --'"
    );
    assert_eq!(postgres(r"select E'\'' , 1"), r"SELECT E'\'', 1");
    assert_eq!(postgres("select 'a''''b'"), r"SELECT E'a\'\'b'");
    all_refused(
        Dialect::Postgres,
        &[
            "select $$ from secret $$",
            "select $a$x$a$",
            "select U&'\\0061'",
            "select * from U&\"s\\0065cret\"",
            "select N'x'",
            "select q'[x]'",
            "select * from \"rev\"\"iew\"",
            "select 'x' from \"re'view\"",
            "select * from 'secret'",
        ],
    );
    // Two columns and an operator, since that is how it was understood.
    assert_eq!(
        postgres("select U&\"d\\0061ta\" from review"),
        "SELECT \"u\" & \"d\\0061ta\" FROM \"review\""
    );
    assert_eq!(text(Dialect::Sqlite, r"select 'a\b'"), r"SELECT 'a\b'");
    assert_eq!(text(Dialect::Sqlite, "select 'a''b'"), "SELECT 'a''b'");
    all_refused(
        Dialect::Sqlite,
        &[
            r"select '\'",
            r"select '\''",
            "select 'a''''b'",
            "select 0x1F",
            "select 1_000",
            "select * from 'secret'",
            "select 'a' 'b'",
        ],
    );
    assert_eq!(text(Dialect::MariaDb, r"select 'a\'b'"), "SELECT 'a''b'");
    assert_eq!(text(Dialect::MariaDb, "select 'a' 'b'"), "SELECT 'ab'");
    all_refused(
        Dialect::MariaDb,
        &[
            r"select 'a\\b'",
            r"select '\\'",
            r"select '\\'' from secret -- '",
            r"select 'x\%'",
            "select \"text\"",
            "select \"id\" from review",
            "select 'a''''b'",
            "select _gbk'x'",
            "select _utf8mb4 'x'",
            "select n'x'",
            "select 0x41",
            "select * from 'secret'",
            "select * from `rev``iew`",
            "select {d '2020-01-01'}",
        ],
    );
}

#[test]
fn placeholders_are_the_databases_own() {
    all_refused(
        Dialect::Sqlite,
        &[
            "select :a",
            "select @a",
            "select $a",
            "select ?0",
            "select ?99999",
            "select ?01",
        ],
    );
    all_refused(
        Dialect::Postgres,
        &[
            "select $0",
            "select $a",
            "select $99999",
            "select :a",
            "select $01",
        ],
    );
    all_refused(Dialect::MariaDb, &["select $1", "select :a", "select ?1"]);
}

#[test]
fn a_name_that_a_server_would_change_is_refused() {
    all_refused(
        Dialect::Postgres,
        &[
            &format!("with {0} as (select 1) select * from {0}", "x".repeat(64)),
            "select É from review",
            "select * from ÉTAT",
        ],
    );
    for dialect in ALL {
        all_refused(
            dialect,
            &[
                "select 1 as \"\"",
                "select 1 as 'x'",
                "select 1 as \"a\tb\"",
            ],
        );
    }
}
