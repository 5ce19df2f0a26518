//! Every route with every role, in a golden file made from the table of routes.

use std::fmt::Write as _;

use expect_test::expect_file;
use flowweaver::api;
use serde_json::{Value, json};

use crate::world::World;

/// An id that nothing has.
const NOTHING: &str = "01ARZ3NDEKTSV4RRFFQ69G5FAV";

/// Columns of the matrix.
const ROLES: &[&str] = &["GUEST", "USER", "SYSTEM_ADMIN", "ORG_ADMIN", "SUPER_ADMIN"];

/// The routes that answer somebody unknown: whether the daemon lives, and the way in.
const OPEN: &[&str] = &["GET /ping", "GET /healthz", "POST /v0/auth/login"];

/// A route's path with nothing's id in its places.
fn filled(path: &str) -> String {
    let parts = path.split('/').map(|part| match part.starts_with('{') {
        true => NOTHING,
        false => part,
    });
    parts.collect::<Vec<_>>().join("/")
}

fn body(method: &str) -> Value {
    match method {
        "GET" | "DELETE" => Value::Null,
        _ => json!({ "thisFieldIsUnknown": true }),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_route_lets_in_the_roles_of_the_golden_matrix() {
    let world = World::new().await;
    let mut tokens = Vec::new();
    for role in ROLES {
        let email = world.user(&role.to_lowercase(), role).await;
        tokens.push(world.token(&email, None).await);
    }
    let mut text = String::new();
    writeln!(
        text,
        "# x: let in; -: 403. Made by tests/api/matrix.rs from the table of routes."
    )
    .unwrap();
    writeln!(
        text,
        "{:<7} {:<46} {:<24} {}",
        "method",
        "path",
        "permission",
        ROLES.join(" ")
    )
    .unwrap();
    let mut table = api::table();
    table.sort_by_key(|route| (route.path, route.method.to_string()));
    for route in table {
        let (method, path) = (route.method.as_str(), filled(route.path));
        let mut marks = Vec::new();
        for (role, token) in ROLES.iter().zip(&tokens) {
            let answer = world.with_token(token, method, &path, body(method)).await;
            let mark = match answer.status {
                401 => panic!("{method} {path} as {role}: {answer:?}"),
                403 => "-",
                500.. => panic!("{method} {path} as {role}: {answer:?}"),
                _ => "x",
            };
            marks.push(format!("{mark:<width$}", width = role.len()));
        }
        let line = format!(
            "{method:<7} {:<46} {:<24} {}",
            route.path,
            route.permission.to_string(),
            marks.join(" ")
        );
        writeln!(text, "{}", line.trim_end()).unwrap();
    }
    expect_file!["../golden/routes.txt"].assert_eq(&text);
}

/// What [`crate::attacks`] tries without credentials.
pub async fn without_credentials(world: &World) {
    for route in api::table() {
        let (method, path) = (route.method.as_str(), filled(route.path));
        let named = format!("{method} {}", route.path);
        let answer = world.call(method, &path, &[], body(method)).await;
        match OPEN.contains(&named.as_str()) {
            true => assert_ne!(answer.status, 401, "{named}"),
            false => {
                assert_eq!(answer.status, 401, "{named}: {answer:?}");
                assert_eq!(answer.code(), "auth.required", "{named}");
                assert_eq!(answer.body["success"], false, "{named}");
                assert!(answer.header("www-authenticate").is_some(), "{named}");
            }
        }
    }
    let open: Vec<String> = api::table()
        .iter()
        .filter(|route| route.permission.as_str() == "open")
        .map(|route| format!("{} {}", route.method, route.path))
        .collect();
    assert_eq!(open, OPEN);
}
