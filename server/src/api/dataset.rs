//! `DatasetService`.

use haul_proto::v1::{self, dataset_service_server::DatasetService};
use tonic::{Request, Response};

use super::{
    page::{self, Call, Page},
    service::{Answer, Service, invalid},
    status::{ApiError, both},
    time,
};
use crate::domain::{
    dataset::{Dataset, MissingKey, MissingPlace},
    id::BatchId,
};

const KEYS_DEFAULT: usize = 100;
const KEYS_MAX: usize = 5_000;
const CLEARED_KEYS_MAX: usize = 10_000;

#[tonic::async_trait]
impl DatasetService for Service {
    async fn list_missing_keys(
        &self,
        request: Request<v1::ListMissingKeysRequest>,
    ) -> Answer<v1::ListMissingKeysResponse> {
        Ok(Response::new(self.missing_keys(request.into_inner()).await?))
    }

    async fn clear_missing_keys(
        &self,
        request: Request<v1::ClearMissingKeysRequest>,
    ) -> Answer<v1::ClearMissingKeysResponse> {
        self.stays()?;
        let v1::ClearMissingKeysRequest { parent, keys, all } = request.into_inner();
        let (name, keys) = both(named(&parent), cleared(keys, all))?;
        let dataset = known(name)?;
        let cleared = self.control.clear_missing_keys(dataset, keys).await.map_err(ApiError::from)?;
        tracing::info!(dataset = dataset.as_str(), action = "ClearMissingKeys", cleared, "keys forgotten");
        Ok(Response::new(v1::ClearMissingKeysResponse { cleared_count: cleared as i64 }))
    }
}

impl Service {
    async fn missing_keys(
        &self,
        mut request: v1::ListMissingKeysRequest,
    ) -> Result<v1::ListMissingKeysResponse, ApiError> {
        let limit = page::size(std::mem::take(&mut request.page_size), KEYS_DEFAULT, KEYS_MAX);
        let page_token = std::mem::take(&mut request.page_token);
        let call = Call::new("ListMissingKeys", &request);
        let page = both(limit, self.tokens.page_behind(&call, &page_token));
        let (name, (limit, after)) = both(named(&request.parent), page)?;
        let dataset = known(name)?;
        let after = after.map(|(number, key)| MissingPlace { number, key });
        let found = self.control.missing_keys(dataset, after.as_ref(), limit + 1).await?;
        let mut page = Page::new();
        for shown in found.iter().take(limit).map(missing_key) {
            if !page.take(shown) {
                break;
            }
        }
        let shown = page.messages.len();
        let last = shown.checked_sub(1).filter(|_| shown < found.len()).map(|last| &found[last]);
        let next = last.map(|last| self.tokens.make_behind(&call, last.number, &last.key));
        Ok(v1::ListMissingKeysResponse {
            missing_keys: page.messages,
            next_page_token: next.unwrap_or_default(),
        })
    }
}

/// The name in `datasets/{dataset}`.
fn named(parent: &str) -> Result<&str, ApiError> {
    let is_name = |name: &&str| {
        name.len() <= 63
            && name.starts_with(|first: char| first.is_ascii_lowercase())
            && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_')
    };
    parent.strip_prefix("datasets/").filter(is_name).ok_or_else(|| {
        let problem =
            format!("{parent:?} is not datasets/{{dataset}}, {{dataset}} being [a-z][a-z0-9_]{{0,62}}");
        invalid("parent", problem)
    })
}

fn known(name: &str) -> Result<Dataset, ApiError> {
    Dataset::parse(name).ok_or_else(|| ApiError::DatasetNotFound(name.to_owned()))
}

/// The keys to be forgotten; nothing for all of them.
fn cleared(keys: Vec<String>, all: bool) -> Result<Option<Vec<String>>, ApiError> {
    match (keys.len(), all) {
        (0, false) => Err(invalid("keys", "is empty: give the keys to forget, or all = true")),
        (0, true) => Ok(None),
        (_, true) => Err(invalid("all", "is true although keys are given: leave one of them out")),
        (given, false) if given > CLEARED_KEYS_MAX => {
            let problem =
                format!("has {given} keys, at most {CLEARED_KEYS_MAX} are taken: call again for the rest");
            Err(invalid("keys", problem))
        }
        (_, false) => Ok(Some(keys)),
    }
}

fn missing_key(missing: &MissingKey) -> v1::MissingKey {
    v1::MissingKey {
        key: missing.key.clone(),
        reason: missing.reason.clone(),
        http_status: missing.http_status.map_or(0, i32::from),
        as_of: Some(time::timestamp(missing.as_of)),
        expire_time: Some(time::timestamp(missing.expires_at)),
        batch: BatchId::stored(missing.batch.clone()).name(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dataset_is_named_in_full() {
        assert_eq!(named("datasets/stock_prices").ok(), Some("stock_prices"));
        for bad in
            ["", "stock_prices", "datasets/", "datasets/Prices", "datasets/1", "datasets/a/b", "batches/a"]
        {
            assert!(named(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn either_keys_or_all_are_forgotten() {
        let keys = |count: usize| (0..count).map(|n| n.to_string()).collect::<Vec<_>>();
        assert_eq!(cleared(keys(0), true).ok(), Some(None));
        assert_eq!(cleared(keys(10_000), false).ok(), Some(Some(keys(10_000))));
        for (count, all) in [(0, false), (1, true), (10_001, false)] {
            assert!(cleared(keys(count), all).is_err(), "{count} {all}");
        }
    }
}
