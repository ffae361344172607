//! What an input means in a state.

use super::{EndReason, PauseCause, State};

/// What may happen to a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Input {
    /// A caller has sent the last of its items. A command.
    Seal,
    /// A running slot is free. An event.
    Admitted,
    /// A caller wishes it paused. A command.
    Pause,
    /// A caller wishes it to go on. A command.
    Resume,
    /// A caller wishes it ended. A command.
    Stop,
    /// The last lease is gone. An event.
    Drained,
    /// The source is read and every item is final. An event.
    Exhausted,
    /// A failure of class SYSTEM. An event.
    SystemFailure,
    /// The source cannot be read, for good. An event.
    SourceUnreadable,
    /// The upstream that its open items need is down. An event.
    OutageDeclared,
    /// It answers again. An event, for a batch that an outage paused.
    OutageOver,
    /// More items failed than its failure policy bears. An event.
    BudgetSpent,
    /// It was not sealed in time, or ran for longer than it was given. An event.
    DeadlinePassed,
    /// A newer batch of its overlap key takes its place. An event.
    Replaced,
}

impl Input {
    /// All of them, for tests.
    #[cfg(test)]
    pub const ALL: [Self; 14] = [
        Self::Seal,
        Self::Admitted,
        Self::Pause,
        Self::Resume,
        Self::Stop,
        Self::Drained,
        Self::Exhausted,
        Self::SystemFailure,
        Self::SourceUnreadable,
        Self::OutageDeclared,
        Self::OutageOver,
        Self::BudgetSpent,
        Self::DeadlinePassed,
        Self::Replaced,
    ];
}

/// Whether some lease on the batch is live.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Leases {
    /// At least one, on a slice or on the source.
    Live,
    /// None.
    None,
}

/// Why a command is refused: a normal answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Refusal {
    /// The batch still takes items.
    Open,
    /// The batch takes no items any more.
    Sealed,
    /// The batch is on its way to an end.
    Stopping,
    /// The batch has ended.
    Terminal,
}

/// What an input means in a state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// Go there. Leaving a pause clears its cause, entering one sets it.
    Enter(State),
    /// End that way: cancel what is open, then STOPPING, or the end itself where no lease is live.
    End(EndReason),
    /// Enter the end that was fixed on the way into STOPPING.
    Finish,
    /// Stay; the cause rises if the new one ranks higher.
    RaiseCause(PauseCause),
    /// Already there or on the way: nothing changes.
    Stay,
    /// Refused.
    Refuse(Refusal),
    /// Cannot happen in this state: a bug to be logged, nothing changes.
    Illegal,
}

/// What `input` means to a batch in `state`.
// Arms are grouped by what they mean, not by what they answer.
#[allow(clippy::match_same_arms, clippy::unnested_or_patterns)]
pub fn decide(state: State, input: Input, leases: Leases) -> Decision {
    use Decision::{End, Enter, Finish, Illegal, RaiseCause, Refuse, Stay};
    use State::{Completed, Failed, Open, Paused, Pausing, Queued, Running, Stopped, Stopping};
    let pausing = match leases {
        Leases::Live => Pausing,
        Leases::None => Paused,
    };
    match (state, input) {
        (Open, Input::Seal) | (Paused, Input::Resume | Input::OutageOver) => Enter(Queued),
        (Queued, Input::Admitted) | (Pausing, Input::Resume | Input::OutageOver) => Enter(Running),
        (Queued, Input::Pause) | (Pausing, Input::Drained) => Enter(Paused),
        (Running, Input::Pause | Input::SystemFailure | Input::OutageDeclared) => Enter(pausing),

        (Running | Pausing, Input::Exhausted) => End(EndReason::AllItemsFinal),
        (Running | Pausing, Input::BudgetSpent) => End(EndReason::FailureThreshold),
        (Open | Queued | Running | Pausing | Paused, Input::Stop) => End(EndReason::UserStop),
        (Open | Queued | Running | Pausing | Paused, Input::Replaced) => End(EndReason::OverlapCancel),
        (Queued | Running | Pausing | Paused, Input::SourceUnreadable) => End(EndReason::SourceUnreadable),
        (Queued | Running | Pausing | Paused, Input::DeadlinePassed) => End(EndReason::MaxDuration),
        (Open, Input::DeadlinePassed) => End(EndReason::OpenTtl),

        (Pausing | Paused, Input::Pause) => RaiseCause(PauseCause::User),
        (Pausing | Paused, Input::SystemFailure) => RaiseCause(PauseCause::SystemFailure),

        (Stopping, Input::Drained) => Finish,
        (
            Stopping,
            Input::Stop
            | Input::SystemFailure
            | Input::SourceUnreadable
            | Input::OutageDeclared
            | Input::OutageOver
            | Input::BudgetSpent
            | Input::DeadlinePassed
            | Input::Replaced,
        ) => Stay,
        (Pausing, Input::OutageDeclared) | (Open | Queued | Running, Input::OutageOver) => Stay,
        (Running, Input::Drained) | (Queued | Running, Input::Resume) | (Stopped, Input::Stop) => Stay,

        (Open, Input::Pause | Input::Resume) => Refuse(Refusal::Open),
        (Queued | Running | Pausing | Paused, Input::Seal) => Refuse(Refusal::Sealed),
        (Stopping, Input::Seal | Input::Pause | Input::Resume) => Refuse(Refusal::Stopping),
        (Completed | Failed | Stopped, Input::Seal | Input::Pause | Input::Resume)
        | (Completed | Failed, Input::Stop) => Refuse(Refusal::Terminal),

        (Open | Running | Pausing | Paused | Stopping, Input::Admitted)
        | (Open | Queued | Paused, Input::Drained | Input::Exhausted | Input::BudgetSpent)
        | (Open | Queued, Input::SystemFailure)
        | (Open | Queued | Paused, Input::OutageDeclared)
        | (Open, Input::SourceUnreadable)
        | (Stopping, Input::Exhausted)
        | (
            Completed | Failed | Stopped,
            Input::Admitted
            | Input::Drained
            | Input::Exhausted
            | Input::SystemFailure
            | Input::SourceUnreadable
            | Input::OutageDeclared
            | Input::OutageOver
            | Input::BudgetSpent
            | Input::DeadlinePassed
            | Input::Replaced,
        ) => Illegal,
    }
}
