//! Name resolution with an error of its own type, so that a failed lookup can be told from a failed connection. Only
//! answers that the outbound policy lets through are given on.

use std::{net::SocketAddr, sync::Arc};

use futures::FutureExt;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};

use super::outbound::Outbound;

/// A lookup that failed.
#[derive(Debug, thiserror::Error)]
#[error("{host}: {source}")]
pub(super) struct LookupError {
    host: String,
    source: std::io::Error,
}

/// Asks the system's resolver.
#[derive(Debug, Clone)]
pub(super) struct SystemResolver(pub(super) Arc<Outbound>);

impl Resolve for SystemResolver {
    fn resolve(&self, name: Name) -> Resolving {
        let host = name.as_str().to_owned();
        let outbound = Arc::clone(&self.0);
        async move {
            let found =
                tokio::net::lookup_host((host.as_str(), 0)).await.map(Iterator::collect::<Vec<SocketAddr>>);
            match found {
                Ok(found) => {
                    outbound.check_answer(&host, found.iter().map(SocketAddr::ip))?;
                    Ok(Box::new(found.into_iter()) as Addrs)
                }
                Err(source) => Err(LookupError { host, source }.into()),
            }
        }
        .boxed()
    }
}
