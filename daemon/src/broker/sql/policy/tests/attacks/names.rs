//! A granted name means the granted table and nothing else.

use crate::broker::sql::policy::tests::*;

/// Where a table can stand in a query, on every database.
const SECRET_EVERYWHERE: &[&str] = &[
    "select * from secret",
    "select * from secret as review",
    "select review.* from secret review",
    "select * from SECRET",
    "select * from Secret",
    "select * from review, secret",
    "select * from review join secret on true",
    "select * from review left join secret using (id)",
    "select * from review natural join secret",
    "select * from (review join secret on true)",
    "select * from (select * from secret) as review",
    "select (select max(id) from secret)",
    "select * from review where exists (select 1 from secret)",
    "select * from review where id in (select id from secret)",
    "select * from review where id = (select id from secret)",
    "select * from review order by (select 1 from secret)",
    "select * from review limit (select 1 from secret)",
    "select * from review limit 1 offset (select 1 from secret)",
    "select id from review group by (select 1 from secret)",
    "select id from review group by id having (select 1 from secret) > 0",
    "select case when (select 1 from secret) then 1 end",
    "select case 1 when 1 then (select 1 from secret) else 2 end",
    "select count(*) over (partition by (select 1 from secret)) from review",
    "select count(*) over w from review window w as (order by (select 1 from secret))",
    "select coalesce((select 1 from secret), 1)",
    "select cast((select 1 from secret) as char(1))",
    "select * from review union all select * from secret",
    "select * from review where id between 1 and (select 1 from secret)",
    "select * from review where id like (select 1 from secret)",
    "select trim((select 1 from secret))",
    "select substring((select 1 from secret), 1)",
    "select -(select 1 from secret)",
    "select (select 1 from secret) is null",
    "(select * from secret)",
    "values ((select id from secret))",
    "with a as (select * from secret) select * from a",
    "with a as (select 1) select * from a, secret",
    "select * from review where id in (with a as (select * from secret) select * from a)",
    "select * from secret.review",
    "select * from review.secret",
    "select * from a.b.review",
    "select * from sale",
];

/// The same on PostgreSQL.
const SECRET_ON_POSTGRES: &[&str] = &[
    "select * from \"secret\"",
    "select * from \"REVIEW\"",
    "select * from \"Review\"",
    "select * from review, lateral (select * from secret) a",
    "select array(select id from secret)",
    "select 1 = any(select id from secret)",
    "select 1 = all(array(select id from secret))",
    "select array[(select id from secret)]",
    "select data[(select 1 from secret)] from review",
    "select distinct on ((select 1 from secret)) id from review",
    "select count(*) filter (where exists (select 1 from secret)) from review",
    "select string_agg(name, ',' order by (select 1 from secret)) from review",
    "select percentile_cont(0.5) within group (order by (select 1 from secret)) from review",
    "select * from generate_series(1, (select 1 from secret)) as g",
    "select * from unnest(array(select id from secret)) as g",
    "select now() at time zone (select 'x' from secret)",
    "select overlay('a' placing (select 'x' from secret) from 1)",
    "select position('a' in (select 'x' from secret))",
    "select extract(year from (select now() from secret))",
    "select make_interval(days => (select 1 from secret))",
    "select id from review group by grouping sets ((id), ((select 1 from secret)))",
];

/// Changes that read or write a table that is not granted.
const SECRET_CHANGES: [(Dialect, &[&str]); 3] = [
    (
        Dialect::Sqlite,
        &[
            "replace into secret (id) values (1)",
            "insert or rollback into review (id) values (1)",
            "update or rollback review set id = 1",
            "insert into review (id) values (1) on conflict (id) do update set id = (select id from secret)",
            "insert into review (id) values (1) returning (select id from secret)",
            "update review set id = s.id from secret as s",
            "insert into sqlite_schema values (1)",
        ],
    ),
    (
        Dialect::Postgres,
        &[
            "insert into review (id) values (1) on conflict (id) do update set id = (select id from secret)",
            "insert into review (id) values (1) on conflict do nothing returning (select id from secret)",
            "update review set id = s.id from secret as s",
            "delete from review using secret as s where s.id = review.id",
            "delete from review returning (select id from secret)",
            "with a as (delete from secret returning *) select * from a",
            "with a as (select * from secret) delete from review using a",
            "with a as (delete from review returning (select id from secret)) select * from a",
            "update review set (id, stars) = (select id, 1 from secret)",
        ],
    ),
    (
        Dialect::MariaDb,
        &[
            "replace into secret (id) values (1)",
            "insert into review (id) values (1) on duplicate key update id = (select id from secret)",
            "insert into review set id = (select id from secret)",
            "update review join secret on true set review.id = 1",
            "update review join live on true set live.id = (select 1 from secret)",
            "delete secret from review join secret on true",
            "delete secret from review",
            "delete review, secret from review",
            "delete from review using review join secret",
            "delete from secret using review",
            "insert delayed into review (id) values (1)",
        ],
    ),
];

/// Attack: a table that is not granted, under an alias, in a subquery, a WITH clause, a join, a union, quoted or in capitals. Denied, with the line that would allow it.
#[test]
fn a_table_that_is_not_granted_is_denied_wherever_it_stands() {
    for dialect in ALL {
        all_denied(dialect, SECRET_EVERYWHERE);
        let refusal = read(dialect, "select * from secret").unwrap_err();
        assert!(
            refusal
                .message
                .contains("tables = [\"live\", \"review\", \"shop.sale\", \"secret\"]")
                || refusal
                    .message
                    .contains("tables = [\"live\", \"review\", \"secret\"]"),
            "{refusal}"
        );
    }
    all_denied(
        Dialect::Sqlite,
        &[
            "select * from \"secret\"",
            "select * from [secret]",
            "select * from `secret`",
        ],
    );
    all_denied(Dialect::Postgres, SECRET_ON_POSTGRES);
    all_denied(
        Dialect::MariaDb,
        &[
            "select * from `secret`",
            "select * from `shop`.`secret`",
            "select * from REVIEW",
            "select * from Shop.sale",
            "select * from shop.SALE",
            "select group_concat(id order by (select 1 from secret) separator ',') from review",
            "select convert((select 1 from secret) using utf8mb4)",
            "select now() + interval (select 1 from secret) day",
            "select * from review straight_join secret",
        ],
    );
}

/// Attack: a WITH clause named like a granted table, or like one that is not. The first denied; the second is the clause only where the database too sees the clause.
#[test]
fn a_with_clause_hides_no_table() {
    for dialect in ALL {
        all_denied(
            dialect,
            &[
                "with review as (select 1) select * from review",
                "with review as (select * from secret) select * from review",
                "with REVIEW as (select 1) select * from live",
                "with a as (select * from b), b as (select 1) select * from a",
                "with a as (select * from a) select * from a",
                "with secret as (select * from secret) select * from secret",
                "with recursive a as (select * from b), b as (select 1) select * from a",
                "select * from secret, (with secret as (select 1) select * from secret) as x",
                "(with secret as (select 1) select * from secret) union select * from secret",
                "with secret as (select 1) select * from main.secret",
                "with secret as (select 1) select * from public.secret",
                "with a as (select 1), a as (select * from secret) select * from a",
                "with sécret as (select 1) select * from sécret",
                "insert into review with secret as (select 1) select * from secret returning (select 1 from secret)",
            ],
        );
        all_allowed(
            dialect,
            &[
                "with secret as (select 1) select * from secret",
                "with secret as (select 1) select * from (select * from secret) as a",
                "with a as (select * from review), b as (select * from a) select * from b",
                "with recursive n(i) as (select 1 union all select i + 1 from n where i < 9) select i from n",
            ],
        );
    }
    // The table that is changed is never the clause.
    for dialect in [Dialect::Sqlite, Dialect::Postgres] {
        all_denied(
            dialect,
            &[
                "with secret as (select 1) delete from secret",
                "with secret as (select 1) update secret set id = 1",
                "with secret as (select 1) insert into secret values (1)",
            ],
        );
    }
    all_denied(
        Dialect::Sqlite,
        &[
            "with secret as (select 1 as id) insert into review values (1) returning (select id from secret)",
        ],
    );
    assert_eq!(
        read(Dialect::Sqlite, "with A as (select 1) select * from a")
            .unwrap()
            .ctes,
        BTreeSet::from(["a".to_owned()])
    );
    // MariaDB takes both for one; the policy does not.
    all_denied(Dialect::MariaDb, &["with a as (select 1) select * from A"]);
}

/// Attack: a change that reads or writes a table that is not granted. Denied under a grant that writes.
#[test]
fn a_change_reads_and_writes_granted_tables_only() {
    let common = [
        "insert into secret (id) values (1)",
        "insert into review select * from secret",
        "insert into review (id) values ((select id from secret))",
        "update secret set id = 1",
        "update review set id = (select id from secret)",
        "update review set id = 1 where id in (select id from secret)",
        "delete from secret",
        "delete from review where id in (select id from secret)",
    ];
    for dialect in ALL {
        for statement in common {
            assert_eq!(
                write(dialect, statement).unwrap_err().code,
                "sql.denied",
                "{dialect:?}: {statement}"
            );
        }
    }
    all_refused(
        Dialect::MariaDb,
        &[
            "update review, secret set secret.id = 1",
            "with a as (select 1) delete from review",
        ],
    );
    for (dialect, statements) in SECRET_CHANGES {
        for statement in statements {
            let code = write(dialect, statement)
                .map(|decided| decided.text)
                .map_err(|refusal| refusal.code);
            assert_eq!(
                code,
                Err("sql.denied".to_owned()),
                "{dialect:?}: {statement}"
            );
        }
    }
}

/// Attack: a table whose name differs from a granted one in capitals alone. Denied, with the spelling that would grant it.
#[test]
fn a_name_that_differs_in_capitals_is_another_table() {
    let postgres = read(Dialect::Postgres, "select * from \"Review\"").unwrap_err();
    assert_eq!(postgres.code, "sql.denied");
    assert!(postgres.message.contains(r#""\"Review\"""#), "{postgres}");
    let exact = Allowed {
        dialect: Dialect::Postgres,
        mode: SqlMode::ReadWrite,
        tables: BTreeSet::from([table_name(Dialect::Postgres, "\"Review\"").unwrap()]),
    };
    for same in [
        "\"Review\"",
        "public.\"Review\"",
        "\"public\".\"Review\" as r",
    ] {
        assert!(
            decide(&format!("select * from {same}"), &exact).is_ok(),
            "{same}"
        );
    }
    for other in [
        "Review",
        "review",
        "\"review\"",
        "\"REVIEW\"",
        "\"PUBLIC\".\"Review\"",
        "shop.\"Review\"",
        "\"Review\".\"Review\"",
    ] {
        let refusal = decide(&format!("delete from {other}"), &exact).unwrap_err();
        assert_eq!(refusal.code, "sql.denied", "{other}");
    }
    let clause = "with \"Review\" as (select 1) select * from \"Review\"";
    assert_eq!(decide(clause, &exact).unwrap_err().code, "sql.denied");
    let mariadb = read(Dialect::MariaDb, "select * from Review").unwrap_err();
    assert_eq!(mariadb.code, "sql.denied");
    assert!(
        mariadb.message.contains("exactly as the grant does"),
        "{mariadb}"
    );
}
