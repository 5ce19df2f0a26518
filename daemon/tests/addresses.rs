//! Which addresses may be dialled, against a second reading of the registries: ranges as they are
//! printed there, from first to last, compared as numbers. It shares nothing with the table under test.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a panic in a test is its report"
)]

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::LazyLock;

use flowweaver::broker::http::address::{Allow, Network};
use proptest::prelude::*;
use proptest::sample::select;

/// The IPv4 special-purpose registry, the multicast block, and one cloud's metadata service.
const V4: &[(&str, &str)] = &[
    ("0.0.0.0", "0.255.255.255"),
    ("10.0.0.0", "10.255.255.255"),
    ("100.64.0.0", "100.127.255.255"),
    ("127.0.0.0", "127.255.255.255"),
    ("168.63.129.16", "168.63.129.16"),
    ("169.254.0.0", "169.254.255.255"),
    ("172.16.0.0", "172.31.255.255"),
    ("192.0.0.0", "192.0.0.255"),
    ("192.0.2.0", "192.0.2.255"),
    ("192.31.196.0", "192.31.196.255"),
    ("192.52.193.0", "192.52.193.255"),
    ("192.88.99.0", "192.88.99.255"),
    ("192.168.0.0", "192.168.255.255"),
    ("192.175.48.0", "192.175.48.255"),
    ("198.18.0.0", "198.19.255.255"),
    ("198.51.100.0", "198.51.100.255"),
    ("203.0.113.0", "203.0.113.255"),
    ("224.0.0.0", "239.255.255.255"),
    ("240.0.0.0", "255.255.255.255"),
];

/// The IPv6 registry with what is nested in it, and what is outside the block of global unicast.
const V6: &[(&str, &str)] = &[
    ("::", "::"),
    ("::1", "::1"),
    ("64:ff9b:1::", "64:ff9b:1:ffff:ffff:ffff:ffff:ffff"),
    ("100::", "100::ffff:ffff:ffff:ffff"),
    ("100:0:0:1::", "100:0:0:1:ffff:ffff:ffff:ffff"),
    ("2001::", "2001:0:ffff:ffff:ffff:ffff:ffff:ffff"),
    ("2001:1::1", "2001:1::3"),
    ("2001:2::", "2001:2:0:ffff:ffff:ffff:ffff:ffff"),
    ("2001:3::", "2001:3:ffff:ffff:ffff:ffff:ffff:ffff"),
    ("2001:4:112::", "2001:4:112:ffff:ffff:ffff:ffff:ffff"),
    ("2001:10::", "2001:1f:ffff:ffff:ffff:ffff:ffff:ffff"),
    ("2001:20::", "2001:2f:ffff:ffff:ffff:ffff:ffff:ffff"),
    ("2001:30::", "2001:3f:ffff:ffff:ffff:ffff:ffff:ffff"),
    ("2001::", "2001:1ff:ffff:ffff:ffff:ffff:ffff:ffff"),
    ("2001:db8::", "2001:db8:ffff:ffff:ffff:ffff:ffff:ffff"),
    ("2002::", "2002:ffff:ffff:ffff:ffff:ffff:ffff:ffff"),
    ("2620:4f:8000::", "2620:4f:8000:ffff:ffff:ffff:ffff:ffff"),
    ("3ffe::", "3ffe:ffff:ffff:ffff:ffff:ffff:ffff:ffff"),
    ("3fff::", "3fff:fff:ffff:ffff:ffff:ffff:ffff:ffff"),
    ("5f00::", "5f00:ffff:ffff:ffff:ffff:ffff:ffff:ffff"),
    ("fc00::", "fdff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"),
    ("fe80::", "febf:ffff:ffff:ffff:ffff:ffff:ffff:ffff"),
    ("fec0::", "feff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"),
    ("ff00::", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"),
    // All that is not global unicast, 2000:: to 3fff:….
    ("::", "1fff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"),
    ("4000::", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"),
];

static V4_RANGES: LazyLock<Vec<(u32, u32)>> = LazyLock::new(|| {
    let number = |text: &str| text.parse::<Ipv4Addr>().unwrap().to_bits();
    V4.iter().map(|(a, b)| (number(a), number(b))).collect()
});
static V6_RANGES: LazyLock<Vec<(u128, u128)>> = LazyLock::new(|| {
    let number = |text: &str| text.parse::<Ipv6Addr>().unwrap().to_bits();
    V6.iter().map(|(a, b)| (number(a), number(b))).collect()
});

/// Whether an address is special by the ranges above.
fn listed(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(v4) => listed_v4(v4.to_bits()),
        IpAddr::V6(v6) => listed_v6(v6),
    }
}

fn listed_v4(bits: u32) -> bool {
    V4_RANGES.iter().any(|(a, b)| (*a..=*b).contains(&bits))
}

fn listed_v6(ip: Ipv6Addr) -> bool {
    let text: String = ip.segments().map(|part| format!("{part:04x}")).concat();
    let inside = u32::from_str_radix(&text[24..], 16).unwrap();
    // Mapped, and behind the well-known NAT64 prefix: what the IPv4 address is.
    if text.starts_with("00000000000000000000ffff") || text.starts_with("0064ff9b0000000000000000")
    {
        return listed_v4(inside);
    }
    let isatap = matches!(&text[16..24], "00005efe" | "02005efe");
    let bits = ip.to_bits();
    isatap || V6_RANGES.iter().any(|(a, b)| (*a..=*b).contains(&bits))
}

/// Any IPv4 address; half of them at the edge of a range.
fn v4() -> impl Strategy<Value = u32> {
    let edges: Vec<u32> = V4_RANGES.iter().flat_map(|(a, b)| [*a, *b]).collect();
    prop_oneof![
        any::<u32>(),
        (select(edges), 0_u32..5).prop_map(|(edge, off)| edge.wrapping_add(off).wrapping_sub(2)),
    ]
}

/// Any address in any form.
fn address() -> impl Strategy<Value = IpAddr> {
    let edges: Vec<u128> = V6_RANGES.iter().flat_map(|(a, b)| [*a, *b]).collect();
    let low = |edge: u128, bits: u128, width: u32| edge ^ (bits & ((1 << width) - 1));
    let v6 = prop_oneof![
        any::<u128>(),
        any::<u128>().prop_map(|bits| bits >> 3 | 0x2 << 124),
        (select(edges.clone()), 0_u128..5)
            .prop_map(|(edge, off)| edge.wrapping_add(off).wrapping_sub(2)),
        (select(edges), any::<u128>(), 0_u32..127)
            .prop_map(move |(edge, bits, width)| low(edge, bits, width)),
        (any::<u128>(), select(vec![0_u128, 0x200, 0x100]), v4()).prop_map(|(prefix, form, v4)| {
            prefix >> 64 << 64 | form << 48 | 0x5efe << 32 | u128::from(v4)
        }),
        (wrapping(), v4(), any::<u128>()).prop_map(|((prefix, shift, invert), v4, rest)| {
            let v4 = u128::from(if invert { !v4 } else { v4 });
            prefix | v4 << shift | (rest & ((1 << shift) - 1))
        }),
    ];
    prop_oneof![
        1 => v4().prop_map(|bits| IpAddr::V4(bits.into())),
        3 => v6.prop_map(|bits| IpAddr::V6(bits.into())),
    ]
}

/// How an IPv4 address is put into an IPv6 one: the prefix, the place of its last bit, whether inverted.
fn wrapping() -> impl Strategy<Value = (u128, u32, bool)> {
    select(vec![
        (0xffff << 32, 0, false),           // mapped
        (0, 0, false),                      // compatible
        (0xffff << 48, 0, false),           // translated (::ffff:0:a.b.c.d)
        (0x0064_ff9b << 96, 0, false),      // NAT64
        (0x0064_ff9b_0001 << 80, 0, false), // local NAT64
        (0x2002 << 112, 80, false),         // 6to4
        (0x2001_0000 << 96, 0, true),       // Teredo: the client
        (0x2001_0000 << 96, 64, false),     // Teredo: the server
        (0x2606_4700 << 96, 0, false),      // an ordinary network that numbers so
    ])
}

/// An address in zeros and ones.
fn binary(ip: IpAddr) -> String {
    match ip {
        IpAddr::V4(v4) => format!("{:032b}", v4.to_bits()),
        IpAddr::V6(v6) => format!("{:0128b}", v6.to_bits()),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 5_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn an_address_of_any_form_is_refused_exactly_if_the_registries_list_it(ip in address(), port in 1_u16..) {
        let decided = Network::default().check(ip, port);
        prop_assert_eq!(decided.is_err(), listed(ip), "{}: {:?}", ip, decided);
        // What was read back from its text is judged the same.
        let again: IpAddr = ip.to_string().parse().unwrap();
        prop_assert_eq!(Network::default().check(again, port), decided);
    }

    #[test]
    fn a_permission_opens_its_own_network_and_port_and_nothing_else(
        ip in address(), other in prop::option::of(address()), flip in 0_usize..128, prefix in 0_usize..=128,
        port in 1_u16..4, granted in 1_u16..4,
    ) {
        // Near the address: the same but for one bit; or far from it.
        let near = match ip {
            IpAddr::V4(v4) => IpAddr::V4((v4.to_bits() ^ 1 << (flip % 32)).into()),
            IpAddr::V6(v6) => IpAddr::V6((v6.to_bits() ^ 1 << flip).into()),
        };
        let network = other.unwrap_or(near);
        let width = binary(network).len();
        let prefix = prefix % (width + 1);
        let text = match network {
            IpAddr::V4(v4) => format!("{v4}/{prefix}:{granted}"),
            IpAddr::V6(v6) => format!("[{v6}/{prefix}]:{granted}"),
        };
        let allow: Allow = text.parse().unwrap();
        let rules = Network { allow: vec![allow], ..Network::default() };
        let plain = ip.to_canonical();
        let covered = binary(plain).len() == width
            && binary(plain)[..prefix] == binary(network)[..prefix]
            && port == granted;
        prop_assert_eq!(rules.check(ip, port).is_ok(), covered || !listed(ip), "{} under {}", ip, text);
    }
}
