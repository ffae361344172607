//! Where requests go: what one rate limit and one breaker are for.

use std::fmt;

use http::Uri;
use url::Url;

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

    /// The origin of an absolute http or https URL, or nothing if it is none. Two parsers must take it: the strict one,
    /// and the one that the HTTP client has, whose reading of the host is the one that counts: `http://0x7f.1` and
    /// `http://127.0.0.1` are one origin.
    pub fn of_url(text: &str) -> Option<Self> {
        let _: Uri = text.parse().ok()?;
        let url = Url::parse(text).ok().filter(|url| matches!(url.scheme(), "http" | "https"))?;
        let port = url.port_or_known_default().filter(|port| *port != 0)?;
        let is_absolute = text.get(url.scheme().len()..).is_some_and(|rest| rest.starts_with("://"));
        let host = url.host_str().filter(|_| is_absolute)?.to_owned();
        Some(Self { scheme: url.scheme().to_owned(), host, port })
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
            ("http://0x7f.1:8080/", "http://127.0.0.1:8080"),
            ("http://[0:0:0:0:0:0:0:1]/", "http://[::1]:80"),
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
            "http:/host/",
            "http:host",
            " http://host/",
            "http://host\\@other/",
            "http://1.2.3.4.5/",
        ] {
            assert_eq!(Origin::of_url(url), None, "{url}");
        }
    }
}
