//! However a statement is made, a decision ends, and on a small stack.

use std::time::Instant;

use crate::broker::sql::policy::tests::*;

/// A decision on a thread like the smallest that may ask.
fn on_a_small_stack(dialect: Dialect, statement: String) -> Result<String, String> {
    let thread = std::thread::Builder::new().stack_size(64 * 1024);
    let decide = move || match write(dialect, &statement) {
        Ok(decided) => Ok(decided.text),
        Err(refusal) => Err(refusal.code),
    };
    thread.spawn(decide).unwrap().join().unwrap()
}

/// Attack: 100,000 parentheses, and everything else that nests or chains. Refused as not understood, without a stack overflow.
#[test]
fn deep_nesting_is_refused_on_a_small_stack() {
    for dialect in ALL {
        for count in [110, 100_000] {
            for statement in [
                format!("select {}1{}", "(".repeat(count), ")".repeat(count)),
                format!("select {}", "(".repeat(count)),
                format!("select {}", ")".repeat(count)),
                format!(
                    "select * from {}review{}",
                    "(".repeat(count),
                    ")".repeat(count)
                ),
                format!("select {}1{}", "abs(".repeat(count), ")".repeat(count)),
                format!("{}select 1{}", "(".repeat(count), ")".repeat(count)),
                format!("select {}1{}", "(select ".repeat(count), ")".repeat(count)),
                format!("select {} 1", "not ".repeat(count * 40)),
                format!("select {} 1", "- ".repeat(count * 40)),
                format!(
                    "select {} 1 {}",
                    "case when ".repeat(count),
                    "then 1 end ".repeat(count)
                ),
                format!("select 1{}", "+1".repeat(count * 40)),
                format!("select 1{}", " or 1".repeat(count * 40)),
                format!("select 1{}", " union select 1".repeat(count * 40)),
                format!("select 1{}", " union select 1, 2".repeat(count * 40)),
                format!("select 1{}", " is null".repeat(count * 40)),
                format!("select 1{}", " div 1".repeat(count * 40)),
                format!("select 1{}", " glob 1".repeat(count * 40)),
                format!("select 1{}", "::int".repeat(count * 40)),
                format!("select a{}", "[1]".repeat(count * 40)),
                format!("select a{}", ".a".repeat(count * 40)),
                format!("select {}", "{".repeat(count)),
                format!("select {}", "interval ".repeat(count * 40)),
                format!("select * from review {}", "join review ".repeat(count * 40)),
            ] {
                let start = statement.chars().take(40).collect::<String>();
                let code = on_a_small_stack(dialect, statement).unwrap_err();
                assert!(
                    matches!(code.as_str(), "sql.invalid" | "sql.denied"),
                    "{dialect:?}: {start}: {code}"
                );
            }
        }
    }
}

/// Attack: a statement that makes the parser try one thing after another. Decided at once.
#[test]
fn no_statement_takes_the_parser_long() {
    let depth = 45;
    for dialect in ALL {
        for (opening, closing) in [
            ("(", ")"),
            ("abs(", ")"),
            ("(select ", ")"),
            ("exists (select ", ")"),
            ("(1, ", ")"),
            ("cast(", " as int)"),
            ("case (", ") when 1 then 1 end"),
            ("trim(", ")"),
            ("position(", " in 1)"),
            ("substring(", " from 1)"),
            ("interval (", ") day"),
            ("1 in (", ")"),
            ("1 in (select ", ")"),
            ("array[", "]"),
            ("json_object(", " : 1)"),
            ("a.b(", ")"),
            ("convert(", ", int)"),
            ("{fn abs(", ")}"),
            ("not (", ")"),
        ] {
            for (start, end) in [
                ("select ", ""),
                ("select * from ", " a"),
                ("select * from f(", ")"),
                ("values (", ")"),
                ("", ""),
            ] {
                let start = format!(
                    "{start}{}1{}{end}",
                    opening.repeat(depth),
                    closing.repeat(depth)
                );
                for statement in [start.clone(), start.replace('1', "1 1")] {
                    let begun = Instant::now();
                    let _ = write(dialect, &statement);
                    let took = begun.elapsed();
                    assert!(took.as_secs() < 5, "{dialect:?}: {took:?}: {statement}");
                }
            }
        }
    }
}

/// Attack: a statement of more than 64 KiB, or with a NUL in it. Refused as not understood.
#[test]
fn a_statement_has_a_size() {
    for dialect in ALL {
        let statement = format!("select '{}'", "x".repeat(64 * 1024));
        assert_eq!(write(dialect, &statement).unwrap_err().code, "sql.invalid");
        assert_eq!(
            write(dialect, "select '\0'").unwrap_err().code,
            "sql.invalid"
        );
        assert_eq!(
            write(dialect, "select 1\0 from secret").unwrap_err().code,
            "sql.invalid"
        );
    }
}
