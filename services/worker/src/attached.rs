//! What is attached to a container of this node: kept as decisions are served, and read from the log after a restart.

use std::{sync::Arc, time::Duration};

use futures_util::future::BoxFuture;
use tokio::time::timeout;
use uuid::Uuid;
use waybill_domain::{provider::Failure, reference::ImageReference};
use waybill_platform::{
    log::{Expect, LogError, NewEvent},
    trace,
};
use waybill_registry::{
    node::{Code, Error},
    provider::Provider,
};
use waybill_schemas::{ContainerId, Envelope, EventType, Subject, WorkerId, WorkspaceId, v1::ContainerEnded};

use crate::{
    access::{Access, NoAccess},
    handle::Handler,
    node::{Attached, Attachment, nothing_attached},
    outcome::Decision,
    port::OutcomeLog,
    source,
    step::Step,
};

impl<L: OutcomeLog> Handler<L> {
    /// Keeps the provider of a decision that is in force; a decision without one ends an earlier one's.
    pub(crate) fn tell_node(&self, decision: &Decision, step: Step, access: &Result<Access, NoAccess>) {
        let Some(running) = &self.running else { return };
        let (workspace, container_id) = (decision.workspace(), decision.container_id());
        let provider = match (step, access) {
            (Step::Pull { .. }, Ok(Access::Custom { provider, .. })) => Some(provider),
            // The container runs. Its node's programs ask again, and the exchange may work by then.
            (_, Err(none)) if decision.renews() => none.provider.as_ref(),
            _ => None,
        };
        let kept = match provider.and_then(|provider| attachment(decision, provider)) {
            Some(attachment) => running.put(workspace, container_id, attachment),
            None => running.drop_older(workspace, container_id, decision.sequence),
        };
        if let Err(error) = kept {
            let error = waybill_platform::chain(&error);
            tracing::error!(%workspace, %container_id, error, "programs of the node cannot have this container's logins");
        }
    }

    /// Takes a container's access away because of a decision that attached nothing, which an earlier run recorded.
    pub(crate) fn tell_node_again(&self, decision: &Decision) {
        self.tell_node(decision, Step::Done, &Ok(Access::DefaultChain));
    }

    /// Whether the log has a newer decision about the same container for this worker: that one counts on the node.
    pub(crate) async fn is_superseded(&self, decision: &Decision) -> Result<bool, LogError> {
        if self.running.is_none() {
            return Ok(false);
        }
        let (workspace, container_id) = (decision.workspace(), decision.container_id());
        let decisions = self.decisions(decision.worker_id(), workspace, container_id).await?;
        Ok(decisions.iter().any(|other| other.sequence > decision.sequence))
    }

    /// Takes away what a container that ended at a sequence had here, unless it has asked again since.
    pub(crate) async fn ended_on_node(&self, decision: &Decision, ended_at: u64) -> Result<(), LogError> {
        let Some(running) = &self.running else { return Ok(()) };
        let (workspace, container_id) = (decision.workspace(), decision.container_id());
        // A worker that has started anew knows the key, and not what for: the news may be old.
        if running.has_key(workspace, container_id) && running.attachment(workspace, container_id).is_none() {
            let decisions = self.decisions(decision.worker_id(), workspace, container_id).await?;
            if decisions.iter().any(|other| other.requested_by() > ended_at) {
                return Ok(());
            }
        }
        match running.ended(workspace, container_id, ended_at) {
            Ok(()) => tracing::info!(%workspace, %container_id, ended_at, "container ended, its logins are forgotten"),
            Err(error) => {
                let error = waybill_platform::chain(&error);
                tracing::error!(%workspace, %container_id, error, "files of a container that ended are left");
            }
        }
        Ok(())
    }

    /// The access that a newer decision about the same request gives, if there is one: credentials may be rotated while a
    /// pull is under way.
    pub(crate) async fn newer_access(&self, decision: &Decision) -> Option<Access> {
        let (workspace, container_id) = (decision.workspace(), decision.container_id());
        let newest = self.newest(decision.worker_id(), workspace, container_id).await.ok()?;
        if newest.decided_by <= decision.sequence || newest.requested_by != decision.requested_by() {
            return None;
        }
        let issued = newest.provider.login(newest.provider.registry()).await.ok()?;
        Some(Access::Custom { provider: newest.provider, issued })
    }

    async fn decisions(
        &self,
        worker_id: &WorkerId,
        workspace: &WorkspaceId,
        container: &ContainerId,
    ) -> Result<Vec<Decision>, LogError> {
        let subject = Subject::Decision {
            worker_id: worker_id.clone(),
            workspace: workspace.clone(),
            container_id: container.clone(),
            event: EventType::ContainerCredentialsAttached,
        };
        let history = self.log.history(&subject).await?;
        Ok(history.into_iter().filter_map(|(sequence, recorded)| Decision::of(sequence, recorded)).collect())
    }

    /// What the newest decision attached. Nobody is asked for a login: that is for who wants one.
    async fn newest(
        &self,
        worker_id: &WorkerId,
        workspace: &WorkspaceId,
        container: &ContainerId,
    ) -> Result<Attachment, Error> {
        let decisions = self.decisions(worker_id, workspace, container).await.map_err(|error| {
            tracing::warn!(%workspace, container_id = %container, error = waybill_platform::chain(&error), "decisions cannot be read");
            let words = "the log does not answer, and the worker has started anew since the container did; try again";
            Error { code: Code::Unavailable, message: words.to_owned() }
        })?;
        let nothing = || nothing_attached(container);
        let newest = decisions.into_iter().max_by_key(|decision| decision.sequence).ok_or_else(nothing)?;
        if newest.ended_at().is_some() {
            return Err(Error { code: Code::NoAccess, message: format!("container {container} has ended") });
        }
        // Who hears of nothing attached goes on as nobody. Credentials that are there and cannot be used are another matter.
        let unusable = |failure: Failure| Error { code: Code::Unusable, message: failure.detail };
        let provider = self.keys.provider(&newest).map_err(unusable)?;
        provider.and_then(|provider| attachment(&newest, &provider)).ok_or_else(nothing)
    }
}

/// How long a runtime waits for the log to take a container's end.
const ENDED_LIMIT: Duration = Duration::from_secs(5);

fn not_recorded() -> Error {
    let message = "the container's end is not recorded, since the log does not take it; nothing is removed, try again";
    Error { code: Code::Unavailable, message: message.to_owned() }
}

fn attachment(decision: &Decision, provider: &Provider) -> Option<Attachment> {
    // A plan with credentials has compared the reference with the registry, so it parses.
    let image = ImageReference::parse(decision.image_ref()?).ok()?;
    let expires_at = decision.expires_at();
    let (requested_by, decided_by) = (decision.requested_by(), decision.sequence);
    Some(Attachment { provider: provider.clone(), image, expires_at, requested_by, decided_by })
}

/// The decisions for one worker, in the log.
pub(crate) struct FromLog<L> {
    pub(crate) handler: Arc<Handler<L>>,
    pub(crate) worker_id: WorkerId,
}

impl<L: OutcomeLog> Attached for FromLog<L> {
    fn attached<'a>(
        &'a self,
        workspace: &'a WorkspaceId,
        container: &'a ContainerId,
    ) -> BoxFuture<'a, Result<Attachment, Error>> {
        Box::pin(self.handler.newest(&self.worker_id, workspace, container))
    }

    fn ended<'a>(
        &'a self,
        workspace: &'a WorkspaceId,
        container: &'a ContainerId,
    ) -> BoxFuture<'a, Result<Option<u64>, Error>> {
        let event = ContainerEnded { workspace: workspace.clone(), container_id: container.clone() };
        let id = Uuid::new_v4();
        let envelope = Envelope {
            id,
            source: source(&self.worker_id),
            source_version: None,
            time: Some(trace::now()),
            causation_id: None,
            correlation_id: Some(id),
            traceparent: None,
            tracestate: None,
        };
        let new = NewEvent { envelope, event: event.into() };
        Box::pin(async move {
            let appending = timeout(ENDED_LIMIT, self.handler.log.append(&new, Expect::Nothing));
            match appending.await {
                Ok(Ok(appended)) => {
                    tracing::debug!(%workspace, container_id = %container, sequence = appended.sequence, "end recorded");
                    Ok(Some(appended.sequence))
                }
                Ok(Err(error)) => {
                    let error = waybill_platform::chain(&error);
                    tracing::warn!(%workspace, container_id = %container, error, "the container's end is not recorded");
                    Err(not_recorded())
                }
                Err(_) => {
                    tracing::warn!(%workspace, container_id = %container, "the log did not take the container's end in time");
                    Err(not_recorded())
                }
            }
        })
    }
}
