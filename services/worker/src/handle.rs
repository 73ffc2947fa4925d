//! One decision from delivery to acknowledgement: provider, pull, and an event for each.

use std::{sync::Arc, time::Duration};

use tracing::Instrument as _;
use waybill_domain::{
    credentials::Secret,
    provider::{Failure, ProviderPlan, default_chain_name, plan_with_credentials, plan_without_credentials},
    reference::ImageReference,
};
use waybill_platform::{
    log::{AppendError, Delivered, EventLog, Expect, LogError, NewEvent},
    sealing::{Binding, PrivateKey, PublicKey, open},
    trace::{self, Delivery},
};
use waybill_schemas::{
    Derivation, Event, EventType, RecordedEvent, Subject, Timestamp,
    v1::{ContainerCredentialsAttached, ProviderFailure, PullFailure},
};

use crate::{
    outcome::{Decision, Said},
    provider::{Provider, ProviderError, RegistryLogin, TokenCache},
    pull::{PullConfig, PullError, pull},
    step::{Step, next_step},
};

/// How often the log is told that a decision is still being worked on; it delivers again after 10 s of silence.
const PROGRESS: Duration = Duration::from_secs(3);
/// How soon a decision is delivered again whose outcome could not be recorded.
const RETRY: Duration = Duration::from_secs(2);

/// What every decision needs.
pub(crate) struct Handler {
    pub(crate) log: EventLog,
    pub(crate) key: PrivateKey,
    pub(crate) scheduler: PublicKey,
    pub(crate) tokens: TokenCache,
    pub(crate) pull: PullConfig,
}

/// Why an outcome is not recorded.
#[derive(Debug, thiserror::Error)]
enum HandleError {
    #[error("the log does not say what was done before")]
    Log(#[from] LogError),
    #[error("the outcome is not recorded")]
    Append(#[from] AppendError),
}

/// How the container logs in: with a login at hand, and the provider that gives the next one.
enum Access {
    DefaultChain,
    Custom(Provider, RegistryLogin),
}

impl Handler {
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
        let span = self.span(&recorded, &delivered);
        let Some(decision) = Decision::of(message.sequence, recorded) else { return delivered.ack().await };
        let working = self.work(&decision, delivered.redelivered).instrument(span.clone());
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

    fn span(&self, recorded: &RecordedEvent, delivered: &Delivered) -> tracing::Span {
        let delivery = Delivery::of(delivered.message.at, delivered.redelivered);
        trace::process_span(&recorded.event.subject(), &recorded.envelope, delivery)
    }

    async fn work(&self, decision: &Decision, redelivered: bool) -> Result<(), HandleError> {
        let step = if redelivered { self.recorded_step(decision).await? } else { Step::Provide };
        if step == Step::Done {
            tracing::debug!(container_id = %decision.container_id(), "outcome is recorded already");
            return Ok(());
        }
        let (access, token_expires_at) = match self.provide(decision).await {
            Ok(provided) => provided,
            Err(failure) if step == Step::Provide => return self.report_failure(decision, failure).await,
            // The provider was recorded before the worker died and cannot be had again: the pull is what fails.
            Err(failure) => {
                let error = PullError::new(PullFailure::Unauthorized, failure.detail);
                return self.report_pull(decision, Err(error), step.provided_by()).await;
            }
        };
        let provided_by = match step {
            Step::Pull { provided_by } => provided_by,
            _ => self.report_provider(decision, &access, token_expires_at).await?,
        };
        let pulled = self.pull(decision, &access).await;
        self.report_pull(decision, pulled, provided_by).await
    }

    async fn recorded_step(&self, decision: &Decision) -> Result<Step, HandleError> {
        let subject = Subject::Container {
            workspace: decision.workspace().clone(),
            container_id: decision.container_id().clone(),
            event: EventType::ContainerRequested,
        };
        let history = self.log.history(&subject).await?;
        let events: Vec<(u64, RecordedEvent)> =
            history.iter().filter_map(|message| Some((message.sequence, message.decode().ok()?))).collect();
        Ok(next_step(decision.id, events.iter().map(|(sequence, event)| (*sequence, event))))
    }

    /// The provider that the decision calls for, with a first login where that takes an exchange.
    async fn provide(&self, decision: &Decision) -> Result<(Access, Option<Timestamp>), Failure> {
        let attached = match &decision.said {
            Said::Attached(attached) => attached,
            Said::Skipped(skipped) => {
                tracing::debug!(has_image_credentials = false, reason = %skipped.reason, "decision received");
                return match plan_without_credentials(skipped.reason) {
                    ProviderPlan::Fail(failure) => Err(failure),
                    _ => Ok((Access::DefaultChain, None)),
                };
            }
        };
        tracing::debug!(has_image_credentials = true, cred_type = %attached.cred_type, "decision received");
        let opened = self.unseal(attached);
        match plan_with_credentials(attached, opened.as_ref()) {
            ProviderPlan::Fail(failure) => Err(failure),
            ProviderPlan::DefaultChain => Ok((Access::DefaultChain, None)),
            ProviderPlan::Custom(plan) => {
                let registry = plan.registry.clone();
                let provider = Provider::new(plan, &attached.workspace, &self.tokens);
                let (login, expires) = provider.login(&registry).await.map_err(|error| exchange_failed(&error))?;
                Ok((Access::Custom(provider, login), expires))
            }
        }
    }

    fn unseal(&self, attached: &ContainerCredentialsAttached) -> Option<Secret> {
        let binding = Binding::Container {
            workspace: attached.workspace.clone(),
            container_id: attached.container_id.clone(),
            registry: attached.registry.clone(),
        };
        let span = tracing::info_span!("unseal", otel.name = "unseal credentials", cred_type = %attached.cred_type);
        span.in_scope(|| match open(&self.key, &self.scheduler, &binding, &attached.credentials) {
            Ok(credentials) => Some(credentials),
            Err(error) => {
                tracing::warn!(container_id = %attached.container_id, %error, "attached credentials cannot be opened");
                None
            }
        })
    }

    async fn pull(&self, decision: &Decision, access: &Access) -> Result<String, PullError> {
        let no_reference = "no build recorded what to pull for this image; report the build to the gateway";
        let text = decision.image_ref().ok_or_else(|| PullError::new(PullFailure::NoImageReference, no_reference))?;
        let image = ImageReference::parse(text)
            .map_err(|error| PullError::new(PullFailure::InvalidReference, error.to_string()))?;
        let span = tracing::info_span!(
            "pull",
            otel.name = "pull image",
            otel.kind = "client",
            container.image.name = text,
            server.address = image.registry().hostname(),
            container.image.digest = tracing::field::Empty,
            otel.status_code = tracing::field::Empty,
            otel.status_description = tracing::field::Empty,
        );
        let outcome = self.pull_as(&image, access, decision).instrument(span.clone()).await;
        match &outcome {
            Ok(digest) => drop(span.record("container.image.digest", digest)),
            Err(error) => trace::record_outcome(&span, Some(error)),
        }
        outcome
    }

    /// One pull, and one more where the registry refused a token that can be exchanged again.
    async fn pull_as(&self, image: &ImageReference, access: &Access, decision: &Decision) -> Result<String, PullError> {
        let name = format!("{}/{}", decision.workspace(), decision.container_id());
        let (provider, login) = match access {
            Access::DefaultChain => return pull(&self.pull, image, &RegistryLogin::Anonymous, &name).await,
            Access::Custom(provider, login) => (provider, login),
        };
        match pull(&self.pull, image, login, &name).await {
            Err(error) if error.reason == PullFailure::Unauthorized && provider.forget(login).await => {
                tracing::debug!("the registry refused the token, exchanging it again");
                pull(&self.pull, image, &next_login(provider, image).await?, &name).await
            }
            outcome => outcome,
        }
    }

    async fn report_provider(
        &self,
        decision: &Decision,
        access: &Access,
        token_expires_at: Option<Timestamp>,
    ) -> Result<u64, HandleError> {
        let name = match (&decision.said, access) {
            (Said::Attached(attached), Access::Custom(..)) => format!("creds-{}", attached.registry),
            _ => default_chain_name().to_owned(),
        };
        let event = decision.provider_attached(name.clone(), token_expires_at);
        let sequence = self.append(decision, Derivation::Provider, event, decision.requested_by()).await?;
        match access {
            Access::Custom(..) => tracing::info!(
                image_id = decision.image_id().map(tracing::field::display),
                container_id = %decision.container_id(),
                provider_name = name,
                sequence,
                "attached custom credential provider for OCI image"
            ),
            Access::DefaultChain => tracing::info!(
                container_id = %decision.container_id(),
                sequence,
                "no image credentials provided, using default provider chain"
            ),
        }
        Ok(sequence)
    }

    async fn report_failure(&self, decision: &Decision, failure: Failure) -> Result<(), HandleError> {
        let (container_id, reason, detail) = (decision.container_id(), failure.reason, failure.detail.clone());
        let event = decision.provider_failed(failure);
        let sequence = self.append(decision, Derivation::Provider, event, decision.requested_by()).await?;
        if reason == ProviderFailure::UnparsableCredentials {
            tracing::warn!(%container_id, detail, sequence, "failed to parse image credentials JSON");
        } else {
            tracing::warn!(%container_id, %reason, detail, sequence, "no credential provider");
        }
        Ok(())
    }

    async fn report_pull(
        &self,
        decision: &Decision,
        pulled: Result<String, PullError>,
        after: u64,
    ) -> Result<(), HandleError> {
        let event = decision.pulled(pulled.clone());
        let sequence = self.append(decision, Derivation::Pull, event, after).await?;
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
    ) -> Result<u64, HandleError> {
        let new = NewEvent { envelope: decision.envelope(kind, trace::now()), event };
        Ok(self.log.append(&new, Expect::LastSibling(after), None).await?.sequence)
    }
}

impl Step {
    fn provided_by(self) -> u64 {
        match self {
            Self::Pull { provided_by } => provided_by,
            Self::Provide | Self::Done => 0,
        }
    }
}

async fn next_login(provider: &Provider, image: &ImageReference) -> Result<RegistryLogin, PullError> {
    let login = provider.login(image.registry()).await;
    login.map(|(login, _)| login).map_err(|error| PullError::new(PullFailure::Unauthorized, error.to_string()))
}

fn exchange_failed(error: &ProviderError) -> Failure {
    Failure { reason: ProviderFailure::TokenExchangeFailed, detail: error.to_string() }
}
