//! Where requests may go: to public addresses over http and https, and to what the configuration names besides.
//!
//! It is asked three times, as each place sees what the others cannot: when a spec comes, of the URLs in it; before each
//! request, of its URL, since an address in a URL is never resolved; and when a name is resolved, of every address in the
//! answer. The connection is made to one of the addresses that were judged, so a name that has another answer the next
//! time gains nothing. Redirects are not followed, so a reply leads nowhere either.
//!
//! URLs are read by the parser that the HTTP client has: whatever way an address is written in, both see the same one.

use std::{
    collections::HashSet,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    sync::LazyLock,
};

use ipnet::IpNet;
use url::{Host, Url};

#[cfg(test)]
mod tests;

/// What the configuration allows besides the public internet.
#[derive(Debug, Clone, Default)]
pub struct Outbound {
    names: HashSet<String>,
    networks: Vec<IpNet>,
}

/// A target that the policy forbids.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{target} is {what}, where no request goes unless the configuration allows it (--allow-target {way_out})"
)]
pub struct Forbidden {
    /// The host, and the address that it stands for if it is a name.
    pub target: String,
    what: &'static str,
    way_out: String,
}

/// An entry of the configuration that is neither a host nor a network.
#[derive(Debug, thiserror::Error)]
#[error("{0:?} is no host name, address or network such as 10.1.0.0/16")]
pub struct BadEntry(String);

impl Outbound {
    /// Allows these as well: names, addresses, and networks in CIDR form.
    pub fn new(entries: &[String]) -> Result<Self, BadEntry> {
        let mut allowed = Self::default();
        for entry in entries {
            let bare = entry.trim().trim_start_matches('[').trim_end_matches(']');
            if let Ok(network) = bare.parse::<IpNet>() {
                allowed.networks.push(network);
            } else if let Ok(address) = bare.parse::<IpAddr>() {
                allowed.networks.push(address.into());
            } else {
                match Host::parse(bare) {
                    Ok(Host::Domain(name)) => allowed.names.insert(normal(&name)),
                    Ok(Host::Ipv4(_) | Host::Ipv6(_)) | Err(_) => return Err(BadEntry(entry.clone())),
                };
            }
        }
        Ok(allowed)
    }

    /// Judges what a URL says by itself: an address, or a name that is known without asking. A URL without a host is
    /// nobody's target.
    pub fn check(&self, url: &Url) -> Result<(), Forbidden> {
        match url.host() {
            None => Ok(()),
            Some(Host::Ipv4(address)) => self.check_address(address.into(), None),
            Some(Host::Ipv6(address)) => self.check_address(address.into(), None),
            Some(Host::Domain(name)) => self.check_name(&normal(name)),
        }
    }

    /// Judges a name's addresses, all of them: an answer that mixes is an attempt.
    pub(super) fn check_answer(
        &self,
        name: &str,
        addresses: impl IntoIterator<Item = IpAddr>,
    ) -> Result<(), Forbidden> {
        let name = normal(name);
        addresses.into_iter().try_for_each(|address| self.check_address(address, Some(&name)))
    }

    fn check_name(&self, name: &str) -> Result<(), Forbidden> {
        let last = name.rsplit('.').next().unwrap_or_default();
        let what = if METADATA_NAMES.contains(&name) {
            METADATA
        } else if last == "localhost" && !self.allows(Ipv4Addr::LOCALHOST.into()) {
            "this machine"
        } else {
            return Ok(());
        };
        if self.names.contains(name) {
            return Ok(());
        }
        Err(Forbidden { target: name.to_owned(), what, way_out: name.to_owned() })
    }

    fn check_address(&self, address: IpAddr, name: Option<&str>) -> Result<(), Forbidden> {
        let meant = meant(address);
        let named = || name.is_some_and(|name| self.names.contains(name));
        let (allowed, what) = if METADATA_ADDRESSES.contains(&meant) {
            // A network around it does not mean it, nor does a name that somebody else gives to it.
            (self.networks.contains(&meant.into()), METADATA)
        } else if let Some(what) = special(meant) {
            (named() || self.allows(meant), what)
        } else {
            return Ok(());
        };
        if allowed {
            return Ok(());
        }
        let target = match name {
            Some(name) => format!("{name} ({address})"),
            None => address.to_string(),
        };
        Err(Forbidden { target, what, way_out: meant.to_string() })
    }

    fn allows(&self, address: IpAddr) -> bool {
        self.networks.iter().any(|network| network.contains(&address))
    }
}

/// In lower case, without the root's dot.
fn normal(name: &str) -> String {
    name.trim_end_matches('.').to_ascii_lowercase()
}

/// The address that a packet ends at: of IPv4 that is written as IPv6, and of what a translator (NAT64) makes of it, the
/// IPv4 one.
fn meant(address: IpAddr) -> IpAddr {
    const NAT64: [u16; 6] = [0x64, 0xff9b, 0, 0, 0, 0];
    let IpAddr::V6(v6) = address else { return address };
    match v6.segments() {
        [prefix @ .., high, low] if prefix == NAT64 => {
            Ipv4Addr::from_bits(u32::from(high) << 16 | u32::from(low)).into()
        }
        _ => v6.to_canonical(),
    }
}

/// What an address is that is not public.
fn special(address: IpAddr) -> Option<&'static str> {
    let is_global = |v6: Ipv6Addr| v6.segments()[0] & 0xe000 == 0x2000;
    let listed = || SPECIAL.iter().find(|(network, _)| network.contains(&address)).map(|(_, what)| *what);
    match address {
        // Of IPv6 only one eighth is given out; all else is special, or will be something that we do not know.
        IpAddr::V6(v6) if !is_global(v6) => listed().or(Some("not a public address")),
        IpAddr::V4(_) | IpAddr::V6(_) => listed(),
    }
}

const METADATA: &str = "a cloud's metadata service";
/// They resolve inside these clouds only, so that elsewhere nothing else would tell.
const METADATA_NAMES: [&str; 4] = ["metadata.google.internal", "metadata.goog", "metadata", "instance-data"];
const METADATA_ADDRESSES: [IpAddr; 9] = [
    IpAddr::V4(Ipv4Addr::new(169, 254, 169, 254)),
    // Containers and pods.
    IpAddr::V4(Ipv4Addr::new(169, 254, 170, 2)),
    IpAddr::V4(Ipv4Addr::new(169, 254, 170, 23)),
    // Two that are in public or shared space.
    IpAddr::V4(Ipv4Addr::new(168, 63, 129, 16)),
    IpAddr::V4(Ipv4Addr::new(100, 100, 100, 200)),
    IpAddr::V4(Ipv4Addr::new(192, 0, 0, 192)),
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254)),
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x23)),
    IpAddr::V6(Ipv6Addr::new(0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254)),
];

/// Special-purpose addresses (RFC 6890 and IANA's registries after it).
static SPECIAL: LazyLock<Vec<(IpNet, &'static str)>> = LazyLock::new(|| {
    let listed = |(network, what): (&str, _)| Some((network.parse().ok()?, what));
    SPECIAL_NETWORKS.into_iter().filter_map(listed).collect()
});
const SPECIAL_NETWORKS: [(&str, &str); 26] = [
    ("0.0.0.0/8", "this machine"),
    ("10.0.0.0/8", "a private address"),
    ("100.64.0.0/10", "a carrier's private address"),
    ("127.0.0.0/8", "this machine"),
    ("169.254.0.0/16", "a link-local address"),
    ("172.16.0.0/12", "a private address"),
    ("192.0.0.0/24", "an address for protocols"),
    ("192.0.2.0/24", "an address for documentation"),
    ("192.88.99.0/24", "a relay of 6to4"),
    ("192.168.0.0/16", "a private address"),
    ("198.18.0.0/15", "an address for benchmarks"),
    ("198.51.100.0/24", "an address for documentation"),
    ("203.0.113.0/24", "an address for documentation"),
    ("224.0.0.0/4", "a multicast address"),
    ("240.0.0.0/4", "a reserved address"),
    ("::/128", "this machine"),
    ("::1/128", "this machine"),
    ("64:ff9b:1::/48", "a translator's private address"),
    // Teredo and others in which something else may be wrapped.
    ("2001::/23", "an address for protocols"),
    ("2001:db8::/32", "an address for documentation"),
    ("2002::/16", "an address of 6to4"),
    ("3fff::/20", "an address for documentation"),
    ("fc00::/7", "a private address"),
    ("fe80::/10", "a link-local address"),
    ("fec0::/10", "a private address"),
    ("ff00::/8", "a multicast address"),
];
