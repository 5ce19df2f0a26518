//! What the policy lets through, as the databases themselves read it: the text that it writes out again is
//! prepared on a real server, never run.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stderr,
    reason = "a panic in a test is the report, and a skipped test says so"
)]

use std::collections::BTreeSet;

use flowweaver::broker::sql::policy::{Allowed, Dialect, decide, table_name};
use flowweaver::id::RunId;
use flowweaver::workflow::grant::SqlMode;
use sqlx::{AssertSqlSafe, Connection, Executor, SqlSafeStr as _};

/// Both servers of the machine that runs the tests; see CONTRIBUTING.md.
const POSTGRES: &str = "postgres://postgres@127.0.0.1:5432/postgres";
const MARIADB: &str = "mysql://root@127.0.0.1:3306/mysql";

/// The text of a statement that writes are allowed for.
fn text(dialect: Dialect, statement: &str) -> String {
    let tables: BTreeSet<String> = ["review", "live"]
        .iter()
        .filter_map(|table| table_name(dialect, table))
        .collect();
    let allowed = Allowed {
        dialect,
        mode: SqlMode::ReadWrite,
        tables,
    };
    decide(statement, &allowed)
        .unwrap_or_else(|refusal| panic!("{statement}: {refusal}"))
        .text
}

fn unique() -> String {
    format!("flowweaver_{}", RunId::generate()).to_lowercase()
}

/// In any language of the two.
const COMMON: &[&str] = &[
    "select 1 -- why",
    "SELECT r.id, r.name AS title, 'it''s' FROM review r WHERE r.id > 3 OR r.name IS NULL",
    "with best as (select * from review), few as (select * from best limit 3) select * from few",
    "with recursive n(i) as (select 1 union all select i + 1 from n where i < 9) select i from n",
    "select count(distinct id), sum(stars) from review group by lower(name) having count(*) > 1",
    "select sum(id) over w from live window w as (partition by name order by id)",
    "select case when cast(id as char(3)) like 'x%' then coalesce(stars, 1) else - -1 end from live",
    "select a.id from review a left join (select * from live) b on a.id = b.id order by 1 desc limit 10 offset 5",
    "select trim(name), substring(name, 1, 2), upper(name), round(id, 2), position('a' in name) from review",
    "select id from review union select id from live union all select 3",
    "select current_timestamp, extract(year from at), -id, 1 - -1, .5, 1.5e-3 from live",
    "insert into review (id, name) values (1, 'größe'), (2, default)",
    "insert into review select * from live where not exists (select 1 from review)",
    "update review set name = 'x', id = id + 1 where id = (select max(id) from live)",
    "delete from review where id between 1 and 3",
    "select id from review for update nowait",
];

#[tokio::test]
async fn postgresql_understands_what_is_written_for_it() {
    let statements = [
        r"select 'C:\temp', E'a\'b\n', 'x\', name ~ '^a\d+' from live",
        "select id::text, data -> 'a' ->> 'b', data @> '{\"a\": 1}'::jsonb, data ? 'k' from live where id = any($1)",
        "select \"select\", Name, tags[1], tags[1:2], array[1, 2] from public.live",
        "select distinct on (name) name, id from live order by name, id desc nulls last",
        "select array_agg(id order by id) filter (where id > 1), string_agg(name, ',') from live",
        "select * from live, lateral (select * from review where review.id = live.id limit 1) as r",
        "select g.i, e.key from generate_series(1, 10) as g(i), live, jsonb_each(live.data) as e",
        "select r.a, r.b from live, jsonb_to_recordset(live.data) as r(a int, b text), unnest(live.tags) as t(tag)",
        "select percentile_cont(0.5) within group (order by id), make_interval(days => 10) from live",
        "select date '2020-01-01', at + interval '1 day', date_trunc('day', at) at time zone 'UTC' from live",
        "select name collate \"C\", overlay(name placing 'x' from 1 for 2), a.name is distinct from 'x' from live a",
        "insert into review as r (id) values (1) on conflict (id) do update set name = excluded.name where r.id > 1 returning *",
        "update review as r set name = l.name from live l where l.id = r.id returning r.*",
        "with gone as (delete from review returning *) insert into live select * from gone",
        "select id from review group by rollup (id) fetch first 3 rows only",
    ];
    // The setting under which a backslash in '…' hides a quote: what is written must not depend on it.
    let hostile = "set standard_conforming_strings = off";
    let tried = Tried {
        dialect: Dialect::Postgres,
        columns: "id int primary key, name text, stars int, at timestamptz, data jsonb, tags text[], \"select\" int",
        before: Some(hostile),
        force: " with (force)",
    };
    tried.on::<sqlx::PgConnection>(POSTGRES, &statements).await;
}

#[tokio::test]
async fn mariadb_understands_what_is_written_for_it() {
    let statements = [
        "select `select`, `live`.`name` from live where id = ? and name = ?",
        "select group_concat(distinct name order by name desc separator '; ') from live",
        "select date_format(at, '%Y-%m-%d'), date_add(at, interval 1 day), at + interval 2 hour from live",
        "select json_unquote(json_value(data, '$.b')), name regexp '^a', id <=> 1, id div 2, id xor 1 from live",
        "select cast(id as unsigned), convert(name using utf8mb4), name collate utf8mb4_bin from live",
        "select id, count(*) from live group by id with rollup",
        "select * from live straight_join review on live.id = review.id limit 5, 10",
        "select j.tag, j.n from live, json_table(live.data, '$[*]' columns (n for ordinality, tag varchar(40) path '$.tag' default 'x' on empty null on error, has int exists path '$.b', nested path '$.c[*]' columns (d decimal(10, 2) path '$'))) as j",
        "insert into review set id = 1, name = 'x' on duplicate key update name = values(name)",
        "insert ignore into review (id) values (1) returning id",
        "replace into review (id) values (1)",
        "update review join live on live.id = review.id set review.name = live.name",
        "delete r from review as r join live on live.id = r.id",
        "delete from review using review join live on live.id = review.id",
        "select 1 # why",
    ];
    let tried = Tried {
        dialect: Dialect::MariaDb,
        columns: "id int primary key, name varchar(100) character set utf8mb4, stars int, at datetime, data json, `select` int",
        before: None,
        force: "",
    };
    tried
        .on::<sqlx::MySqlConnection>(MARIADB, &statements)
        .await;
}

/// A database of the test's own, with the tables that the statements name.
struct Tried {
    dialect: Dialect,
    columns: &'static str,
    /// Said before the statements are prepared.
    before: Option<&'static str>,
    /// How a database is dropped that somebody is still connected to.
    force: &'static str,
}

impl Tried {
    /// The server prepares each of these, and of [`COMMON`], as it is written for it.
    async fn on<C>(&self, url: &str, statements: &[&str])
    where
        C: Connection,
        for<'c> &'c mut C: Executor<'c, Database = C::Database>,
    {
        let mut server = match C::connect(url).await {
            Ok(server) => server,
            Err(error) => return eprintln!("skipped: no server answers at {url}: {error}"),
        };
        let run = |sql: String| AssertSqlSafe(sql).into_sql_str();
        let database = unique();
        let made = format!("create database {database}");
        server.execute(run(made)).await.unwrap();
        let mut url = url::Url::parse(url).unwrap();
        url.set_path(&database);
        let mut there = C::connect(url.as_str()).await.unwrap();
        for table in ["review", "live"] {
            let made = format!("create table {table} ({})", self.columns);
            there.execute(run(made)).await.unwrap();
        }
        if let Some(before) = self.before {
            there.execute(before).await.unwrap();
        }
        let mut wrong = Vec::new();
        for statement in COMMON.iter().chain(statements) {
            let text = text(self.dialect, statement);
            if let Err(error) = there.prepare(run(text.clone())).await {
                wrong.push(format!("{text}: {error}"));
            }
        }
        let _ = there.close().await;
        let dropped = format!("drop database {database}{}", self.force);
        server.execute(run(dropped)).await.unwrap();
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    }
}
