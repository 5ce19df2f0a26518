//! Addresses that are not public, in every spelling and behind every name.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use super::*;
use flowweaver::broker::http::Hosts;
use flowweaver::broker::settings::BrokerSettings;

/// Each of these hosts was granted by its own name, and still cannot be dialled.
async fn all_denied(listed: &str) {
    for host in listed.split_whitespace() {
        let url = format!("http://{host}/");
        let attempt = attempt(BrokerSettings::default(), &[], vec![grant(&url)]);
        let refusal = refusal_of(&attempt, get(&url)).await;
        assert_eq!(refusal.code, "http.denied", "{url}: {refusal}");
        assert!(refusal.message.contains("[network] allow"), "{refusal}");
        attempt.recorded("http.denied");
    }
}

/// Attack: loopback, unspecified, private, CGNAT and link-local IPv4 addresses. denied.
#[tokio::test]
async fn private_ipv4_addresses_are_denied() {
    all_denied(
        "127.0.0.1 127.255.255.254 0.0.0.0 0.1.2.3 10.0.0.1 10.255.255.255 172.16.0.1 172.31.255.255 \
         192.168.0.1 192.168.255.255 100.64.0.1 100.127.255.255 169.254.0.1",
    )
    .await;
}

/// Attack: metadata addresses of clouds. denied.
#[tokio::test]
async fn metadata_addresses_are_denied() {
    all_denied(
        "169.254.169.254 169.254.170.2 168.63.129.16 100.100.100.200 192.0.0.192 [fd00:ec2::254]",
    )
    .await;
}

/// Attack: multicast, 240/4, broadcast, documentation and benchmarking addresses. denied.
#[tokio::test]
async fn addresses_of_no_host_are_denied() {
    all_denied(
        "224.0.0.1 239.255.255.255 240.0.0.1 255.255.255.255 192.0.2.1 198.51.100.1 203.0.113.1 198.18.0.1 \
         192.88.99.1 [ff02::1] [2001:db8::1] [3fff::1]",
    )
    .await;
}

/// Attack: loopback, unspecified, unique-local, link-local and site-local IPv6 addresses. denied.
#[tokio::test]
async fn private_ipv6_addresses_are_denied() {
    all_denied("[::1] [::] [0:0:0:0:0:0:0:1] [fc00::1] [fdff::1] [fe80::1] [febf::1] [fec0::1]")
        .await;
}

/// Attack: 127.0.0.1 as one number, in hex, in octal and shortened. denied.
#[tokio::test]
async fn an_ipv4_address_is_denied_in_every_number_form() {
    all_denied(
        "2130706433 0x7f000001 0x7F.1 0x7f.0x0.0x0.0x1 0177.0.0.1 017700000001 127.1 127.0.1 0x7f.0.1 \
         0xa000001 3232235521",
    )
    .await;
}

/// Attack: IPv4 in IPv6: mapped, compatible, NAT64, 6to4, Teredo, ISATAP. denied.
#[tokio::test]
async fn an_ipv4_address_inside_an_ipv6_address_is_denied() {
    all_denied(
        "[::ffff:127.0.0.1] [::ffff:7f00:1] [0:0:0:0:0:ffff:7f00:0001] [::127.0.0.1] [64:ff9b::127.0.0.1] \
         [64:ff9b::a00:1] [64:ff9b:1::1] [2002:7f00:1::] [2002:a00:1::1] [2001:0:7f00:1::] [2001::80ff:fefe] \
         [2600::5efe:7f00:1] [2600::200:5efe:a00:1]",
    )
    .await;
}

/// Attack: full-width digits and dots that a parser folds to 127.0.0.1. denied.
#[tokio::test]
async fn digits_of_other_scripts_are_read_once_and_denied() {
    for url in [
        "http://①②⑦.0.0.1/",
        "http://127。0。0。1/",
        "http://１２７.0.0.1/",
    ] {
        let attempt = attempt(
            BrokerSettings::default(),
            &[],
            vec![grant("http://127.0.0.1/")],
        );
        assert_eq!(code_of(&attempt, get(url)).await, "http.denied", "{url}");
        let call = attempt.recorded("http.denied");
        assert_eq!(call.target, "http://127.0.0.1/");
    }
}

/// Attack: a granted name that resolves to a private address, first, second or alone. denied at connect.
#[tokio::test]
async fn a_name_with_one_private_address_is_denied_whatever_the_order() {
    let server = server(|_| ok("inside")).await;
    let url = format!("http://shop.test:{}/", server.address.port());
    let (private, public) = ("127.0.0.1", "93.184.216.34");
    for answers in [
        &[private][..],
        &[private, public],
        &[public, private],
        &[public, "::ffff:127.0.0.1"],
        &["64:ff9b::7f00:1", public],
    ] {
        let settings = BrokerSettings {
            hosts: hosts(&[("shop.test", answers)]),
            ..BrokerSettings::default()
        };
        let attempt = attempt(settings, &[], vec![grant(&url)]);
        assert_eq!(
            code_of(&attempt, get(&url)).await,
            "http.denied",
            "{answers:?}"
        );
        attempt.recorded("http.denied");
    }
    assert_eq!(server.connections(), 0);
    let mut settings = server.reachable();
    settings.hosts = hosts(&[("shop.test", &[private])]);
    let attempt = attempt(settings, &[], vec![grant(&url)]);
    assert_eq!(code_of(&attempt, get(&url)).await, "200");
}

/// Attack: a resolver that gives a good address first and a private one the next time. denied at the
/// connection that would have used it, because the addresses that are checked are those that are dialled.
#[tokio::test]
async fn a_resolver_that_changes_its_mind_is_asked_and_checked_for_every_connection() {
    let close = "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok";
    let good = server(move |_| Reply::Close(close.as_bytes().to_vec())).await;
    let port = good.address.port();
    let url = format!("http://shop.test:{port}/");
    let asked = Arc::new(AtomicUsize::new(0));
    let answers = Arc::new(Mutex::new(vec!["127.0.0.2", "10.0.0.1", "127.0.0.1"]));
    let (count, lying) = (asked.clone(), answers.clone());
    let mut settings = BrokerSettings {
        hosts: Hosts::new(move |_| {
            count.fetch_add(1, Ordering::SeqCst);
            Some(vec![lying.lock().unwrap().pop()?.parse().unwrap()])
        }),
        ..BrokerSettings::default()
    };
    settings.network.allow = vec![format!("127.0.0.1:{port}").parse().unwrap()];
    let attempt = attempt(settings, &[], vec![grant(&url)]);
    assert_eq!(fetch(&attempt, url.clone()).await.unwrap(), b"ok");
    attempt.recorded("200");
    for _ in 0..2 {
        assert_eq!(code_of(&attempt, get(&url)).await, "http.denied");
        attempt.recorded("http.denied");
    }
    assert_eq!((asked.load(Ordering::SeqCst), good.connections()), (3, 1));
}

/// Attack: another port of an address that the operator allows. denied.
#[tokio::test]
async fn the_operators_permission_is_for_one_port() {
    let (server, other) = (server(|_| ok("a")).await, server(|_| ok("b")).await);
    let grants = vec![grant(&server.url("/")), grant(&other.url("/"))];
    let closed = attempt(other.reachable(), &[], grants);
    assert_eq!(code_of(&closed, get(server.url("/"))).await, "http.denied");
    assert_eq!(code_of(&closed, get(other.url("/"))).await, "200");
    assert_eq!(outcomes(&closed), ["http.denied", "200"]);
    assert_eq!(server.connections(), 0);
}

/// Attack: the daemon's own ports, by address, by name and by redirect, although allowed. denied.
#[tokio::test]
async fn the_daemons_own_ports_are_never_dialled() {
    let own = server(|_| ok("the daemon")).await;
    let to = own.url("/v0/users");
    let front = server(move |_| redirects::redirect(302, &to)).await;
    let mut settings = redirects::reachable(&[&own, &front]);
    settings.network.own_ports = vec![own.address.port()];
    settings.hosts = hosts(&[("me.test", &["127.0.0.1"])]);
    let named = format!("http://me.test:{}/", own.address.port());
    let grants = vec![
        grant(&own.url("/*")),
        grant(&named),
        grant(&front.url("/*")),
    ];
    let attempt = attempt(settings, &[], grants);
    for url in [own.url("/"), named, front.url("/")] {
        let refusal = refusal_of(&attempt, get(&url)).await;
        assert_eq!(refusal.code, "http.denied", "{url}");
        assert!(
            refusal.message.contains("belongs to this daemon"),
            "{refusal}"
        );
    }
    assert_eq!(
        outcomes(&attempt),
        ["http.denied", "http.denied", "302", "http.denied"]
    );
    assert_eq!(own.connections(), 0);
}

/// Attack: `HTTP_PROXY` and its kin in the environment. ignored: the request goes straight to its server.
#[test]
fn a_proxy_in_the_environment_is_ignored() {
    // The environment is the process's, so the test runs itself with one.
    let child = "FLOWWEAVER_TEST_WITH_PROXY";
    let name = "attacks::addresses::a_proxy_in_the_environment_is_ignored";
    if std::env::var_os(child).is_none() {
        let proxy = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        proxy.set_nonblocking(true).unwrap();
        let address = format!("http://{}", proxy.local_addr().unwrap());
        let names = [
            "HTTP_PROXY",
            "http_proxy",
            "ALL_PROXY",
            "all_proxy",
            "HTTPS_PROXY",
        ];
        let output = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["--exact", name])
            .env(child, "1")
            .envs(names.map(|name| (name, &address)))
            .env_remove("NO_PROXY")
            .env_remove("no_proxy")
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(
            output.status.success() && said.contains("1 passed"),
            "{said}"
        );
        assert!(proxy.accept().is_err(), "the proxy was asked");
        return;
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let server = server(|_| ok("direct")).await;
        let attempt = attempt(server.reachable(), &[], vec![grant(&server.url("/*"))]);
        assert_eq!(code_of(&attempt, get(server.url("/"))).await, "200");
        assert_eq!(server.connections(), 1);
    });
}
