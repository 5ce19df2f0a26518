//! Workflows between real servers: a report out of PostgreSQL, a copy from MariaDB into PostgreSQL. Each test has databases
//! of its own, which go with it.

use serde_json::{Value, json};
use sqlx::{
    AssertSqlSafe, ConnectOptions as _, Connection as _, MySqlConnection, PgConnection, Row as _,
};
use tokio::runtime::Runtime;

use super::rig::{Rig, failure, output, root, task};
use super::world::World;

const POSTGRES: &str = "postgres://postgres@127.0.0.1:5432/postgres";
const MARIADB: &str = "mysql://root@127.0.0.1:3306/mysql";

/// As the demo world's webhook sink has it by default.
const WEBHOOK_SECRET: &str = "whsec_ZGVtby13b3JsZC13ZWJob29rLXNlY3JldC0wMDAx";

#[derive(Clone, Copy, PartialEq)]
pub enum Kind {
    Postgres,
    Mariadb,
}

/// A database of the test's own.
pub struct Database {
    runtime: Runtime,
    kind: Kind,
    server: String,
    name: String,
}

impl Database {
    /// Makes one with these tables and rows. None where no server answers, said in the output.
    pub fn make(kind: Kind, statements: &[&str]) -> Option<Self> {
        let (variable, usual) = match kind {
            Kind::Postgres => ("FLOWWEAVER_TEST_POSTGRES", POSTGRES),
            Kind::Mariadb => ("FLOWWEAVER_TEST_MARIADB", MARIADB),
        };
        let database = Self {
            runtime: Runtime::new().unwrap(),
            kind,
            server: std::env::var(variable).unwrap_or_else(|_| usual.to_owned()),
            // The id keeps tests apart that run at the same time; lower case needs no quotes.
            name: format!("flowweaver_{}", flowweaver::id::RunId::generate()).to_lowercase(),
        };
        if let Err(error) = database.try_run(
            &database.server,
            &[&format!("create database {}", database.name)],
        ) {
            println!("skipped: no server answers at {}: {error}", database.server);
            return None;
        }
        database.run(statements);
        Some(database)
    }

    /// The address of this database for the daemon.
    pub fn url(&self) -> String {
        let mut url: url::Url = self.server.parse().unwrap();
        url.set_path(&self.name);
        url.into()
    }

    fn run(&self, statements: &[&str]) {
        self.try_run(&self.url(), statements).unwrap();
    }

    fn try_run(&self, url: &str, statements: &[&str]) -> Result<(), sqlx::Error> {
        let statements: Vec<_> = statements
            .iter()
            .map(|text| AssertSqlSafe((*text).to_owned()))
            .collect();
        self.runtime.block_on(async {
            match self.kind {
                Kind::Postgres => {
                    let mut connection = PgConnection::connect(url).await?;
                    for statement in statements {
                        sqlx::raw_sql(statement).execute(&mut connection).await?;
                    }
                    connection.close().await
                }
                Kind::Mariadb => {
                    let options: sqlx::mysql::MySqlConnectOptions = url.parse()?;
                    let mut connection: MySqlConnection = options.connect().await?;
                    for statement in statements {
                        sqlx::raw_sql(statement).execute(&mut connection).await?;
                    }
                    connection.close().await
                }
            }
        })
    }

    /// The first column of every row, as text (PostgreSQL only: it is where copies end up).
    fn lines(&self, query: &str) -> Vec<String> {
        let query = AssertSqlSafe(query.to_owned());
        self.runtime.block_on(async {
            let mut connection = PgConnection::connect(&self.url()).await.unwrap();
            let rows = sqlx::query(query).fetch_all(&mut connection).await.unwrap();
            connection.close().await.unwrap();
            rows.iter().map(|row| row.get(0)).collect()
        })
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        let force = if self.kind == Kind::Postgres {
            " with (force)"
        } else {
            ""
        };
        let statement = format!("drop database if exists {}{force}", self.name);
        let dropped = self.try_run(&self.server.clone(), &[&statement]);
        if let Err(error) = dropped {
            println!("the database {} is left behind: {error}", self.name);
        }
    }
}

/// A rig with one example workflow and its modules. None where the modules are not built.
fn rig_with(flow: &str, modules: &[&str], databases: &str) -> Option<(Rig, World)> {
    let world = World::start();
    let mut rig = Rig::new();
    for module in modules {
        let built = root().join(format!("tasks/{module}.wasm"));
        if !built.exists() {
            println!("skipped: tasks/{module}.wasm is not built; `make tasks` builds it");
            return None;
        }
        std::fs::copy(built, rig.path(&format!("tasks/{module}.wasm"))).unwrap();
    }
    let text = std::fs::read_to_string(root().join(format!("flows/{flow}.toml"))).unwrap();
    rig.write(
        &format!("flows/{flow}.toml"),
        text.replace("delay = \"1s\"", "delay = \"10ms\""),
    );
    rig.settings(&format!(
        "\n[network]\nallow = [\"{}\"]\n{databases}",
        world.address()
    ));
    rig.environment("FLOWWEAVER_SECRET_WEBHOOK", WEBHOOK_SECRET);
    Some((rig, world))
}

#[test]
fn sql_report_posts_what_the_granted_tables_say_of_the_last_days() {
    let Some(shop) = Database::make(
        Kind::Postgres,
        &[
            "create table product (product_id bigint primary key, title text not null)",
            "create table sale (sale_id bigint primary key, product_id bigint not null, amount numeric(12, 2) not null, sold_at timestamptz not null)",
            "insert into product values (1, '등산 스틱'), (2, '컵'), (3, 'never sold')",
            "insert into sale values (1, 1, 12000.50, now()), (2, 1, 12000.50, now() - interval '2 days'), \
             (3, 2, 3000, now() - interval '6 days'), (4, 2, 99999, now() - interval '8 days')",
        ],
    ) else {
        return;
    };
    let modules = ["sql-query", "json-transform", "notify-webhook"];
    let databases = format!(
        "\n[databases.shop]\nurl = \"{}\"\ntables = [\"sale\", \"product\"]\n",
        shop.url()
    );
    let Some((mut rig, world)) = rig_with("sql-report", &modules, &databases) else {
        return;
    };
    rig.settings(&format!(
        "\n[workflows.sql-report.vars]\nhook_url = \"{}/blog/hook\"\n",
        world.base()
    ));
    rig.start();
    let run = rig.run("sql-report", &[]);
    assert_eq!(run["status"], "succeeded", "{run:#}");
    let posts = world.posts();
    assert_eq!(posts.len(), 1, "{posts:#?}");
    assert_eq!(posts[0]["title"], "Sales of the last 7 days");
    assert_eq!(
        posts[0]["content"],
        "등산 스틱: 24001.00 (2)\n컵: 3000.00 (1)"
    );
    let run = rig.run("sql-report", &["days=1"]);
    assert_eq!(
        output(&run, "sales")["rows"],
        json!([{ "title": "등산 스틱", "orders": 1, "amount": "12000.50" }])
    );
}

/// What the warehouse holds, one line an order.
fn facts(warehouse: &Database) -> Vec<String> {
    warehouse.lines(
        "select order_id || ' ' || customer || ' ' || amount || ' ' || (detail->>'items') || ' ' || ordered_at || ' ' || ordered_on \
         from fact_order order by order_id",
    )
}

/// Three orders of two days, and a warehouse that holds something of the day before and of the day.
fn orders_and_warehouse() -> Option<(Database, Database)> {
    let orders = Database::make(
        Kind::Mariadb,
        &[
            "create table purchase (order_id bigint primary key, customer varchar(40) not null, amount decimal(12, 2) not null, \
             detail json not null, ordered_at datetime not null, ordered_on date not null) character set utf8mb4",
            "insert into purchase values (1, 'KIM', 12000.50, '{\"items\": 2}', '2026-11-22 09:30:00', '2026-11-22'), \
             (2, 'Lee\\'; drop table fact_order; --', 0.10, '{\"items\": 1}', '2026-11-22 23:59:59', '2026-11-22'), \
             (3, 'PARK', 5, '{\"items\": 9}', '2026-11-23 00:00:00', '2026-11-23')",
        ],
    )?;
    let warehouse = Database::make(
        Kind::Postgres,
        &[
            "create table fact_order (order_id bigint primary key, customer text not null, amount numeric(12, 2) not null check (amount >= 0), \
             detail jsonb not null, ordered_at timestamp not null, ordered_on date not null)",
            "insert into fact_order values (7, 'kept', 1, '{\"items\": 1}', '2026-11-21 10:00:00', '2026-11-21'), \
             (8, 'stale', 1, '{\"items\": 1}', '2026-11-22 10:00:00', '2026-11-22')",
        ],
    )?;
    Some((orders, warehouse))
}

#[test]
fn etl_copies_a_day_in_one_transaction_and_a_repetition_changes_nothing() {
    let Some((orders, warehouse)) = orders_and_warehouse() else {
        return;
    };
    let databases = |mode: &str| {
        format!(
            "\n[databases.orders]\nurl = \"{}\"\ntables = [\"purchase\"]\n\n\
             [databases.warehouse]\nurl = \"{}\"\nmode = \"{mode}\"\ntables = [\"fact_order\"]\n",
            orders.url(),
            warehouse.url()
        )
    };
    let modules = ["sql-query", "json-transform"];
    let Some((mut rig, _world)) = rig_with("etl", &modules, &databases("read")) else {
        return;
    };
    let refused = rig.cli(&["check"]);
    assert!(!refused.status.success());
    let said = String::from_utf8_lossy(&refused.stdout).into_owned();
    assert!(
        said.contains("database `warehouse` may only be read"),
        "{said}"
    );
    rig.edit_settings(|text| text.replace(&databases("read"), &databases("read-write")));
    rig.start();

    let before = facts(&warehouse);
    orders.run(&["insert into purchase values (4, 'BAD', -1, '{\"items\": 1}', '2026-11-22 12:00:00', '2026-11-22')"]);
    let run = rig.run("etl", &["day=2026-11-22"]);
    assert_eq!(run["status"], "failed", "{run:#}");
    assert_eq!(failure(&run, "load")["code"], "sql.23514", "{run:#}");
    assert_eq!(
        facts(&warehouse),
        before,
        "the deletion was rolled back as well"
    );

    orders.run(&["delete from purchase where order_id = 4"]);
    for time in ["first", "again"] {
        let run = rig.run("etl", &["day=2026-11-22"]);
        assert_eq!(run["status"], "succeeded", "{time}: {run:#}");
        let answers: &Value = &output(&run, "load")["results"];
        assert_eq!(
            answers[2]["row"],
            json!({ "orders": 2, "amount": "12000.60" }),
            "{time}"
        );
        assert_eq!(task(&run, "load")["attempts"].as_array().unwrap().len(), 1);
        assert_eq!(
            facts(&warehouse),
            [
                "1 kim 12000.50 2 2026-11-22 09:30:00 2026-11-22",
                "2 lee'; drop table fact_order; -- 0.10 1 2026-11-22 23:59:59 2026-11-22",
                "7 kept 1.00 1 2026-11-21 10:00:00 2026-11-21",
            ],
            "{time}"
        );
    }
}

/// A workflow of one task that orders something, once.
const ORDER: &str = r#"flowweaver = 1
name = "order"

[[job]]
name = "only"

[[job.task]]
name = "place"
uses = "sql-query"

[job.task.with]
database = "shop"
statement = "insert into purchase (note) select repeat('x', 2000) returning purchase_id, note"
mode = "one"
once = true

[[job.task.sql]]
database = "shop"
mode = "read-write"
tables = ["purchase", "flowweaver_once"]
"#;

#[test]
fn what_sql_query_does_once_is_done_once_whatever_happens_after_it_and_whoever_reruns_it() {
    let Some(shop) = Database::make(
        Kind::Postgres,
        &[
            "create table purchase (purchase_id bigint generated always as identity primary key, note text not null)",
            "create table flowweaver_once (idempotency_key text not null, effect text not null, result text, \
             done_at timestamptz not null default now(), primary key (idempotency_key, effect))",
        ],
    ) else {
        return;
    };
    let databases = format!(
        "\n[databases.shop]\nurl = \"{}\"\nmode = \"read-write\"\n",
        shop.url()
    );
    let Some((mut rig, _world)) = rig_with("etl", &["sql-query", "json-transform"], &databases)
    else {
        return;
    };
    std::fs::remove_file(rig.path("flows/etl.toml")).unwrap();
    rig.write("flows/order.toml", ORDER);
    let small = "\n[limits]\noutput = \"1 KiB\"\n";
    rig.settings(small);
    rig.start();
    let purchases = || shop.lines("select purchase_id::text from purchase order by purchase_id");

    // The attempt fails after its change is durable: what it answers is larger than an output may be.
    let failed = rig.run("order", &[]);
    assert_eq!(
        failure(&failed, "place")["code"],
        "limit.output",
        "{failed:#}"
    );
    assert_eq!(purchases(), ["1"]);

    rig.stop();
    rig.edit_settings(|text| text.replace(small, ""));
    rig.start();
    rig.newer_is_live("order", &failed["version"]);
    let id = failed["id"].as_str().unwrap();
    let again = rig.rerun(id, &["--newest"]);
    assert_eq!(again["status"], "succeeded", "{again:#}");
    assert_eq!(output(&again, "place")["already_done"], true);
    assert_eq!(output(&again, "place")["row"]["purchase_id"], 1);
    let from_it = rig.rerun(again["id"].as_str().unwrap(), &["--from", "place"]);
    assert_eq!(
        output(&from_it, "place")["already_done"],
        true,
        "{from_it:#}"
    );
    assert_eq!(purchases(), ["1"]);

    // Another run is another order.
    let other = rig.run("order", &[]);
    assert_eq!(output(&other, "place")["already_done"], false, "{other:#}");
    assert_eq!(purchases(), ["1", "2"]);
}
