//! Open hops: whose turn it is, how far behind that reader is, and whether the hop is lost.

use std::time::Duration;

use waybill_schemas::{Timestamp, WorkerId};

use super::{
    readers::{ReaderState, ReaderStatus, Readers},
    verdict::{Code, Hop, Verdict},
};

/// A scheduler decides within milliseconds of reading. One that has read everything, and heard of nothing new for so long,
/// has no decision left to publish: what it publishes it reads. Longer than one request for messages lasts (20 s), so that
/// a process that stands still has stopped asking before it is said to have lost anything.
const QUIET: Duration = Duration::from_secs(25);
/// One that goes on reading may have much to decide when it starts, but not for so long.
const LOST_AFTER: Duration = Duration::from_secs(600);

/// What the scheduler owes: a decision about something in the log.
#[derive(Debug, Clone, Copy)]
pub(super) struct Undecided<'w> {
    pub(super) hop: Hop,
    /// What it is about, such as "the request".
    pub(super) what: &'w str,
    /// The event that asks for it.
    pub(super) since: (u64, Timestamp),
}

/// Something in the log has no decision.
pub(super) fn await_decision(undecided: Undecided<'_>, readers: &Readers, now: Timestamp) -> Verdict {
    let Undecided { hop, what, since: (sequence, at) } = undecided;
    if let Some(full) = log_full(hop, readers, "the scheduler's decision") {
        return full.at(sequence, at);
    }
    let open = |turn: String, remedy: &str| {
        Verdict::open(hop, Code::AwaitingDecision, format!("the scheduler's turn: {turn}"), remedy)
    };
    let start = "Start `waybill scheduler`, or look at its log and its /readyz.";
    let verdict = match &readers.scheduler {
        ReaderStatus::Unknown => open(format!("it has not decided about {what} yet"), ""),
        ReaderStatus::Absent => open("no scheduler is reading the log".to_owned(), start),
        ReaderStatus::Present(state) if state.position < sequence => {
            open(lag(state), if state.reading { "" } else { start })
        }
        ReaderStatus::Present(state) if !state.reading => {
            open(format!("it was given {what}, and is not reading any more"), start)
        }
        ReaderStatus::Present(state) if !is_lost(state, at, now) => {
            open(format!("it has read {what} and has not decided yet"), "")
        }
        ReaderStatus::Present(state) => Verdict::broken(
            hop,
            Code::LostByScheduler,
            format!("the scheduler has read up to sequence {} and has not decided about {what}", state.position),
            format!(
                "Look at the scheduler's log for sequence {sequence}, and at `waybill doctor` for a log without room; starting the scheduler again publishes what is pending."
            ),
        ),
    };
    verdict.at(sequence, at)
}

/// A log that takes no events keeps everybody from reporting.
fn log_full(hop: Hop, readers: &Readers, what: &str) -> Option<Verdict> {
    let words = readers.log_full.as_ref()?;
    let remedy = "Make room on nats-server: on its disk, or in the limits of its account. Where its disk was full, restart it then. What \
                  waits is written by itself.";
    Some(Verdict::broken(hop, Code::LogFull, format!("{what} cannot be recorded: {words}"), remedy))
}

fn is_lost(state: &ReaderState, at: Timestamp, now: Timestamp) -> bool {
    let quiet = state.behind == 0 && age(state.last_active.map_or(at, |last| last.max(at)), now) >= QUIET;
    quiet || age(state.since.map_or(at, |since| since.max(at)), now) >= LOST_AFTER
}

/// What the worker owes: a provider or a pull.
#[derive(Debug, Clone, Copy)]
pub(super) struct Owed<'w> {
    pub(super) hop: Hop,
    pub(super) code: Code,
    pub(super) worker: &'w WorkerId,
    /// Sequence of the decision.
    pub(super) decision: u64,
    /// The event that is waited from.
    pub(super) since: (u64, Timestamp),
}

/// A decision has no provider, or a provider no pull.
pub(super) fn await_worker(owed: Owed<'_>, readers: &Readers, now: Timestamp) -> Verdict {
    let Owed { hop, code, worker, decision, since: (sequence, at) } = owed;
    let what = if hop == Hop::Pull { "the pull" } else { "a provider" };
    if let Some(full) = log_full(hop, readers, &format!("{what} of worker {worker}")) {
        return full.at(sequence, at);
    }
    let open =
        |turn: String, remedy: String| Verdict::open(hop, code, format!("worker {worker}'s turn: {turn}"), remedy);
    let start = format!("Start `waybill worker --id {worker}` on its node, or look at its log and its /readyz.");
    let verdict = match &readers.worker {
        ReaderStatus::Unknown => open(format!("it has not reported {what} yet"), String::new()),
        ReaderStatus::Absent => {
            open("it has no consumer yet, which the scheduler makes when the worker registers".to_owned(), start)
        }
        ReaderStatus::Present(state) if state.acknowledged >= decision => Verdict::broken(
            hop,
            Code::LostByWorker,
            format!("worker {worker} is done with the decision at sequence {decision} and never reported {what}"),
            "Look at the worker's log for this sequence; then ask for the container again.",
        ),
        ReaderStatus::Present(state) if !state.reading => open(unseen(state, now), start),
        ReaderStatus::Present(state) if state.position < decision => open(lag(state), String::new()),
        ReaderStatus::Present(_) => open(format!("it has the decision and has not reported {what} yet"), String::new()),
    };
    verdict.at(sequence, at)
}

fn lag(state: &ReaderState) -> String {
    let events = if state.behind == 1 { "event" } else { "events" };
    let reading = if state.reading { "" } else { " and is not reading" };
    format!("it is {} {events} behind{reading}", state.behind)
}

fn unseen(state: &ReaderState, now: Timestamp) -> String {
    match state.last_active {
        Some(last) => format!("it is not asking for work, and has not been seen for {}", spell(age(last, now))),
        None => "it is not asking for work, and was never seen".to_owned(),
    }
}

fn age(from: Timestamp, now: Timestamp) -> Duration {
    (now.instant() - from.instant()).try_into().unwrap_or_default()
}

/// The largest two units that matter to a person.
pub(super) fn spell(duration: Duration) -> String {
    let seconds = duration.as_secs();
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{} s", seconds % 60),
        (0, 0, minutes) => format!("{minutes} min {} s", seconds % 60),
        (0, hours, minutes) => format!("{hours} h {minutes} min"),
        (days, hours, _) => format!("{days} d {hours} h"),
    }
}
