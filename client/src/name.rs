//! Resource names. The wire knows full names only; people may leave the collection out.

const COLLECTION: &str = "batches/";

/// The full name of a batch, from its id or its full name.
///
/// ```
/// assert_eq!(haul_client::batch_name("nightly"), "batches/nightly");
/// assert_eq!(haul_client::batch_name("batches/nightly"), "batches/nightly");
/// ```
pub fn batch_name(id_or_name: &str) -> String {
    if id_or_name.starts_with(COLLECTION) {
        id_or_name.to_owned()
    } else {
        format!("{COLLECTION}{id_or_name}")
    }
}

const DATASETS: &str = "datasets/";

/// The full name of a dataset, from its id or its full name.
///
/// ```
/// assert_eq!(haul_client::dataset_name("stock_prices"), "datasets/stock_prices");
/// assert_eq!(haul_client::dataset_name("datasets/stock_prices"), "datasets/stock_prices");
/// ```
pub fn dataset_name(id_or_name: &str) -> String {
    if id_or_name.starts_with(DATASETS) { id_or_name.to_owned() } else { format!("{DATASETS}{id_or_name}") }
}

const UPSTREAMS: &str = "upstreams/";

/// The full name of an upstream, from its id, its full name, a URL there, or a host with a port.
///
/// ```
/// use haul_client::upstream_name;
///
/// assert_eq!(upstream_name("https://api.example.com/v1?x=1"), "upstreams/api.example.com");
/// assert_eq!(upstream_name("http://[::1]:8080"), "upstreams/http-__1-8080");
/// assert_eq!(upstream_name("localhost:8443"), "upstreams/https-localhost-8443");
/// assert_eq!(upstream_name("http-127.0.0.1-8080"), "upstreams/http-127.0.0.1-8080");
/// assert_eq!(upstream_name("upstreams/api.example.com"), "upstreams/api.example.com");
/// ```
pub fn upstream_name(text: &str) -> String {
    if text.starts_with(UPSTREAMS) {
        return text.to_owned();
    }
    let (scheme, rest) = text.split_once("://").unwrap_or(("https", text));
    let scheme = scheme.to_ascii_lowercase();
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let authority = authority.rsplit('@').next().unwrap_or_default();
    // The colons of an IPv6 address stand in brackets.
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => (host, port),
        _ => (authority, ""),
    };
    let usual = if scheme == "http" { "80" } else { "443" };
    let port = if port.is_empty() { usual } else { port };
    let host = host.trim_matches(['[', ']']).replace(':', "_").to_ascii_lowercase();
    if (scheme.as_str(), port) == ("https", "443") {
        return format!("{UPSTREAMS}{host}");
    }
    format!("{UPSTREAMS}{scheme}-{host}-{port}")
}
