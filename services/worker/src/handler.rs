//! One decision from delivery to acknowledgement: the view says what to do, and this does it.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use tokio_util::sync::CancellationToken;
use tracing::Instrument as _;
use waybill_domain::decision::{Decision, Outcome, Placement};
use waybill_platform::{
    log::{AppendError, Delivered, ErrorKind, Log, LogError},
    metrics,
    trace::{self, Delivery},
    vault::VaultError,
};
use waybill_registry::pull::PullConfig;
use waybill_schemas::{RecordedEvent, WorkerId};

use crate::{
    dispatch::PROGRESS,
    job::Job,
    node::{NodeDirError, Running},
    outcome::Assignment,
    providers::Providers,
    view::{Access, Decided, Effect, Input, Placed, View},
};

/// How soon a decision is delivered again whose outcome could not be recorded.
const RETRY: Duration = Duration::from_secs(2);
/// The same for an outcome that the log refuses for good: somebody has to do something about it first.
const RETRY_REFUSED: Duration = Duration::from_secs(60);

/// What every decision needs.
pub(crate) struct Handler {
    pub(crate) worker_id: WorkerId,
    pub(crate) log: Arc<dyn Log>,
    pub(crate) providers: Providers,
    pub(crate) pull: PullConfig,
    /// Where programs of the node find their logins, if anywhere.
    pub(crate) running: Option<Running>,
    view: Mutex<View>,
    /// Work on placements that is under way, to be stopped when they are over.
    under_way: Mutex<BTreeMap<Placed, CancellationToken>>,
}

/// Work on a placement; forgotten when it is dropped.
pub(crate) struct UnderWay<'h> {
    handler: &'h Handler,
    pub(crate) placed: Placed,
    /// Cancelled when the placement is over.
    pub(crate) stop: CancellationToken,
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        self.handler.under_way().remove(&self.placed);
    }
}

/// Why a decision is not done with.
#[derive(Debug, thiserror::Error)]
pub(crate) enum HandleError {
    #[error("the log does not say what was done before")]
    Log(#[from] LogError),
    #[error("the outcome is not recorded")]
    Append(#[from] AppendError),
    #[error("the vault does not answer")]
    Vault(#[from] VaultError),
    #[error("this worker has another sealing key than before, and its new grant is not in the vault yet")]
    GrantFollows,
    #[error("the node's files could not be changed")]
    Files(#[from] NodeDirError),
}

impl HandleError {
    /// The error in one word, for spans and metrics.
    fn name(&self) -> &'static str {
        match self {
            Self::Log(_) => "log",
            Self::Append(error) => error.kind().as_str(),
            Self::Vault(_) => "vault",
            Self::GrantFollows => "grant_follows",
            Self::Files(_) => "files",
        }
    }

    fn retry_after(&self) -> Duration {
        match self {
            Self::Append(error) if error.kind() == ErrorKind::Never => RETRY_REFUSED,
            _ => RETRY,
        }
    }
}

impl Handler {
    pub(crate) fn new(
        worker_id: WorkerId,
        log: Arc<dyn Log>,
        providers: Providers,
        pull: PullConfig,
        running: Option<Running>,
    ) -> Self {
        let mut view = View::default();
        for placed in running.iter().flat_map(Running::placements) {
            view.apply(Input::Remembered(placed));
        }
        let (view, under_way) = (Mutex::new(view), Mutex::default());
        Self { worker_id, log, providers, pull, running, view, under_way }
    }

    /// Handles one delivery, and acknowledges it when its outcomes are in the log.
    pub(crate) async fn handle(self: Arc<Self>, job: Job) {
        let Job { delivered, recorded } = job;
        let message = &delivered.message;
        let (sequence, subject) = (message.sequence, message.subject.as_str());
        let recorded = match recorded {
            Ok(recorded) => recorded,
            Err(error) => {
                tracing::warn!(sequence, subject, %error, "decision cannot be decoded, passing over it");
                return delivered.ack().await;
            }
        };
        let Some(assignment) = Assignment::from_event(sequence, &recorded) else {
            tracing::warn!(sequence, subject, "this is no decision, passing over it");
            return delivered.ack().await;
        };
        metrics::consumed(&recorded.subject);
        self.assign(&assignment, &recorded, &delivered).await;
    }

    async fn assign(&self, assignment: &Assignment, recorded: &RecordedEvent, delivered: &Delivered) {
        let span = trace::process_span(recorded, Delivery::of(delivered.message.at, delivered.redelivered));
        let began = Instant::now();
        let working = self.work(assignment).instrument(span.clone());
        tokio::pin!(working);
        let outcome = loop {
            tokio::select! {
                outcome = &mut working => break outcome,
                () = tokio::time::sleep(PROGRESS) => delivered.in_progress().await,
            }
        };
        metrics::processed(&recorded.subject, began.elapsed(), outcome.as_ref().err().map(HandleError::name));
        if let Err(error) = &outcome {
            trace::record_error(&span, error.name(), error);
        }
        let Err(error) = outcome else { return delivered.ack().await };
        let (sequence, retry) = (assignment.decided.sequence, error.retry_after());
        let chain = waybill_platform::chain(&error);
        span.in_scope(|| match error {
            HandleError::GrantFollows => tracing::info!(sequence, reason = chain, "waiting for the new grant"),
            _ => tracing::error!(sequence, error = chain, "decision is not done with, trying again"),
        });
        delivered.retry_after(retry).await;
    }

    /// Does what is left to do about a decision.
    pub(crate) async fn work(&self, assignment: &Assignment) -> Result<(), HandleError> {
        log_decision(assignment.decision());
        let effects = self.tell(Input::Delivered(assignment.decided.clone()));
        self.perform(effects, assignment).await
    }

    /// Does what the view asks for about an assignment, and what follows from that.
    async fn perform(&self, effects: Vec<Effect>, assignment: &Assignment) -> Result<(), HandleError> {
        let mut left = VecDeque::from(effects);
        while let Some(effect) = left.pop_front() {
            match effect {
                Effect::Provide(placed) => self.provide(assignment, &placed).await?,
                Effect::Pull { placed, provided_by } => self.pull_again(assignment, &placed, provided_by).await?,
                Effect::Renew(decided) => self.renew(assignment, &decided).await?,
                other => left.extend(self.settle(other, Some(&assignment.decided)).await?),
            }
        }
        Ok(())
    }

    /// Does what the view asks for where nothing is to be reported.
    pub(crate) async fn perform_quietly(&self, effects: Vec<Effect>) -> Result<(), HandleError> {
        let mut left = VecDeque::from(effects);
        while let Some(effect) = left.pop_front() {
            left.extend(self.settle(effect, None).await?);
        }
        Ok(())
    }

    /// Does one thing that reports nothing, and returns what follows from it.
    async fn settle(&self, effect: Effect, delivered: Option<&Decided>) -> Result<Vec<Effect>, HandleError> {
        match effect {
            Effect::LookUp { placed, purpose } => {
                let found = Box::new(self.look_up(&placed, delivered).await?);
                return Ok(self.tell(Input::LookedUp { placed, found, purpose }));
            }
            Effect::Admit(placed) => self.admit(&placed),
            Effect::Drop(placed) => self.drop_placement(&placed)?,
            Effect::Forget(secret) => self.providers.forget(&secret),
            // These follow from a delivery only.
            Effect::Provide(_) | Effect::Pull { .. } | Effect::Renew(_) => {}
        }
        Ok(Vec::new())
    }

    /// Gives the placement its access file. Where that fails, the container runs all the same.
    fn admit(&self, placed: &Placed) {
        let Some(running) = &self.running else { return };
        if let Err(error) = running.admit(placed) {
            let error = waybill_platform::chain(&error);
            let (workspace, container_id) = (&placed.container.workspace, &placed.container.container_id);
            tracing::error!(%workspace, %container_id, error, "programs of the node cannot have this container's logins");
        }
    }

    fn drop_placement(&self, placed: &Placed) -> Result<(), HandleError> {
        if let Some(stop) = self.under_way().get(placed) {
            stop.cancel();
        }
        match &self.running {
            Some(running) => Ok(running.remove(placed)?),
            None => Ok(()),
        }
    }

    /// Begins work on a placement, which is stopped when the placement is over.
    pub(crate) fn begin(&self, placed: &Placed) -> UnderWay<'_> {
        let stop = self.under_way().entry(placed.clone()).or_default().clone();
        // It may have been over before there was anything to stop.
        if matches!(self.view().access(placed), Access::Over) {
            stop.cancel();
        }
        UnderWay { handler: self, placed: placed.clone(), stop }
    }

    /// Tells the view, and returns what it asks for.
    pub(crate) fn tell(&self, input: Input) -> Vec<Effect> {
        self.view().apply(input)
    }

    pub(crate) fn view(&self) -> MutexGuard<'_, View> {
        self.view.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn under_way(&self) -> MutexGuard<'_, BTreeMap<Placed, CancellationToken>> {
        self.under_way.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn log_decision(decision: &Decision) {
    let workspace = &decision.workspace;
    match &decision.outcome {
        Outcome::Attached { placement: Placement { container_id, number }, credential, .. } => {
            let (secret_name, cred_type) = (&credential.secret_name, credential.cred_type);
            tracing::debug!(%workspace, %container_id, placement = number, has_image_credentials = true, %secret_name, %cred_type, "decision received");
        }
        Outcome::Skipped { placement: Placement { container_id, number }, reason, .. } => {
            tracing::debug!(%workspace, %container_id, placement = number, has_image_credentials = false, %reason, "decision received");
        }
        Outcome::Withdrawn { placement: Placement { container_id, number }, reason, .. } => {
            tracing::info!(%workspace, %container_id, placement = number, %reason, "credentials are withdrawn");
        }
        Outcome::Renewed { credential, cause } => {
            let (secret_name, version) = (&credential.secret_name, credential.version);
            tracing::debug!(%workspace, %secret_name, version, ?cause, "renewal received");
        }
    }
}

#[cfg(test)]
mod tests;
