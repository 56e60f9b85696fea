//! Spellings of addresses, and forged entries.

use proptest::prelude::*;

use super::*;

const PROXY: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1));
const CLIENT: &str = "203.0.113.7";

fn trusted() -> Vec<IpNet> {
    ["10.0.0.0/8", "fd00::/8", "::ffff:192.168.0.0/112"].map(|n| n.parse().unwrap()).to_vec()
}

fn walk(lines: &[(&'static str, &str)]) -> IpAddr {
    let mut headers = HeaderMap::new();
    for (name, value) in lines {
        headers.append(*name, value.parse().unwrap());
    }
    client_address(PROXY, &headers, &trusted())
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

#[test]
fn every_spelling_of_an_address_is_parsed() {
    for (text, address) in [
        ("1.2.3.4", "1.2.3.4"),
        ("1.2.3.4:5", "1.2.3.4"),
        (" 1.2.3.4:65535\t", "1.2.3.4"),
        ("\"1.2.3.4:5\"", "1.2.3.4"),
        ("1.2.3.4:_port", "1.2.3.4"),
        ("2001:db8::1", "2001:db8::1"),
        ("[2001:db8::1]", "2001:db8::1"),
        ("[2001:DB8::1]:5", "2001:db8::1"),
        ("\"[2001:db8::1]:5\"", "2001:db8::1"),
        ("\"[2001:db8::1]:_obscure.port\"", "2001:db8::1"),
        ("fe80::1%eth0", "fe80::1"),
        ("[fe80::1%25eth0]:80", "fe80::1"),
        ("::ffff:1.2.3.4", "1.2.3.4"),
        ("[::ffff:1.2.3.4]:5", "1.2.3.4"),
    ] {
        assert_eq!(node(text), Some(ip(address)), "{text}");
        assert_eq!(walk(&[("x-forwarded-for", text)]), ip(address), "{text}");
        assert_eq!(walk(&[("forwarded", &format!("proto=http;For={text};by=_x"))]), ip(address));
    }
}

#[test]
fn an_invalid_entry_ends_the_search_at_the_last_trusted_hop() {
    for text in [
        "unknown",
        "_hidden",
        "\"_x:5\"",
        "localhost",
        "1.2.3",
        "1.2.3.4.5",
        "01.2.3.4",
        "1.2.3.4:",
        "1.2.3.4:x",
        "1.2.3.4:123456",
        "1.2.3.4 5.6.7.8",
        "[2001:db8::1",
        "2001:db8::1]",
        "[1.2.3.4]",
        "[2001:db8::1]5",
        "[2001:db8::1]:",
        "fe80::1%",
        "1.2.3.4%eth0",
        "\"1.2.3.4",
        "1.2.3.4\"",
        "-",
        "\"\"",
    ] {
        assert_eq!(node(text), None, "{text}");
        let lines = format!("9.9.9.9, {text}, 10.0.0.2");
        assert_eq!(walk(&[("x-forwarded-for", &lines)]), ip("10.0.0.2"), "{text}");
        assert_eq!(walk(&[("x-forwarded-for", text)]), PROXY, "{text}");
    }
    for element in ["proto=https", "for", "for=unknown", "by=1.2.3.4", "for=\"1.2.3.4", "=1.2.3.4"]
    {
        let line = format!("for=9.9.9.9, {element}");
        assert_eq!(walk(&[("forwarded", &line)]), PROXY, "{element}");
    }
}

#[test]
fn entries_of_the_client_are_not_believed() {
    for line in [
        "9.9.9.1, 203.0.113.7:40000",
        "9.9.9.1, 203.0.113.7, 10.0.0.2",
        "garbage, \", [, 203.0.113.7",
        "\"unclosed, 203.0.113.7",
        "10.0.0.9, 203.0.113.7, [fd00::1]:80, 192.168.0.3",
        "203.0.113.7, , ",
    ] {
        assert_eq!(walk(&[("x-forwarded-for", line)]), ip(CLIENT), "{line}");
    }
    let open_quote = [("forwarded", "for=\"9.9.9.9;x=\"\\\", for=203.0.113.7;host=\"a,b;c\"")];
    assert_eq!(walk(&open_quote), ip(CLIENT));
    let lines = [
        ("x-forwarded-for", "9.9.9.9"),
        ("x-forwarded-for", CLIENT),
        ("x-forwarded-for", "10.1.1.1"),
    ];
    assert_eq!(walk(&lines), ip(CLIENT), "lines count as one list");
    let both = [("forwarded", "for=9.9.9.9"), ("x-forwarded-for", CLIENT)];
    assert_eq!(walk(&both), ip(CLIENT), "X-Forwarded-For wins");
}

#[test]
fn only_trusted_proxies_are_believed() {
    let mut headers = HeaderMap::new();
    headers.append("x-forwarded-for", "6.6.6.6".parse().unwrap());
    let stranger = ip("9.9.9.9");
    assert_eq!(client_address(stranger, &headers, &trusted()), stranger);
    assert_eq!(client_address(PROXY, &headers, &[]), PROXY);
    assert_eq!(client_address(PROXY, &HeaderMap::new(), &trusted()), PROXY);
    let mapped = ip("::ffff:10.0.0.1");
    assert_eq!(client_address(mapped, &headers, &trusted()), ip("6.6.6.6"), "mapped IPv4 is IPv4");
    assert!(is_trusted(ip("192.168.0.9"), &trusted()), "and so are networks of it");
    assert!(!is_trusted(ip("192.169.0.9"), &trusted()));
}

#[test]
fn a_client_is_an_ipv4_address_or_a_network_of_64_bits() {
    let same = |a: &str, b: &str| Client::of(ip(a)) == Client::of(ip(b));
    assert!(same("2001:db8::1", "2001:db8::ffff:1:2:3"));
    assert!(!same("2001:db8::1", "2001:db8:0:1::1"));
    assert!(same("::ffff:1.2.3.4", "1.2.3.4"));
    assert!(same("64:ff9b::102:304", "1.2.3.4"), "translated IPv4 is IPv4");
    assert!(!same("64:ff9b::1.2.3.4", "64:ff9b::1.2.3.5"));
    assert!(!same("1.2.3.4", "1.2.3.5"));
}

proptest! {
    #[test]
    fn the_entry_of_the_proxy_counts_whatever_the_client_writes(claim in "[ -~]{0,60}", v4 in any::<u32>(), port in proptest::option::of(any::<u16>())) {
        let address = Ipv4Addr::from_bits(v4 | 0x8000_0000); // not of 10.0.0.0/8
        let seen = port.map_or_else(|| address.to_string(), |p| format!("{address}:{p}"));
        if !is_trusted(address.into(), &trusted()) {
            prop_assert_eq!(walk(&[("x-forwarded-for", &format!("{claim},{seen}"))]), IpAddr::V4(address));
            prop_assert_eq!(walk(&[("forwarded", &format!("{claim},for=\"{seen}\""))]), IpAddr::V4(address));
        }
    }

    #[test]
    fn a_formatted_address_is_parsed_back(bits in any::<u128>(), port in any::<u16>()) {
        let address = Ipv6Addr::from_bits(bits);
        let wanted = Some(IpAddr::V6(address).to_canonical());
        prop_assert_eq!(node(&address.to_string()), wanted);
        prop_assert_eq!(node(&format!("[{address}]:{port}")), wanted);
    }

    #[test]
    fn nothing_panics(text in "\\PC{0,80}", separator in prop::sample::select(vec![b',', b';'])) {
        let parts: Vec<_> = from_the_right(&text, separator).collect();
        prop_assert!(parts.iter().map(|p| p.len() + 1).sum::<usize>() == text.len() + 1);
        let _ = (node(&text), forwarded_for(&text));
    }
}
