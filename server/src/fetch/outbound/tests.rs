use std::net::IpAddr;

use url::Url;

use super::{Forbidden, Outbound, SPECIAL, SPECIAL_NETWORKS};

fn allowing(entries: &[&str]) -> Outbound {
    Outbound::new(&entries.iter().map(|entry| (*entry).to_owned()).collect::<Vec<_>>()).unwrap()
}

fn check(policy: &Outbound, url: &str) -> Result<(), Forbidden> {
    policy.check(&Url::parse(url).unwrap_or_else(|error| panic!("{url}: {error}")))
}

fn answer(policy: &Outbound, name: &str, addresses: &[&str]) -> Result<(), Forbidden> {
    policy.check_answer(name, addresses.iter().map(|address| address.parse::<IpAddr>().unwrap()))
}

#[test]
fn every_network_of_the_table_is_one() {
    assert_eq!(SPECIAL.len(), SPECIAL_NETWORKS.len());
}

#[test]
fn no_url_says_a_forbidden_address_in_a_way_that_is_let_through() {
    let policy = Outbound::default();
    for url in [
        "http://127.0.0.1/",
        "http://127.0.0.1:8080/x?y#z",
        "https://127.1/",
        "http://127.0.1/",
        "http://2130706433/",
        "http://017700000001/",
        "http://0177.0.0.1/",
        "http://0x7f.0.0.1/",
        "http://0x7F000001/",
        "http://0x7f.1:80/",
        "http://127.0.0.1./",
        "http://127.0.0.01/",
        "http://%31%32%37.0.0.1/",
        "http://１２７.0.0.1/",
        "http://127。0。0。1/",
        "http://0/",
        "http://0.0.0.0/",
        "HTTP://LOCALHOST/",
        "http://localhost:9/",
        "http://localhost./",
        "http://a.b.LocalHost/",
        "http://user:word@127.0.0.1/",
        "http://query1.finance.yahoo.com@127.0.0.1/",
        "http://127.0.0.1\\@query1.finance.yahoo.com/",
        "http://127.0.0.1\t/",
        "http://10.0.0.1/",
        "http://10.255.255.255/",
        "http://172.16.0.1/",
        "http://172.31.255.255/",
        "http://192.168.1.1/",
        "http://0xc0a80101/",
        "http://100.64.0.1/",
        "http://100.127.255.255/",
        "http://169.254.1.1/",
        "http://192.0.2.1/",
        "http://198.51.100.1/",
        "http://203.0.113.1/",
        "http://198.18.0.1/",
        "http://192.88.99.1/",
        "http://224.0.0.1/",
        "http://239.255.255.255/",
        "http://240.0.0.1/",
        "http://255.255.255.255/",
        "http://[::]/",
        "http://[::1]/",
        "http://[0:0:0:0:0:0:0:1]:80/",
        "http://[::ffff:127.0.0.1]/",
        "http://[::ffff:7f00:1]/",
        "http://[::ffff:10.0.0.1]/",
        "http://[::127.0.0.1]/",
        "http://[64:ff9b::127.0.0.1]/",
        "http://[64:ff9b::a00:1]/",
        "http://[64:ff9b:1::1]/",
        "http://[2002:7f00:1::]/",
        "http://[2001::1]/",
        "http://[2001:db8::1]/",
        "http://[3fff::1]/",
        "http://[fc00::1]/",
        "http://[fdab::1]/",
        "http://[fe80::1]/",
        "http://[fec0::1]/",
        "http://[ff02::1]/",
        "http://[100::1]/",
        "http://[4000::1]/",
        "http://169.254.169.254/latest/meta-data/",
        "http://0xa9fea9fe/",
        "http://[::ffff:169.254.169.254]/",
        "http://[64:ff9b::169.254.169.254]/",
        "http://[fd00:ec2::254]/",
        "http://168.63.129.16/",
        "http://metadata.google.internal/",
        "http://METADATA.google.internal./",
        "http://metadata/",
    ] {
        assert!(check(&policy, url).is_err(), "{url}");
    }
}

#[test]
fn public_targets_are_let_through() {
    let policy = Outbound::default();
    for url in [
        "https://query1.finance.yahoo.com/v8",
        "https://www.jpx.co.jp./",
        "http://xn--wgv71a119e.jp/",
        "https://8.8.8.8/",
        "http://100.63.255.255/",
        "http://100.128.0.1/",
        "http://172.15.0.1/",
        "http://172.32.0.1/",
        "http://[2606:4700::1111]:8443/",
        "http://[64:ff9b::8.8.8.8]/",
        "http://localhost.example.com/",
        "http://127.0.0.1.example.com/",
    ] {
        assert_eq!(check(&policy, url), Ok(()), "{url}");
    }
}

#[test]
fn a_name_is_judged_by_every_address_that_it_resolves_to() {
    let policy = Outbound::default();
    assert_eq!(answer(&policy, "host.example", &["8.8.8.8", "2606:4700::1111"]), Ok(()));
    for addresses in [
        &["127.0.0.1"][..],
        &["8.8.8.8", "10.0.0.1"],
        &["10.0.0.1", "8.8.8.8"],
        &["8.8.8.8", "::ffff:192.168.0.1"],
        &["fd00::1"],
        &["169.254.169.254"],
    ] {
        let forbidden = answer(&policy, "rebound.example", addresses).unwrap_err();
        assert!(forbidden.target.starts_with("rebound.example ("), "{forbidden}");
    }
}

#[test]
fn what_the_configuration_names_is_allowed_and_nothing_beside_it() {
    let policy = allowing(&["127.0.0.1", "10.1.0.0/16", "Prices.Internal.", "[fd12::/32]"]);
    for url in [
        "http://127.0.0.1:9/",
        "http://0x7f.1/",
        "http://10.1.2.3/",
        "http://[fd12::7]/",
        "http://localhost/",
    ] {
        assert_eq!(check(&policy, url), Ok(()), "{url}");
    }
    for url in ["http://127.0.0.2/", "http://10.2.0.1/", "http://[fd13::7]/", "http://[::1]/"] {
        assert!(check(&policy, url).is_err(), "{url}");
    }
    assert_eq!(answer(&policy, "prices.internal", &["192.168.7.7"]), Ok(()));
    assert_eq!(answer(&policy, "any.example", &["10.1.0.9"]), Ok(()), "by its network");
    assert!(answer(&policy, "other.internal", &["192.168.7.7"]).is_err());
    assert!(answer(&policy, "prices.internal.example", &["192.168.7.7"]).is_err());
}

#[test]
fn a_metadata_service_is_never_allowed_by_the_way() {
    let by_the_way = allowing(&["169.254.0.0/16", "fd00::/8", "0.0.0.0/0", "prices.internal"]);
    for url in ["http://169.254.169.254/", "http://[fd00:ec2::254]/", "http://metadata.google.internal/"] {
        assert!(check(&by_the_way, url).is_err(), "{url}");
    }
    assert!(answer(&by_the_way, "prices.internal", &["169.254.169.254"]).is_err());
    let said = allowing(&["169.254.169.254", "metadata.google.internal"]);
    assert_eq!(check(&said, "http://169.254.169.254/"), Ok(()));
    assert_eq!(check(&said, "http://metadata.google.internal/"), Ok(()));
    assert_eq!(answer(&said, "metadata.google.internal", &["169.254.169.254"]), Ok(()));
}

#[test]
fn a_refusal_names_the_target_and_the_way_out() {
    let said = check(&Outbound::default(), "http://[::ffff:10.0.0.7]/").unwrap_err().to_string();
    assert!(said.contains("private") && said.contains("--allow-target 10.0.0.7"), "{said}");
}

#[test]
fn an_entry_that_is_nothing_is_refused() {
    for entry in ["", "http://host", "a b", "10.0.0.0/33", "host/24"] {
        let error = Outbound::new(&[entry.to_owned()]).unwrap_err();
        assert!(error.to_string().contains(entry), "{error}");
    }
}
