//! What must be refused, through the whole broker.

use std::collections::BTreeSet;
use std::time::Duration;

use flowweaver::broker::settings::{BrokerError, BrokerSettings};
use flowweaver::broker::sql::{DatabaseError, Own, Value};
use flowweaver::id::OrganizationId;
use flowweaver::workflow::grant::SqlMode;

use crate::broker_world::*;
use crate::pasted::*;
use crate::world::*;

/// The code of a statement, tried as a query and as a change; both are recorded.
async fn refused(attempt: &Attempt, statement: &str) -> [String; 2] {
    let query = rows(attempt, statement, vec![]).await.map(drop);
    let change = execute(attempt, statement, vec![]).await.map(drop);
    let codes = [query, change]
        .map(|outcome| outcome.map_or_else(|refusal| refusal.code, |()| "ok".to_owned()));
    let calls = attempt.calls();
    let recorded: Vec<_> = calls.iter().map(|call| call.outcome.clone()).collect();
    assert_eq!(recorded, ["ok", &codes[0], "ok", &codes[1]], "{statement}");
    codes
}

/// Each statement is refused, those of the server's own language too.
async fn all_refused(
    world: &World,
    attempt: &Attempt,
    common: &[&str],
    (postgres, mariadb): (&[&str], &[&str]),
) {
    let own = match world.raw {
        Raw::Postgres(_) => postgres,
        Raw::MariaDb(_) => mariadb,
    };
    for statement in common.iter().chain(own) {
        for code in refused(attempt, statement).await {
            let is_refused = ["sql.denied", "sql.invalid"].contains(&code.as_str());
            assert!(is_refused, "{statement}: {code}");
        }
    }
}

async fn kinds(world: World) {
    let attempt = world.attempt(SqlMode::Read, &["product_review"]);
    let common = [
        "select 1; drop table product_review",
        "select 1 /*! union select word from secret */ from product_review",
        "insert into product_review (id) values (9)",
        "update product_review set id = 9",
        "delete from product_review",
        "select id from product_review for update",
        "set session time_zone = 'x'",
        "begin",
        "commit",
        "rollback",
        "savepoint a",
        "create table made (v int)",
        "drop table product_review",
        "alter table product_review add v int",
        "truncate table product_review",
        "grant select on secret to public",
        "call somebody()",
        "explain analyze delete from product_review",
        "prepare p from 'select 1'",
    ];
    let postgres = [
        "with w as (delete from product_review returning id) select id from w",
        "select id into made from product_review",
        "copy product_review to stdout",
        "copy (select word from secret) to program 'cat'",
        "set role postgres",
        "select nextval('made')",
        "select pg_read_file('/etc/passwd')",
        "select lo_import('/etc/passwd')",
        "select pg_sleep(1)",
        "select query_to_xml('select word from secret', true, true, '')",
        "select set_config('search_path', 'x', false)",
        "do $$ begin end $$",
        "listen a",
        "vacuum",
    ];
    let mariadb = [
        "select id into outfile '/tmp/x' from product_review",
        "select load_file('/etc/passwd')",
        "load data infile '/etc/passwd' into table product_review",
        "select SLEEP(1)",
        "select BENCHMARK(1000000, md5('x'))",
        "select get_lock('a', 1)",
        "select @@version",
        "select @a := 1",
        "select /*M!100000 word */ id from product_review",
        "handler product_review open",
        "replace into product_review (id) values (1)",
        "show tables",
    ];
    all_refused(&world, &attempt, &common, (&postgres, &mariadb)).await;
    assert_eq!(
        world
            .raw
            .number("select count(*) from product_review")
            .await,
        2
    );
}

/// Attack: several statements, executable comments, and under a read grant every way to change, lock, copy,
/// wait, read files or leave the transaction. Denied and recorded.
#[tokio::test]
async fn a_read_grant_reads_rows_and_does_nothing_else() {
    on_both(kinds).await;
}

async fn tables(world: World) {
    let attempt = world.attempt(SqlMode::ReadWrite, &["product_review", "good"]);
    let common = [
        "select word from secret",
        "select s.word from secret as s",
        "select word from SECRET",
        "select * from hidden",
        "select * from (select word from secret) as product_review",
        "with product_review as (select word from secret) select * from product_review",
        "with x as (select word from secret) select * from x",
        "select id from product_review where exists (select 1 from secret)",
        "select id from product_review union all select id from secret",
        "select p.id from product_review p join secret s on s.id = p.id",
        "insert into product_review (id, name) select id, word from secret",
        "delete from secret",
        "update secret set word = 'x'",
        "insert into secret (id) values (1)",
        "select table_name from information_schema.tables",
    ];
    let postgres = [
        "select word from \"secret\"",
        "select word from public.secret",
        "table secret",
        "select rolname from pg_catalog.pg_authid",
        "select relname from pg_class",
        "update product_review set name = word from secret",
        "delete from product_review using secret",
    ];
    let mariadb = [
        "select word from `secret`",
        "select User from mysql.user",
        "select * from performance_schema.threads",
        "update product_review, secret set name = word",
    ];
    all_refused(&world, &attempt, &common, (&postgres, &mariadb)).await;
    assert_eq!(
        world
            .raw
            .number("select count(*) from secret where word = 'geheim'")
            .await,
        1
    );
}

/// Attack: a table that is not granted, through a view, alias, subquery, CTE, join, quoted or upper-case name,
/// and the server's own tables. Denied.
#[tokio::test]
async fn a_table_that_is_not_granted_is_reached_in_no_way() {
    on_both(tables).await;
}

async fn foreign(world: World) {
    let mut settings = world.settings();
    settings.organizations = Some(BTreeSet::from([OrganizationId::generate()]));
    let attempt = world.attempt_on(settings, SqlMode::Read, &["product_review"]);
    let foreign = attempt.ctx.sql.open("blog").err().unwrap();
    let mut settings = world.settings();
    settings.name = "other".parse().unwrap();
    let attempt = world.attempt_on(settings, SqlMode::Read, &["product_review"]);
    let missing = attempt.ctx.sql.open("blog").err().unwrap();
    assert_eq!(foreign, missing);
    assert_eq!(missing.code, "sql.unknown-database");
}

/// Attack: another organization's database. Not found, with the same text as a missing one.
#[tokio::test]
async fn another_organizations_database_looks_like_none() {
    on_both(foreign).await;
}

async fn long(world: World) {
    let mut settings = world.settings();
    settings.timeout = Duration::from_millis(700);
    let attempt = world.attempt_on(settings, SqlMode::Read, &["product_review"]);
    let pairs = vec!["product_review"; 30]
        .iter()
        .enumerate()
        .map(|(number, table)| format!("{table} as t{number}"))
        .collect::<Vec<_>>()
        .join(" cross join ");
    let refusal = rows(&attempt, &format!("select count(*) from {pairs}"), vec![])
        .await
        .unwrap_err();
    assert_eq!(
        (refusal.code.as_str(), refusal.retryable),
        ("sql.timeout", true),
        "{refusal}"
    );

    let attempt = world.attempt(SqlMode::ReadWrite, &["product_review"]);
    let database = attempt.ctx.sql.open("blog").unwrap();
    let transaction = database.begin().await.unwrap();
    assert_eq!(
        transaction
            .execute("delete from product_review", vec![])
            .await,
        Ok(2)
    );
    let begun = transaction
        .query("select id from product_review", vec![])
        .await
        .map(drop);
    assert_eq!(begun, Ok(()));
    attempt.cancel.cancel();
    assert_eq!(transaction.commit().await.unwrap_err().code, "cancelled");
    // The rows are free again: nobody holds them.
    let next = world.attempt(SqlMode::ReadWrite, &["product_review"]);
    let update = format!("update product_review set name = {}", world.hole(1));
    assert_eq!(
        execute(&next, &update, vec![Value::Text("x".to_owned())]).await,
        Ok(2)
    );
}

/// Attack: a statement without end, and a guest cancelled inside a transaction. `sql.timeout`; rolled back, and
/// the next task finds everything as it was.
#[tokio::test]
async fn what_takes_too_long_or_is_given_up_leaves_the_database_as_it_was() {
    on_both(long).await;
}

async fn store(world: World) {
    let shop = schema(&world).await;
    let mut url = url::Url::parse(&world.url).unwrap();
    let start = |own: &url::Url, tables: Option<Vec<String>>| {
        let mut settings = world.settings();
        settings.tables = tables;
        let settings = BrokerSettings {
            databases: vec![settings],
            own: Own {
                files: Vec::new(),
                url: Some(own.to_string().into()),
            },
            ..BrokerSettings::default()
        };
        try_broker(settings)
    };
    if matches!(world.raw, Raw::Postgres(_)) {
        // The store in another schema of the same database: the database is refused.
        url.set_query(Some("options[search_path]=shop"));
        let refused = start(&url, None).map(drop);
        assert!(
            matches!(refused, Err(BrokerError::Database(DatabaseError::Own(_)))),
            "{refused:?}"
        );
        // In another database of the server: its schema's name is refused here too.
        url.set_path("/postgres");
    } else {
        url.set_path(&shop);
    }
    let own = format!("{shop}.sale");
    let refused = start(&url, Some(vec![own.clone()])).map(drop);
    assert!(
        matches!(
            refused,
            Err(BrokerError::Database(DatabaseError::OwnTable { .. }))
        ),
        "{refused:?}"
    );
    let broker = start(&url, None).unwrap();
    let mut spellings = vec![own.clone()];
    // Whether case counts is a setting of the server.
    spellings.extend(matches!(world.raw, Raw::MariaDb(_)).then(|| own.to_uppercase()));
    for own in spellings {
        let grants = grants(SqlMode::ReadWrite, &[&own, "product_review"]);
        let attempt = attempt_of(&broker, identity(), grants);
        let statement = format!("select id from {own}");
        let refusal = rows(&attempt, &statement, vec![]).await.unwrap_err();
        teaches_no_line(
            &refusal,
            "of the daemon's own store, which no task may reach",
        );
        let delete = format!("delete from {own}");
        let refusal = execute(&attempt, &delete, vec![]).await.unwrap_err();
        teaches_no_line(
            &refusal,
            "of the daemon's own store, which no task may reach",
        );
        let usual = rows(&attempt, "select id from product_review", vec![]).await;
        assert_eq!(usual.unwrap().len(), 2);
    }
    drop_schema(&world, &shop).await;
}

/// Attack: a grant of `schema.table` that names the daemon's own store, in the same database or beside it. Refused at
/// start where the operator wrote it, denied where a workflow did.
#[tokio::test]
async fn the_stores_tables_are_reached_by_no_name() {
    on_both(store).await;
}
