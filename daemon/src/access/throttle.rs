//! How often somebody may try to log in. Pure: time is an argument.
//!
//! Guessing slows down, and nobody is locked out. Failures are counted three ways: for an account from an
//! address, for an address whatever the account (one password tried on many), and for an account from all
//! addresses (many machines). The last never counts against an address from which the account was entered
//! before, so that whoever guesses cannot keep its user out.

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;
use std::time::Duration;

use crate::clock::Timestamp;

/// Mistakes that anybody may make: of an account from an address.
const FREE: u32 = 5;
/// The same of an address: an office behind one.
const FREE_OF_ADDRESS: u32 = 20;
/// The same of an account from anywhere.
const FREE_OF_ACCOUNT: u32 = 50;
/// The first wait; it doubles with each failure.
const FIRST_WAIT: Duration = Duration::from_secs(1);
/// The longest wait of an account from an address, and of an address.
const WAIT_MAX: Duration = Duration::from_secs(300);
/// The longest wait of an account from an address that it was never entered from.
const WAIT_MAX_OF_ACCOUNT: Duration = Duration::from_secs(10);
/// Failures are forgotten after this long without another.
const FORGET: Duration = Duration::from_secs(3600);
/// Counters kept: some hundred bytes each. The oldest half goes when there are more.
const COUNTERS_MAX: usize = 20_000;

#[derive(Debug, Clone, Copy)]
struct Failures {
    count: u32,
    last: Timestamp,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Key {
    Both(String, Place),
    Address(Place),
    Account(String),
}

/// An address as far as one machine can choose it: an IPv6 network has 2⁶⁴ of them.
type Place = Option<IpAddr>;

fn place(address: Option<IpAddr>) -> Place {
    address.map(|address| match address.to_canonical() {
        IpAddr::V6(v6) => {
            let network = u128::from(v6) >> 64 << 64;
            IpAddr::V6(network.into())
        }
        v4 => v4,
    })
}

/// The counters.
#[derive(Debug, Default)]
pub(super) struct Throttle {
    failures: HashMap<Key, Failures>,
    known: HashSet<(String, Place)>,
}

impl Throttle {
    /// How long this attempt has to wait; none if it may be made now.
    pub(super) fn wait(
        &self,
        account: &str,
        address: Option<IpAddr>,
        now: Timestamp,
    ) -> Option<Duration> {
        let place = place(address);
        let known = self.known.contains(&(account.to_owned(), place));
        let limits = [
            (Key::Both(account.to_owned(), place), FREE, WAIT_MAX),
            (Key::Address(place), FREE_OF_ADDRESS, WAIT_MAX),
            (
                Key::Account(account.to_owned()),
                FREE_OF_ACCOUNT,
                WAIT_MAX_OF_ACCOUNT,
            ),
        ];
        let waits = limits.into_iter().filter_map(|(key, free, most)| {
            if known && matches!(key, Key::Account(_)) {
                return None;
            }
            let failures = self.failures.get(&key)?;
            let over = failures.count.checked_sub(free)?;
            let wait = FIRST_WAIT.saturating_mul(1 << over.min(20)).min(most);
            let left = wait.saturating_sub(now.since(failures.last));
            (!left.is_zero()).then_some(left)
        });
        waits.max()
    }

    /// Notes a failure.
    pub(super) fn failed(&mut self, account: &str, address: Option<IpAddr>, now: Timestamp) {
        let place = place(address);
        if self.failures.len() >= COUNTERS_MAX {
            self.forget(now);
        }
        for key in [
            Key::Both(account.to_owned(), place),
            Key::Address(place),
            Key::Account(account.to_owned()),
        ] {
            let failures = self.failures.entry(key).or_insert(Failures {
                count: 0,
                last: now,
            });
            if now.since(failures.last) >= FORGET {
                failures.count = 0;
            }
            failures.count = failures.count.saturating_add(1);
            failures.last = now;
        }
    }

    /// Takes a failure back that was noted before its outcome was known.
    pub(super) fn forgive(&mut self, account: &str, address: Option<IpAddr>) {
        let place = place(address);
        for key in [
            Key::Both(account.to_owned(), place),
            Key::Address(place),
            Key::Account(account.to_owned()),
        ] {
            if let Some(failures) = self.failures.get_mut(&key) {
                failures.count = failures.count.saturating_sub(1);
            }
        }
    }

    /// Notes a success: the account's counters begin anew where it was entered. The address's stays, or one
    /// account of an attacker's own would free it.
    pub(super) fn succeeded(&mut self, account: &str, address: Option<IpAddr>) {
        let place = place(address);
        self.failures.remove(&Key::Both(account.to_owned(), place));
        if self.known.len() >= COUNTERS_MAX {
            self.known.clear();
        }
        self.known.insert((account.to_owned(), place));
    }

    /// Drops what is forgotten anyway, and then the older half.
    fn forget(&mut self, now: Timestamp) {
        self.failures
            .retain(|_, failures| now.since(failures.last) < FORGET);
        if self.failures.len() < COUNTERS_MAX {
            return;
        }
        let mut times: Vec<_> = self
            .failures
            .values()
            .map(|failures| failures.last)
            .collect();
        let middle = times.len() / 2;
        let (_, middle, _) = times.select_nth_unstable(middle);
        let middle = *middle;
        self.failures.retain(|_, failures| failures.last > middle);
    }
}

#[cfg(test)]
mod attacks {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_micros(seconds * 1_000_000)
    }

    fn ip(text: &str) -> Option<IpAddr> {
        Some(text.parse().unwrap())
    }

    const EVIL: &str = "203.0.113.9";
    const HOME: &str = "198.51.100.7";

    /// Attack: Passwords of an account guessed from one address. Five mistakes are free, then each guess waits twice as long, up to five minutes.
    #[test]
    fn guessing_slows_down_from_one_address() {
        let mut throttle = Throttle::default();
        for _ in 0..5 {
            assert_eq!(throttle.wait("minji", ip(EVIL), at(0)), None);
            throttle.failed("minji", ip(EVIL), at(0));
        }
        let mut now = 0;
        for expected in [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300] {
            let wait = throttle.wait("minji", ip(EVIL), at(now)).unwrap();
            assert_eq!(wait, Duration::from_secs(expected));
            now += i64::try_from(expected).unwrap();
            assert_eq!(throttle.wait("minji", ip(EVIL), at(now)), None);
            throttle.failed("minji", ip(EVIL), at(now));
        }
        // From elsewhere the account is as open as before.
        assert_eq!(throttle.wait("minji", ip(HOME), at(now)), None);
    }

    /// Attack: One password tried on a thousand accounts. The address waits, whatever the account.
    #[test]
    fn one_password_on_many_accounts_slows_the_address_down() {
        let mut throttle = Throttle::default();
        for account in 0..30 {
            throttle.failed(&format!("user{account}"), ip(EVIL), at(0));
        }
        assert!(throttle.wait("another", ip(EVIL), at(1)).is_some());
        assert_eq!(throttle.wait("another", ip(HOME), at(1)), None);
    }

    /// Attack: An account guessed from ten thousand addresses to keep its user out. New addresses wait at most ten seconds, and one that the user has logged in from does not wait at all.
    #[test]
    fn nobody_is_kept_out_by_those_who_guess() {
        let mut throttle = Throttle::default();
        throttle.succeeded("minji", ip(HOME));
        for machine in 0..10_000_u32 {
            let address = Some(IpAddr::V4((0x0a00_0000 + machine).into()));
            throttle.failed("minji", address, at(0));
        }
        let stranger = throttle.wait("minji", ip(EVIL), at(0)).unwrap();
        assert_eq!(stranger, Duration::from_secs(10));
        assert_eq!(throttle.wait("minji", ip(HOME), at(0)), None);
    }

    /// Attack: Guesses from all addresses of one IPv6 network. They count as one address.
    #[test]
    fn an_ipv6_network_is_one_address_and_a_mapped_address_the_ipv4_one() {
        let mut throttle = Throttle::default();
        for host in 0..6 {
            throttle.failed("minji", ip(&format!("2001:db8:1:2::{host}")), at(0));
        }
        assert!(
            throttle
                .wait("minji", ip("2001:db8:1:2:ffff::1"), at(0))
                .is_some()
        );
        assert_eq!(throttle.wait("minji", ip("2001:db8:1:3::1"), at(0)), None);
        for _ in 0..6 {
            throttle.failed("jun", ip(EVIL), at(0));
        }
        assert!(
            throttle
                .wait("jun", ip("::ffff:203.0.113.9"), at(0))
                .is_some()
        );
    }

    /// Attack: A flood of account names. The counters stay bounded.
    #[test]
    fn counters_are_bounded_and_forgotten() {
        let mut throttle = Throttle::default();
        for number in 0..30_000 {
            throttle.failed(&format!("user{number}"), None, at(number / 100));
        }
        assert!(throttle.failures.len() <= COUNTERS_MAX + 3);
        for _ in 0..9 {
            throttle.failed("minji", ip(EVIL), at(1_000));
        }
        throttle.failed("minji", ip(EVIL), at(1_000 + 3_600));
        assert_eq!(throttle.wait("minji", ip(EVIL), at(1_000 + 3_600)), None);
    }
}
