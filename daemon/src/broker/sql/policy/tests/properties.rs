//! Whatever a guest writes: no panic, and nothing that was not granted.

use proptest::prelude::*;
use proptest::sample::select;

use super::scan::faults;
use super::*;

/// Statements to make others of, as far as all three databases know them.
const COMMON: &[&str] = &[
    "select * from review",
    "select a . id , count ( * ) from review as a left join live on a . id = live . id where a . id > 3 group by a . id",
    "with a as ( select * from review ) select * from a where id in ( select id from live )",
    "with recursive n ( i ) as ( select 1 union all select i + 1 from n where i < 9 ) select i from n",
    "select case when id = 1 then 'x' else 'y' end from ( select * from live ) as l order by id desc limit 3",
    "select row_number ( ) over ( partition by id order by name ) from review , live",
    "insert into review ( id , name ) values ( 1 , 'x' ) , ( 2 , 'y' )",
    "insert into review select * from live where not exists ( select 1 from live )",
    "update review set name = 'x' , id = - 1 where id = ( select max ( id ) from live )",
    "delete from review where id between 1 and 3",
    "select id from review union select id from live except select 3",
    "select * from ( review cross join live )",
    "select 'it''s' , - 1 , coalesce ( a , b ) , cast ( a as char ( 3 ) ) , ? from live",
];
const SQLITE: &[&str] = &[
    "insert into review ( id ) values ( 1 ) on conflict ( id ) do update set name = excluded . name returning id",
    "replace into review values ( ?1 )",
    "select [a] , \"b\" , `c` , data -> 'x' from main . review where name glob 'x*'",
    "update review set name = l . name from live as l where l . id = review . id returning *",
    "select e . value from review , json_each ( review . data , '$' ) as e join live on live . id = e . id",
];
const POSTGRES: &[&str] = &[
    "with gone as ( delete from review returning * ) insert into live select * from gone",
    "select distinct on ( id ) id :: text , data ->> 'a' , $1 from public . review for update",
    "select * from generate_series ( 1 , 3 ) as g ( i ) , lateral ( select * from live where id = g . i ) as l",
    "select array_agg ( id order by id ) filter ( where id > 1 ) , E'a\\'b' , array [ 1 ] , tags [ 1 : 2 ] from live",
    "delete from review using live where live . id = review . id returning review . id",
    "select r . a from jsonb_to_recordset ( '[]' ) as r ( a int , b text ) , review",
    "select now ( ) - interval '1 day' , extract ( epoch from at ) , a is distinct from b from live",
];
const MARIADB: &[&str] = &[
    "insert into review set id = 1 , name = 'x' on duplicate key update name = values ( name )",
    "delete r from review as r join live on live . id = r . id",
    "update review join live on live . id = review . id set review . name = live . name",
    "select group_concat ( distinct name order by name separator ';' ) , at + interval 1 day from review straight_join live",
    "delete from review using review join live on true",
    "select j . a from json_table ( '[]' , '$[*]' columns ( a int path '$' null on empty , n for ordinality ) ) as j , live",
];
/// Words to put where they do not belong.
const WORDS: &[&str] = &[
    "secret",
    "\"secret\"",
    "`secret`",
    "[secret]",
    "SECRET",
    "review",
    "live",
    "other . review",
    "sqlite_schema",
    "pg_class",
    "pg_catalog",
    "information_schema . tables",
    "mysql . user",
    "table",
    "from",
    "join",
    "into",
    "outfile",
    "select",
    "with",
    "as",
    "(",
    ")",
    "( select",
    ",",
    ".",
    ";",
    "*",
    "union",
    "insert",
    "update",
    "delete",
    "drop",
    "set",
    "values",
    "using",
    "returning",
    "for update",
    "lock in share mode",
    "lateral",
    "natural",
    "straight_join",
    "only",
    "tablesample",
    "procedure",
    "analyse ( )",
    "explain",
    "begin",
    "commit",
    "do",
    "call",
    "execute",
    "copy",
    "--",
    "-- x\n",
    "/*",
    "*/",
    "/*!",
    "/*+",
    "#",
    "'",
    "''",
    "\"",
    "`",
    "\\",
    "\\'",
    "$$",
    "E'",
    "U&'",
    "N'",
    "q'[",
    "@",
    "@x",
    "@@x",
    ":",
    "::",
    ":=",
    "?",
    "$1",
    "?1",
    "[",
    "]",
    "{",
    "}",
    "-",
    "+",
    "~",
    "!",
    "->",
    "->>",
    "@>",
    "||",
    "pg_sleep ( 1 )",
    "load_file ( 'x' )",
    ". pg_read_file",
    "regclass",
    ":: regclass",
    "operator ( pg_catalog . + )",
    "nextval ( 's' )",
    "next value for s",
    "0x41",
    "1e9",
    "1a",
    "default",
    "null",
    "in",
    "not",
    "is",
    "and",
    "case",
    "when",
    "end",
    "exists",
    "any",
    "all",
    "array",
    "row",
    "over",
    "window",
    "filter",
    "within group",
    "partition",
    "rollup",
    "fetch first",
    "limit",
    "offset",
    "interval",
    "collate",
    "escape",
    "á",
    "日本",
    "\u{a0}",
    "\t",
];

fn corpus(dialect: Dialect) -> Vec<&'static str> {
    let own = match dialect {
        Dialect::Sqlite => SQLITE,
        Dialect::Postgres => POSTGRES,
        Dialect::MariaDb => MARIADB,
    };
    let marker = |statement: &&&str| !(dialect == Dialect::Postgres && statement.contains('?'));
    COMMON.iter().chain(own).filter(marker).copied().collect()
}

/// What must hold of any statement at all.
fn holds(dialect: Dialect, statement: &str) -> Result<(), TestCaseError> {
    for decide in [read, write] {
        let Ok(decided) = decide(dialect, statement) else {
            continue;
        };
        let faults = faults(dialect, &decided.text);
        prop_assert!(
            faults.is_empty(),
            "{statement:?} became {:?}: {faults:?}",
            decided.text
        );
        prop_assert_eq!(
            decide(dialect, &decided.text),
            Ok(decided.clone()),
            "{:?}",
            statement
        );
    }
    if let Ok(decided) = read(dialect, statement) {
        prop_assert!(!decided.changes && decided.returns_rows, "{statement:?}");
        prop_assert!(matches!(decided.verb, "select" | "values"), "{statement:?}");
    }
    Ok(())
}

fn dialect() -> impl Strategy<Value = Dialect> {
    select(ALL.to_vec())
}

/// A change of a statement: where, what, and which word.
type Edit = (prop::sample::Index, u8, &'static str);

fn edited(statement: &str, edits: &[Edit]) -> String {
    let mut words: Vec<&str> = statement.split(' ').collect();
    for (at, what, word) in edits {
        let at = at
            .index(words.len().max(1))
            .min(words.len().saturating_sub(1));
        match what {
            0 if words.len() > 1 => {
                words.remove(at);
            }
            1 => words.insert(at, word),
            2 => words[at] = word,
            3 => words.insert(at, words[at]),
            _ => words.swap(0, at),
        }
    }
    words.join(" ")
}

/// A table, `«»` for quotes; one of twelve is not granted.
fn table() -> impl Strategy<Value = String> {
    prop_oneof![
        44 => select(vec!["review", "live", "«review»", "«live»"]),
        4 => select(vec!["secret", "SECRET", "«secret»", "other.secret", "review.secret", "secret.review"]),
    ]
    .prop_map(str::to_owned)
}

/// A query over such tables, in the language that all three databases have.
fn query() -> impl Strategy<Value = String> {
    let leaf = table().prop_map(|table| format!("select * from {table}"));
    leaf.prop_recursive(4, 24, 3, |inner| {
        prop_oneof![
            (table(), inner.clone()).prop_map(|(table, query)| format!("select id from {table} where id in ({query})")),
            (table(), inner.clone()).prop_map(|(table, query)| format!("select ({query}), name from {table} as t1 order by 1")),
            (table(), table(), inner.clone()).prop_map(|(a, b, query)| format!(
                "select t1.id from {a} t1 join {b} as t2 on t1.id = t2.id left join ({query}) as t3 on exists (select 1 from {a})"
            )),
            (table(), table()).prop_map(|(a, b)| format!("select count(*) from {a}, {b} group by id having max(id) > 1")),
            (table(), inner.clone()).prop_map(|(a, b)| format!("select * from {a} union all select * from ({b}) as t5")),
            (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("with c1 as ({a}), c2 as ({b}) select * from c1, c2")),
            (inner.clone(), table()).prop_map(|(a, b)| format!("select * from (with c3 as ({a}) select * from c3 join {b} on true) as t4")),
            inner.clone().prop_map(|query| format!("select case when exists ({query}) then -1 else coalesce(1, ({query})) end")),
            inner.prop_map(|query| format!("select sum(id) over (partition by ({query}) order by id) from live limit 3")),
        ]
    })
}

fn change() -> impl Strategy<Value = String> {
    prop_oneof![
        (table(), query()).prop_map(|(table, query)| format!("insert into {table} {query}")),
        (table(), query())
            .prop_map(|(table, query)| format!("insert into {table} (id) values (1), (({query}))")),
        (table(), query())
            .prop_map(|(table, query)| format!("update {table} set id = ({query}) where id = 1")),
        (table(), query())
            .prop_map(|(table, query)| format!("delete from {table} where exists ({query})")),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_statement_that_mentions_a_table_that_is_not_granted_is_never_allowed(
        dialect in dialect(),
        statement in prop_oneof![2 => query(), 1 => change()],
    ) {
        let quoted = statement.replace(['«', '»'], &dialect.quote().to_string());
        let mentions = quoted.to_lowercase().contains("secret");
        let decided = write(dialect, &quoted);
        prop_assert_eq!(decided.is_err(), mentions, "{:?}: {} {:?}", dialect, &quoted, decided);
        holds(dialect, &quoted)?;
    }

    #[test]
    fn an_edited_statement_never_reaches_what_is_not_granted(
        dialect in dialect(),
        which in any::<prop::sample::Index>(),
        edits in prop::collection::vec((any::<prop::sample::Index>(), 0..5_u8, select(WORDS)), 1..6),
    ) {
        let corpus = corpus(dialect);
        holds(dialect, &edited(corpus[which.index(corpus.len())], &edits))?;
    }

    #[test]
    fn words_in_any_order_never_reach_what_is_not_granted(
        dialect in dialect(),
        words in prop::collection::vec(select(WORDS), 0..14),
        blank in select(vec![" ", ""]),
    ) {
        let soup = words.join(blank);
        for start in ["", "select ", "select * from ", "insert into review ", "with a as ("] {
            holds(dialect, &format!("{start}{soup}"))?;
        }
    }

    #[test]
    fn any_text_is_answered(dialect in dialect(), text in ".{0,60}") {
        holds(dialect, &text)?;
        holds(dialect, &format!("select {text} from review"))?;
        holds(dialect, &format!("select '{text}' from review"))?;
    }
}

#[test]
fn the_statements_to_edit_are_allowed() {
    for dialect in ALL {
        for statement in corpus(dialect) {
            let decided = write(dialect, statement)
                .unwrap_or_else(|refusal| panic!("{dialect:?}: {statement}: {refusal}"));
            assert_eq!(
                faults(dialect, &decided.text),
                Vec::<String>::new(),
                "{}",
                decided.text
            );
        }
    }
}
