//! Statements that must not reach a database.

mod limits;
mod lists;
mod names;

use lists::*;

use super::*;

/// Attack: a second statement, after a semicolon. Denied on every database, whatever the grant.
#[test]
fn one_call_is_one_statement() {
    for dialect in ALL {
        all_denied(
            dialect,
            &[
                "select 1; drop table review",
                "select 1; select 2",
                "select 1;; select 2;",
                "insert into review (id) values (1); delete from review",
            ],
        );
        for empty in ["", ";", "-- nothing", "/* nothing */"] {
            assert_eq!(
                write(dialect, empty).unwrap_err().code,
                "sql.invalid",
                "{empty}"
            );
        }
    }
}

/// Attack: comments that a server executes, and hints. Denied on every database, in a literal too.
#[test]
fn executable_comments_are_denied() {
    for dialect in ALL {
        all_denied(
            dialect,
            &[
                "select /*! 1 */ 2",
                "select /*!50000 secret.id from secret */",
                "select /*M! 1 */ 2",
                "select /*M!100100 1 */ 2",
                "select /*m! 1 */ 2",
                "select /*+ SET_VAR(sql_mode = '') */ 2",
                "select --+ full\n 2",
                "select '/*!' from review",
                "/*! select */ select 1",
                "select 1 /*!",
            ],
        );
    }
}

/// Attack: every kind of statement that is no query and no change of rows. Denied under either mode.
#[test]
fn other_kinds_of_statements_are_denied() {
    let common = [
        "create table a (b int)",
        "create table a as select * from review",
        "create view a as select * from secret",
        "alter table review add column x int",
        "drop table review",
        "begin",
        "start transaction",
        "commit",
        "rollback",
        "savepoint a",
        "rollback to savepoint a",
        "release savepoint a",
        "explain select 1",
        "explain select * from review",
        "explain analyze delete from review",
        "create index i on review (id)",
        "drop view live",
    ];
    for dialect in ALL {
        all_refused(dialect, &common);
    }
    all_denied(Dialect::Postgres, &common);
    all_refused(Dialect::Sqlite, SQLITE_OTHERS);
    all_refused(Dialect::Postgres, POSTGRES_OTHERS);
    all_refused(Dialect::MariaDb, MARIADB_OTHERS);
}

/// Attack: a change of rows under a grant that reads, WITH clauses included. Denied, with the line that allows it.
#[test]
fn changes_need_a_grant_that_writes() {
    for dialect in ALL {
        all_need_writing(
            dialect,
            &[
                "insert into review (id) values (1)",
                "insert into review select * from live",
                "update review set stars = 1",
                "delete from review",
                "delete from review where id = 1",
            ],
        );
    }
    all_need_writing(
        Dialect::Sqlite,
        &[
            "replace into review (id) values (1)",
            "insert or replace into review (id) values (1)",
        ],
    );
    all_need_writing(Dialect::MariaDb, &["replace into review (id) values (1)"]);
    all_need_writing(
        Dialect::Postgres,
        &[
            "with a as (delete from review returning *) select * from a",
            "with a as (insert into review (id) values (1) returning id) select * from a",
            "with a as (update review set id = 1 returning *) select count(*) from a",
            "with a as (select 1 as id) delete from review using a where review.id = a.id",
        ],
    );
}

/// Attack: locks taken by a query. Denied under a grant that reads.
#[test]
fn locking_reads_need_a_grant_that_writes() {
    for dialect in [Dialect::Postgres, Dialect::MariaDb] {
        all_need_writing(
            dialect,
            &[
                "select * from review for update",
                "select * from review for update nowait",
                "select * from (select * from review for update) as a",
            ],
        );
    }
    for dialect in [Dialect::Postgres, Dialect::MariaDb] {
        let locking = "select * from (select * from review for update) as a";
        assert!(write(dialect, locking).unwrap().locks);
        assert!(!write(dialect, "select * from review").unwrap().locks);
    }
    all_denied(Dialect::Sqlite, &["select * from review for update"]);
    all_need_writing(
        Dialect::Postgres,
        &[
            "select * from review for share",
            "select * from review for update of review skip locked",
        ],
    );
    all_refused(
        Dialect::MariaDb,
        &[
            "select * from review lock in share mode",
            "select * from secret for update",
        ],
    );
}

/// Attack: SELECT INTO a table, a file, a variable. Denied under either mode.
#[test]
fn select_into_is_denied() {
    for dialect in ALL {
        all_refused(
            dialect,
            &[
                "select * into copy from review",
                "select * into temp copy from review",
                "select * from review into outfile '/tmp/x'",
                "select * into outfile '/tmp/x' from review",
                "select 'x' into dumpfile '/tmp/x'",
                "select 1 into @x",
                "select id into @x from review",
            ],
        );
    }
}

/// Attack: functions that read files, reach the network, wait, keep state, or tell about the server. Denied.
#[test]
fn functions_with_a_power_are_denied() {
    let call = |dialect: Dialect, calls: &[&str]| {
        for call in calls {
            all_denied(
                dialect,
                &[
                    &format!("select {call}"),
                    &format!("select * from review where id = {call}"),
                ],
            );
            all_refused(
                dialect,
                &[
                    &format!("select * from {call}"),
                    &format!("select \"{call}"),
                ],
            );
        }
    };
    call(Dialect::Sqlite, SQLITE_CALLS);
    call(Dialect::Postgres, POSTGRES_CALLS);
    call(Dialect::MariaDb, MARIADB_CALLS);
    all_refused(
        Dialect::MariaDb,
        &[
            "select next value for s",
            "select previous value for s",
            "select * from review procedure analyse()",
        ],
    );
    all_denied(
        Dialect::Postgres,
        &[
            "select current_user",
            "select session_user",
            "select current_catalog",
        ],
    );
}

/// Attack: PostgreSQL calls `f(x)` when it reads `(x).f` or `x.f`, past any list of functions. Denied.
#[test]
fn a_dot_does_not_call_a_function() {
    all_denied(
        Dialect::Postgres,
        &[
            "select ('/etc/passwd'::text).pg_read_file",
            "select (1.5::float8).pg_sleep",
            "select (id).pg_sleep from review",
            "select ((id)).pg_sleep from review",
            "select (array[1])[1].pg_sleep",
            "select s.pg_read_file from unnest(array['/etc/passwd']) as s",
            "select s.pg_read_file from unnest(array['/etc/passwd']) as s(x)",
            "select S.PG_READ_FILE from unnest(array['/etc/passwd']) as s(x)",
            "select s.pg_ls_dir from jsonb_array_elements_text('[\"/\"]') as s",
            "select generate_series.pg_sleep from generate_series(1, 2)",
            "select (select s.pg_sleep) from generate_series(1, 2) as s",
            "select * from generate_series(1, 2) as s, lateral (select s.pg_sleep) as t",
            "select s.pg_sleep from generate_series(1, 2) as s, unnest(array[1]) as t(pg_sleep)",
            "select s.pg_sleep from lateral generate_series(1, 2) as s",
        ],
    );
    all_refused(
        Dialect::Postgres,
        &[
            "select (review).* from review",
            "select (review).pg_read_file.* from review",
        ],
    );
    all_allowed(
        Dialect::Postgres,
        &[
            "select s.x, t.t from unnest(array[1]) as s(x), generate_series(1, 2) as t",
            "select generate_series.generate_series from generate_series(1, 2)",
            "select e.key, e.value from review, jsonb_each(review.data) as e",
        ],
    );
}

/// Attack: a table function that is not of the list, or a secret table in the arguments of one that is. Denied.
#[test]
fn a_table_function_reads_only_its_arguments() {
    all_denied(
        Dialect::Sqlite,
        &[
            "select * from json_each((select word from secret))",
            "select * from json_tree('[1]', (select word from secret))",
            "select * from review, json_each(review.data) as e, secret",
            "select * from json_each('[1]') as e join secret on true",
            "select * from generate_series(1, 3)",
            "select * from fts5vocab('a', 'row')",
            "select * from csv('/etc/passwd')",
            "select * from json_table('[]', '$' columns (a int path '$')) as j",
        ],
    );
    all_denied(
        Dialect::Postgres,
        &[
            "select * from jsonb_to_recordset((select word from secret)) as r(a int)",
            "select * from jsonb_to_recordset('[]') as r(a regclass)",
            "select * from jsonb_to_recordset('[]') as r(a secret)",
            "select r.pg_read_file from jsonb_to_recordset('[]') as r(a text)",
            "select * from jsonb_populate_recordset(null::secret, '[]')",
            "select * from pg_ls_dir('/')",
            "select * from pg_logical_slot_get_changes('a', null, null)",
            "select * from dblink('host=x', 'select 1') as r(a int)",
            "select * from ts_stat('select * from secret')",
            "select * from json_table('[]', '$' columns (a int path '$')) as j",
        ],
    );
    all_denied(
        Dialect::MariaDb,
        &[
            "select * from json_table((select word from secret), '$' columns (a int path '$')) as j",
            "select * from json_table('[]', '$' columns (a xml path '$')) as j",
            "select * from json_table('[]', '$' columns (nested path '$' columns (a secret path '$'))) as j",
            "select * from json_table('[]', ? columns (a int path '$')) as j",
            "select * from json_table('[]', '$' columns (a int path '$' default 1 on empty)) as j",
            "select * from json_table('[]', '$' columns (a int path '$')) as j, secret",
            "select * from json_each('[1]')",
            "select * from unnest(1)",
        ],
    );
    all_refused(
        Dialect::MariaDb,
        &["select * from json_table('[]', '\\\\' columns (a int path '$')) as j"],
    );
}

/// Attack: variables of the session. Denied.
#[test]
fn session_variables_are_denied() {
    all_denied(
        Dialect::MariaDb,
        &[
            "select @x",
            "select @x := 1",
            "select @@version",
            "select @@global.datadir",
            "select @@session.sql_mode",
            "select * from review where id = @x",
            "select @`x`",
            "select @'x'",
        ],
    );
    all_refused(Dialect::Sqlite, &["select @x", "select :x", "select $x"]);
    all_refused(
        Dialect::Postgres,
        &["select @x", "select :x", "select $x", "select @@x"],
    );
}

/// Attack: the database's own tables, columns and types. Denied, and said not to be grantable.
#[test]
fn catalogs_are_denied() {
    all_denied(
        Dialect::Sqlite,
        &[
            "select * from sqlite_master",
            "select * from sqlite_schema",
            "select * from SQLITE_MASTER",
            "select * from main.sqlite_master",
            "select * from temp.review",
            "select * from other.review",
            "select * from pragma_table_info('review')",
            "select * from pragma_table_list",
            "select * from json_each",
            "select * from main.json_each('[1]')",
            "select * from dbstat",
        ],
    );
    all_denied(
        Dialect::Postgres,
        &[
            "select * from pg_class",
            "select * from PG_CLASS",
            "select * from pg_catalog.pg_class",
            "select * from \"pg_catalog\".\"pg_class\"",
            "select * from information_schema.tables",
            "select * from pg_temp.review",
            "select * from other.review",
            "select * from db.public.review",
            "select ctid from review",
            "select review.xmin from review",
            "select tableoid from review",
            "select \"tableoid\" from review",
            "select 'secret'::regclass",
            "select cast('secret' as regclass)",
            "select regclass 'secret'",
            "select 'x'::regrole",
            "select 'x'::pg_catalog.text",
            "select 'x'::secret",
            "select null::secret",
            "select 'x'::xml",
            "select array['x']::regclass[]",
            "select 1 operator(pg_catalog.+) 2",
            "select 1 <-> 2",
            "select 1 ### 2",
        ],
    );
    all_denied(
        Dialect::MariaDb,
        &[
            "select * from mysql.user",
            "select * from `mysql`.`user`",
            "select * from MySQL.user",
            "select * from information_schema.tables",
            "select * from INFORMATION_SCHEMA.TABLES",
            "select * from performance_schema.threads",
            "select * from sys.session",
            "select * from other.review",
        ],
    );
    let refusal = read(Dialect::Postgres, "select * from pg_class").unwrap_err();
    assert!(refusal.message.contains("cannot be granted"), "{refusal}");
}
