//! Recording placements: a request makes one, and an end names it.

use std::time::Duration;

use uuid::Uuid;
use waybill_platform::log::{Expect, NewEvent};
use waybill_schemas::{
    ContainerId, Event, Recorded, RecordedEvent, RequestId, Subject, WorkspaceId,
    v1::{ContainerEnded, ContainerRequested},
};

use crate::record::{Receipt, RecordError, Session, Written, unacknowledged};

/// Records a request, or finds what an earlier one with the same key recorded.
pub(crate) async fn record_request(
    session: &Session,
    requested: ContainerRequested,
    request: RequestId,
) -> Result<Receipt, RecordError> {
    let (workspace, container_id) = (requested.workspace.clone(), requested.container_id.clone());
    let subject = Subject::Container { workspace, container_id, request };
    let envelope = session.envelope(Uuid::new_v4(), None);
    let new = NewEvent { subject, envelope, event: requested.clone().into() };
    let earlier = match session.append(new, Expect::Last(0)).await? {
        Written::Stored(receipt) => return Ok(*receipt),
        Written::Conflict(earlier) => earlier,
    };
    let earlier = match earlier.map(|earlier| *earlier) {
        Some(Recorded { value: RecordedEvent { event: Event::ContainerEnded(ended), .. }, .. }) => {
            session.event_at(ended.placement).await?
        }
        earlier => earlier,
    };
    let earlier = earlier.ok_or_else(|| unacknowledged("another request with the same key is being recorded"))?;
    match &earlier.value.event {
        Event::ContainerRequested(recorded) if *recorded == requested => Ok(Receipt::from_recorded(&earlier, true)),
        _ => Err(RecordError::KeyReused),
    }
}

/// How often, and after which pause, a placement that is not found is looked for again: a replica may be behind.
const TRIES: u32 = 4;
const PAUSE: Duration = Duration::from_millis(25);

/// Records the end of a placement, once.
pub(crate) async fn record_end(
    session: &Session,
    workspace: &WorkspaceId,
    container_id: &ContainerId,
    placement: u64,
) -> Result<Receipt, RecordError> {
    let requested = find_request(session, workspace, container_id, placement).await?;
    let subject = requested.value.subject.clone();
    let ended = ContainerEnded { workspace: workspace.clone(), container_id: container_id.clone(), placement };
    let cause = Receipt::from_recorded(&requested, false);
    let envelope = session.envelope(Uuid::new_v4(), Some((&cause).into()));
    let new = NewEvent { subject, envelope, event: ended.clone().into() };
    match session.append(new, Expect::Last(placement)).await? {
        Written::Stored(receipt) => Ok(*receipt),
        Written::Conflict(Some(last)) if last.value.event == Event::ContainerEnded(ended) => {
            Ok(Receipt::from_recorded(&last, true))
        }
        Written::Conflict(_) => Err(unacknowledged("the end of the placement is being recorded")),
    }
}

/// The request that made the placement of this container. Another workspace's placement counts as unknown.
async fn find_request(
    session: &Session,
    workspace: &WorkspaceId,
    container_id: &ContainerId,
    placement: u64,
) -> Result<Recorded<RecordedEvent>, RecordError> {
    for round in 0..TRIES {
        if round > 0 {
            session.pause(PAUSE).await;
        }
        if let Some(recorded) = session.event_at(placement).await? {
            let fits = matches!(
                &recorded.value.event,
                Event::ContainerRequested(requested)
                    if requested.workspace == *workspace && requested.container_id == *container_id
            );
            return if fits { Ok(recorded) } else { Err(RecordError::UnknownPlacement(placement)) };
        }
    }
    Err(RecordError::UnknownPlacement(placement))
}
