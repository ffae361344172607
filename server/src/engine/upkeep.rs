//! Upkeep: deletes what has expired, a little at a time, ends what drains without anybody seeing to it, and asks
//! upstreams that are down whether they answer again.

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    sync::Arc,
    time::Duration,
};

use tokio_util::sync::CancellationToken;

use super::{
    Engine,
    gate::{Lane, Terms},
    needs,
};
use crate::{
    clock,
    connector::{self, Origin},
    domain::{
        batch::{Batch, State},
        id::BatchSeq,
        item::{Keyed, Subject},
        request::Request,
        upstream::UpstreamId,
    },
    fetch::{
        Call, Permits, Verdict,
        classify::{self, Rules},
    },
    store::StoreError,
};

/// Between two rounds.
const ROUND: Duration = Duration::from_secs(1);
/// Rounds between two looks for what has expired, when there was nothing.
const PURGE_ROUNDS: u32 = 60;

pub(super) async fn run(engine: Arc<Engine>) {
    let mut rounds_to_purge = 1;
    let mut awaited = Awaited::new();
    let mut steps = clock::Steps::new(clock::now());
    // Steps that the store does not know of yet.
    let mut unmoved = VecDeque::new();
    loop {
        tokio::select! {
            () = engine.draining.cancelled() => return,
            () = tokio::time::sleep(ROUND) => {}
        }
        if let Some(step) = steps.set_back(clock::now()) {
            tracing::warn!(seconds = step.by.num_seconds(), "the clock was set back");
            unmoved.push_back(step);
        }
        while let Some(step) = unmoved.front() {
            if let Err(error) = engine.store.set_back(*step).await {
                tracing::warn!(error = %error, "what waits could not be moved with the clock");
                break;
            }
            unmoved.pop_front();
        }
        match engine.store.settle(clock::now()).await {
            Ok(batches) => engine.take_up_all(batches),
            Err(error) => tracing::warn!(error = %error, "draining batches could not be looked at"),
        }
        match engine.store.outages().await {
            Ok(batches) => look_after_outages(&engine, batches, &mut awaited).await,
            Err(error) => tracing::warn!(error = %error, "outages could not be looked at"),
        }
        engine.gates.forget_idle();
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

/// What paused batches with several upstreams wait for: it does not change while they are paused.
type Awaited = HashMap<BatchSeq, BTreeMap<Origin, Vec<Keyed>>>;

/// Lets the batches go on whose upstream answers again, and sends the probes that are due and no item's.
async fn look_after_outages(engine: &Arc<Engine>, paused: Vec<Batch>, awaited: &mut Awaited) {
    // A batch, and what to ask with where that is known.
    let mut waiting: BTreeMap<Origin, Vec<(Batch, Vec<Keyed>)>> = BTreeMap::new();
    awaited.retain(|seq, _| paused.iter().any(|batch| batch.seq == *seq));
    let running = engine.at_work();
    let paused = paused.into_iter().filter(|batch| batch.spec.outage.auto_resume);
    for batch in paused.chain(running) {
        if let Some(origin) = connector::build(&batch.spec).origin() {
            waiting.entry(origin.clone()).or_default().push((batch, Vec::new()));
        } else if batch.state == State::Paused {
            for (origin, items) in awaited_by(engine, &batch, awaited).await {
                waiting.entry(origin).or_default().push((batch.clone(), items));
            }
        }
    }
    for (origin, batches) in waiting {
        let (upstream, host) = (origin.upstream(), origin.host);
        let mut terms = Terms::of(&batches[0].0.spec);
        for (batch, _) in &batches[1..] {
            terms.probe_interval = terms.probe_interval.min(batch.spec.outage.probe_interval);
        }
        let gate = match engine.gates.gate(&upstream, &host, terms).await {
            Ok(gate) => gate,
            Err(error) => {
                tracing::warn!(upstream = upstream.as_str(), error = %error, "the upstream could not be read");
                continue;
            }
        };
        if gate.tripped_since().is_none() {
            for (batch, _) in batches.iter().filter(|(batch, _)| batch.state == State::Paused) {
                end_outage(engine, batch).await;
            }
        } else if gate.wants_probe()
            && !send_probe(engine, &upstream, &host, batches, terms, gate.failed_probes()).await
        {
            gate.pass_turn();
        }
    }
}

/// What a batch with several upstreams waits for. One that may go on does.
async fn awaited_by(
    engine: &Arc<Engine>,
    batch: &Batch,
    awaited: &mut Awaited,
) -> BTreeMap<Origin, Vec<Keyed>> {
    if let Some(known) = awaited.get(&batch.seq) {
        return known.clone();
    }
    match needs::if_all_down(engine, batch).await {
        Ok(Some(down)) => {
            awaited.insert(batch.seq, down.upstreams.clone());
            return down.upstreams;
        }
        Ok(None) => end_outage(engine, batch).await,
        Err(error) => {
            tracing::warn!(batch_id = %batch.id, error = %error, "open items could not be looked at");
        }
    }
    BTreeMap::new()
}

/// Sends the probe of the first batch that has something to ask with. Answers whether there is one.
async fn send_probe(
    engine: &Arc<Engine>,
    upstream: &UpstreamId,
    host: &str,
    batches: Vec<(Batch, Vec<Keyed>)>,
    terms: Terms,
    failed_probes: u32,
) -> bool {
    for (batch, known) in batches {
        let Some((item, request)) = question(engine, &batch, known, failed_probes).await else { continue };
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
pub(super) async fn question(
    engine: &Engine,
    batch: &Batch,
    mut known: Vec<Keyed>,
    failed_probes: u32,
) -> Option<(Keyed, Request)> {
    let connector = connector::build(&batch.spec);
    let asked = |item: Keyed| connector.request(Subject::of(&item)).ok().map(|request| (item, request));
    if !known.is_empty() {
        let turn = failed_probes as usize % known.len();
        known.rotate_left(turn);
        return known.into_iter().find_map(asked);
    }
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
                let rules = Rules::new(&batch.spec.fetch.rules).unwrap_or_default();
                let connector = connector::build(&batch.spec);
                let decode = || connector.decode(Subject::of(&item), &request, &response);
                classify::read(&rules, &response, clock::now(), decode).err()
            });
            let Ok(failure) = decoded.await else { return lane.observe(Verdict::Failing).await };
            lane.observe(classify::verdict(failure.as_ref())).await;
            failure.map_or("an answer".to_owned(), |failure| failure.message)
        }
        // The stack has told already.
        Err(error) => error.to_string(),
    };
    tracing::info!(action = "probe", said);
}
