//! One batch of decisions on its way into the log, and what became of each.

use std::sync::Arc;

use tracing::Instrument as _;
use waybill_domain::{decision::Cause, fold::Lane};
use waybill_platform::{
    chain,
    log::{Administration, Appended, ErrorKind, Expect, RawMessage},
    metrics, trace,
};
use waybill_schemas::Event;

use crate::{
    announcement::{Announcement, count, write_log_line},
    projection::Due,
};

/// Decisions that go together.
#[derive(Debug)]
pub(crate) struct Batch {
    pub(crate) due: Vec<Due>,
    /// Sequence up to which the log was folded when they were due.
    pub(crate) folded: u64,
    /// Some of what was due cannot be sent for now.
    pub(crate) postponed: bool,
}

/// What became of a decision that was sent.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// The log holds it, maybe since before it was sent.
    Said { sequence: u64, before: bool },
    /// It cannot be said, and why.
    Unsayable(String),
    /// It is to be sent again.
    Unknown,
    /// Another scheduler is saying it: it stands by what the log holds at this sequence.
    LeftAlone { beside: u64 },
}

/// A batch that was sent.
pub(crate) struct Sent {
    pub(crate) fates: Vec<(Due, Fate)>,
    pub(crate) renewals: bool,
}

pub(crate) fn is_renewal(due: &Due) -> bool {
    Lane::of_outcome(&due.pending.decision.outcome) == Lane::Renewals
}

/// Publishes a batch.
pub(crate) async fn send(log: Arc<dyn Administration>, Batch { due, folded, .. }: Batch) -> Sent {
    let renewals = due.iter().any(is_renewal);
    let mut events = Vec::with_capacity(due.len());
    for due in &due {
        let Announcement { event, span } = Announcement::new(&due.pending);
        let expect = find_expected(log.as_ref(), due).await;
        events.push((event, expect, span));
    }
    let outcomes = log.append_all(&events).await;
    let (mut fates, mut beside) = (Vec::with_capacity(due.len()), 0);
    for ((due, (event, _, span)), outcome) in due.into_iter().zip(events).zip(outcomes) {
        let announcement = Announcement { event, span };
        let fate = match outcome {
            None => Fate::LeftAlone { beside },
            Some(Ok(Appended::Stored { sequence, duplicate })) => Fate::Said { sequence, before: duplicate },
            Some(Ok(Appended::Conflict { last })) => resolve_conflict(log.as_ref(), &due, &announcement, last).await,
            Some(Err(error)) if error.kind() == ErrorKind::Never => Fate::Unsayable(chain(&error)),
            Some(Err(error)) => {
                tracing::warn!(error = %chain(&error), "a decision could not be appended, trying again");
                Fate::Unknown
            }
        };
        let fate = match fate {
            // The fold has read the decision and left the row: sending it for ever would not change that.
            Fate::Said { sequence, before: true } if sequence <= folded => {
                Fate::Unsayable("the log holds it, and the fold did not take it".to_owned())
            }
            fate => fate,
        };
        if let Fate::Said { sequence, before } = fate {
            beside = sequence;
            let _entered = announcement.span.enter();
            write_log_line(&announcement.event.event, sequence);
            if !before {
                count(&announcement.event.event);
                let cause = &due.pending.cause;
                metrics::decided_after(trace::now().instant() - cause.at.instant());
            }
        }
        fates.push((due, fate));
    }
    Sent { fates, renewals }
}

/// Where a decision is expected. A worker's new key brings a version again whose renewal may be there.
async fn find_expected(log: &dyn Administration, due: &Due) -> Expect {
    let pending = &due.pending;
    if pending.decision.cause() != Cause::KeyChange {
        return Expect::Last(pending.after);
    }
    let last = log.last(&pending.decision.subject()).await.ok().flatten();
    let earlier = last.filter(|last| last.sequence < pending.decision.caused_by);
    Expect::Last(earlier.map_or(pending.after, |last| last.sequence))
}

/// What became of a decision whose subject holds something else than expected.
async fn resolve_conflict(
    log: &dyn Administration,
    due: &Due,
    announcement: &Announcement,
    last: Option<RawMessage>,
) -> Fate {
    // A replica is behind.
    let Some(last) = last else { return Fate::Unknown };
    match judge_conflict(due, &last) {
        Conflict::Said => Fate::Said { sequence: last.sequence, before: true },
        Conflict::Foreign => Fate::Unsayable("another event stands in its place".to_owned()),
        Conflict::Earlier => {
            let appending = log.append(&announcement.event, Expect::Last(last.sequence), None);
            match appending.instrument(announcement.span.clone()).await {
                Ok(Appended::Stored { sequence, duplicate }) => Fate::Said { sequence, before: duplicate },
                // Another renewal came meanwhile.
                Ok(Appended::Conflict { .. }) => Fate::Unknown,
                Err(error) if error.kind() == ErrorKind::Never => Fate::Unsayable(chain(&error)),
                Err(_) => Fate::Unknown,
            }
        }
    }
}

/// What the last message of a decision's subject says about it.
#[derive(Debug, PartialEq, Eq)]
enum Conflict {
    /// It is said.
    Said,
    /// An earlier renewal of the same version: the decision goes after it.
    Earlier,
    /// Something that nobody but this scheduler may say.
    Foreign,
}

fn judge_conflict(due: &Due, last: &RawMessage) -> Conflict {
    let Ok(recorded) = last.decode() else { return Conflict::Foreign };
    if recorded.envelope.id == due.pending.event_id() {
        return Conflict::Said;
    }
    let is_first = Lane::of_outcome(&due.pending.decision.outcome) == Lane::Requests;
    match recorded.event {
        // A withdrawal follows the first decision, and expects it.
        Event::ContainerCredentialsWithdrawn(_) if is_first => Conflict::Said,
        Event::WorkerCredentialsRenewed(_) if last.sequence < due.pending.decision.caused_by => Conflict::Earlier,
        // Renewals are said in the order of their causes: this one is said before the later one.
        Event::WorkerCredentialsRenewed(renewed) if renewed.caused_by > due.pending.decision.caused_by => {
            Conflict::Said
        }
        _ => Conflict::Foreign,
    }
}
