//! The scheduler's decision as the worker needs it, and the events that report what became of it.

use uuid::Uuid;
use waybill_domain::provider::Failure;
use waybill_registry::pull::PullError;
use waybill_schemas::{
    ContainerId, Derivation, Envelope, Event, ImageId, RecordedEvent, Timestamp, WorkerId, WorkspaceId, derived_id,
    v1::{
        AttachSkipReason, ContainerCredentialsAttached, ContainerCredentialsSkipped, CredType,
        CredentialProviderAttached, CredentialProviderFailed, ImagePullFailed, ImagePullSucceeded,
    },
};

use crate::source;

/// A decision of the scheduler, at its place in the log.
#[derive(Debug)]
pub(crate) struct Decision {
    pub(crate) id: Uuid,
    pub(crate) sequence: u64,
    correlation_id: Uuid,
    pub(crate) said: Said,
}

/// What was decided.
#[derive(Debug)]
pub(crate) enum Said {
    Attached(ContainerCredentialsAttached),
    Skipped(ContainerCredentialsSkipped),
}

impl Decision {
    /// The decision in an event, if it is one.
    pub(crate) fn of(sequence: u64, recorded: RecordedEvent) -> Option<Self> {
        let said = match recorded.event {
            Event::ContainerCredentialsAttached(attached) => Said::Attached(attached),
            Event::ContainerCredentialsSkipped(skipped) => Said::Skipped(skipped),
            _ => return None,
        };
        let id = recorded.envelope.id;
        Some(Self { id, sequence, correlation_id: recorded.envelope.correlation_id.unwrap_or(id), said })
    }

    pub(crate) fn workspace(&self) -> &WorkspaceId {
        match &self.said {
            Said::Attached(said) => &said.workspace,
            Said::Skipped(said) => &said.workspace,
        }
    }

    pub(crate) fn container_id(&self) -> &ContainerId {
        match &self.said {
            Said::Attached(said) => &said.container_id,
            Said::Skipped(said) => &said.container_id,
        }
    }

    pub(crate) fn image_id(&self) -> Option<&ImageId> {
        match &self.said {
            Said::Attached(said) => Some(&said.image_id),
            Said::Skipped(said) => said.image_id.as_ref(),
        }
    }

    pub(crate) fn image_ref(&self) -> Option<&str> {
        match &self.said {
            Said::Attached(said) => Some(&said.image_ref),
            Said::Skipped(said) => said.image_ref.as_deref(),
        }
    }

    /// When the attached credentials stop working, where known.
    pub(crate) fn expires_at(&self) -> Option<Timestamp> {
        match &self.said {
            Said::Attached(said) => said.expires_at,
            Said::Skipped(_) => None,
        }
    }

    pub(crate) fn requested_by(&self) -> u64 {
        match &self.said {
            Said::Attached(said) => said.requested_by,
            Said::Skipped(said) => said.requested_by,
        }
    }

    /// Sequence of the container's end, if that is what it follows from: there is nothing to attach and nothing to pull.
    pub(crate) fn ended_at(&self) -> Option<u64> {
        match &self.said {
            Said::Skipped(said) if said.reason == AttachSkipReason::ContainerEnded => said.image_event,
            _ => None,
        }
    }

    /// Whether it follows a rotation or a revocation, while the container has credentials: nothing is to be pulled.
    pub(crate) fn renews(&self) -> bool {
        let rests_on = match &self.said {
            Said::Attached(said) => Some(said.saved_by),
            Said::Skipped(said) => said.image_event,
        };
        rests_on > Some(self.requested_by())
    }

    pub(crate) fn worker_id(&self) -> &WorkerId {
        match &self.said {
            Said::Attached(said) => &said.worker_id,
            Said::Skipped(said) => &said.worker_id,
        }
    }

    fn credentials(&self) -> Option<(CredType, String)> {
        match &self.said {
            Said::Attached(said) => Some((said.cred_type, said.registry.clone())),
            Said::Skipped(_) => None,
        }
    }

    /// What stands around the outcome of a kind.
    pub(crate) fn envelope(&self, kind: Derivation, now: Timestamp) -> Envelope {
        Envelope {
            id: derived_id(self.id, kind),
            source: source(self.worker_id()),
            source_version: None,
            time: Some(now),
            causation_id: Some(self.id),
            correlation_id: Some(self.correlation_id),
            traceparent: None,
            tracestate: None,
        }
    }

    pub(crate) fn provider_attached(&self, name: String, token_expires_at: Option<Timestamp>) -> Event {
        let credentials = self.credentials();
        CredentialProviderAttached {
            workspace: self.workspace().clone(),
            container_id: self.container_id().clone(),
            image_id: self.image_id().cloned(),
            worker_id: self.worker_id().clone(),
            provider_name: name,
            cred_type: credentials.as_ref().map(|(cred_type, _)| *cred_type),
            registry: credentials.map(|(_, registry)| registry),
            token_expires_at,
            decided_by: self.sequence,
        }
        .into()
    }

    pub(crate) fn provider_failed(&self, failure: Failure) -> Event {
        let credentials = self.credentials();
        CredentialProviderFailed {
            workspace: self.workspace().clone(),
            container_id: self.container_id().clone(),
            image_id: self.image_id().cloned(),
            worker_id: self.worker_id().clone(),
            cred_type: credentials.as_ref().map(|(cred_type, _)| *cred_type),
            registry: credentials.map(|(_, registry)| registry),
            reason: failure.reason,
            detail: Some(failure.detail),
            decided_by: self.sequence,
        }
        .into()
    }

    pub(crate) fn pulled(&self, pulled: Result<String, PullError>) -> Event {
        let (workspace, container_id) = (self.workspace().clone(), self.container_id().clone());
        let (image_id, worker_id) = (self.image_id().cloned(), self.worker_id().clone());
        let image_ref = self.image_ref().map(str::to_owned);
        let decided_by = self.sequence;
        match pulled {
            Ok(digest) => {
                let image_ref = image_ref.unwrap_or_default();
                ImagePullSucceeded { workspace, container_id, image_id, worker_id, image_ref, digest, decided_by }
                    .into()
            }
            Err(PullError { reason, detail }) => {
                let detail = Some(detail);
                ImagePullFailed { workspace, container_id, image_id, worker_id, image_ref, reason, detail, decided_by }
                    .into()
            }
        }
    }
}
