//! Upkeep: deletes what has expired, a little at a time, ends what drains without anybody seeing to it, and asks
//! upstreams that are down whether they answer again.

use std::{sync::Arc, time::Duration};

use super::{
    Engine,
    gate::{Lane, Terms},
};
use crate::{
    clock,
    connector::{self, Connector},
    domain::{batch::Batch, upstream::UpstreamId},
    fetch::{Call, Permits, Verdict, classify},
};

/// Between two rounds.
const ROUND: Duration = Duration::from_secs(1);
/// Rounds between two looks for what has expired, when there was nothing.
const PURGE_ROUNDS: u32 = 60;

pub(super) async fn run(engine: Arc<Engine>) {
    let mut rounds_to_purge = 1;
    loop {
        tokio::select! {
            () = engine.draining.cancelled() => return,
            () = tokio::time::sleep(ROUND) => {}
        }
        match engine.store.settle(clock::now()).await {
            Ok(batches) => engine.take_up_all(batches),
            Err(error) => tracing::warn!(error = %error, "draining batches could not be looked at"),
        }
        match engine.store.outages().await {
            Ok(batches) => look_after_outages(&engine, &batches).await,
            Err(error) => tracing::warn!(error = %error, "outages could not be looked at"),
        }
        rounds_to_purge -= 1;
        if rounds_to_purge == 0 {
            rounds_to_purge = match engine.store.purge(clock::now()).await {
                Ok(0) => PURGE_ROUNDS,
                Ok(_) => 1,
                Err(error) => {
                    tracing::warn!(error = %error, "expired rows could not be deleted");
                    PURGE_ROUNDS
                }
            };
        }
    }
}

/// Lets the batches go on whose upstream answers again, and sends the probes that are due. One upstream gets one probe at
/// a time: its breaker sees to that.
async fn look_after_outages(engine: &Arc<Engine>, batches: &[Batch]) {
    for batch in batches.iter().filter(|batch| batch.spec.outage.auto_resume) {
        let connector = connector::build(&batch.spec);
        let origin = connector.origin();
        let upstream = UpstreamId::of(&origin.scheme, &origin.host, origin.port);
        let gate = engine.gates.gate(&upstream, &origin.host, Terms::of(&batch.spec));
        if gate.tripped_since().is_none() {
            match engine.store.end_outage(batch.seq, clock::now()).await {
                Ok(changed) => {
                    tracing::info!(batch_id = %batch.id, action = "outage_over", status = changed.batch.state.as_str());
                    engine.take_up_all(changed.admitted);
                    engine.take_up(changed.batch);
                }
                Err(error) => {
                    tracing::warn!(batch_id = %batch.id, error = %error, "the end of an outage could not be recorded");
                }
            }
        } else if gate.wants_probe() {
            match engine.gates.join(&upstream, &origin.host, batch.seq, Terms::of(&batch.spec)).await {
                Ok(lane) => {
                    engine.tasks.spawn(probe(Arc::clone(engine), batch.clone(), connector, lane));
                }
                Err(error) => tracing::warn!(batch_id = %batch.id, error = %error, "no probe could be sent"),
            }
        }
    }
}

/// One request of an open item, that no item is charged or credited with.
async fn probe(engine: Arc<Engine>, batch: Batch, connector: Box<dyn Connector>, lane: Arc<Lane>) {
    // Followed before it is read again, so that no later command is missed.
    let mut states = engine.hub.follow(&batch).subscribe();
    let read = async {
        if let Some(batch) = engine.store.batch(&batch.id).await? {
            engine.hub.publish(batch, &[]);
        }
        engine.store.open_key(batch.seq).await
    };
    let key = match read.await {
        Ok(Some(key)) => key,
        Ok(None) => return,
        Err(error) => {
            return tracing::warn!(batch_id = %batch.id, error = %error, "no item to probe with could be read");
        }
    };
    let withdrawn = engine.draining.child_token();
    let fetch = &batch.spec.fetch;
    // A key that makes no request proves nothing; the batch finds out by itself.
    let Ok(request) = connector.request(&key) else { return lane.observe(Verdict::Alive).await };
    let call = Call {
        request,
        user_agent: fetch.user_agent.as_str().into(),
        timeout: fetch.attempt_timeout,
        body_bytes_max: fetch.body_bytes_max,
        permits: Arc::clone(&lane) as _,
        withdrawn: withdrawn.clone(),
        meter: Arc::default(),
    };
    let mut fetched = Box::pin(engine.fetcher.fetch(call));
    let over = async {
        let _ = states.wait_for(|batch| !batch.waits_for_upstream()).await;
    };
    let reply = tokio::select! {
        reply = &mut fetched => Some(reply),
        // Somebody has paused or stopped it: nothing more is sent for it.
        () = over => None,
    };
    let reply = match reply {
        Some(reply) => reply,
        None => {
            withdrawn.cancel();
            fetched.await
        }
    };
    let (verdict, said) = match reply {
        Ok(response) => {
            let failure = connector.decode(&key, &response).err();
            let failure = failure.map(|fault| classify::reply(&fault, &response, clock::now()));
            let said = failure.as_ref().map_or("an answer".to_owned(), |failure| failure.message.clone());
            (classify::content(failure.as_ref()), said)
        }
        // The stack has told already.
        Err(error) => (None, error.to_string()),
    };
    if let Some(verdict) = verdict {
        lane.observe(verdict).await;
    }
    tracing::info!(batch_id = %batch.id, item_key = key, action = "probe", said);
}
