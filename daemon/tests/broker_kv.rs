//! Key-value state and secrets: whose they are, and what is never shown.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::too_many_lines,
    reason = "a panic in a test is the report"
)]

mod broker_world;

#[path = "broker_kv/attacks.rs"]
mod attacks;
#[path = "broker_kv/keys.rs"]
mod keys;
#[path = "broker_kv/secrets.rs"]
mod secrets;

use std::sync::Arc;
use std::time::Duration;

use broker_world::*;
use flowweaver::broker::Broker;
use flowweaver::broker::http::HttpRequest;
use flowweaver::broker::identity::AttemptIdentity;
use flowweaver::broker::kv::{CALLS_MAX, KvQuota, TTL_MAX};
use flowweaver::broker::secret::Secrets;
use flowweaver::broker::settings::BrokerSettings;
use flowweaver::clock::SystemClock;
use flowweaver::store::{Durability, Expect};
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
    for ttl in [
        Duration::ZERO,
        TTL_MAX + Duration::from_millis(1),
        Duration::from_millis(u64::MAX),
    ] {
        let set = writer.ctx.kv.set("k", Expect::Any, vec![], Some(ttl)).await;
        let refused = set.unwrap_err();
        assert_eq!(refused.code, "kv.invalid");
        assert!(refused.message.contains("36500d"), "{refused}");
    }
    for limit in [0, 1_001] {
        assert_eq!(
            writer.ctx.kv.keys("", None, limit).await.unwrap_err().code,
            "kv.invalid"
        );
    }
    assert_eq!(writer.ctx.kv.keys("", None, 10).await.unwrap(), ["k"]);
    assert!(writer.ctx.kv.delete("k").await.unwrap());
}

#[tokio::test]
async fn a_workflow_fills_its_own_quota_and_nobody_elses() {
    let folder = tempfile::tempdir().unwrap();
    let url = format!("sqlite:{}", folder.path().join("store.db").display());
    let store = flowweaver::store::open(&url, Durability::Full)
        .await
        .unwrap();
    let settings = BrokerSettings {
        kv: KvQuota { keys: 2, bytes: 20 },
        ..BrokerSettings::default()
    };
    let broker = Broker::new(settings, Secrets::default(), store, Arc::new(SystemClock)).unwrap();
    let writer = |workflow: &str| {
        let who = AttemptIdentity {
            workflow: workflow.parse().unwrap(),
            ..identity()
        };
        let grants = Grants {
            kv: KvGrant::ReadWrite,
            ..Grants::default()
        };
        attempt_of(&broker, who, grants)
    };
    let full = writer("full");
    let set = async |attempt: &Attempt, key: &str, length| {
        let set = attempt.ctx.kv.set(key, Expect::Any, vec![7; length], None);
        set.await
    };
    set(&full, "a", 5).await.unwrap();
    set(&full, "b", 5).await.unwrap();
    full.calls();
    let keys = set(&full, "c", 0).await.unwrap_err();
    assert_eq!(
        (keys.code.as_str(), keys.retryable),
        ("limit.kv-keys", false)
    );
    assert!(keys.message.contains("at most 2 keys") && keys.message.contains("kv_keys"));
    full.recorded("limit.kv-keys");
    let bytes = set(&full, "a", 15).await.unwrap_err();
    assert_eq!(bytes.code, "limit.kv-bytes");
    assert!(bytes.message.contains("20 B") && bytes.message.contains("kv_bytes"));
    set(&full, "a", 4).await.unwrap();
    set(&writer("other"), "a", 5).await.unwrap();
    assert!(full.ctx.kv.delete("b").await.unwrap());
    set(&full, "c", 0).await.unwrap();
}

/// Asks for keys without a grant until the answer is `limit.calls`; answers how many were recorded.
async fn fill_the_record(attempt: &Attempt, key: &str) -> usize {
    let mut recorded = 0;
    for _ in 0..100_000 {
        let refusal = attempt.ctx.kv.get(key).await.unwrap_err();
        recorded += attempt.calls().len();
        if refusal.code == "limit.calls" {
            return recorded;
        }
    }
    panic!("calls are refused for ever, and each is recorded");
}

#[tokio::test]
async fn no_call_is_made_without_its_record() {
    let server = server(|_| ok("hello")).await;
    let url = server.url("/feed");
    // Either of the two bounds: how many records, and how many bytes of targets.
    for (key, bound) in [("k".to_owned(), 24_000), ("k".repeat(512), 16_384)] {
        let attempt = attempt(server.reachable(), &[], vec![grant(&url)]);
        let request = || HttpRequest::new("GET".to_owned(), url.clone());
        attempt.ctx.http.send(request()).await.unwrap();
        attempt.recorded("200");
        let before = server.requests().len();
        let recorded = fill_the_record(&attempt, &key).await;
        assert!((bound - 2..=bound).contains(&recorded), "{recorded}");
        // Shorter targets may still have found room.
        fill_the_record(&attempt, "k").await;
        let Err(refused) = attempt.ctx.http.send(request()).await else {
            panic!("a request was made that nobody sees");
        };
        assert_eq!((&*refused.code, refused.retryable), ("limit.calls", false));
        let refused = attempt.ctx.sql.open("shop").err().unwrap();
        assert_eq!(refused.code, "limit.calls");
        assert_eq!(server.requests().len(), before);
        assert_eq!(attempt.calls(), []);
    }
}

#[tokio::test]
async fn calls_for_keys_have_a_limit_that_leaves_room_for_others() {
    let server = server(|_| ok("hello")).await;
    let url = server.url("/feed");
    let grants = Grants {
        kv: KvGrant::Read,
        http: vec![grant(&url)],
        ..Grants::default()
    };
    let attempt = attempt_of(&broker(server.reachable(), &[]), identity(), grants);
    for _ in 0..CALLS_MAX {
        attempt.ctx.kv.get("k").await.unwrap();
    }
    let limit = attempt.ctx.kv.get("k").await.unwrap_err();
    assert_eq!(limit.code, "limit.kv-calls");
    let request = HttpRequest::new("GET".to_owned(), url);
    attempt.ctx.http.send(request).await.unwrap();
}

#[tokio::test]
async fn a_long_target_is_cut_in_the_record() {
    let attempt = attempt(BrokerSettings::default(), &[], Vec::new());
    let url = format!("https://a.example/{}", "a".repeat(5_000));
    let denied = attempt
        .ctx
        .http
        .send(HttpRequest::new("GET".to_owned(), url.clone()))
        .await;
    assert_eq!(denied.err().unwrap().code, "http.denied");
    let target = attempt.recorded("http.denied").target;
    assert_eq!(target, format!("{}…", &url[..1024]));
}
