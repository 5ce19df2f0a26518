//! `polyglot/python/review_digest.py`.

use serde_json::json;

use super::rig::{Rig, failure, output};
use super::{flow, log, module, rig, tries};

const MODULE: &str = "review-digest-python";

/// A daemon with a database of reviews, and one that nobody was granted.
fn world() -> Option<Rig> {
    let mut rig = rig(&[MODULE])?;
    for name in ["blog", "payroll"] {
        let file = rig.path(&format!("{name}.db"));
        let database = rusqlite::Connection::open(&file).unwrap();
        database
            .execute_batch(
                "create table product_review (review_id integer primary key, product text not null, rating integer not null);\n\
                 insert into product_review (product, rating) values ('lamp', 5), ('책상', 2), ('lamp', 2);",
            )
            .unwrap();
        rig.settings(&format!(
            "\n[databases.{name}]\nurl = \"sqlite:{}\"\n",
            file.display()
        ));
    }
    let sql = "[[job.task.sql]]\ndatabase = \"blog\"\ntables = [\"product_review\"]\n";
    rig.write(
        "flows/digest.toml",
        flow(
            "digest",
            MODULE,
            &["database"],
            &format!("kv = \"read-write\"\n{sql}"),
        ),
    );
    rig.write(
        "flows/forgetful.toml",
        flow(
            "forgetful",
            MODULE,
            &["database"],
            &format!("kv = \"read\"\n{sql}"),
        ),
    );
    rig.start();
    Some(rig)
}

fn insert(rig: &Rig, product: &str, rating: i64) {
    rusqlite::Connection::open(rig.path("blog.db"))
        .unwrap()
        .execute(
            "insert into product_review (product, rating) values (?, ?)",
            (product, rating),
        )
        .unwrap();
}

#[test]
fn a_python_task_is_denied_another_database_and_a_write_that_was_not_granted() {
    let Some(rig) = world() else { return };
    let run = rig.run("digest", &["database=payroll"]);
    let denied = failure(&run, "it");
    assert_eq!(denied["code"], "sql.denied", "{denied:#}");
    assert_eq!(tries(&run), 1);
    let run = rig.run("forgetful", &["database=blog"]);
    let denied = failure(&run, "it");
    assert_eq!(denied["code"], "kv.denied", "{denied:#}");
    assert!(
        denied["message"]
            .as_str()
            .unwrap()
            .contains("workflow `forgetful`"),
        "{denied:#}"
    );
}

#[test]
fn a_python_tasks_error_record_is_the_runs_failure() {
    let Some(rig) = world() else { return };
    let run = rig.run("digest", &["database="]);
    let invalid = failure(&run, "it");
    assert_eq!(invalid["code"], "input.invalid", "{invalid:#}");
    assert_eq!(invalid["details"], json!({ "field": "database" }));
    assert_eq!(invalid["retryable"], false);
    assert_eq!(tries(&run), 1);
}

#[test]
fn a_python_task_reads_the_database_and_remembers_how_far_it_came() {
    let Some(rig) = world() else { return };
    let run = rig.run("digest", &["database=blog"]);
    assert_eq!(run["status"], "succeeded", "{run:#}");
    let expected = json!({
        "read": 3, "after": 0, "upto": 3,
        "products": [
            { "product": "lamp", "reviews": 2, "mean": 3.5, "median": 3.5 },
            { "product": "책상", "reviews": 1, "mean": 2.0, "median": 2 },
        ],
    });
    assert_eq!(*output(&run, "it"), expected);
    insert(&rig, "chair", 4);
    let run = rig.run("digest", &["database=blog"]);
    let digest = output(&run, "it");
    assert_eq!(
        (&digest["after"], &digest["upto"]),
        (&json!(3), &json!(4)),
        "{digest:#}"
    );
    assert_eq!(digest["products"][0]["product"], "chair");
    let rows = log(&rig, &run);
    assert!(
        rows.iter()
            .any(|row| row["message"] == "the digest is made" && row["fields"]["reviews"] == "1"),
        "{rows:#?}"
    );
}

#[test]
fn what_a_python_task_says_of_itself_is_shown_and_checked() {
    let Some(rig) = world() else { return };
    let shown = module(&rig, MODULE);
    let description = &shown["description"];
    assert_eq!(description["name"], "review-digest", "{shown:#}");
    assert_eq!(description["requires"], json!(["sql", "kv"]));
    assert_eq!(
        description["output"]["properties"]["read"]["type"],
        "integer"
    );
    rig.write("wrong.toml", flow("wrong", MODULE, &["databse"], ""));
    let output = rig.cli(&["check", rig.path("wrong.toml").to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(1));
    let said =
        String::from_utf8(output.stderr).unwrap() + std::str::from_utf8(&output.stdout).unwrap();
    assert!(
        said.contains("databse") && said.contains("kv") && said.contains("sql"),
        "{said}"
    );
}
