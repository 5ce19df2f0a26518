//! What administrators and users do all day, over TCP, as the routes' page says.

use serde_json::{Value, json};

use crate::world::{PASSWORD, World};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn somebody_new_is_registered_changes_the_password_and_sees_what_the_role_permits() {
    let world = World::new().await;
    let chief = world.user("chief", "ORG_ADMIN").await;
    let cookie = world.login(&chief).await;
    let free = json!({ "email": "minji@example.com" });
    let asked = world
        .with_cookie(&cookie, "POST", "/v0/users/check-email", free.clone())
        .await;
    assert_eq!(asked.data()["available"], true);
    let body = json!({ "email": "Minji@Example.com", "name": "김민지", "roles": ["GUEST"] });
    let made = world
        .with_cookie(&cookie, "POST", "/v0/auth/register", body.clone())
        .await;
    assert_eq!(made.status, 201, "{made:?}");
    let location = made.header("location").unwrap().to_owned();
    let made = made.data();
    let one_time = made["oneTimePassword"].as_str().unwrap();
    let again = world
        .with_cookie(&cookie, "POST", "/v0/auth/register", body)
        .await;
    assert_eq!((again.status, again.code()), (409, "taken"));
    let asked = world
        .with_cookie(&cookie, "POST", "/v0/users/check-email", free)
        .await;
    assert_eq!(asked.data()["available"], false);
    let shown = world
        .with_cookie(&cookie, "GET", &location, Value::Null)
        .await
        .data();
    assert_eq!(shown["email"], "minji@example.com");
    assert_eq!(shown["roles"], json!(["GUEST"]));
    assert!(!shown.to_string().contains(one_time) && !shown.to_string().contains("argon2"));

    let login = json!({ "email": "minji@example.com", "password": one_time });
    let entered = world.call("POST", "/v0/auth/login", &[], login).await;
    let mine = entered.cookie();
    assert_eq!(entered.data()["mustChangePassword"], true);
    let early = world
        .with_cookie(&mine, "GET", "/v0/workflows", Value::Null)
        .await;
    assert_eq!(
        (early.status, early.code()),
        (403, "auth.password-change-required")
    );
    let change = |old: &str, new: &str| json!({ "oldPassword": old, "newPassword": new });
    let path = "/v0/users/me/password";
    let weak = world
        .with_cookie(&mine, "POST", path, change(one_time, "short"))
        .await;
    assert_eq!(weak.status, 422, "{weak:?}");
    let wrong = world
        .with_cookie(&mine, "POST", path, change("not it at all", PASSWORD))
        .await;
    assert_eq!(wrong.status, 401, "{wrong:?}");
    let changed = world
        .with_cookie(&mine, "POST", path, change(one_time, PASSWORD))
        .await;
    assert_eq!(changed.status, 200, "{changed:?}");
    let rotated = changed.cookie();
    assert_ne!(rotated, mine);
    assert_eq!(
        world
            .with_cookie(&mine, "GET", "/v0/users/me", Value::Null)
            .await
            .status,
        401
    );
    let me = world
        .with_cookie(&rotated, "GET", "/v0/users/me", Value::Null)
        .await
        .data();
    assert_eq!(me["name"], "김민지");
    assert_eq!(
        world
            .with_cookie(&rotated, "GET", "/v0/workflows", Value::Null)
            .await
            .status,
        200
    );
    let held = world
        .with_cookie(&rotated, "GET", "/v0/auth/permissions", Value::Null)
        .await
        .data();
    assert!(
        held["permissions"]
            .as_array()
            .unwrap()
            .contains(&json!("workflows.read"))
    );
    for (method, path) in [
        ("GET", "/v0/users"),
        ("POST", "/v0/workflows/x/run"),
        ("GET", "/v0/secrets"),
    ] {
        let answer = world.with_cookie(&rotated, method, path, Value::Null).await;
        assert_eq!(answer.status, 403, "{method} {path}: {answer:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_role_of_ones_own_permits_exactly_what_it_says_from_the_next_request_on() {
    let world = World::new().await;
    let chief = world.user("chief", "ORG_ADMIN").await;
    let token = world.token(&chief, None).await;
    let call = |method: &'static str, path: String, body: Value| {
        let (world, token) = (&world, &token);
        async move { world.with_token(token, method, &path, body).await }
    };
    let unknown = json!({ "name": "auditor", "permissions": ["audit.reed"] });
    let refused = call("POST", "/v0/roles".into(), unknown).await;
    assert_eq!(refused.status, 422);
    assert!(
        refused.body["message"]
            .as_str()
            .unwrap()
            .contains("audit.reed")
    );
    let body = json!({ "name": "auditor", "description": "reads", "permissions": ["audit.read"] });
    let role = call("POST", "/v0/roles".into(), body).await.data();
    let body = json!({ "email": "jun@example.com", "password": PASSWORD, "roles": ["auditor"] });
    call("POST", "/v0/users".into(), body).await.data();
    let jun = world.login("jun@example.com").await;
    let read = |path: &'static str| {
        let (world, jun) = (&world, &jun);
        async move {
            world
                .with_cookie(jun, "GET", path, Value::Null)
                .await
                .status
        }
    };
    assert_eq!(
        (read("/v0/audit-log").await, read("/v0/users").await),
        (200, 403)
    );
    let path = format!("/v0/roles/{}", role["id"].as_str().unwrap());
    let body = json!({ "name": "auditor", "permissions": ["users.read"] });
    call("PUT", path.clone(), body).await.data();
    assert_eq!(
        (read("/v0/audit-log").await, read("/v0/users").await),
        (403, 200)
    );
    call("DELETE", path, Value::Null).await.data();
    assert_eq!(read("/v0/users").await, 403);
    let system = call("DELETE", "/v0/roles/GUEST".into(), Value::Null).await;
    assert_eq!(system.status, 403, "{system:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lists_come_in_pages_and_departments_and_positions_can_be_chosen() {
    let world = World::new().await;
    let chief = world.user("chief", "ORG_ADMIN").await;
    let token = world.token(&chief, None).await;
    let call = |method: &'static str, path: &'static str, body: Value| {
        let (world, token) = (&world, &token);
        async move { world.with_token(token, method, path, body).await.data() }
    };
    let sales = call("POST", "/v0/departments", json!({ "name": "영업" })).await;
    call("POST", "/v0/positions", json!({ "name": "head" })).await;
    let options = call("GET", "/v0/organizations/root/options", Value::Null).await;
    assert_eq!(options["departments"][0]["name"], "영업");
    assert_eq!(options["positions"][0]["name"], "head");
    assert_eq!(options["roles"].as_array().unwrap().len(), 5);
    let body = json!({ "email": "jun@example.com", "password": PASSWORD, "department": sales["id"], "position": "head" });
    let jun = call("POST", "/v0/users", body).await;
    assert_eq!(jun["departmentId"], sales["id"]);
    let none = call(
        "PATCH",
        "/v0/users/jun@example.com",
        json!({ "department": null, "name": "Jun" }),
    )
    .await;
    assert_eq!(
        (&none["departmentId"], &none["name"]),
        (&Value::Null, &json!("Jun"))
    );
    assert_eq!(
        none["positionId"], jun["positionId"],
        "what is not named stays"
    );
    let page = call("GET", "/v0/users?current=1&pageSize=1&sorters=%5B%7B%22field%22%3A%22email%22%2C%22order%22%3A%22desc%22%7D%5D", Value::Null).await;
    assert_eq!(page["data"][0]["email"], "jun@example.com");
    assert_eq!(
        (&page["total"], &page["totalPages"], &page["hasNext"]),
        (&json!(2), &json!(2), &json!(true))
    );
    let found = call("GET", "/v0/users?search=CHIEF", Value::Null).await;
    assert_eq!(found["total"], 1);
    let log = call(
        "GET",
        "/v0/audit-log?action=department.&limit=10",
        Value::Null,
    )
    .await;
    assert_eq!(log["data"][0]["actor"], "chief@example.com");
    assert_eq!(log["data"][0]["means"], "token");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn secrets_that_are_set_are_in_the_log_by_name_and_never_by_value() {
    let world = World::with(|settings| {
        let folder = settings.paths.state.parent().unwrap().join("key");
        let key = flowweaver::broker::secret::generate_key();
        std::fs::write(&folder, secrecy::ExposeSecret::expose_secret(&key)).unwrap();
        use std::os::unix::fs::PermissionsExt as _;
        std::fs::set_permissions(&folder, std::fs::Permissions::from_mode(0o600)).unwrap();
        settings.secrets.key_file = Some(folder);
    })
    .await;
    let chief = world.user("chief", "ORG_ADMIN").await;
    let token = world.token(&chief, None).await;
    let value = "canary-value-4711";
    let set = world
        .with_token(
            &token,
            "PUT",
            "/v0/secrets/API_KEY",
            json!({ "value": value }),
        )
        .await;
    assert_eq!(set.status, 200, "{set:?}");
    let listed = world
        .with_token(&token, "GET", "/v0/secrets", Value::Null)
        .await
        .data();
    assert!(
        listed["secrets"][0]["updatedBy"]
            .as_str()
            .unwrap()
            .starts_with("token:")
    );
    world
        .with_token(&token, "DELETE", "/v0/secrets/API_KEY", Value::Null)
        .await
        .data();
    let log = world
        .owner("GET", "/v0/audit-log?action=secret.", Value::Null)
        .await
        .data();
    let deeds: Vec<_> = log["data"]
        .as_array()
        .unwrap()
        .iter()
        .map(|row| row["action"].as_str().unwrap())
        .collect();
    assert_eq!(deeds, ["secret.delete", "secret.set"]);
    assert!(!log.to_string().contains(value));
}
