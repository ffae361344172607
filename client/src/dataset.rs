//! Datasets: what is known of the tables that batches write to.

use futures::stream::BoxStream;
use haul_proto::v1;

use crate::{
    Client, Error,
    client::UNARY_DEADLINE,
    dataset_name,
    page::{self, PER_PAGE},
};

impl Client {
    /// Reads the keys of a dataset that are remembered as missing, by key, page after page as they are asked for. The
    /// name may be an id.
    pub fn missing_keys(&self, dataset: &str) -> BoxStream<'static, Result<v1::MissingKey, Error>> {
        let (client, parent) = (self.clone(), dataset_name(dataset));
        page::pages(move |page_token| {
            let (client, stub, parent) = (client.clone(), client.datasets(), parent.clone());
            async move {
                let request = v1::ListMissingKeysRequest { parent, page_size: PER_PAGE, page_token };
                let rpc = move |_, request| {
                    let mut stub = stub.clone();
                    async move { stub.list_missing_keys(request).await }
                };
                let page = client.call(UNARY_DEADLINE, request, rpc).await?;
                Ok((page.missing_keys, page.next_page_token))
            }
        })
    }

    /// Forgets keys that are remembered as missing, or all of a dataset: later batches ask for them again. Answers with how
    /// many were. `parent` may be an id.
    ///
    /// ```no_run
    /// use haul_client::v1::ClearMissingKeysRequest;
    ///
    /// # async fn demo(client: haul_client::Client) -> Result<(), haul_client::Error> {
    /// let (parent, keys) = ("stock_prices".to_owned(), vec!["1301".to_owned()]);
    /// client.clear_missing_keys(ClearMissingKeysRequest { parent, keys, all: false }).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn clear_missing_keys(&self, mut request: v1::ClearMissingKeysRequest) -> Result<i64, Error> {
        request.parent = dataset_name(&request.parent);
        let stub = self.datasets();
        let rpc = move |_, request| {
            let mut stub = stub.clone();
            async move { stub.clear_missing_keys(request).await }
        };
        Ok(self.call(UNARY_DEADLINE, request, rpc).await?.cleared_count)
    }
}
