//! One decision from delivery to acknowledgement: provider, pull, and an event for each.

use std::{sync::Arc, time::Duration};

use tracing::Instrument as _;
use waybill_domain::provider::Failure;
use waybill_platform::{
    log::{AppendError, Appended, Delivered, Expect, LogError, NewEvent},
    metrics,
    trace::{self, Delivery},
};
use waybill_registry::pull::{PullConfig, PullError};
use waybill_schemas::{
    Derivation, Event, EventType, RecordedEvent, Subject,
    v1::{ProviderFailure, PullFailure},
};

use crate::{
    access::{Access, Keys, NoAccess},
    dispatch::PROGRESS,
    node::Running,
    outcome::{Decision, Said},
    port::OutcomeLog,
    pulling::pull_for,
    step::{Step, next_step},
};

/// How soon a decision is delivered again whose outcome could not be recorded.
const RETRY: Duration = Duration::from_secs(2);

/// What every decision needs.
pub(crate) struct Handler<L> {
    pub(crate) log: L,
    pub(crate) keys: Keys,
    pub(crate) pull: PullConfig,
    /// Where programs of the node find their logins, if anywhere.
    pub(crate) running: Option<Running>,
}

/// Why an outcome is not recorded.
#[derive(Debug, thiserror::Error)]
pub(crate) enum HandleError {
    #[error("the log does not say what was done before")]
    Log(#[from] LogError),
    #[error("the outcome is not recorded")]
    Append(#[from] AppendError),
}

impl<L: OutcomeLog> Handler<L> {
    /// Handles one delivery, and acknowledges it when its outcomes are in the log.
    pub(crate) async fn handle(self: Arc<Self>, delivered: Delivered) {
        let message = &delivered.message;
        let recorded = match message.decode() {
            Ok(recorded) => recorded,
            Err(error) => {
                tracing::warn!(sequence = message.sequence, subject = %message.subject, %error, "decision cannot be decoded, passing over it");
                return delivered.ack().await;
            }
        };
        if recorded.event.event_type() == EventType::WorkerRegistered {
            // A worker's own registration comes with what is addressed to it.
            return delivered.ack().await;
        }
        let delivery = Delivery::of(message.at, delivered.redelivered);
        let span = trace::process_span(&recorded.event.subject(), &recorded.envelope, delivery);
        metrics::consumed(&recorded.event.subject());
        let Some(decision) = Decision::of(message.sequence, recorded) else {
            tracing::warn!(sequence = message.sequence, subject = %message.subject, "this is no decision, passing over it");
            return delivered.ack().await;
        };
        let working = self.work(&decision, delivery == Delivery::Old).instrument(span.clone());
        tokio::pin!(working);
        let outcome = loop {
            tokio::select! {
                outcome = &mut working => break outcome,
                () = tokio::time::sleep(PROGRESS) => delivered.in_progress().await,
            }
        };
        trace::record_outcome(&span, outcome.as_ref().err());
        match outcome {
            Ok(()) => delivered.ack().await,
            Err(error) => {
                let error = waybill_platform::chain(&error);
                span.in_scope(|| {
                    tracing::error!(sequence = decision.sequence, error, "outcome not recorded, trying again")
                });
                delivered.retry_after(RETRY).await;
            }
        }
    }

    /// Does what is left to do. `maybe_done` says that part of it may be: the decision was delivered before, or is old (a
    /// consumer that was made anew delivers everything for the first time).
    pub(crate) async fn work(&self, decision: &Decision, maybe_done: bool) -> Result<(), HandleError> {
        if let Some(ended_at) = decision.ended_at() {
            return Ok(self.ended_on_node(decision, ended_at).await?);
        }
        let step = if maybe_done { self.recorded_step(decision).await? } else { Step::Provide };
        if step == Step::Done {
            tracing::debug!(container_id = %decision.container_id(), "outcome is recorded already");
            if matches!(decision.said, Said::Skipped(_)) && !self.is_superseded(decision).await? {
                self.tell_node_again(decision);
            }
            return Ok(());
        }
        let access = self.access(decision).await;
        let step = if step == Step::Provide { self.report_provider(decision, &access).await? } else { step };
        // What is delivered again, or by a consumer that was made anew, may be old news by now.
        if !maybe_done || !self.is_superseded(decision).await? {
            self.tell_node(decision, step, &access);
        }
        let Step::Pull { provided_by } = step else { return Ok(()) };
        if decision.renews() {
            return Ok(());
        }
        let pulled = match &access {
            Ok(access) => self.pull(decision, access).await,
            // A provider was recorded before the worker died, and cannot be had again: the pull is what fails.
            Err(none) => Err(none.as_pull_error()),
        };
        self.report_pull(decision, pulled, provided_by).await
    }

    /// The access that the decision gives; a newer decision's, if these credentials give no login and were rotated meanwhile.
    async fn access(&self, decision: &Decision) -> Result<Access, NoAccess> {
        let none = match self.keys.access(decision).await {
            Err(none) if !decision.renews() => none,
            found => return found,
        };
        let Some(refused) = &none.provider else { return Err(none) };
        match self.newer_access(decision).await {
            // A container that asked for another image since has other credentials, which are not for this one.
            Some(Access::Custom { provider, issued }) if provider.registry() == refused.registry() => {
                tracing::info!(container_id = %decision.container_id(), "the credentials were rotated meanwhile, using the new ones");
                Ok(Access::Custom { provider, issued })
            }
            _ => Err(none),
        }
    }

    /// Pulls; once more with newer credentials, if the registry refused these and they were rotated meanwhile.
    async fn pull(&self, decision: &Decision, access: &Access) -> Result<String, PullError> {
        let pulled = pull_for(&self.pull, decision, access).await;
        if let (Err(error), Access::Custom { .. }) = (&pulled, access)
            && (error.may_be_stale() || error.reason == PullFailure::NoLogin)
            && let Some(newer) = self.newer_access(decision).await
        {
            tracing::info!(container_id = %decision.container_id(), "the credentials were rotated during the pull, pulling with the new ones");
            return pull_for(&self.pull, decision, &newer).await;
        }
        pulled
    }

    async fn recorded_step(&self, decision: &Decision) -> Result<Step, HandleError> {
        let subject = Subject::Container {
            workspace: decision.workspace().clone(),
            container_id: decision.container_id().clone(),
            event: EventType::ContainerRequested,
        };
        let history: Vec<(u64, RecordedEvent)> = self.log.history(&subject).await?;
        Ok(next_step(decision.id, history.iter().map(|(sequence, event)| (*sequence, event))))
    }

    /// Records the provider or its failure, and says what is left then. What an earlier run recorded counts, even if it is
    /// the other outcome.
    async fn report_provider(
        &self,
        decision: &Decision,
        access: &Result<Access, NoAccess>,
    ) -> Result<Step, HandleError> {
        let event = match access {
            Ok(access) => decision.provider_attached(access.provider_name(), access.expires_at()),
            Err(none) => decision.provider_failed(none.failure.clone()),
        };
        let appended = self.append(decision, Derivation::Provider, event, decision.requested_by()).await?;
        let mine = if access.is_ok() { Step::Pull { provided_by: appended.sequence } } else { Step::Done };
        if appended.duplicate {
            let recorded = self.recorded_step(decision).await?;
            tracing::debug!(container_id = %decision.container_id(), ?recorded, "an earlier run recorded the provider");
            return Ok(if recorded == Step::Provide { mine } else { recorded });
        }
        match access {
            Ok(Access::Custom { .. }) => metrics::credential_provider("custom", None),
            Ok(Access::DefaultChain) => metrics::credential_provider("default_chain", None),
            Err(none) => metrics::credential_provider("failed", Some(none.failure.reason.as_str())),
        }
        match access {
            Ok(access) => tell_provider(decision, access, appended.sequence),
            Err(none) => tell_failure(decision, &none.failure, appended.sequence),
        }
        Ok(mine)
    }

    async fn report_pull(
        &self,
        decision: &Decision,
        pulled: Result<String, PullError>,
        after: u64,
    ) -> Result<(), HandleError> {
        let event = decision.pulled(pulled.clone());
        let Appended { sequence, duplicate } = self.append(decision, Derivation::Pull, event, after).await?;
        if !duplicate {
            match &pulled {
                Ok(_) => metrics::pull("succeeded", None),
                Err(error) => metrics::pull("failed", Some(error.reason.as_str())),
            }
        }
        let container_id = decision.container_id();
        match pulled {
            Ok(digest) => tracing::info!(%container_id, digest, sequence, "image pulled"),
            Err(error) => {
                tracing::warn!(%container_id, reason = %error.reason, detail = error.detail, sequence, "image pull failed");
            }
        }
        Ok(())
    }

    async fn append(
        &self,
        decision: &Decision,
        kind: Derivation,
        event: Event,
        after: u64,
    ) -> Result<Appended, HandleError> {
        let new = NewEvent { envelope: decision.envelope(kind, trace::now()), event };
        Ok(self.log.append(&new, Expect::LastSibling(after)).await?)
    }
}

fn tell_provider(decision: &Decision, access: &Access, sequence: u64) {
    match access {
        Access::Custom { .. } => tracing::info!(
            image_id = decision.image_id().map(tracing::field::display),
            container_id = %decision.container_id(),
            provider_name = access.provider_name(),
            sequence,
            "attached custom credential provider for OCI image"
        ),
        Access::DefaultChain => tracing::info!(
            container_id = %decision.container_id(),
            sequence,
            "no image credentials provided, using default provider chain"
        ),
    }
}

fn tell_failure(decision: &Decision, failure: &Failure, sequence: u64) {
    let (container_id, detail) = (decision.container_id(), failure.detail.as_str());
    if failure.reason == ProviderFailure::UnparsableCredentials {
        tracing::warn!(%container_id, detail, sequence, "failed to parse image credentials JSON");
    } else {
        tracing::warn!(%container_id, reason = %failure.reason, detail, sequence, "no credential provider");
    }
}

#[cfg(test)]
mod tests;
