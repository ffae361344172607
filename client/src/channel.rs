//! The connection: one HTTP/2 connection per client, made again by itself when it breaks.

use tonic::transport::{Channel, Endpoint};

use crate::{ClientOptions, Error};

/// The port that a server listens on unless told otherwise; taken where an address names none.
pub const DEFAULT_PORT: u16 = 50051;

/// Largest message either way, bytes.
pub(crate) const MESSAGE_MAX_BYTES: usize = 4 << 20;

/// The endpoint of `server`: `http://host:port`, `host:port` or `host`.
pub(crate) fn endpoint(server: &str, options: &ClientOptions) -> Result<Endpoint, Error> {
    let url = url(server)?;
    let invalid = |problem: String| Error::InvalidServer { server: server.to_owned(), problem };
    let endpoint = Endpoint::from_shared(url)
        .and_then(|endpoint| endpoint.user_agent(concat!("haul-client/", env!("CARGO_PKG_VERSION"))))
        .map_err(|_| invalid("it is no address".to_owned()))?;
    if !matches!(endpoint.uri().path(), "" | "/") || endpoint.uri().query().is_some() {
        return Err(invalid("an address has no path".to_owned()));
    }
    Ok(endpoint
        .connect_timeout(options.connect_timeout)
        .http2_keep_alive_interval(options.keepalive_interval)
        .keep_alive_timeout(options.keepalive_timeout)
        .keep_alive_while_idle(false)
        .tcp_nodelay(true))
}

/// Connects, so that a wrong address is found out now.
pub(crate) async fn connect(server: &str, options: &ClientOptions) -> Result<Channel, Error> {
    let connecting = endpoint(server, options)?;
    let unreachable = |source: Box<dyn std::error::Error + Send + Sync>| Error::Unreachable {
        server: server.to_owned(),
        source,
    };
    // The endpoint's own limit covers TCP alone; a listener that never answers must not hang us either.
    match tokio::time::timeout(options.connect_timeout, connecting.connect()).await {
        Ok(connected) => connected.map_err(|error| unreachable(error.into())),
        Err(_) => Err(unreachable(format!("no connection within {:?}", options.connect_timeout).into())),
    }
}

fn url(server: &str) -> Result<String, Error> {
    let invalid =
        |problem: &str| Error::InvalidServer { server: server.to_owned(), problem: problem.to_owned() };
    match server.split_once("://") {
        Some(("http", _)) => Ok(server.to_owned()),
        Some(("https", _)) => Err(invalid("this client speaks plain HTTP/2 (http://) only")),
        Some(_) => Err(invalid("an address begins with http://")),
        None if server.trim().is_empty() => Err(invalid("it is empty")),
        None if has_port(server) => Ok(format!("http://{server}")),
        None => Ok(format!("http://{server}:{DEFAULT_PORT}")),
    }
}

/// The last colon outside the brackets of an IPv6 address.
fn has_port(authority: &str) -> bool {
    authority.rsplit_once(':').is_some_and(|(_, port)| !port.contains(']'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses() {
        let uri =
            |server| endpoint(server, &ClientOptions::default()).map(|endpoint| endpoint.uri().to_string());
        for (server, expected) in [
            ("http://127.0.0.1:50051", "http://127.0.0.1:50051/"),
            ("127.0.0.1:7000", "http://127.0.0.1:7000/"),
            ("haul.internal", "http://haul.internal:50051/"),
            ("[::1]", "http://[::1]:50051/"),
            ("[::1]:7000", "http://[::1]:7000/"),
        ] {
            assert_eq!(uri(server).unwrap(), expected);
        }
        for (server, problem) in [
            ("", "it is empty"),
            ("https://haul.internal", "this client speaks plain HTTP/2 (http://) only"),
            ("unix:///run/haul", "an address begins with http://"),
            ("http://haul.internal/api", "an address has no path"),
            ("a b", "it is no address"),
        ] {
            assert_eq!(
                uri(server).unwrap_err().to_string(),
                format!("{server:?} is no server address: {problem}")
            );
        }
    }
}
