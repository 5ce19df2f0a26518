//! The operator's limits for hosts, shared by everything that runs.

use std::time::{Duration, Instant};

use super::*;
use flowweaver::broker::http::{HostLimit, Rate};
use flowweaver::broker::settings::BrokerSettings;
use flowweaver::workflow::grant::*;

fn limited(server: &Server, rate: Option<Rate>, concurrent: Option<u32>) -> BrokerSettings {
    let mut settings = server.reachable();
    settings.host_limits = vec![HostLimit {
        host: HostPattern::Exact(server.address.ip().to_string()),
        rate,
        concurrent,
    }];
    settings
}

#[tokio::test]
async fn a_rate_is_shared_by_all_workflows_and_a_turn_out_of_reach_is_refused_with_its_time() {
    let server = server(|_| ok("a")).await;
    let rate = Rate {
        calls: 1,
        per: Duration::from_secs(3_600),
        burst: 2,
    };
    let broker = broker(limited(&server, Some(rate), None), &[]);
    let grants = || Grants {
        http: vec![grant(&server.url("/*"))],
        ..Grants::default()
    };
    let other = flowweaver::broker::identity::AttemptIdentity {
        workflow: "another".parse().unwrap(),
        ..identity()
    };
    let (one, two) = (
        attempt_of(&broker, identity(), grants()),
        attempt_of(&broker, other, grants()),
    );
    assert_eq!(code_of(&one, get(server.url("/"))).await, "200");
    assert_eq!(code_of(&two, get(server.url("/"))).await, "200");
    one.calls();
    let refusal = refusal_of(&one, get(server.url("/"))).await;
    assert_eq!(
        (refusal.code.as_str(), refusal.retryable),
        ("http.rate-limited", true)
    );
    let wait = refusal.retry_after_ms.unwrap();
    assert!((3_500_000..=3_600_000).contains(&wait), "{wait}");
    one.recorded("http.rate-limited");
    assert_eq!(server.requests().len(), 2);
}

#[tokio::test]
async fn requests_wait_for_their_turn_and_all_get_one() {
    let server = server(|_| ok("a")).await;
    let rate = Rate {
        calls: 20,
        per: Duration::from_secs(1),
        burst: 1,
    };
    let grants = vec![grant(&server.url("/*"))];
    let attempt = attempt(limited(&server, Some(rate), None), &[], grants);
    let began = Instant::now();
    let mut under_way: Vec<_> = (0..5)
        .map(|_| attempt.ctx.http.start(get(server.url("/"))).unwrap())
        .collect();
    for exchange in &mut under_way {
        assert_eq!(exchange.response().await.unwrap().status(), 200);
    }
    // Four spaces of 50 ms lie between five turns.
    assert!(
        began.elapsed() >= Duration::from_millis(200),
        "{:?}",
        began.elapsed()
    );
}

#[tokio::test]
async fn a_redirect_waits_for_a_turn_of_its_own_and_cancel_ends_the_wait() {
    let server = server(|_| redirects::redirect(302, "/again")).await;
    let rate = Rate {
        calls: 1,
        per: Duration::from_secs(20),
        burst: 1,
    };
    let grants = vec![grant(&server.url("/*"))];
    let attempt = attempt(limited(&server, Some(rate), None), &[], grants);
    let mut exchange = attempt.ctx.http.start(get(server.url("/"))).unwrap();
    // The first hop is recorded when the second begins to wait.
    attempt.journal.written().await;
    attempt.cancel.cancel();
    assert_eq!(exchange.response().await.err().unwrap().code, "cancelled");
    assert_eq!(outcomes(&attempt), ["302", "cancelled"]);
    assert_eq!(server.requests().len(), 1);
}

#[tokio::test]
async fn a_place_at_a_host_is_free_again_when_the_answer_was_read_or_dropped() {
    let server = server(|_| ok("0123456789")).await;
    let grants = vec![grant(&server.url("/*"))];
    let attempt = attempt(limited(&server, None, Some(1)), &[], grants);
    let held = attempt.ctx.http.send(get(server.url("/"))).await.unwrap();
    let mut late = get(server.url("/"));
    late.timeout = Some(Duration::from_millis(100));
    let refusal = refusal_of(&attempt, late).await;
    assert_eq!(refusal.code, "http.rate-limited");
    assert!(refusal.retry_after_ms.is_some());
    drop(held);
    let mut read = attempt.ctx.http.send(get(server.url("/"))).await.unwrap();
    body(&mut read).await.unwrap();
    assert_eq!(code_of(&attempt, get(server.url("/"))).await, "200");
}
