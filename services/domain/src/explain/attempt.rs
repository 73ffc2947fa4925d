//! One request for a container, with everything that followed from it.

use waybill_schemas::{
    ContainerId, Derivation, Event, Recorded, RecordedEvent, WorkspaceId, derived_id,
    v1::{
        ContainerCredentialsAttached, ContainerCredentialsSkipped, ContainerRequested, CredentialProviderAttached,
        CredentialProviderFailed, ImagePullFailed, ImagePullSucceeded,
    },
};

use super::{cause::Builds, history::History};

/// A request and what came of it, as far as the log goes.
#[derive(Debug)]
pub(super) struct Attempt<'h> {
    pub(super) request: Recorded<&'h ContainerRequested>,
    pub(super) builds: Builds<'h>,
    pub(super) decision: Option<Recorded<Decided<'h>>>,
    pub(super) provider: Option<Recorded<Provided<'h>>>,
    pub(super) pull: Option<Recorded<Pulled<'h>>>,
    /// The request's event, the decision, the provider and the pull, as they stand in the log.
    pub(super) events: Vec<Recorded<&'h RecordedEvent>>,
}

#[derive(Debug, Clone, Copy)]
pub(super) enum Decided<'h> {
    Attached(&'h ContainerCredentialsAttached),
    Skipped(&'h ContainerCredentialsSkipped),
}

#[derive(Debug, Clone, Copy)]
pub(super) enum Provided<'h> {
    Attached(&'h CredentialProviderAttached),
    Failed(&'h CredentialProviderFailed),
}

#[derive(Debug, Clone, Copy)]
pub(super) enum Pulled<'h> {
    Succeeded(&'h ImagePullSucceeded),
    Failed(&'h ImagePullFailed),
}

/// The requests for a container, oldest first. A request that was published twice is one.
pub(super) fn attempts<'h>(
    history: &'h History,
    workspace: &WorkspaceId,
    container_id: &ContainerId,
) -> Vec<Attempt<'h>> {
    let mut found: Vec<Recorded<&RecordedEvent>> = Vec::new();
    for recorded in history.events() {
        if let Event::ContainerRequested(request) = &recorded.value.event
            && request.workspace == *workspace
            && request.container_id == *container_id
            && found.iter().all(|earlier| earlier.value.envelope.id != recorded.value.envelope.id)
        {
            found.push(recorded);
        }
    }
    found.into_iter().filter_map(|recorded| attempt(history, recorded)).collect()
}

fn attempt<'h>(history: &'h History, recorded: Recorded<&'h RecordedEvent>) -> Option<Attempt<'h>> {
    let Event::ContainerRequested(request) = &recorded.value.event else { return None };
    let builds = match &request.image_id {
        Some(image_id) => Builds::before(recorded.sequence, history, &request.workspace, image_id),
        None => Builds::default(),
    };
    let mut attempt = Attempt {
        request: Recorded { sequence: recorded.sequence, at: recorded.at, value: request },
        builds,
        decision: None,
        provider: None,
        pull: None,
        events: vec![recorded],
    };
    let decision_id = derived_id(recorded.value.envelope.id, Derivation::Decision);
    for later in history.events().filter(|later| later.sequence > recorded.sequence) {
        attempt.take(later, decision_id);
    }
    Some(attempt)
}

impl<'h> Attempt<'h> {
    /// Takes an event if it is the first of its hop that follows from this request.
    fn take(&mut self, recorded: Recorded<&'h RecordedEvent>, decision_id: waybill_schemas::Uuid) {
        let Recorded { sequence, at, value: RecordedEvent { envelope, event } } = recorded;
        let mine = self.decision.as_ref().map(|decision| decision.sequence);
        let taken = match event {
            Event::ContainerCredentialsAttached(e) if envelope.id == decision_id => {
                set(&mut self.decision, Recorded { sequence, at, value: Decided::Attached(e) })
            }
            Event::ContainerCredentialsSkipped(e) if envelope.id == decision_id => {
                set(&mut self.decision, Recorded { sequence, at, value: Decided::Skipped(e) })
            }
            Event::CredentialProviderAttached(e) if mine == Some(e.decided_by) => {
                set(&mut self.provider, Recorded { sequence, at, value: Provided::Attached(e) })
            }
            Event::CredentialProviderFailed(e) if mine == Some(e.decided_by) => {
                set(&mut self.provider, Recorded { sequence, at, value: Provided::Failed(e) })
            }
            Event::ImagePullSucceeded(e) if mine == Some(e.decided_by) => {
                set(&mut self.pull, Recorded { sequence, at, value: Pulled::Succeeded(e) })
            }
            Event::ImagePullFailed(e) if mine == Some(e.decided_by) => {
                set(&mut self.pull, Recorded { sequence, at, value: Pulled::Failed(e) })
            }
            _ => false,
        };
        if taken {
            self.events.push(recorded);
        }
    }
}

/// The first one counts, as it does for everybody who reads the log.
fn set<T>(place: &mut Option<T>, value: T) -> bool {
    let free = place.is_none();
    if free {
        *place = Some(value);
    }
    free
}
