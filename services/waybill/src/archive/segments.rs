//! Writing the segments: what leaves, in the log's order, each file read back before it counts.

use futures_util::StreamExt as _;
use waybill_domain::retention::Removed;
use waybill_platform::{
    archive::{Segment, SegmentWriter, Store, read_segment, segment_name},
    log::{Log, RawMessage},
};
use waybill_schemas::{Filter, Recorded};

use super::{ArchiveError, plan::Plan};
use crate::Failure;

/// A segment that is in the archive.
pub(super) struct Written {
    pub(super) name: String,
    pub(super) digest: String,
    pub(super) removed: Removed,
}

/// Writes what leaves. Nothing else knows of the files yet: whatever ends this leaves the log as it was.
pub(super) async fn write(log: &dyn Log, store: &Store, run: u64, plan: &Plan) -> Result<Vec<Written>, Failure> {
    let mut written = Vec::new();
    let mut writer: Option<SegmentWriter> = None;
    let first = plan.leaves.ranges().first().map_or(1, |[first, _]| *first);
    let mut messages = log.follow(&Filter::All, first, None);
    while let Some(message) = messages.next().await {
        let message = message?;
        if takes(plan, &message) {
            let begun = match writer.take() {
                Some(full) if full.is_full() => {
                    written.push(put(store, run, written.len(), full).await?);
                    None
                }
                begun => begun,
            };
            let mut begun = match begun {
                Some(begun) => begun,
                None => SegmentWriter::begin(run, number(written.len()))?,
            };
            begun.push(&message)?;
            writer = Some(begun);
        }
        if message.sequence >= plan.leaves.last() {
            break;
        }
    }
    if let Some(last) = writer {
        written.push(put(store, run, written.len(), last).await?);
    }
    let all = Removed::from_ranges(written.iter().flat_map(|part| part.removed.ranges().iter().copied()));
    if all != plan.leaves {
        return Err(ArchiveError::Differs("the archive would hold other messages".to_owned()).into());
    }
    Ok(written)
}

fn takes(plan: &Plan, message: &RawMessage) -> bool {
    plan.leaves.contains(message.sequence)
        && message
            .decode()
            .is_ok_and(|value| plan.selection.takes(&Recorded { sequence: message.sequence, at: message.at, value }))
}

/// Number of the part after this many.
fn number(before: usize) -> u64 {
    u64::try_from(before).unwrap_or(u64::MAX).saturating_add(1)
}

async fn put(store: &Store, run: u64, before: usize, writer: SegmentWriter) -> Result<Written, Failure> {
    let Segment { bytes, digest, removed } = writer.finish()?;
    let name = segment_name(run, number(before), &digest);
    store.put(&name, bytes).await?;
    // What cannot be read back is not deleted.
    let unlike = |_| ArchiveError::Unlike(name.clone());
    read_segment(&store.get(&name).await?, &digest, &removed).map_err(unlike)?;
    Ok(Written { name, digest, removed })
}
