//! Uploads into OPEN batches: offsets, repeats, takeovers, seals.

use super::{
    fixture::{
        batch::{inline, opened},
        outcome,
        recording::Group,
    },
    harness::{Harness, numbers},
};
use crate::{
    domain::{
        batch::{Batch, Refusal, State},
        id::{BatchId, BatchSeq, Epoch, UploadId},
        item::NewItem,
    },
    store::{Appended, Claim, CommandError, SLICE_ITEMS, UploadChunk, UploadError, UploadProgress},
};

/// An upload in the hands of a caller.
struct Stream {
    batch: BatchSeq,
    upload: UploadId,
    epoch: Epoch,
}

fn id(n: u32) -> UploadId {
    UploadId::parse(&format!("00000000-0000-0000-0000-{n:012}")).unwrap()
}

async fn open(h: &Harness, batch: &Batch, n: u32) -> Stream {
    let opened = h.open_upload(&batch.id, &id(n)).await.unwrap();
    Stream { batch: batch.seq, upload: id(n), epoch: opened.epoch }
}

impl Stream {
    async fn try_send(
        &self,
        h: &Harness,
        first_offset: i64,
        keys: &[&str],
        seal: bool,
    ) -> Result<Appended, UploadError> {
        let items = keys.iter().map(|key| NewItem::keyed(*key)).collect();
        let Self { batch, epoch, .. } = *self;
        let chunk = UploadChunk { batch, upload: self.upload.clone(), epoch, first_offset, items, seal };
        h.append_upload(&chunk, h.now).await
    }

    async fn send(&self, h: &Harness, first_offset: i64, keys: &[&str]) -> Appended {
        let appended = self.try_send(h, first_offset, keys, false).await.unwrap();
        assert_eq!(appended.batch, h.read(&appended.batch).await, "the answer is what is stored");
        appended
    }

    async fn seal(&self, h: &Harness, first_offset: i64, keys: &[&str]) -> Appended {
        let appended = self.try_send(h, first_offset, keys, true).await.unwrap();
        assert_eq!(appended.batch, h.read(&appended.batch).await, "the answer is what is stored");
        appended
    }
}

async fn keys(h: &Harness, batch: &Batch) -> String {
    let items = h.items(batch).await;
    assert!(items.iter().zip(0..).all(|(item, index)| item.index == index), "indexes are dense");
    items.into_iter().map(|item| item.key).collect::<Vec<_>>().join(" ")
}

fn so_far(committed: i64, duplicates: i64, sealed: bool) -> UploadProgress {
    UploadProgress { committed, duplicates, sealed }
}

#[track_caller]
fn refused<T: std::fmt::Debug>(answer: Result<T, UploadError>) -> (State, Refusal) {
    match answer {
        Err(UploadError::Batch(CommandError::Refused { state, refusal, .. })) => (state, refusal),
        other => panic!("{other:?}"),
    }
}

pub(super) async fn chunks_are_appended_and_the_last_one_lets_the_batch_run(h: Harness) {
    let batch = h.start(opened("uploaded")).await;
    assert_eq!((batch.state, batch.expanded, batch.counts.total), (State::Open, false, 0));
    let upload = open(&h, &batch, 1).await;
    let first = upload.send(&h, 0, &["a", "b"]).await;
    assert_eq!(first.progress, so_far(2, 0, false));
    assert_eq!((first.batch.state, first.batch.counts.total), (State::Open, 2));
    assert!(first.batch.revision > batch.revision, "watchers are told");
    assert_eq!(first.batch.control_revision, batch.control_revision);

    assert!(matches!(h.ask(&batch).await, Claim { slice: None, ready_at: None }), "nothing runs");
    assert_eq!(h.ask_source(&batch).await, None, "there is nothing to be read");
    let last = upload.seal(&h, 2, &["c"]).await;
    assert_eq!(last.progress, so_far(3, 0, true));
    assert_eq!((last.batch.state, last.batch.expanded), (State::Running, true));
    assert_eq!(keys(&h, &batch).await, "a b c");
    let slice = h.claim(&batch).await;
    assert_eq!(slice.items.len(), 3, "a chunk fills up the slice of the one before");
}

pub(super) async fn an_empty_chunk_seals(h: Harness) {
    let batch = h.start(opened("uploaded")).await;
    let upload = open(&h, &batch, 1).await;
    upload.send(&h, 0, &["a"]).await;
    let before = h.read(&batch).await;
    let empty = upload.send(&h, 1, &[]).await;
    assert_eq!(empty.batch, before, "an empty one that does not seal changes nothing");
    let sealed = upload.seal(&h, 1, &[]).await;
    assert_eq!((sealed.batch.state, sealed.batch.counts.total), (State::Running, 1));

    let batch = h.start(opened("nothing")).await;
    let sealed = open(&h, &batch, 1).await.seal(&h, 0, &[]).await;
    assert_eq!(sealed.batch.state, State::Completed, "nothing to do is done at once");
}

pub(super) async fn what_is_known_is_skipped(h: Harness) {
    let batch = h.start(opened("uploaded")).await;
    let upload = open(&h, &batch, 1).await;
    upload.send(&h, 0, &["a", "b", "c"]).await;
    let before = h.read(&batch).await;
    for (offset, known) in [(0, &["a", "b", "c"][..]), (1, &["b"]), (0, &["a", "b"]), (3, &[])] {
        let again = upload.send(&h, offset, known).await;
        assert_eq!((again.progress, again.batch), (so_far(3, 0, false), before.clone()), "{known:?}");
    }
    let partly = upload.send(&h, 2, &["c", "d", "e"]).await;
    assert_eq!(partly.progress, so_far(5, 0, false), "no key is a duplicate of itself");
    assert_eq!(upload.send(&h, 2, &["c", "d", "e"]).await.progress, so_far(5, 0, false));
    let sealed = upload.seal(&h, 0, &["a", "b", "c", "d", "e"]).await;
    assert_eq!((sealed.batch.state, sealed.progress), (State::Running, so_far(5, 0, true)));
    assert_eq!(keys(&h, &batch).await, "a b c d e");
}

pub(super) async fn a_gap_says_where_to_go_on(h: Harness) {
    let batch = h.start(opened("uploaded")).await;
    let upload = open(&h, &batch, 1).await;
    upload.send(&h, 0, &["a"]).await;
    let before = h.read(&batch).await;
    for (keys, seal) in [(&["c"][..], false), (&["c"], true), (&[], true)] {
        let gap = upload.try_send(&h, 2, keys, seal).await;
        assert!(matches!(gap, Err(UploadError::Gap { first_offset: 2, committed: 1 })), "{gap:?}");
    }
    assert_eq!(h.read(&batch).await, before);
    upload.send(&h, 1, &["b"]).await;
    assert_eq!(keys(&h, &batch).await, "a b");
}

pub(super) async fn a_known_chunk_with_other_keys_is_refused(h: Harness) {
    let batch = h.start(opened("uploaded")).await;
    let upload = open(&h, &batch, 1).await;
    upload.send(&h, 0, &["a", "b"]).await;
    upload.send(&h, 2, &["c", "d"]).await;
    let before = h.read(&batch).await;
    for (offset, keys) in [(0, &["a", "x"]), (0, &["b", "a"]), (2, &["a", "b"]), (0, &["ab", ""])] {
        for seal in [false, true] {
            let mismatch = upload.try_send(&h, offset, keys, seal).await;
            assert!(
                matches!(mismatch, Err(UploadError::Mismatch { first_offset, .. }) if first_offset == offset),
                "{keys:?}: {mismatch:?}"
            );
        }
    }
    assert_eq!(h.read(&batch).await, before);
    // Another upload's chunk of that place is another chunk.
    assert_eq!(open(&h, &batch, 2).await.send(&h, 0, &["a", "x"]).await.progress, so_far(2, 1, false));
}

pub(super) async fn the_newest_stream_has_the_upload(h: Harness) {
    let batch = h.start(opened("uploaded")).await;
    let older = open(&h, &batch, 1).await;
    older.send(&h, 0, &["a"]).await;
    let newer = h.open_upload(&batch.id, &id(1)).await.unwrap();
    assert!(newer.epoch > older.epoch);
    assert_eq!(newer.progress, so_far(1, 0, false));
    for seal in [false, true] {
        let late = older.try_send(&h, 1, &["b"], seal).await;
        assert!(matches!(late, Err(UploadError::Superseded { .. })), "{late:?}");
    }
    let newer = Stream { epoch: newer.epoch, ..older };
    newer.seal(&h, 1, &["c"]).await;
    assert_eq!(keys(&h, &batch).await, "a c");
}

pub(super) async fn uploads_feed_a_batch_by_turns(h: Harness) {
    let batch = h.start(opened("uploaded")).await;
    let (one, two) = (open(&h, &batch, 1).await, open(&h, &batch, 2).await);
    one.send(&h, 0, &["a", "b", "a"]).await;
    two.send(&h, 0, &["b", "c"]).await;
    let first = one.send(&h, 3, &["d", "c"]).await;
    let second = two.send(&h, 2, &["e", "a", "e"]).await;
    assert_eq!(first.progress, so_far(5, 2, false));
    assert_eq!(second.progress, so_far(5, 3, false));
    assert_eq!((second.batch.counts.total, second.batch.counts.duplicates), (5, 5));
    assert_eq!(keys(&h, &batch).await, "a b c d e");
    for (n, progress) in [(1, first.progress), (2, second.progress)] {
        assert_eq!(h.upload_status(&batch.id, &id(n)).await.unwrap(), progress);
    }
}

pub(super) async fn a_seal_is_the_end_for_all(h: Harness) {
    let batch = h.start(opened("uploaded")).await;
    let (one, two) = (open(&h, &batch, 1).await, open(&h, &batch, 2).await);
    two.send(&h, 0, &["x"]).await;
    one.send(&h, 0, &["a"]).await;
    one.seal(&h, 1, &["b", "c"]).await;
    let sealed = (State::Running, Refusal::Sealed);
    assert_eq!(refused(two.try_send(&h, 1, &["y"], false).await), sealed);
    assert_eq!(refused(two.try_send(&h, 1, &[], true).await), sealed);
    assert_eq!(refused(two.try_send(&h, 0, &["x"], false).await), sealed, "known or not");
    assert_eq!(refused(one.try_send(&h, 3, &["d"], false).await), sealed);
    assert_eq!(refused(one.try_send(&h, 3, &[], true).await), sealed);
    assert_eq!(refused(one.try_send(&h, 1, &["b", "c"], false).await), sealed, "it sealed, this does not");
    assert_eq!(refused(h.open_upload(&batch.id, &id(2)).await), sealed);
    assert_eq!(refused(h.open_upload(&batch.id, &id(3)).await), sealed);
    let other = one.try_send(&h, 1, &["b", "d"], true).await;
    assert!(matches!(other, Err(UploadError::Mismatch { first_offset: 1, .. })), "{other:?}");
    assert_eq!(keys(&h, &batch).await, "x a b c");
    assert_eq!(h.upload_status(&batch.id, &id(2)).await.unwrap(), so_far(1, 0, true));
}

pub(super) async fn the_repeat_of_a_seal_is_answered_in_every_later_state(mut h: Harness) {
    let states = [State::Running, State::Pausing, State::Paused, State::Stopping, State::Stopped];
    for state in states.into_iter().chain([State::Completed, State::Queued]) {
        let batch = h.start(opened(&format!("in-{}", state.as_str().to_lowercase()))).await;
        if state == State::Queued {
            h.bound(0, 1_000).await;
        }
        let upload = open(&h, &batch, 1).await;
        upload.seal(&h, 0, &["a"]).await;
        match state {
            State::Pausing | State::Stopping => {
                h.claim(&batch).await;
            }
            State::Completed => {
                let slice = h.claim(&batch).await;
                h.record(&batch, Group::new().release(&slice).add_all(&slice, &outcome::success())).await;
            }
            _ => {}
        }
        match state {
            State::Pausing | State::Paused => {
                h.pause(&batch).await;
            }
            State::Stopping | State::Stopped => {
                h.stop(&batch).await;
            }
            _ => {}
        }
        let before = h.read(&batch).await;
        assert_eq!(before.state, state);
        for upload in [upload, open(&h, &batch, 1).await] {
            let again = upload.try_send(&h, 0, &["a"], true).await;
            if upload.epoch == Epoch(1) {
                assert!(matches!(again, Err(UploadError::Superseded { .. })), "{again:?}");
                continue;
            }
            let again = again.unwrap();
            assert_eq!((again.batch, again.progress), (before.clone(), so_far(1, 0, true)), "{state:?}");
            assert!(again.admitted.is_empty());
        }
    }
}

pub(super) async fn a_sealed_batch_waits_for_its_turn(mut h: Harness) {
    h.bound(1, 1_000).await;
    let running = h.start(inline("before", &["a"])).await;
    let batch = h.start(opened("uploaded")).await;
    let sealed = open(&h, &batch, 1).await.seal(&h, 0, &["a"]).await;
    assert_eq!((sealed.batch.state, sealed.admitted.len()), (State::Queued, 0));
    let slice = h.claim(&running).await;
    let group = Group::new().release(&slice).add_all(&slice, &outcome::success());
    let admitted = h.record(&running, group).await.admitted;
    assert_eq!(numbers(&admitted), [batch.seq]);
}

pub(super) async fn a_batch_that_is_stopped_takes_nothing(h: Harness) {
    let batch = h.start(opened("uploaded")).await;
    let upload = open(&h, &batch, 1).await;
    upload.send(&h, 0, &["a", "b"]).await;
    let stopped = h.stop(&batch).await;
    assert_eq!((stopped.state, stopped.counts.canceled), (State::Stopped, 2));
    assert!(!stopped.expanded, "the total stays partial");
    let terminal = (State::Stopped, Refusal::Terminal);
    assert_eq!(refused(upload.try_send(&h, 2, &["c"], false).await), terminal);
    assert_eq!(refused(upload.try_send(&h, 2, &["c"], true).await), terminal);
    assert_eq!(refused(h.open_upload(&batch.id, &id(1)).await), terminal);
    assert_eq!(h.upload_status(&batch.id, &id(1)).await.unwrap(), so_far(2, 0, true));
    assert_eq!(h.read(&batch).await, stopped);
}

pub(super) async fn a_batch_that_is_gone_says_so(h: Harness) {
    let batch = h.start(opened("uploaded")).await;
    let upload = open(&h, &batch, 1).await;
    upload.send(&h, 0, &["a"]).await;
    h.stop(&batch).await;
    h.delete_batch(&batch.id, None, h.now).await.unwrap();
    let gone = |error| matches!(error, UploadError::Batch(CommandError::Purged(gone)) if gone.id == batch.id);
    assert!(gone(upload.try_send(&h, 1, &["b"], false).await.unwrap_err()));
    assert!(gone(h.open_upload(&batch.id, &id(1)).await.unwrap_err()));
    assert!(gone(h.upload_status(&batch.id, &id(1)).await.unwrap_err()));
}

pub(super) async fn an_upload_goes_on_after_a_restart(mut h: Harness) {
    let batch = h.start(opened("uploaded")).await;
    let upload = open(&h, &batch, 1).await;
    upload.send(&h, 0, &["a", "b"]).await;
    let before = h.read(&batch).await;
    h.reopen().await;
    assert_eq!(numbers(&h.recover(h.now).await.unwrap()), [], "there is nothing to work on");
    assert_eq!(h.read(&batch).await, before, "it stays OPEN");
    assert_eq!(h.upload_status(&batch.id, &id(1)).await.unwrap(), so_far(2, 0, false));
    let again = open(&h, &batch, 1).await;
    assert!(again.epoch > upload.epoch);
    let sealed = again.seal(&h, 2, &["c"]).await;
    assert_eq!((sealed.batch.state, sealed.batch.counts.total), (State::Running, 3));
}

pub(super) async fn chunks_are_kept_as_long_as_they_can_come_again(h: Harness) {
    let chunks = "SELECT b.name || ' ' || first_offset || '+' || item_count FROM upload_chunks c
                  JOIN batch_executions b ON b.seq = c.batch_seq ORDER BY 1";
    let (sealed, stopped) = (h.start(opened("sealed")).await, h.start(opened("stopped")).await);
    for batch in [&sealed, &stopped] {
        let upload = open(&h, batch, 1).await;
        upload.send(&h, 0, &["a", "b"]).await;
        upload.send(&h, 2, &["c"]).await;
        upload.send(&h, 1, &["b", "c"]).await;
    }
    assert_eq!(h.texts(chunks).await, ["sealed 0+2", "sealed 2+1", "stopped 0+2", "stopped 2+1"]);
    h.stop(&stopped).await;
    let sealing = open(&h, &sealed, 2).await;
    sealing.seal(&h, 0, &["d"]).await;
    while h.purge(h.now).await.unwrap() > 0 {}
    assert_eq!(h.texts(chunks).await, ["sealed 0+1"]);
    assert_eq!(sealing.seal(&h, 0, &["d"]).await.progress, so_far(1, 0, true), "its repeat is known as such");
}

pub(super) async fn the_seal_of_many_chunks_does_not_wait_for_them_to_go(h: Harness) {
    const CHUNKS: usize = 1_100;
    let left = async || h.texts("SELECT 'chunk' FROM upload_chunks").await.len();
    let batch = h.start(opened("uploaded")).await;
    let uploads = [open(&h, &batch, 1).await, open(&h, &batch, 2).await];
    send_by_ones(&h, &uploads, 0..CHUNKS).await;
    assert_eq!(h.purge(h.now).await.unwrap(), 0, "they are needed while it is OPEN");
    let [sealing, other] = &uploads;
    let sealed = sealing.seal(&h, 550, &["last"]).await;
    assert_eq!((sealed.batch.state, left().await), (State::Running, CHUNKS + 1));
    let repeated = async || {
        let again = sealing.try_send(&h, 550, &["last"], true).await.unwrap();
        assert_eq!(again.progress, so_far(551, 0, true));
        assert_eq!(refused(other.try_send(&h, 0, &["0001"], false).await), (State::Running, Refusal::Sealed));
    };
    repeated().await;
    loop {
        let before = left().await;
        if h.purge(h.now).await.unwrap() == 0 {
            break;
        }
        assert!(before - left().await <= 500, "no commit waits long behind it");
        repeated().await;
    }
    assert_eq!(left().await, 1);
    assert_eq!(h.read(&batch).await.counts.total, CHUNKS as i64 + 1);
}

pub(super) async fn a_large_chunk_is_cut_into_slices(h: Harness) {
    let batch = h.start(opened("uploaded")).await;
    let many: Vec<String> = (0..=2 * SLICE_ITEMS).map(|n| format!("{n:04}")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    open(&h, &batch, 1).await.seal(&h, 0, &many).await;
    for items in [SLICE_ITEMS, SLICE_ITEMS, 1] {
        assert_eq!(h.claim(&batch).await.items.len(), items);
    }
    assert_eq!(keys(&h, &batch).await, many.join(" "));
}

/// So many keys in chunks of one, over these uploads by turns. Not audited at each step: that would take most of the time.
async fn send_by_ones(h: &Harness, uploads: &[Stream], keys: std::ops::Range<usize>) {
    for n in keys {
        let (offset, upload) = ((n / uploads.len()) as i64, &uploads[n % uploads.len()]);
        upload.try_send(h, offset, &[&format!("{n:04}")], false).await.unwrap();
    }
}

const SLICES: &str =
    "SELECT status || ' ' || first_index || '-' || end_index || ' ' || open_count FROM batch_slices
                      ORDER BY batch_seq, slice_no";

pub(super) async fn chunks_of_one_item_fill_slices_and_a_stop_cancels_slice_by_slice(h: Harness) {
    let batch = h.start(opened("uploaded")).await;
    let uploads = [open(&h, &batch, 1).await];
    let one = SLICE_ITEMS as i64;
    send_by_ones(&h, &uploads, 0..10 * SLICE_ITEMS).await;
    let full = |status: &str, no: i64| format!("{status} {}-{} {one}", no * one, (no + 1) * one);
    let slices: Vec<String> = (0..10).map(|no| full("READY", no)).collect();
    assert_eq!(h.texts(SLICES).await, slices);
    send_by_ones(&h, &uploads, 10 * SLICE_ITEMS..10 * SLICE_ITEMS + 1).await;
    let many: Vec<String> = (0..SLICE_ITEMS).map(|n| format!("more-{n}")).collect();
    let appended =
        uploads[0].send(&h, 10 * one + 1, &many.iter().map(String::as_str).collect::<Vec<_>>()).await;
    assert_eq!(appended.batch.counts.total, 11 * one + 1, "a chunk may end one slice and begin another");

    let stopped = h.stop(&batch).await;
    assert_eq!((stopped.counts.total, stopped.counts.canceled), (11 * one + 1, 11 * one + 1));
    let mut slices: Vec<String> = (0..11).map(|no| full("CANCELED", no)).collect();
    slices.push(format!("CANCELED {}-{} 1", 11 * one, 11 * one + 1));
    assert_eq!(h.texts(SLICES).await, slices);
    assert_eq!(h.texts("SELECT 'run' FROM item_results").await.len(), 12, "a row a slice, not one an item");
}

pub(super) async fn uploads_by_turns_fill_the_same_slices_until_one_seals(h: Harness) {
    let batch = h.start(opened("uploaded")).await;
    let uploads = [open(&h, &batch, 1).await, open(&h, &batch, 2).await, open(&h, &batch, 3).await];
    let total = 2 * SLICE_ITEMS + SLICE_ITEMS / 2;
    send_by_ones(&h, &uploads, 0..total).await;
    let sealed = open(&h, &batch, 4).await.seal(&h, 0, &["0000"]).await;
    assert_eq!((sealed.batch.counts.total, sealed.batch.counts.duplicates), (total as i64, 1));
    for items in [SLICE_ITEMS, SLICE_ITEMS, SLICE_ITEMS / 2] {
        assert_eq!(h.claim(&batch).await.items.len(), items);
    }
    assert!(matches!(h.ask(&batch).await, Claim { slice: None, ready_at: None }));
    let in_order: Vec<String> = (0..total).map(|n| format!("{n:04}")).collect();
    assert_eq!(keys(&h, &batch).await, in_order.join(" "));
}

pub(super) async fn what_is_not_there_is_said(h: Harness) {
    let nowhere = BatchId::chosen("nowhere").unwrap();
    let missing = |error| matches!(error, UploadError::Batch(CommandError::NotFound(id)) if id == nowhere);
    assert!(missing(h.open_upload(&nowhere, &id(1)).await.unwrap_err()));
    assert!(missing(h.upload_status(&nowhere, &id(1)).await.unwrap_err()));
    let batch = h.start(opened("uploaded")).await;
    let unknown = h.upload_status(&batch.id, &id(1)).await.unwrap_err();
    assert!(matches!(unknown, UploadError::NotFound { .. }), "{unknown:?}");
    // Inline items are whole from the start.
    let inline = h.start(inline("inline", &["a"])).await;
    assert_eq!(refused(h.open_upload(&inline.id, &id(1)).await), (State::Running, Refusal::Sealed));
}
