//! The session by itself: what the database refuses of statements that no policy has seen, and what
//! it lets a granted table's triggers, keys and checks do.

use std::collections::BTreeSet;
use std::time::Duration;

use tokio::sync::{Semaphore, oneshot};

use super::super::policy::{Allowed, Dialect};
use super::super::session::{Line, Order, Permit, TimeLimit};
use super::*;
use crate::workflow::grant::SqlMode;

/// A database file and the tables that are granted in it.
struct World {
    _folder: tempfile::TempDir,
    path: Arc<Path>,
    owner: Connection,
    runtime: tokio::runtime::Runtime,
}

fn world(schema: &str) -> World {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.db");
    let owner = Connection::open(&path).unwrap();
    owner.execute_batch(schema).unwrap();
    World {
        _folder: folder,
        path: path.into(),
        owner,
        runtime: tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .unwrap(),
    }
}

impl World {
    fn line(&self, mode: SqlMode, tables: &[&str]) -> Line {
        let place = || Arc::new(Semaphore::new(1)).try_acquire_owned().unwrap();
        let (line, session) = Line::new(Order {
            allowed: Allowed {
                dialect: Dialect::Sqlite,
                mode,
                tables: tables.iter().map(|table| (*table).to_owned()).collect(),
            },
            limits: SqlLimits::default(),
            time: TimeLimit {
                database: "blog".parse().unwrap(),
                most: Duration::from_secs(5),
            },
            transaction: false,
            writes: mode == SqlMode::ReadWrite,
            permit: Permit {
                of_attempt: place(),
                of_database: place(),
            },
        });
        spawn(session, self.path.clone(), self.runtime.handle());
        line
    }

    /// What the database answers to a query that no policy has seen.
    fn query(&self, mode: SqlMode, tables: &[&str], statement: &str) -> Result<usize, String> {
        let mut line = self.line(mode, tables);
        self.runtime.block_on(async {
            line.opened().await.unwrap();
            let (rows, mut messages) = mpsc::channel(1);
            let command = Command::Query {
                decided: unseen(statement),
                parameters: Vec::new(),
                rows,
            };
            line.send(command).await.unwrap();
            let mut count = 0;
            while let Some(message) = messages.recv().await {
                match message {
                    Message::Columns(_) => {}
                    Message::Rows(rows, _) => count += rows.len(),
                    Message::Failed(refusal) => return Err(refusal.code),
                }
            }
            line.finish();
            Ok(count)
        })
    }

    /// The same for a change.
    fn change(&self, mode: SqlMode, tables: &[&str], statement: &str) -> Result<u64, String> {
        let mut line = self.line(mode, tables);
        self.runtime.block_on(async {
            line.opened().await.unwrap();
            let command = |counts: oneshot::Sender<_>| Command::Change {
                decided: unseen(statement),
                batch: vec![Vec::new()],
                counts,
            };
            let counts = line.ask(command).await;
            line.finish();
            let counts: Vec<u64> = counts.map_err(|refusal| refusal.code)?;
            Ok(counts[0])
        })
    }

    fn count(&self, table: &str) -> i64 {
        let statement = format!("select count(*) from {table}");
        self.owner
            .query_row(&statement, [], |row| row.get(0))
            .unwrap()
    }
}

/// A statement for which the policy would have been wrong in every way.
fn unseen(statement: &str) -> Decided {
    Decided {
        text: statement.to_owned(),
        verb: "select",
        returns_rows: true,
        changes: true,
        locks: false,
        ctes: BTreeSet::new(),
        parameters: 0,
    }
}

const OPEN_AND_SECRET: &str =
    "create table open_table (a); insert into open_table values (1); create table secret (word);
     insert into secret values ('x'); create view good as select upper(word) from secret;
     create view bad as select * from nowhere;";

/// Nobody may run these, whatever was granted.
const NEVER: &[&str] = &[
    "select * from secret",
    "select count(*) from secret",
    "select 1 from secret",
    "select * from (select * from secret) as good",
    "select word from secret as good",
    "select * from open_table where exists (select * from secret)",
    "select * from sqlite_schema",
    "select * from pragma_table_info('secret')",
    "select load_extension('x')",
    "select sqlite_version()",
    "pragma table_list",
    "pragma query_only = 0",
    "pragma journal_mode = delete",
    "pragma writable_schema = 1",
    "attach 'x' as y",
    "detach main",
    "vacuum into 'x'",
    "create temp table t (a)",
    "create table t (a)",
    "create trigger t after insert on open_table begin select 1; end",
    "create view v as select * from secret",
    "alter table open_table add b",
    "drop table open_table",
    "create index i on open_table (a)",
    "analyze",
    "begin",
    "commit",
    "rollback",
    "savepoint a",
    "release part",
    "explain select * from secret",
    "insert into secret values ('y')",
    "insert into open_table select word from secret",
    "update secret set word = 'y'",
    "update open_table set a = (select word from secret)",
    "update open_table set a = word from secret",
    "delete from secret",
    "delete from open_table where a in (select word from secret)",
    "insert into open_table values (2) returning (select word from secret)",
    "insert into good values ('y')",
];

#[test]
fn a_reading_session_itself_refuses_what_the_policy_would_have_let_through() {
    let world = world(OPEN_AND_SECRET);
    let tables = ["open_table", "good", "bad"];
    let changes = [
        "insert into open_table values (2)",
        "delete from open_table",
        "update open_table set a = 2",
        "insert into open_table values (2) returning a",
    ];
    for statement in NEVER.iter().chain(&changes) {
        let code = world.query(SqlMode::Read, &tables, statement).unwrap_err();
        assert_eq!(code, "sql.denied", "{statement}");
    }
    assert_eq!(
        world.query(SqlMode::Read, &tables, "select a, count(*) from open_table"),
        Ok(1)
    );
    let good = "select * from good";
    assert_eq!(world.query(SqlMode::Read, &["good"], good), Ok(1));
    assert_eq!(
        world.query(SqlMode::Read, &["open_table"], good),
        Err("sql.denied".to_owned())
    );
    assert_eq!(world.count("open_table"), 1);
}

#[test]
fn a_writing_session_changes_granted_tables_and_nothing_else() {
    let world = world(OPEN_AND_SECRET);
    let tables = ["open_table", "good", "bad"];
    for statement in NEVER {
        // A view without a trigger, and a vacuum within a transaction, have the general error.
        let code = world
            .change(SqlMode::ReadWrite, &tables, statement)
            .unwrap_err();
        assert!(
            ["sql.denied", "sql.invalid", "sql.1"].contains(&&*code),
            "{statement}: {code}"
        );
        let code = world
            .query(SqlMode::ReadWrite, &tables, statement)
            .unwrap_err();
        assert!(
            ["sql.denied", "sql.invalid", "sql.1"].contains(&&*code),
            "{statement}: {code}"
        );
    }
    assert_eq!((world.count("open_table"), world.count("secret")), (1, 1));
    for (statement, changed, left) in [
        ("insert into open_table values (2), (3)", 2, 3),
        ("update open_table set a = a + 1 where a > 1", 2, 3),
        ("insert into open_table select a from open_table", 3, 6),
        (
            "with few as (select 4) insert into open_table select * from few",
            1,
            7,
        ),
        ("delete from open_table where a > 2", 5, 2),
        ("delete from open_table", 2, 0),
    ] {
        let done = world.change(SqlMode::ReadWrite, &tables, statement);
        assert_eq!(
            (done, world.count("open_table")),
            (Ok(changed), left),
            "{statement}"
        );
    }
    let returning = "insert into open_table values (8) returning a, upper('x')";
    assert_eq!(world.query(SqlMode::ReadWrite, &tables, returning), Ok(1));
    assert_eq!(world.count("open_table"), 1);
}

#[test]
fn the_rows_of_a_listed_function_can_be_read_and_a_table_of_its_name_cannot() {
    let world_with = |more: &str| world(&format!("{OPEN_AND_SECRET}{more}"));
    let free = world_with("");
    let read =
        |world: &World, statement: &str| world.query(SqlMode::Read, &["open_table"], statement);
    let each = "select e.value, e.rowid from open_table, json_each('[1, 2]') as e";
    assert_eq!(read(&free, each), Ok(2));
    assert_eq!(read(&free, "select count(*) from json_tree('{}')"), Ok(1));
    let hidden = "select * from json_each((select word from secret))";
    assert_eq!(read(&free, hidden), Err("sql.denied".to_owned()));
    assert_eq!(
        read(&free, "select * from pragma_table_list()"),
        Err("sql.denied".to_owned())
    );
    for taken in [
        "create table JSON_EACH (a)",
        "create view json_each as select word from secret",
    ] {
        let taken = world_with(&format!("{taken};"));
        let refused = read(&taken, "select * from json_each");
        assert_eq!(refused, Err("sql.denied".to_owned()));
    }
}

/// What the owner attached to a table is granted with the table, and only through it.
#[test]
fn triggers_keys_checks_and_defaults_of_a_granted_table_do_their_work() {
    let world = world(
        "create table audit (note);
         create table parent (id integer primary key, name text default (randomblob(1)));
         create table child (id integer primary key autoincrement, parent_id references parent (id) on delete cascade,
                             size check (typeof(size) in ('integer', 'null')));
         create trigger noted after insert on child begin
             insert into audit select 'new ' || name from parent where id = new.parent_id;
         end;
         create view listed as select id, name from parent;
         create trigger renamed instead of update on listed begin
             update parent set name = new.name where id = new.id;
         end;
         insert into parent values (1, 'one'), (2, 'two');",
    );
    let change =
        |tables: &[&str], statement: &str| world.change(SqlMode::ReadWrite, tables, statement);
    for statement in [
        "insert into audit values ('forged')",
        "delete from audit",
        "select * from parent",
        "delete from parent",
        "update parent set name = 'x'",
        "with noted as (select name from parent) insert into child (size) select 1 from noted",
    ] {
        let code = change(&["child"], statement).unwrap_err();
        assert_eq!(code, "sql.denied", "{statement}");
    }
    assert_eq!(
        change(
            &["child"],
            "insert into child (parent_id, size) values (1, 5), (2, null)"
        ),
        Ok(2)
    );
    assert_eq!(world.count("audit where note in ('new one', 'new two')"), 2);
    assert_eq!(
        change(&["child"], "insert into child (parent_id) values (9)"),
        Err("sql.787".to_owned())
    );
    assert_eq!(
        change(&["child"], "insert into child (size) values ('x')"),
        Err("sql.275".to_owned())
    );
    assert_eq!(
        change(
            &["child"],
            "insert into child (id, size) values (1, 7) on conflict (id) do update set size = excluded.size"
        ),
        Ok(1)
    );
    assert_eq!(world.count("child where id = 1 and size = 7"), 1);
    assert_eq!(
        change(&["listed"], "update listed set name = 'uno' where id = 1"),
        Ok(0)
    );
    assert_eq!(world.count("parent where name = 'uno'"), 1);
    assert_eq!(
        change(&["parent"], "insert into parent (id) values (3)"),
        Ok(1)
    );
    assert_eq!(
        change(&["parent"], "delete from parent where id = 2"),
        Ok(1)
    );
    assert_eq!(world.count("child"), 1, "the cascade reached it");
    assert_eq!(
        change(&["parent"], "delete from child").unwrap_err(),
        "sql.denied"
    );
}
