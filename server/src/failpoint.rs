//! Fail points: named steps at which a process can be told to die, to stall or to meet an error. `scripts/chaos` tells
//! it. Without the feature `failpoints` a step is nothing at all.

/// What the store meets at a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mishap {
    /// It is locked.
    Busy,
    /// It has no room.
    Full,
    /// It fails in a way that no repeat mends.
    Fault,
}

#[cfg(any(feature = "failpoints", test))]
pub use told::{BadPlan, reached, set, tried};

/// A step at which nothing can go wrong but by death or delay.
#[cfg(not(any(feature = "failpoints", test)))]
#[inline]
pub fn reached(_: &'static str) -> std::future::Ready<()> {
    std::future::ready(())
}

/// A step at which the store can fail.
#[cfg(not(any(feature = "failpoints", test)))]
#[inline]
pub fn tried(_: &'static str) -> std::future::Ready<Result<(), Mishap>> {
    std::future::ready(Ok(()))
}

#[cfg(any(feature = "failpoints", test))]
mod told {
    use std::{
        sync::{
            OnceLock,
            atomic::{AtomicU64, Ordering},
        },
        time::Duration,
    };

    use super::Mishap;

    /// Every step that there is, in the order of an item's way.
    const STEPS: [&str; 24] = [
        "store.begin",
        "recover.written",
        "create.written",
        "create.done",
        "upload.written",
        "upload.done",
        "batch.admitted",
        "source.leased",
        "source.fetched",
        "source.written",
        "source.stored",
        "slice.claimed",
        "request.before",
        "outcome.before",
        "commit.before",
        "commit.written",
        "commit.done",
        "commit.published",
        "gate.before",
        "gate.held",
        "change.written",
        "command.written",
        "command.done",
        "batch.over",
    ];

    static PLAN: OnceLock<Vec<Point>> = OnceLock::new();

    /// A plan that is none.
    #[derive(Debug, PartialEq, Eq, thiserror::Error)]
    #[error(
        "fail points: {given:?} is not STEP=kill|stall:MS|busy|full|fault[@FROM[+COUNT]], with STEP one of {}",
        STEPS.join(", ")
    )]
    pub struct BadPlan {
        given: String,
    }

    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    enum Act {
        Kill,
        Stall(Duration),
        Fail(Mishap),
    }

    #[derive(Debug)]
    struct Point {
        step: &'static str,
        act: Act,
        /// The passings that it is for, counted from 1: from the first on, before the second.
        from: u64,
        before: u64,
        passed: AtomicU64,
    }

    /// Says once what is to go wrong in this process: points with commas between them.
    pub fn set(plan: &str) -> Result<(), BadPlan> {
        let points: Vec<Point> =
            plan.split(',').filter(|point| !point.is_empty()).map(parsed).collect::<Result<_, _>>()?;
        if !points.is_empty() {
            tracing::warn!(plan, "things go wrong as planned: this is no server to rely on");
        }
        // Of a second plan nothing is taken.
        let _ = PLAN.set(points);
        Ok(())
    }

    fn parsed(given: &str) -> Result<Point, BadPlan> {
        let read = || {
            let (step, rest) = given.split_once('=')?;
            let step = STEPS.into_iter().find(|known| *known == step)?;
            let (act, when) = rest.split_once('@').unwrap_or((rest, "1+9223372036854775807"));
            let act = match act {
                "kill" => Act::Kill,
                "busy" => Act::Fail(Mishap::Busy),
                "full" => Act::Fail(Mishap::Full),
                "fault" => Act::Fail(Mishap::Fault),
                _ => Act::Stall(Duration::from_millis(act.strip_prefix("stall:")?.parse().ok()?)),
            };
            let (from, count) = when.split_once('+').unwrap_or((when, "1"));
            let (from, count): (u64, u64) = (from.parse().ok()?, count.parse().ok()?);
            Some(Point { step, act, from, before: from.saturating_add(count), passed: AtomicU64::new(0) })
        };
        read().ok_or_else(|| BadPlan { given: given.to_owned() })
    }

    impl Point {
        /// Counts a passing. Answers with what is to happen in it.
        fn pass(&self) -> Option<Act> {
            let nth = self.passed.fetch_add(1, Ordering::Relaxed) + 1;
            (self.from..self.before).contains(&nth).then_some(self.act)
        }
    }

    /// A step at which nothing can go wrong but by death or delay.
    pub async fn reached(step: &'static str) {
        // An error that was planned for such a step is not met.
        let _ = tried(step).await;
    }

    /// A step at which the store can fail.
    pub async fn tried(step: &'static str) -> Result<(), Mishap> {
        debug_assert!(STEPS.contains(&step), "{step} is no step");
        for point in PLAN.get().into_iter().flatten().filter(|point| point.step == step) {
            match point.pass() {
                Some(Act::Kill) => {
                    // As if from outside: nothing is flushed, closed or told.
                    let _ = rustix::process::kill_process(
                        rustix::process::getpid(),
                        rustix::process::Signal::KILL,
                    );
                    std::future::pending::<()>().await;
                }
                Some(Act::Stall(time)) => tokio::time::sleep(time).await,
                Some(Act::Fail(mishap)) => {
                    tracing::warn!(step, ?mishap, "fails as planned");
                    return Err(mishap);
                }
                None => {}
            }
        }
        Ok(())
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        #[test]
        fn a_point_acts_in_the_passings_that_it_is_for() {
            let stall = Act::Stall(Duration::from_millis(200));
            for (given, act, passings) in [
                ("commit.done=kill@3", Act::Kill, &[3][..]),
                ("commit.written=busy@2+2", Act::Fail(Mishap::Busy), &[2, 3]),
                ("commit.written=full@1", Act::Fail(Mishap::Full), &[1]),
                ("store.begin=fault@5", Act::Fail(Mishap::Fault), &[5]),
                ("commit.before=stall:200", stall, &[1, 2, 3, 4, 5]),
            ] {
                let point = parsed(given).unwrap();
                assert_eq!(point.act, act, "{given}");
                let acted: Vec<u64> = (1..=5).filter(|_| point.pass().is_some()).collect();
                assert_eq!(acted, passings, "{given}");
            }
        }

        #[test]
        fn a_plan_that_says_something_else_is_refused_with_what_may_be_said() {
            for given in [
                "commit.done",
                "nowhere=kill",
                "commit.done=stall",
                "commit.done=kill@x",
                "commit.done=kill@1+",
            ] {
                let said = parsed(given).unwrap_err().to_string();
                assert!(said.contains(given) && said.contains("batch.over"), "{said}");
            }
        }
    }
}
