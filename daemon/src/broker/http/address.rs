//! Which addresses may be dialled: public ones, and what the operator listed.
//!
//! The table is our own, from the IANA special-purpose registries (RFC 6890 and its updates),
//! because the standard library's notion of "global" is unstable and others' call NAT64, 6to4 and
//! Teredo embeddings global. Which host a task may name is `policy`'s question.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, UdpSocket};
use std::str::FromStr;

/// An operator's permission to dial an address that is not public: `[network] allow`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Allow {
    network: IpAddr,
    prefix: u8,
    port: u16,
}

/// A text that is not `address:port` or `address/prefix:port`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is not an address with a port, like \"10.0.0.5:5432\", \"10.0.0.0/24:80\" or \"[fd00::1]:443\""
)]
pub struct InvalidAllow(String);

impl FromStr for Allow {
    type Err = InvalidAllow;
    fn from_str(text: &str) -> Result<Self, InvalidAllow> {
        let wrong = || InvalidAllow(text.chars().take(80).collect());
        let (network, port) = text.rsplit_once(':').ok_or_else(wrong)?;
        let port = port
            .parse::<u16>()
            .ok()
            .filter(|port| *port != 0)
            .ok_or_else(wrong)?;
        let bare = match network.strip_prefix('[').and_then(|n| n.strip_suffix(']')) {
            Some(inside) => inside,
            None if network.contains(':') => return Err(wrong()),
            None => network,
        };
        let (address, prefix) = match bare.split_once('/') {
            Some((address, prefix)) => (address, Some(prefix.parse::<u8>().map_err(|_| wrong())?)),
            None => (bare, None),
        };
        let network = address.parse::<IpAddr>().map_err(|_| wrong())?;
        let width = if network.is_ipv4() { 32 } else { 128 };
        let prefix = prefix.unwrap_or(width);
        if prefix > width {
            return Err(wrong());
        }
        Ok(Self {
            network,
            prefix,
            port,
        })
    }
}

impl Allow {
    fn covers(&self, ip: IpAddr, port: u16) -> bool {
        self.port == port && within(ip, self.network, self.prefix)
    }
}

/// The rules for dialling.
#[derive(Debug, Clone, Default)]
pub struct Network {
    /// What may be dialled although it is not public.
    pub allow: Vec<Allow>,
    /// The ports this daemon listens on: never dialled on this machine, whatever `allow` says.
    pub own_ports: Vec<u16>,
}

/// Why an address may not be dialled.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AddressDenied {
    /// It is not a public address.
    #[error(
        "{ip} is {what}, which may not be dialled. The operator can allow it in flowweaver.toml: \
         [network] allow = [\"{}\"]", shown(*ip, *port)
    )]
    Special {
        /// The address.
        ip: IpAddr,
        /// The port.
        port: u16,
        /// What it is.
        what: &'static str,
    },
    /// It is the daemon itself.
    #[error("port {0} on this machine belongs to this daemon and is never dialled")]
    Own(u16),
}

impl Network {
    /// Whether this address may be dialled.
    pub fn check(&self, ip: IpAddr, port: u16) -> Result<(), AddressDenied> {
        let plain = unmapped(ip);
        if self.own_ports.contains(&port) && is_this_machine(plain) {
            return Err(AddressDenied::Own(port));
        }
        match special(plain) {
            Some(what) if !self.allow.iter().any(|allow| allow.covers(plain, port)) => {
                Err(AddressDenied::Special {
                    ip: plain,
                    port,
                    what,
                })
            }
            _ => Ok(()),
        }
    }
}

fn shown(ip: IpAddr, port: u16) -> String {
    std::net::SocketAddr::new(ip, port).to_string()
}

/// Only asked for the daemon's own ports. A socket can be bound to an address exactly if it is one
/// of this machine's, which also finds its public and link-local ones.
fn is_this_machine(ip: IpAddr) -> bool {
    ip.is_loopback() || ip.is_unspecified() || UdpSocket::bind((ip, 0)).is_ok()
}

fn unmapped(ip: IpAddr) -> IpAddr {
    match ip {
        IpAddr::V6(v6) => v6.to_ipv4_mapped().map_or(ip, IpAddr::V4),
        IpAddr::V4(_) => ip,
    }
}

fn within(ip: IpAddr, network: IpAddr, prefix: u8) -> bool {
    match (ip, network) {
        (IpAddr::V4(ip), IpAddr::V4(network)) => {
            let mask = u32::MAX
                .checked_shl(32 - u32::from(prefix.min(32)))
                .unwrap_or(0);
            (ip.to_bits() ^ network.to_bits()) & mask == 0
        }
        (IpAddr::V6(ip), IpAddr::V6(network)) => {
            let mask = u128::MAX
                .checked_shl(128 - u32::from(prefix.min(128)))
                .unwrap_or(0);
            (ip.to_bits() ^ network.to_bits()) & mask == 0
        }
        _ => false,
    }
}

/// IPv4 ranges that are not the public internet. Ranges IANA marks "globally reachable" but that no
/// service is offered on (the anycast relays of AS112 and 6to4) are here too.
const SPECIAL_V4: &[(Ipv4Addr, u8, &str)] = &[
    (Ipv4Addr::new(0, 0, 0, 0), 8, "an address of this network"),
    (Ipv4Addr::new(10, 0, 0, 0), 8, "a private address"),
    (
        Ipv4Addr::new(100, 64, 0, 0),
        10,
        "a carrier-grade NAT address",
    ),
    (Ipv4Addr::new(127, 0, 0, 0), 8, "a loopback address"),
    (
        Ipv4Addr::new(168, 63, 129, 16),
        32,
        "a cloud's metadata address",
    ),
    (
        Ipv4Addr::new(169, 254, 0, 0),
        16,
        "a link-local or metadata address",
    ),
    (Ipv4Addr::new(172, 16, 0, 0), 12, "a private address"),
    (
        Ipv4Addr::new(192, 0, 0, 0),
        24,
        "a protocol-assignment address",
    ),
    (Ipv4Addr::new(192, 0, 2, 0), 24, "a documentation address"),
    (Ipv4Addr::new(192, 31, 196, 0), 24, "an AS112 address"),
    (Ipv4Addr::new(192, 52, 193, 0), 24, "an AMT relay address"),
    (Ipv4Addr::new(192, 88, 99, 0), 24, "a 6to4 relay address"),
    (Ipv4Addr::new(192, 168, 0, 0), 16, "a private address"),
    (Ipv4Addr::new(192, 175, 48, 0), 24, "an AS112 address"),
    (Ipv4Addr::new(198, 18, 0, 0), 15, "a benchmarking address"),
    (
        Ipv4Addr::new(198, 51, 100, 0),
        24,
        "a documentation address",
    ),
    (Ipv4Addr::new(203, 0, 113, 0), 24, "a documentation address"),
    (Ipv4Addr::new(224, 0, 0, 0), 4, "a multicast address"),
    (
        Ipv4Addr::new(240, 0, 0, 0),
        4,
        "a reserved or broadcast address",
    ),
];

/// IPv6 ranges inside the one block of global unicast addresses, 2000::/3, that are not public.
/// Everything outside that block is refused as a whole.
const SPECIAL_V6: &[(Ipv6Addr, u8, &str)] = &[
    (
        Ipv6Addr::new(0x2001, 0, 0, 0, 0, 0, 0, 0),
        32,
        "a Teredo address",
    ),
    (
        Ipv6Addr::new(0x2001, 0, 0, 0, 0, 0, 0, 0),
        23,
        "a protocol-assignment address",
    ),
    (
        Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0),
        32,
        "a documentation address",
    ),
    (
        Ipv6Addr::new(0x2002, 0, 0, 0, 0, 0, 0, 0),
        16,
        "a 6to4 address",
    ),
    (
        Ipv6Addr::new(0x2620, 0x4f, 0x8000, 0, 0, 0, 0, 0),
        48,
        "an AS112 address",
    ),
    (
        Ipv6Addr::new(0x3ffe, 0, 0, 0, 0, 0, 0, 0),
        16,
        "a retired 6bone address",
    ),
    (
        Ipv6Addr::new(0x3fff, 0, 0, 0, 0, 0, 0, 0),
        20,
        "a documentation address",
    ),
];

const GLOBAL_UNICAST: (Ipv6Addr, u8) = (Ipv6Addr::new(0x2000, 0, 0, 0, 0, 0, 0, 0), 3);
/// The well-known prefix behind which a NAT64 reaches the IPv4 address in the last 32 bits. Networks
/// without IPv4 need it, so it is judged by the address inside.
const NAT64: (Ipv6Addr, u8) = (Ipv6Addr::new(0x64, 0xff9b, 0, 0, 0, 0, 0, 0), 96);

/// What an address is if it is not public.
pub fn special(ip: IpAddr) -> Option<&'static str> {
    match unmapped(ip) {
        IpAddr::V4(v4) => special_v4(v4),
        IpAddr::V6(v6) => special_v6(v6),
    }
}

fn special_v4(ip: Ipv4Addr) -> Option<&'static str> {
    SPECIAL_V4
        .iter()
        .find(|(network, prefix, _)| within(ip.into(), (*network).into(), *prefix))
        .map(|(_, _, what)| *what)
}

fn special_v6(ip: Ipv6Addr) -> Option<&'static str> {
    if within(ip.into(), NAT64.0.into(), NAT64.1) {
        let [.., a, b, c, d] = ip.octets();
        return special_v4(Ipv4Addr::new(a, b, c, d))
            .map(|_| "a NAT64 address of a special IPv4 address");
    }
    if !within(ip.into(), GLOBAL_UNICAST.0.into(), GLOBAL_UNICAST.1) {
        return Some(outside_global_unicast(ip));
    }
    // ISATAP hides an IPv4 address in the interface part of any prefix: 0000:5efe or 0200:5efe.
    if matches!(ip.segments(), [_, _, _, _, 0 | 0x200, 0x5efe, _, _]) {
        return Some("an ISATAP address");
    }
    SPECIAL_V6
        .iter()
        .find(|(network, prefix, _)| within(ip.into(), (*network).into(), *prefix))
        .map(|(_, _, what)| *what)
}

fn outside_global_unicast(ip: Ipv6Addr) -> &'static str {
    match ip.segments() {
        [0, 0, 0, 0, 0, 0, 0, 0] => "the unspecified address",
        [0, 0, 0, 0, 0, 0, 0, 1] => "a loopback address",
        [0, 0, 0, 0, 0, 0, _, _] => "an IPv4-compatible address",
        [0x64, 0xff9b, 1, ..] => "a local NAT64 address",
        [first, ..] if first & 0xfe00 == 0xfc00 => "a private address",
        [first, ..] if first & 0xffc0 == 0xfe80 => "a link-local address",
        [first, ..] if first & 0xff00 == 0xff00 => "a multicast address",
        _ => "outside the public IPv6 block",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn special_text(text: &str) -> bool {
        special(text.parse().unwrap()).is_some()
    }

    /// The first and last address of every range, and its neighbours outside where those are public.
    #[test]
    fn every_special_range_is_refused_from_its_first_to_its_last_address() {
        let listed = "0.0.0.0 0.255.255.255 10.0.0.0 10.255.255.255 100.64.0.0 100.127.255.255 127.0.0.1 \
             127.255.255.255 168.63.129.16 169.254.169.254 172.16.0.0 172.31.255.255 192.0.0.0 \
             192.0.0.255 192.0.2.1 192.88.99.1 192.168.255.255 198.18.0.0 198.19.255.255 \
             198.51.100.7 203.0.113.7 224.0.0.0 239.255.255.255 240.0.0.0 255.255.255.255 :: ::1 \
             ::7f00:1 ::ffff:10.0.0.1 64:ff9b::a00:1 64:ff9b:1::808:808 100::1 2001::1 \
             2001:1ff:ffff:: 2001:db8::1 2002:808:808::1 2600::5efe:808:808 \
             2600::200:5efe:808:808 3ffe::1 3fff:fff::1 4000::1 5f00::1 fc00::1 fdff::1 fe80::1 \
             fec0::1 ff02::1";
        for text in listed.split_whitespace() {
            assert!(special_text(text), "{text}");
        }
        let listed = "1.0.0.0 9.255.255.255 11.0.0.0 100.63.255.255 100.128.0.0 126.255.255.255 128.0.0.0 \
             169.253.255.255 169.255.0.0 172.15.255.255 172.32.0.0 192.0.1.0 192.167.255.255 \
             198.17.255.255 198.20.0.0 223.255.255.255 ::ffff:8.8.8.8 64:ff9b::808:808 \
             2001:200::1 2001:4860:4860::8888 2606:4700::1111 3ffd::1";
        for text in listed.split_whitespace() {
            assert!(!special_text(text), "{text}");
        }
    }

    #[test]
    fn a_permission_is_an_address_or_network_with_a_port() {
        let listed = "10.0.0.5:80 10.0.0.0/24:80 [fd00::1]:443 [fd00::/8]:443";
        for text in listed.split_whitespace() {
            assert!(text.parse::<Allow>().is_ok(), "{text}");
        }
        let listed = "10.0.0.5 10.0.0.5:0 10.0.0.0/33:80 fd00::1:443 localhost:80 10.0.0.5:99999 \
             10.0.0.0/:80";
        for text in listed.split_whitespace() {
            assert!(text.parse::<Allow>().is_err(), "{text}");
        }
        let network = Network {
            allow: vec!["10.1.0.0/16:80".parse().unwrap()],
            own_ports: vec![8080],
        };
        assert!(network.check("10.1.255.255".parse().unwrap(), 80).is_ok());
        assert!(
            network
                .check("::ffff:10.1.2.3".parse().unwrap(), 80)
                .is_ok()
        );
        assert!(network.check("10.1.2.3".parse().unwrap(), 81).is_err());
        assert!(network.check("10.2.0.0".parse().unwrap(), 80).is_err());
        let every = Network {
            allow: vec!["0.0.0.0/0:8080".parse().unwrap()],
            own_ports: vec![8080],
        };
        for own in ["127.0.0.1", "127.8.9.1", "0.0.0.0", "::ffff:127.0.0.1"] {
            assert_eq!(
                every.check(own.parse().unwrap(), 8080),
                Err(AddressDenied::Own(8080)),
                "{own}"
            );
        }
    }

    proptest! {
        #[test]
        fn what_is_special_stays_so_in_every_wrapping(bits: u32) {
            let v4 = Ipv4Addr::from_bits(bits);
            let refused = special(v4.into()).is_some();
            prop_assert_eq!(special(v4.to_ipv6_mapped().into()).is_some(), refused);
            let nat64 = Ipv6Addr::from_bits((0x0064_ff9b_u128 << 96) | u128::from(bits));
            prop_assert_eq!(special(nat64.into()).is_some(), refused);
            for wrapped in [
                u128::from(bits),
                (0x2002_u128 << 112) | (u128::from(bits) << 80),
                (0x2001_0000_u128 << 96) | u128::from(!bits),
                (0x2600_u128 << 112) | (0x5efe_u128 << 32) | u128::from(bits),
            ] {
                prop_assert!(special(Ipv6Addr::from_bits(wrapped).into()).is_some());
            }
        }

        #[test]
        fn the_table_agrees_with_the_standard_library_where_that_is_stable(bits: u32) {
            let ip = Ipv4Addr::from_bits(bits);
            if ip.is_private() || ip.is_loopback() || ip.is_link_local() || ip.is_multicast()
                || ip.is_broadcast() || ip.is_documentation() || ip.is_unspecified() {
                prop_assert!(special(ip.into()).is_some());
            }
        }
    }
}
