//! One request for a container, with everything that followed from it.

use std::collections::BTreeSet;

use waybill_schemas::{
    ContainerId, Derivation, Event, Recorded, RecordedEvent, WorkspaceId, derived_id,
    v1::{
        AttachSkipReason, ContainerCredentialsAttached, ContainerCredentialsSkipped, ContainerRequested,
        CredentialProviderAttached, CredentialProviderFailed, ImagePullFailed, ImagePullSucceeded,
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
    /// Further decisions, after rotations and a revocation, each with what the worker made of it. That the container ended
    /// is none: it takes away what nobody needs any more.
    pub(super) renewals: Vec<Renewed<'h>>,
    /// Sequence of the container's end.
    pub(super) ended: Option<u64>,
    /// The request's event and everything that followed from it, as they stand in the log.
    pub(super) events: Vec<Recorded<&'h RecordedEvent>>,
}

/// A further decision about a request.
#[derive(Debug)]
pub(super) struct Renewed<'h> {
    pub(super) decision: Recorded<Decided<'h>>,
    pub(super) provider: Option<Recorded<Provided<'h>>>,
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

/// Most requests for one container that are looked at, the newest.
const SHOWN: usize = 20;

/// The requests for a container, oldest first. A request that was published twice is one.
pub(super) fn attempts<'h>(
    history: &'h History,
    workspace: &WorkspaceId,
    container_id: &ContainerId,
) -> Vec<Attempt<'h>> {
    let (mut found, mut seen) = (Vec::new(), BTreeSet::new());
    for recorded in history.events() {
        if let Event::ContainerRequested(request) = &recorded.value.event
            && request.workspace == *workspace
            && request.container_id == *container_id
            && seen.insert(recorded.value.envelope.id)
        {
            found.push(recorded);
        }
    }
    let old = found.len().saturating_sub(SHOWN);
    let mut attempts: Vec<Attempt<'_>> =
        found.into_iter().skip(old).filter_map(|recorded| attempt(history, recorded)).collect();
    if let Some((_, superseded)) = attempts.split_last_mut() {
        // Once the container has asked again, changes concern that request.
        superseded.iter_mut().for_each(|attempt| attempt.builds.changed_after = None);
    }
    attempts
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
        renewals: Vec::new(),
        ended: None,
        events: vec![recorded],
    };
    let request_id = recorded.value.envelope.id;
    for later in history.events().filter(|later| later.sequence > recorded.sequence) {
        if let Event::ContainerEnded(ended) = &later.value.event
            && ended.workspace == request.workspace
            && ended.container_id == request.container_id
        {
            attempt.ended.get_or_insert(later.sequence);
        }
        attempt.take(later, request_id);
    }
    Some(attempt)
}

impl<'h> Attempt<'h> {
    /// Takes an event if it is the first of its hop that follows from this request.
    fn take(&mut self, recorded: Recorded<&'h RecordedEvent>, request_id: waybill_schemas::Uuid) {
        let Recorded { sequence, at, value: RecordedEvent { envelope, event } } = recorded;
        let decision_id = derived_id(request_id, Derivation::Decision);
        let renewal_id =
            envelope.causation_id.map(|cause| derived_id(cause, Derivation::Renewal { request: request_id }));
        let renews = renewal_id == Some(envelope.id);
        let mine = self.decision.as_ref().map(|decision| decision.sequence);
        let taken = match event {
            Event::ContainerCredentialsAttached(e) if envelope.id == decision_id => {
                set(&mut self.decision, Recorded { sequence, at, value: Decided::Attached(e) })
            }
            Event::ContainerCredentialsSkipped(e) if envelope.id == decision_id => {
                set(&mut self.decision, Recorded { sequence, at, value: Decided::Skipped(e) })
            }
            Event::ContainerCredentialsAttached(e) if renews => {
                self.renew(Recorded { sequence, at, value: Decided::Attached(e) })
            }
            Event::ContainerCredentialsSkipped(e) if renews && e.reason == AttachSkipReason::ContainerEnded => true,
            Event::ContainerCredentialsSkipped(e) if renews => {
                self.renew(Recorded { sequence, at, value: Decided::Skipped(e) })
            }
            Event::CredentialProviderAttached(e) if mine == Some(e.decided_by) => {
                set(&mut self.provider, Recorded { sequence, at, value: Provided::Attached(e) })
            }
            Event::CredentialProviderFailed(e) if mine == Some(e.decided_by) => {
                set(&mut self.provider, Recorded { sequence, at, value: Provided::Failed(e) })
            }
            Event::CredentialProviderAttached(e) => {
                self.provide(e.decided_by, Recorded { sequence, at, value: Provided::Attached(e) })
            }
            Event::CredentialProviderFailed(e) => {
                self.provide(e.decided_by, Recorded { sequence, at, value: Provided::Failed(e) })
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

impl<'h> Attempt<'h> {
    /// Takes a further decision. One for each cause: the ids in the log are unique.
    fn renew(&mut self, decision: Recorded<Decided<'h>>) -> bool {
        self.renewals.push(Renewed { decision, provider: None });
        true
    }

    /// Takes what the worker made of a further decision.
    fn provide(&mut self, decided_by: u64, provider: Recorded<Provided<'h>>) -> bool {
        let renewed = self.renewals.iter_mut().find(|renewed| renewed.decision.sequence == decided_by);
        renewed.is_some_and(|renewed| set(&mut renewed.provider, provider))
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
