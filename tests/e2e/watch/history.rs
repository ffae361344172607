//! What watchers were told, and the six guarantees as checks of it, one each: ordered, unique, reliable, atomic,
//! resumable, bookmarkable. The words are etcd's; what they mean here is in the contract's section 10.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    time::Duration,
};

/// A batch's figures at one revision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Figures {
    pub(super) state: String,
    pub(super) total: i64,
    pub(super) succeeded: i64,
    pub(super) failed: i64,
    pub(super) skipped: i64,
    pub(super) canceled: i64,
    pub(super) records: i64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Snapshot,
    Update,
    Terminal,
}

/// One event.
#[derive(Debug, Clone)]
pub(super) enum Seen {
    State { kind: Kind, revision: i64, figures: Figures, conflated: i64 },
    SyncDone,
    Heartbeat(i64),
}

/// What one stream told.
#[derive(Debug, Clone, Default)]
pub(super) struct Stream {
    /// What the watcher said that it has.
    pub(super) known: i64,
    /// Newest revision that was committed before the stream was asked for.
    pub(super) committed_before: i64,
    pub(super) seen: Vec<Seen>,
    /// Longest time between two events that the reader waited for, in heartbeat intervals.
    pub(super) silence: f64,
    /// It ended with OK.
    pub(super) ended: bool,
}

/// All streams of one watcher of one batch, read to the batch's end.
#[derive(Debug, Clone, Default)]
pub(super) struct Watcher {
    pub(super) batch: String,
    pub(super) streams: Vec<Stream>,
}

/// What was committed, by batch and revision, and what was told.
#[derive(Debug, Clone, Default)]
pub(super) struct History {
    pub(super) committed: HashMap<String, BTreeMap<i64, Figures>>,
    pub(super) watchers: Vec<Watcher>,
}

pub(super) type Verdict = Result<(), String>;
type Check = fn(&History) -> Verdict;

/// The checks, by name.
pub(super) const GUARANTEES: [(&str, Check); 6] = [
    ("ordered", History::ordered),
    ("unique", History::unique),
    ("reliable", History::reliable),
    ("atomic", History::atomic),
    ("resumable", History::resumable),
    ("bookmarkable", History::bookmarkable),
];

impl Stream {
    fn states(&self) -> impl Iterator<Item = (Kind, i64, &Figures, i64)> {
        self.seen.iter().filter_map(|seen| match seen {
            Seen::State { kind, revision, figures, conflated } => {
                Some((*kind, *revision, figures, *conflated))
            }
            _ => None,
        })
    }
}

impl History {
    fn streams(&self) -> impl Iterator<Item = (&Watcher, &Stream)> {
        self.watchers.iter().flat_map(|watcher| watcher.streams.iter().map(move |stream| (watcher, stream)))
    }

    /// Within a stream revisions rise, a snapshot is first and nothing follows the end.
    fn ordered(&self) -> Verdict {
        for (watcher, stream) in self.streams() {
            let (mut last, mut over) = (0, false);
            for (n, seen) in stream.seen.iter().enumerate() {
                ensure(!over, || format!("{}: {seen:?} after the end", watcher.batch))?;
                if let Seen::State { kind, revision, .. } = seen {
                    ensure(*revision > last, || format!("{}: {revision} after {last}", watcher.batch))?;
                    ensure(*kind != Kind::Snapshot || n == 0, || {
                        format!("{}: a late snapshot", watcher.batch)
                    })?;
                    (last, over) = (*revision, *kind == Kind::Terminal);
                }
            }
        }
        Ok(())
    }

    /// No watcher is told a revision twice, over all its streams.
    fn unique(&self) -> Verdict {
        for watcher in &self.watchers {
            let mut told = HashSet::new();
            for (_, revision, ..) in watcher.streams.iter().flat_map(Stream::states) {
                ensure(told.insert(revision), || format!("{}: {revision} twice", watcher.batch))?;
            }
        }
        Ok(())
    }

    /// Whoever reads on is told the end, and between two states of a stream every revision is accounted for.
    fn reliable(&self) -> Verdict {
        for watcher in &self.watchers {
            let newest = self.committed[&watcher.batch].last_key_value().map(|(revision, _)| *revision);
            let end = watcher.streams.iter().flat_map(Stream::states).last();
            let told = end.filter(|(kind, ..)| *kind == Kind::Terminal).map(|(_, revision, ..)| revision);
            ensure(told == newest, || {
                format!("{}: told {told:?} as the end, which is {newest:?}", watcher.batch)
            })?;
            for stream in &watcher.streams {
                let terminal = stream.states().any(|(kind, ..)| kind == Kind::Terminal);
                ensure(!stream.ended || terminal, || format!("{}: OK without an end", watcher.batch))?;
                let states: Vec<_> = stream.states().collect();
                for pair in states.windows(2) {
                    let (before, after, conflated) = (pair[0].1, pair[1].1, pair[1].3);
                    ensure(after - before - 1 == conflated, || {
                        format!("{}: from {before} to {after} with {conflated} conflated", watcher.batch)
                    })?;
                }
            }
        }
        Ok(())
    }

    /// Each state is one that was committed, as a whole.
    fn atomic(&self) -> Verdict {
        for (watcher, stream) in self.streams() {
            for (_, revision, figures, _) in stream.states() {
                let committed = self.committed[&watcher.batch].get(&revision);
                ensure(committed == Some(figures), || {
                    format!("{}: at {revision} {figures:?}, committed {committed:?}", watcher.batch)
                })?;
            }
        }
        Ok(())
    }

    /// A stream goes on where the watcher is: nothing that it has, and nothing older than what was committed when it
    /// asked.
    fn resumable(&self) -> Verdict {
        for (watcher, stream) in self.streams() {
            let Some(first) = stream.seen.first() else { continue };
            let starts_at = match first {
                Seen::State { kind: Kind::Terminal, revision, .. } => *revision,
                Seen::State { revision, .. } => {
                    ensure(*revision > stream.known, || {
                        format!("{}: {revision}, and {} was known", watcher.batch, stream.known)
                    })?;
                    *revision
                }
                Seen::SyncDone | Seen::Heartbeat(_) => stream.known,
            };
            ensure(starts_at >= stream.committed_before, || {
                let before = stream.committed_before;
                format!("{}: begins at {starts_at}, and {before} was committed before", watcher.batch)
            })?;
        }
        Ok(())
    }

    /// After the first state comes the mark that it was the first. A heartbeat comes in time and says what has been told:
    /// no state up to it follows.
    fn bookmarkable(&self) -> Verdict {
        for (watcher, stream) in self.streams() {
            let (mut last, mut synced) = (stream.known, false);
            for seen in &stream.seen {
                match seen {
                    Seen::SyncDone => {
                        ensure(!synced, || format!("{}: synced twice", watcher.batch))?;
                        synced = true;
                    }
                    Seen::Heartbeat(revision) => ensure(*revision == last && synced, || {
                        format!("{}: a heartbeat of {revision} where {last} was told", watcher.batch)
                    })?,
                    Seen::State { kind, revision, .. } => {
                        ensure(synced || *kind != Kind::Update, || {
                            format!("{}: an update before the first state was marked", watcher.batch)
                        })?;
                        last = *revision;
                    }
                }
            }
            ensure(stream.silence <= 3.0, || {
                format!("{}: {} intervals of silence", watcher.batch, stream.silence)
            })?;
        }
        Ok(())
    }
}

fn ensure(holds: bool, problem: impl FnOnce() -> String) -> Verdict {
    if holds { Ok(()) } else { Err(problem()) }
}

/// How long a wait was, in heartbeat intervals.
pub(super) fn intervals(wait: Duration, heartbeat: Duration) -> f64 {
    wait.as_secs_f64() / heartbeat.as_secs_f64()
}

fn figures(revision: i64) -> Figures {
    let state = if revision == 6 { "COMPLETED" } else { "RUNNING" };
    let succeeded = revision;
    Figures { state: state.to_owned(), total: 6, succeeded, failed: 0, skipped: 0, canceled: 0, records: 0 }
}

/// A watcher that saw 2 and 4, came back with 4 and saw 5 and the end.
fn good() -> History {
    let state =
        |kind, revision, conflated| Seen::State { kind, revision, figures: figures(revision), conflated };
    let first = Stream {
        committed_before: 1,
        seen: vec![
            state(Kind::Snapshot, 2, 0),
            Seen::SyncDone,
            state(Kind::Update, 4, 1),
            Seen::Heartbeat(4),
        ],
        silence: 1.0,
        ..Stream::default()
    };
    let second = Stream {
        known: 4,
        committed_before: 4,
        seen: vec![
            Seen::SyncDone,
            Seen::Heartbeat(4),
            state(Kind::Update, 5, 0),
            state(Kind::Terminal, 6, 0),
        ],
        silence: 1.0,
        ended: true,
    };
    History {
        committed: [("b".to_owned(), (1..=6).map(|revision| (revision, figures(revision))).collect())].into(),
        watchers: vec![Watcher { batch: "b".to_owned(), streams: vec![first, second] }],
    }
}

fn verdicts(history: &History) -> Vec<&'static str> {
    GUARANTEES.into_iter().filter(|(_, check)| check(history).is_err()).map(|(name, _)| name).collect()
}

#[test]
fn a_good_history_keeps_all_six() {
    assert_eq!(verdicts(&good()), [""; 0]);
}

#[test]
fn each_check_finds_what_it_is_for() {
    fn set(seen: &mut Seen, to: i64) {
        if let Seen::State { revision, figures: shown, .. } = seen {
            (*revision, *shown) = (to, figures(to));
        }
    }
    type Spoil = fn(&mut Vec<Stream>);
    let cases: [(&str, Spoil); 16] = [
        ("ordered", |streams| set(&mut streams[0].seen[2], 1)),
        ("ordered", |streams| streams[1].seen.push(Seen::SyncDone)),
        ("ordered", |streams| {
            let late = streams[0].seen[0].clone();
            streams[0].seen.push(late);
        }),
        ("unique", |streams| set(&mut streams[1].seen[2], 4)),
        ("unique", |streams| set(&mut streams[0].seen[2], 2)),
        ("reliable", |streams| drop(streams[1].seen.pop())),
        ("reliable", |streams| drop(streams.pop())),
        ("reliable", |streams| streams[0].ended = true),
        ("reliable", |streams| set(&mut streams[0].seen[2], 3)),
        ("atomic", |streams| {
            let Seen::State { figures, .. } = &mut streams[0].seen[2] else { return };
            figures.succeeded += 1;
        }),
        ("atomic", |streams| set(&mut streams[1].seen[3], 7)),
        ("resumable", |streams| streams[1].committed_before = 5),
        ("resumable", |streams| streams[0].known = 2),
        ("bookmarkable", |streams| streams[1].seen[1] = Seen::Heartbeat(5)),
        ("bookmarkable", |streams| drop(streams[0].seen.remove(1))),
        ("bookmarkable", |streams| streams[0].silence = 3.5),
    ];
    for (n, (name, spoil)) in cases.into_iter().enumerate() {
        let mut history = good();
        spoil(&mut history.watchers[0].streams);
        let found = verdicts(&history);
        assert!(found.contains(&name), "case {n}: {name} is broken, found {found:?}");
    }
}
