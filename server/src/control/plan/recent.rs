//! The list that was last fetched for a plan. A spec is planned again and again while it is written: the exchange need
//! not be asked each time, nor a permit waited for, which at the pace of days takes minutes.

use std::{ops::Range, sync::Arc, time::Duration};

use async_trait::async_trait;
use tokio::{sync::Mutex, time::Instant};

use crate::{
    domain::{failure::Failure, request::Response},
    source::Download,
};

const RECENT: Duration = Duration::from_secs(10 * 60);

/// One reply, with its address and when it came.
pub(in crate::control) type Recent = Mutex<Option<(String, Instant, Response)>>;

/// Downloads what was not downloaded just now.
pub(super) struct Recently {
    pub(super) recent: Arc<Recent>,
    pub(super) download: Arc<dyn Download>,
}

#[async_trait]
impl Download for Recently {
    async fn get(&self, url: &str, part: Option<Range<u64>>) -> Result<Response, Failure> {
        if let Some((of, at, reply)) = &*self.recent.lock().await
            && of == url
            && at.elapsed() < RECENT
        {
            return Ok(reply.clone());
        }
        let reply = self.download.get(url, part).await?;
        *self.recent.lock().await = Some((url.to_owned(), Instant::now(), reply.clone()));
        Ok(reply)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;
    use crate::domain::request::FileHead;

    /// Counts what it is asked for.
    #[derive(Default)]
    struct Counting(AtomicUsize);

    #[async_trait]
    impl Download for Counting {
        async fn get(&self, url: &str, _: Option<Range<u64>>) -> Result<Response, Failure> {
            self.0.fetch_add(1, Ordering::SeqCst);
            Ok(Response {
                date: None,
                status: 200,
                content_type: String::new(),
                retry_after: None,
                body: url.to_owned().into(),
                digest: None,
                bytes_received: 0,
                latency: Duration::ZERO,
                file: FileHead::default(),
            })
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_list_is_asked_for_again_after_ten_minutes_or_at_another_address() {
        let counting = Arc::new(Counting::default());
        let download =
            Recently { recent: Arc::default(), download: Arc::clone(&counting) as Arc<dyn Download> };
        for (url, wait_s, asked) in
            [("a", 0, 1), ("a", 599, 1), ("a", 1, 2), ("b", 0, 3), ("b", 0, 3), ("a", 0, 4)]
        {
            tokio::time::advance(Duration::from_secs(wait_s)).await;
            assert_eq!(download.get(url, None).await.unwrap().body, url);
            assert_eq!(counting.0.load(Ordering::SeqCst), asked, "{url} {wait_s}");
        }
    }
}
