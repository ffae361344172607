//! Upkeep: deletes what has expired, a little at a time, ends what drains without anybody seeing to it, and asks
//! upstreams that are down whether they answer again.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use tokio_util::sync::CancellationToken;

use super::{
    Engine,
    gate::{Lane, Terms},
};
use crate::{
    clock,
    connector::{self, Origin},
    domain::{
        batch::{Batch, State},
        item::{Keyed, Subject},
        request::Request,
        upstream::UpstreamId,
    },
    fetch::{Call, Permits, Verdict, classify},
    store::StoreError,
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
            Ok(batches) => look_after_outages(&engine, batches).await,
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

/// Lets the batches go on whose upstream answers again, and sends the probes that are due and no item's.
async fn look_after_outages(engine: &Arc<Engine>, paused: Vec<Batch>) {
    let mut waiting: BTreeMap<Origin, Vec<Batch>> = BTreeMap::new();
    let running = engine.at_work();
    let paused = paused.into_iter().filter(|batch| batch.spec.outage.auto_resume);
    for batch in paused.chain(running) {
        if let Some(origin) = connector::build(&batch.spec).origin() {
            waiting.entry(origin.clone()).or_default().push(batch);
        }
    }
    for (origin, batches) in waiting {
        let (upstream, host) = (origin.upstream(), origin.host);
        let mut terms = Terms::of(&batches[0].spec);
        for batch in &batches[1..] {
            terms.probe_interval = terms.probe_interval.min(batch.spec.outage.probe_interval);
        }
        let gate = engine.gates.gate(&upstream, &host, terms);
        if gate.tripped_since().is_none() {
            for batch in batches.iter().filter(|batch| batch.state == State::Paused) {
                end_outage(engine, batch).await;
            }
        } else if gate.wants_probe()
            && !send_probe(engine, &upstream, &host, batches, terms, gate.failed_probes()).await
        {
            gate.pass_turn();
        }
    }
}

/// Sends the probe of the first batch that has something to ask with. Answers whether there is one.
async fn send_probe(
    engine: &Arc<Engine>,
    upstream: &UpstreamId,
    host: &str,
    batches: Vec<Batch>,
    terms: Terms,
    failed_probes: u32,
) -> bool {
    for batch in batches {
        let Some((item, request)) = question(engine, &batch, failed_probes).await else { continue };
        match engine.gates.canary(upstream, host, batch.seq, terms).await {
            Ok(lane) => {
                engine.tasks.spawn(probe(Arc::clone(engine), batch, item, request, lane));
            }
            Err(error) => {
                tracing::warn!(batch_id = %batch.id, error = %error, "no probe could be sent");
            }
        }
        return true;
    }
    false
}

async fn end_outage(engine: &Arc<Engine>, batch: &Batch) {
    match engine.store.end_outage(batch.seq, clock::now()).await {
        Ok(changed) => {
            if changed.batch.state != State::Paused {
                tracing::info!(batch_id = %batch.id, action = "outage_over", status = changed.batch.state.as_str());
            }
            engine.take_up_all(changed.admitted);
            engine.take_up(changed.batch);
        }
        Err(error) => {
            tracing::warn!(batch_id = %batch.id, error = %error, "the end of an outage could not be recorded");
        }
    }
}

/// Keys that are looked at for one that makes a request.
const KEYS_MAX: u32 = 10;

/// What to ask with: by turns an open item, another one each time, and one that had an answer before. If only bad items
/// are left, it is the latter that tells an upstream that lives.
async fn question(engine: &Engine, batch: &Batch, failed_probes: u32) -> Option<(Keyed, Request)> {
    let connector = connector::build(&batch.spec);
    let asked = |item: Keyed| connector.request(Subject::of(&item)).ok().map(|request| (item, request));
    let read = async {
        if failed_probes % 2 == 1
            && let Some(item) = engine.store.succeeded_item(batch.seq).await?
        {
            return Ok(asked(item));
        }
        for nth in 0..KEYS_MAX {
            let Some(item) = engine.store.open_item(batch.seq, failed_probes + nth).await? else { break };
            if let Some(question) = asked(item) {
                return Ok(Some(question));
            }
        }
        Ok(None)
    };
    read.await.unwrap_or_else(|error: StoreError| {
        tracing::warn!(batch_id = %batch.id, error = %error, "no item to probe with could be read");
        None
    })
}

/// One request that no item is charged or credited with. It records nothing, so it may be cut off at any moment.
async fn probe(engine: Arc<Engine>, batch: Batch, item: Keyed, request: Request, lane: Arc<Lane>) {
    // Followed before it is read again, so that no later command is missed.
    let mut states = engine.hub.follow(&batch).subscribe();
    if let Ok(read) = engine.store.batch(&batch.id).await
        && !engine.hub.catch_up(batch.seq, read)
    {
        return;
    }
    let fetch = &batch.spec.fetch;
    let call = Call {
        request: request.clone(),
        user_agent: fetch.user_agent.as_str().into(),
        timeout: fetch.attempt_timeout,
        body_bytes_max: fetch.body_bytes_max,
        permits: Arc::clone(&lane) as _,
        withdrawn: CancellationToken::new(),
        meter: Arc::default(),
    };
    let over = async {
        let is_over = |batch: &Arc<Batch>| batch.state != State::Running && !batch.waits_for_upstream();
        let _ = states.wait_for(is_over).await;
    };
    let reply = tokio::select! {
        reply = engine.fetcher.fetch(call) => reply,
        // Somebody has paused or stopped it: nothing more is sent for it.
        () = over => return,
        () = engine.draining.cancelled() => return,
    };
    let said = match reply {
        Ok(response) => {
            let decoded = tokio::task::spawn_blocking(move || {
                let connector = connector::build(&batch.spec);
                let fault = connector.decode(Subject::of(&item), &request, &response).err();
                fault.map(|fault| classify::reply(&fault, &response, clock::now()))
            });
            let Ok(failure) = decoded.await else { return lane.observe(Verdict::Failing).await };
            if let Some(verdict) = classify::content(failure.as_ref()) {
                lane.observe(verdict).await;
            }
            failure.map_or("an answer".to_owned(), |failure| failure.message)
        }
        // The stack has told already.
        Err(error) => error.to_string(),
    };
    tracing::info!(action = "probe", said);
}
