//! What workers report: how far each placement is, and whether the report is its worker's own and the first one.

use waybill_schemas::{Event, RecordedEvent, Subject};

use super::{Anomaly, Change, Facts, Folded, PlacementFact};

/// Folds the outcome of a provider or of a pull. Placements that are over are not looked at: their rows are gone.
pub(super) fn fold_outcome<F: Facts>(facts: &F, recorded: &RecordedEvent) -> Result<Folded, F::Error> {
    let Subject::ContainerOutcome { worker_id, placement, .. } = &recorded.subject else {
        return Ok(Folded::default());
    };
    let Some(fact) = facts.placement(*placement)? else { return Ok(Folded::default()) };
    // Invariant: the subject says who reports, and the server lets a worker write below its own id only.
    if fact.worker_id != *worker_id {
        return Ok(Anomaly::ForeignOutcome { placed_on: fact.worker_id }.into());
    }
    if recorded.event.container_id() != Some(&fact.container_id) {
        return Ok(Anomaly::RepeatedOutcome.into());
    }
    let (repeated, settles) = match &recorded.event {
        Event::CredentialProviderAttached(_) => (fact.provided, false),
        Event::CredentialProviderFailed(_) => (fact.provided, true),
        _ => (fact.settled, true),
    };
    if repeated {
        return Ok(Anomaly::RepeatedOutcome.into());
    }
    let settled = fact.settled || settles;
    Ok(vec![Change::PutPlacement(Box::new(PlacementFact { provided: true, settled, ..fact }))].into())
}
