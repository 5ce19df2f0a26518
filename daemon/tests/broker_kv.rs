//! Key-value state and secrets: whose they are, and what is never shown.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::too_many_lines,
    reason = "a panic in a test is the report"
)]

mod broker_world;

use std::collections::BTreeSet;

use broker_world::*;
use flowweaver::broker::identity::AttemptIdentity;
use flowweaver::broker::secret::{SecretSources, Secrets};
use flowweaver::broker::settings::BrokerSettings;
use flowweaver::id::OrganizationId;
use flowweaver::store::Expect;
use flowweaver::workflow::grant::*;

#[tokio::test]
async fn key_value_state_needs_its_grant_and_stays_within_the_workflow() {
    let broker = broker(BrokerSettings::default(), &[]);
    let with = |kv, workflow: &str| {
        let who = AttemptIdentity {
            workflow: workflow.parse().unwrap(),
            ..identity()
        };
        attempt_of(
            &broker,
            who,
            Grants {
                kv,
                ..Grants::default()
            },
        )
    };
    let none = with(KvGrant::None, "a");
    let denied = none.ctx.kv.get("k").await.unwrap_err();
    assert_eq!(denied.code, "kv.denied");
    assert!(denied.message.contains("kv = \"read\""), "{denied}");
    none.recorded("kv.denied");
    let writer = with(KvGrant::ReadWrite, "a");
    assert_eq!(
        writer
            .ctx
            .kv
            .set("k", Expect::Absent, b"1".to_vec(), None)
            .await
            .unwrap(),
        Some(1)
    );
    assert_eq!(
        writer
            .ctx
            .kv
            .set("k", Expect::Absent, b"2".to_vec(), None)
            .await
            .unwrap(),
        None
    );
    writer.calls();
    let reader = with(KvGrant::Read, "a");
    assert_eq!(reader.ctx.kv.get("k").await.unwrap().unwrap().value, b"1");
    let call = reader.recorded("ok");
    assert_eq!(
        (call.kind, call.verb.as_str(), call.target.as_str()),
        ("kv", "get", "k")
    );
    assert_eq!(
        reader.ctx.kv.delete("k").await.unwrap_err().code,
        "kv.denied"
    );
    assert_eq!(
        with(KvGrant::ReadWrite, "b").ctx.kv.get("k").await.unwrap(),
        None
    );
    for key in ["", "a\nb", "a\0", &"x".repeat(513)] {
        assert_eq!(
            writer.ctx.kv.get(key).await.unwrap_err().code,
            "kv.invalid",
            "{key:?}"
        );
    }
    let huge = vec![0; 1024 * 1024 + 1];
    assert_eq!(
        writer
            .ctx
            .kv
            .set("k", Expect::Any, huge, None)
            .await
            .unwrap_err()
            .code,
        "limit.kv-value"
    );
    for limit in [0, 1_001] {
        assert_eq!(
            writer.ctx.kv.keys("", None, limit).await.unwrap_err().code,
            "kv.invalid"
        );
    }
    assert_eq!(writer.ctx.kv.keys("", None, 10).await.unwrap(), ["k"]);
    assert!(writer.ctx.kv.delete("k").await.unwrap());
}

#[test]
fn secrets_come_from_three_places_and_never_print_themselves() {
    let folder = tempfile::tempdir().unwrap();
    let (files, credentials) = (
        folder.path().join("files"),
        folder.path().join("credentials"),
    );
    for directory in [&files, &credentials] {
        std::fs::create_dir(directory).unwrap();
        std::fs::write(directory.join("BOTH"), "geheim-datei\n").unwrap();
    }
    std::fs::write(credentials.join("FROM_SYSTEMD"), "geheim-systemd").unwrap();
    std::fs::write(files.join("not-a-secret-name.txt"), "x").unwrap();
    let other = OrganizationId::generate();
    let secrets = Secrets::load(SecretSources {
        environment: vec![
            ("FLOWWEAVER_SECRET_FROM_ENV".into(), "geheim-env".into()),
            ("HOME".into(), "/".into()),
        ],
        directory: Some(files),
        credentials: Some(credentials),
        organizations: [("FROM_SYSTEMD".parse().unwrap(), BTreeSet::from([other]))].into(),
    })
    .unwrap();
    let names = |organization| {
        secrets
            .names(organization)
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>()
    };
    assert_eq!(names(OrganizationId::ROOT), ["BOTH", "FROM_ENV"]);
    assert_eq!(names(other), ["FROM_SYSTEMD"]);
    let shown = format!("{secrets:?}");
    assert!(
        shown.contains("BOTH") && !shown.contains("geheim"),
        "{shown}"
    );
}
