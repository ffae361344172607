//! Where requests go: what one rate limit and one breaker are for.

use std::fmt;

use http::Uri;

use crate::domain::upstream::UpstreamId;

/// Scheme, host and port. Two URLs of one origin share its limits.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Origin {
    /// `http` or `https`.
    pub scheme: String,
    /// Host in lower case, an IPv6 address in brackets.
    pub host: String,
    /// Port, the scheme's own where the URL has none.
    pub port: u16,
}

impl Origin {
    /// The upstream that its limits belong to.
    pub fn upstream(&self) -> UpstreamId {
        UpstreamId::of(&self.scheme, &self.host, self.port)
    }

    /// The origin of an absolute http or https URL, or nothing if it is none.
    pub fn of_url(url: &str) -> Option<Self> {
        let uri: Uri = url.parse().ok()?;
        let default_port = match uri.scheme_str()? {
            "http" => 80,
            "https" => 443,
            _ => return None,
        };
        let authority = uri.authority()?;
        let host = authority.host();
        // `Authority::port` takes a port that is no number for none at all.
        let after_user = authority.as_str().rsplit('@').next()?;
        let port = match after_user.strip_prefix(host)? {
            "" | ":" => default_port,
            port => port.strip_prefix(':')?.parse().ok().filter(|port| *port != 0)?,
        };
        let scheme = uri.scheme_str()?.to_owned();
        (!host.is_empty()).then(|| Self { scheme, host: host.to_ascii_lowercase(), port })
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}:{}", self.scheme, self.host, self.port)
    }
}

#[cfg(test)]
mod tests {
    use super::Origin;

    #[test]
    fn urls_of_one_origin_are_one() {
        for (url, origin) in [
            ("https://query1.finance.yahoo.com", "https://query1.finance.yahoo.com:443"),
            ("HTTPS://Query1.Finance.Yahoo.com/", "https://query1.finance.yahoo.com:443"),
            ("http://localhost:8080/v8?x=1", "http://localhost:8080"),
            ("http://user:word@127.0.0.1/", "http://127.0.0.1:80"),
            ("http://[::1]:9000/", "http://[::1]:9000"),
            ("http://host:/", "http://host:80"),
        ] {
            assert_eq!(Origin::of_url(url).map(|o| o.to_string()).as_deref(), Some(origin), "{url}");
        }
    }

    #[test]
    fn anything_else_has_none() {
        for url in [
            "",
            "query1.finance.yahoo.com",
            "/v8",
            "ftp://host/",
            "file:///tmp/x",
            "http://",
            "http://host:99999/",
            "http://host:0/",
            "http://ho st/",
        ] {
            assert_eq!(Origin::of_url(url), None, "{url}");
        }
    }
}
