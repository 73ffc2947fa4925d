//! Saying what leaves, and deleting it. The last of the run's events is the moment at which everything has left: whoever reads the
//! log after it takes what is named for gone, so that deleting can be interrupted anywhere.

use std::{sync::Arc, time::Duration};

use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use uuid::Uuid;
use waybill_domain::retention::{Archives, Removed};
use waybill_platform::{
    log::{Appended, EventLog, Expect, Log, LogError, NewEvent},
    trace,
};
use waybill_schemas::{Envelope, Subject, Timestamp, v1::PlacementsArchived};

use super::{ArchiveError, plan::Plan, segments::Written};
use crate::{Failure, operator::SOURCE};

/// How long the log may take for one event.
const LIMIT: Duration = Duration::from_secs(30);
/// Messages that are being deleted at the same time.
const AT_ONCE: usize = 128;

/// Records what leaves, part by part. A run of which a part is missing does not count.
pub(super) async fn record(
    log: &dyn Log,
    run: u64,
    plan: &Plan,
    before: Timestamp,
    archive: &str,
    parts: Vec<Written>,
) -> Result<(), Failure> {
    let count = u64::try_from(parts.len()).unwrap_or(u64::MAX);
    let mut last = 0;
    for (part, Written { digest, removed, .. }) in (1..=count).zip(parts) {
        let event = PlacementsArchived {
            run,
            part,
            parts: count,
            placements: plan.selection.placements(),
            before,
            archive: archive.to_owned(),
            digest,
            sequences: removed.to_ranges(),
        };
        let envelope = Envelope {
            time: Some(trace::now()),
            actor: Some("operator".to_owned()),
            ..Envelope::new(Uuid::new_v4(), SOURCE)
        };
        let new = NewEvent { subject: Subject::Archive { run }, envelope, event: event.into() };
        last = match log.append(&new, Expect::Last(last), Some(LIMIT)).await? {
            Appended::Stored { sequence, .. } => sequence,
            Appended::Conflict { .. } => return Err(ArchiveError::AtWork.into()),
        };
    }
    Ok(())
}

/// Deletes what is still there of the last run: it was interrupted after it had said what leaves. Returns how much that was.
pub(super) async fn complete_last(log: &Arc<EventLog>, archives: &Archives) -> Result<u64, Failure> {
    let Some(run) = archives.runs.last() else { return Ok(0) };
    let removed = Removed::from_ranges(run.parts.iter().flat_map(|part| part.removed.ranges().iter().copied()));
    // The last one is deleted last.
    if log.message_at(removed.last()).await?.is_none() {
        return Ok(0);
    }
    Ok(delete(log, &removed).await?)
}

/// Deletes messages in ascending order, the last one after all others. Returns how many were there.
pub(super) async fn delete(log: &Arc<EventLog>, removed: &Removed) -> Result<u64, LogError> {
    let last = removed.last();
    let deleting = stream::iter(removed.sequences().filter(|sequence| *sequence != last))
        .map(|sequence| async move { log.delete_message(sequence).await.map(u64::from) })
        .buffered(AT_ONCE);
    let deleted: u64 = deleting.try_fold(0, async |sum: u64, one| Ok(sum.saturating_add(one))).await?;
    Ok(deleted.saturating_add(u64::from(log.delete_message(last).await?)))
}
