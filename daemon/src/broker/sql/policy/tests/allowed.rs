//! Ordinary statements, which a task must be able to run.

use super::*;

#[test]
fn ordinary_queries_are_allowed_everywhere() {
    for dialect in ALL {
        all_allowed(
            dialect,
            &[
                "select 1;",
                "select 1 -- why\n",
                "select /* fine */ 1",
                "select * from review",
                "select r.* from review as r",
                "SELECT r.id, r.name AS title FROM review r WHERE r.id > 3 AND NOT r.hidden OR r.name IS NULL",
                "select count(*), max(r.stars) from review r group by lower(r.name) having count(*) > 1",
                "select count(distinct id) from review",
                "select * from live where id in (select id from review) order by 1 desc limit 10 offset 5",
                "select * from live where id in (1, 2, 3) and name like 'a%' and id between 1 and 9",
                "with best as (select * from review), few as (select * from best limit 3) select * from few",
                "select a.id from review a left join (select * from live) b on a.id = b.id",
                "select * from review join live using (id) cross join live as l2",
                "select row_number() over (partition by a order by b rows between 1 preceding and current row) from live",
                "select sum(a) over w from live window w as (partition by b order by c)",
                "select case when cast(a as char(3)) like 'x%' then coalesce(b, 1) else 0 end from live",
                "select case a when 1 then 2 end from live",
                "select id from review union select id from live union all select 3 order by 1",
                "(select id from review) except (select id from live)",
                "select exists (select 1 from live where live.id = review.id) from review",
                "select -1, +1, - -1, -(-1), ~ ~1, 1 - -1, -a, 1.5e-3, .5, 1.",
                "select a + b * c / d % e from review",
                "select current_timestamp, current_date",
                "select trim(a), substring(a, 1, 2), upper(a), round(a, 2), abs(a), replace(a, 'x', 'y') from review",
                "select 'it''s', '', 'größe', '日本語', 'a \"quoted\" word', '-- not a comment', '/* nor this */', '#', ';'",
                "select true, false, null",
                "select (1, 2) = (1, 2)",
            ],
        );
    }
}

#[test]
fn each_databases_own_language_is_allowed() {
    all_allowed(
        Dialect::Sqlite,
        &[
            "values (1), (2)",
            "select * from \"Review\" as r where r.id = ?1",
            "select json_extract(data, '$.c'), data -> 'a', data ->> 'b' from live",
            "select strftime('%Y', date('now', '-1 day')), x'00ff', name glob 'a*' from live",
            "select group_concat(name, ', ') filter (where id > 1) from live",
            "select ifnull(a, b), iif(a, b, c), a || b from live",
            "select \"order\", [group], `select` from live",
            "select rowid from live where name = 'x' collate nocase",
            "select substr(a, 2), trim(a, 'x'), printf('%d', a) from live",
            "select * from live limit 5, 10",
        ],
    );
    all_allowed(
        Dialect::Postgres,
        &[
            "values (1), (2)",
            "select id::text, data -> 'a' ->> 'b', data #>> '{a,b}', data @> '{\"a\": 1}'::jsonb, data ? 'k' from live",
            "select distinct on (name) name, id from live order by name, id desc nulls last",
            "select array_agg(id order by id) filter (where id > 1), string_agg(name, ',') from live",
            "select date_trunc('day', at) at time zone 'UTC', now() - interval '1 day', extract(epoch from at) from live",
            "select * from generate_series(1, 10) as g(i) join live on live.id = g.i",
            "select * from live, lateral (select * from review where review.id = live.id limit 1) as r",
            "select * from live, unnest(tags) with ordinality as t(tag, position) where t.tag = 'x' and t.ordinality > 0",
            "select name ~ '^a\\d+', name ~* 'b', name !~ 'c', regexp_replace(name, '\\s+', ' ', 'g') from live",
            "select E'a\\'b\\n', 'C:\\temp', 'it''''s', 'x\\'",
            "select $1::int + $2, $1",
            "select array[1, 2, 3], tags[1], tags[1:2], id = any($1), id = any(array[1, 2]) from live",
            "select percentile_cont(0.5) within group (order by id) from live",
            "select make_interval(days => 10), position('a' in name), overlay(name placing 'x' from 1 for 2) from live",
            "select \"Order\", \"group\", \"select\" from live",
            "select date '2020-01-01', timestamp '2020-01-01 00:00:00', interval '1' day",
            "select name collate \"C\" from live order by name collate \"C\"",
            "select id, count(*) from live group by rollup (id), grouping sets ((id), ())",
            "select name ilike '%a%', name similar to 'a+', a is distinct from b, a is not true from live",
            "select * from live order by id fetch first 3 rows only",
            "select to_tsvector('english', name) @@ plainto_tsquery('x'), jsonb_path_query_first(data, '$.a'::jsonpath) from live",
            "select gen_random_uuid(), random(), 2 ^ 3, 5 # 3, 1 << 2, a::numeric(10, 2), a::timestamptz, a::text[] from live",
            "select array(select id from review)",
            "with a as materialized (select * from live) select * from a",
            "select count(*) from live where (id, name) in (select id, name from review)",
            "select greatest(1, 2), nullif(a, b), a is null from live",
            "select jsonb_build_object('a', 1, 'b', array[1]), row_to_json(live) from live",
        ],
    );
    all_allowed(
        Dialect::MariaDb,
        &[
            "values (1), (2)",
            "select * from live where id = ? and name = ?",
            "select `order`, `group`, `select` from live",
            "select group_concat(distinct name order by name desc separator '; ') from live",
            "select date_format(at, '%Y-%m-%d'), date_add(at, interval 1 day), at + interval 2 hour from live",
            "select json_extract(data, '$.a'), json_unquote(json_value(data, '$.b')) from live",
            "select name regexp '^a', name rlike 'b', a <=> b, a div b, a xor b, 5 ^ 3 from live",
            "select cast(a as unsigned), cast(a as decimal(10, 2)), cast(a as signed), convert(a using utf8mb4) from live",
            "select id, count(*) from live group by id with rollup",
            "select match (name, text) against ('word' in boolean mode) from live",
            "select if(a > 1, 'x', 'y'), ifnull(a, b), concat(a, b), uuid(), x'00ff' from live",
            "select name collate utf8mb4_bin from live",
            "select * from live straight_join review on live.id = review.id",
            "select * from live limit 5, 10",
            "select substring_index(name, ',', 1), left(name, 3), locate('a', name), extract(year from at) from live",
        ],
    );
}

#[test]
fn tables_that_are_computed_need_no_grant() {
    all_allowed(
        Dialect::Sqlite,
        &[
            "select e.value, e.type, key from live, json_each(live.data, '$.tags') as e where e.id > 1",
            "select live.id from live left join json_tree(?1) on json_tree.value = live.id",
            "select value from json_each(json('[1]')), review",
        ],
    );
    all_allowed(
        Dialect::Postgres,
        &[
            "select r.a, r.b from live, jsonb_to_recordset(live.data -> 'rows') as r(a int, b text)",
            "select e.value ->> 'a' from live cross join lateral jsonb_array_elements(live.data) as e(value)",
        ],
    );
    all_allowed(
        Dialect::MariaDb,
        &[
            "select j.id, j.tag from live, json_table(live.data, '$[*]' columns (id for ordinality, tag varchar(40) path '$.tag' default 'x' on empty null on error, has int exists path '$.b', nested path '$.c[*]' columns (d decimal(10, 2) path '$'))) as j",
            "select * from json_table(?, '$' columns (a int path '$.a')) j",
        ],
    );
}

#[test]
fn changes_are_allowed_to_a_grant_that_writes() {
    let statements: [(Dialect, &[&str]); 3] = [
        (
            Dialect::Sqlite,
            &[
                "insert into review (id, name) values (?, ?)",
                "insert into review default values",
                "insert or ignore into review (id) values (1)",
                "insert into review (id) values (1) on conflict (id) do update set name = excluded.name where excluded.id > 1",
                "insert into review (id) values (1) on conflict do nothing returning id, name as n, *",
                "with a as (select * from live) insert into review select * from a",
                "update review set name = l.name from live as l where l.id = review.id returning *",
                "update or ignore review set name = 'x', id = id + 1",
                "with a as (select id from live) delete from review where id in (select id from a)",
            ],
        ),
        (
            Dialect::Postgres,
            &[
                "insert into review (id, name) values ($1, $2), (default, 'x')",
                "insert into review as r (id) values (1) on conflict (id) do update set name = excluded.name, n = r.n + 1 where r.id > 1",
                "insert into review (id) values (1) on conflict on constraint review_key do nothing returning *",
                "insert into review (id) select id from live",
                "update review as r set name = l.name, id = default from live l where l.id = r.id returning r.*",
                "update review set (id, name) = (1, 'x')",
                "delete from review as r using live where live.id = r.id returning r.id",
                "with gone as (delete from review returning *) insert into live select * from gone",
            ],
        ),
        (
            Dialect::MariaDb,
            &[
                "insert into review (id, name) values (?, ?), (default, 'x')",
                "insert ignore into review (id) values (1)",
                "insert into review set id = 1, name = 'x'",
                "insert into review (id) values (1) on duplicate key update name = values(name), id = id + 1",
                "insert into review (id) values (1) returning id",
                "insert into review select * from live",
                "replace into review (id) values (1) returning *",
                "update review set name = 'x' where id = 1 order by id limit 3",
                "update review join live on live.id = review.id set review.name = live.name",
                "delete from review where id = 1 order by id limit 3",
                "delete from review where id = 1 returning id",
                "delete r from review as r join live on live.id = r.id",
                "delete from review using review join live on live.id = review.id",
            ],
        ),
    ];
    for (dialect, statements) in statements {
        all_need_writing(dialect, statements);
    }
}

#[test]
fn a_decision_says_what_the_statement_is() {
    let outline = |dialect, statement| {
        let decided = write(dialect, statement).unwrap();
        (
            decided.verb,
            decided.returns_rows,
            decided.changes,
            decided.parameters,
        )
    };
    let (sqlite, postgres, mariadb) = (Dialect::Sqlite, Dialect::Postgres, Dialect::MariaDb);
    assert_eq!(
        outline(sqlite, "select ?, ?2, ?"),
        ("select", true, false, 3)
    );
    assert_eq!(outline(sqlite, "values (?3)"), ("values", true, false, 3));
    assert_eq!(
        outline(sqlite, "insert into review values (?, ?)"),
        ("insert", false, true, 2)
    );
    assert_eq!(
        outline(sqlite, "replace into review values (1)").0,
        "replace"
    );
    assert_eq!(
        outline(sqlite, "delete from review returning id"),
        ("delete", true, true, 0)
    );
    assert_eq!(
        outline(postgres, "select $2, $1, $2"),
        ("select", true, false, 2)
    );
    assert_eq!(
        outline(postgres, "update review set id = $1"),
        ("update", false, true, 1)
    );
    assert_eq!(
        outline(
            postgres,
            "with a as (delete from review returning id) select * from a"
        ),
        ("select", true, true, 0)
    );
    assert_eq!(
        outline(postgres, "with a as (select 1) delete from review"),
        ("delete", false, true, 0)
    );
    assert_eq!(
        outline(mariadb, "replace into review values (?, ?)"),
        ("replace", false, true, 2)
    );
    assert_eq!(
        outline(mariadb, "(select 1) union (select 2)"),
        ("select", true, false, 0)
    );
}

#[test]
fn a_grants_table_is_compared_as_the_database_reads_it() {
    let name = |dialect, text| table_name(dialect, text);
    for (text, wanted) in [
        ("Review", Some("review")),
        ("main.Review", Some("review")),
        ("temp.review", None),
        ("sqlite_schema", None),
        ("", None),
        ("a.b.c", None),
    ] {
        assert_eq!(name(Dialect::Sqlite, text).as_deref(), wanted, "{text}");
    }
    for (text, wanted) in [
        ("Review", Some("review")),
        ("public.review", Some("review")),
        ("shop.review", Some("shop.review")),
        ("pg_class", None),
        ("public.pg_class", None),
        ("pg_catalog.x", None),
        ("information_schema.tables", None),
        ("pg_temp.x", None),
        ("\"Review\"", Some("\"Review\"")),
        ("\"review\"", Some("review")),
        ("PUBLIC.\"Review\"", Some("\"Review\"")),
        ("\"PUBLIC\".review", Some("\"PUBLIC\".review")),
        ("Shop.\"Sale\"", Some("shop.\"Sale\"")),
        ("\"my table\"", Some("\"my table\"")),
        ("my-table", Some("\"my-table\"")),
        ("größe", Some("größe")),
        ("\"pg_class\"", None),
        ("\"PG_CLASS\"", Some("\"PG_CLASS\"")),
        ("\"a.b\"", None),
        ("\"a\"\"b\"", None),
        ("\"\"", None),
        ("\"", None),
        ("\"Review", None),
    ] {
        assert_eq!(name(Dialect::Postgres, text).as_deref(), wanted, "{text}");
    }
    for (text, wanted) in [
        ("Review", Some("Review")),
        ("shop.review", Some("shop.review")),
        ("mysql.user", None),
        ("MYSQL.user", None),
        ("sys.session", None),
        ("a`b", None),
        ("\"Review\"", None),
    ] {
        assert_eq!(name(Dialect::MariaDb, text).as_deref(), wanted, "{text}");
    }
    let long = "x".repeat(64);
    assert_eq!(name(Dialect::Postgres, &long), None);
}

#[test]
fn the_compared_form_of_a_name_is_a_name_for_the_same_table() {
    for dialect in ALL {
        for text in [
            "Review",
            "\"Review\"",
            "shop.\"a b\"",
            "PUBLIC.x",
            "main.X",
            "É",
            "\"É\"",
            "9a",
            "a$b",
        ] {
            if let Some(name) = table_name(dialect, text) {
                assert_eq!(
                    table_name(dialect, &name),
                    Some(name),
                    "{dialect:?}: {text}"
                );
            }
        }
    }
}

#[test]
fn the_tables_of_a_statement_are_those_that_a_grant_would_name() {
    let named = |dialect, statement| {
        let Named { tables, bare } = tables_named(statement, dialect).unwrap();
        let words = |names: BTreeSet<String>| names.into_iter().collect::<Vec<_>>().join(" ");
        (words(tables), words(bare))
    };
    let pair = |tables: &str, bare: &str| (tables.to_owned(), bare.to_owned());
    let statement = "with few as (select * from \"Orders\") select * from few, Public.Live, shop.\"Sale\", generate_series(1, 3) as g where exists (select 1 from Review)";
    assert_eq!(
        named(Dialect::Postgres, statement),
        pair("\"Orders\" live review shop.\"Sale\"", "\"Orders\" review")
    );
    assert_eq!(
        named(
            Dialect::Sqlite,
            "insert into Main.Review select * from LIVE, json_each('[1]'), pg_class"
        ),
        pair("live pg_class review", "live pg_class")
    );
    assert_eq!(
        named(
            Dialect::MariaDb,
            "update Review join shop.Sale on 1 = 1 set a = (select 1 from mysql.user)"
        ),
        pair("Review shop.Sale", "Review")
    );
    assert_eq!(tables_named("select", Dialect::Sqlite), None);
}

#[test]
fn spellings_of_a_granted_table_that_mean_it_are_allowed() {
    all_allowed(
        Dialect::Sqlite,
        &[
            "select * from Review",
            "select * from main.review",
            "select * from \"REVIEW\"",
            "select * from [review]",
            "select * from `review` as r",
        ],
    );
    all_allowed(
        Dialect::Postgres,
        &[
            "select * from Review",
            "select * from public.review",
            "select * from \"review\"",
            "select * from shop.sale",
            "select * from SHOP.SALE s",
        ],
    );
    all_allowed(
        Dialect::MariaDb,
        &[
            "select * from review",
            "select * from `review`",
            "select * from shop.sale as r",
        ],
    );
}

#[test]
fn what_lies_side_by_side_is_not_deep() {
    for dialect in ALL {
        for statement in [
            format!(
                "select * from review where id in (1{})",
                ", -1".repeat(10_000)
            ),
            format!("select 1{}", ", a + b * c".repeat(3_000)),
            format!("values (1, 2){}", ", (3, 4)".repeat(5_000)),
            format!("select 1 where 1 = 1{}", " or a = 2".repeat(400)),
            format!("select 1{}", " union all select 1".repeat(400)),
        ] {
            write(dialect, &statement).unwrap();
        }
    }
}
