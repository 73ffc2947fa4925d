//! The work on a placement: its provider, its pull, and an event for each, exactly once.

use waybill_domain::fold::SecretKey;
use waybill_platform::{
    log::{Appended, Expect, NewEvent},
    metrics,
};
use waybill_registry::pull::PullError;
use waybill_schemas::v1::{ProviderFailure, PullFailure};

use crate::{
    access::{Access, NoAccess},
    handler::{HandleError, Handler},
    lookup::progress_of,
    outcome::{Assignment, Provided},
    progress::Progress,
    pulling::pull_for,
    view::Placed,
};

impl Handler {
    /// Makes the placement's provider, reports it, and pulls.
    pub(crate) async fn provide(&self, assignment: &Assignment, placed: &Placed) -> Result<(), HandleError> {
        let work = async {
            let Some(access) = self.access(placed).await? else { return Ok(()) };
            match self.report_provider(assignment, placed, &access).await? {
                Progress::Provided { sequence } => self.pull_and_report(assignment, placed, access, sequence).await,
                Progress::Nothing | Progress::Settled { .. } | Progress::Ended { .. } => Ok(()),
            }
        };
        self.while_in_force(placed, work).await
    }

    /// Pulls for a placement whose provider an earlier run has reported.
    pub(crate) async fn pull_again(
        &self,
        assignment: &Assignment,
        placed: &Placed,
        provided_by: u64,
    ) -> Result<(), HandleError> {
        let work = async {
            let Some(access) = self.access(placed).await? else { return Ok(()) };
            self.pull_and_report(assignment, placed, access, provided_by).await
        };
        self.while_in_force(placed, work).await
    }

    /// Reports the provider or its failure, and says how far the outcomes are then. What an earlier run reported counts, even
    /// if it is the other outcome.
    async fn report_provider(
        &self,
        assignment: &Assignment,
        placed: &Placed,
        access: &Result<Access, NoAccess>,
    ) -> Result<Progress, HandleError> {
        let event = match access {
            Ok(access) => {
                let (name, token_expires_at) = (access.provider_name(), access.expires_at());
                let provided = Provided { name, credential: access.credential(), token_expires_at };
                assignment.provider_attached(placed, &provided)
            }
            Err(none) => assignment.provider_failed(placed, &none.failure),
        };
        let sequence = match self.report(placed, &event, 0).await? {
            Reported::Now(sequence) => sequence,
            Reported::Before(progress) => {
                tracing::debug!(container_id = %placed.container.container_id, ?progress, "an earlier run reported the provider");
                return Ok(progress);
            }
        };
        match access {
            Ok(access) => {
                log_provider(assignment, placed, access, sequence);
                Ok(Progress::Provided { sequence })
            }
            Err(none) => {
                log_failure(placed, none, sequence);
                Ok(Progress::Settled { sequence })
            }
        }
    }

    async fn pull_and_report(
        &self,
        assignment: &Assignment,
        placed: &Placed,
        access: Result<Access, NoAccess>,
        provided_by: u64,
    ) -> Result<(), HandleError> {
        let pulled = match access {
            Ok(access) => self.pull(assignment, placed, access).await?,
            // A provider was reported before the worker died, and cannot be had again: the pull is what fails.
            Err(none) => Err(none.as_pull_error()),
        };
        let event = assignment.pulled(placed, &pulled);
        match self.report(placed, &event, provided_by).await? {
            Reported::Now(sequence) => log_pull(placed, &pulled, sequence),
            Reported::Before(progress) => {
                tracing::debug!(container_id = %placed.container.container_id, ?progress, "the pull is reported already");
            }
        }
        Ok(())
    }

    /// Pulls; again with a newer version, if the registry refused this one and it was replaced meanwhile.
    async fn pull(
        &self,
        assignment: &Assignment,
        placed: &Placed,
        mut access: Access,
    ) -> Result<Result<String, PullError>, HandleError> {
        loop {
            let pulled = pull_for(&self.pull, assignment.image_ref(), placed, &access).await;
            let (Err(error), Access::Custom { credential, .. }) = (&pulled, &access) else { return Ok(pulled) };
            if !error.may_be_stale() && error.reason != PullFailure::NoLogin {
                return Ok(pulled);
            }
            let workspace = placed.container.workspace.clone();
            let secret = SecretKey { workspace, secret_name: credential.secret_name.clone() };
            if !self.is_renewed(&secret, credential).await? {
                return Ok(pulled);
            }
            match self.access(placed).await? {
                Some(Ok(newer)) => access = newer,
                _ => return Ok(pulled),
            }
            tracing::info!(container_id = %placed.container.container_id, "the credentials were rotated during the pull, pulling with the new ones");
        }
    }

    /// Appends an outcome where the last one is the one expected; 0 for none.
    async fn report(&self, placed: &Placed, event: &NewEvent, expected: u64) -> Result<Reported, HandleError> {
        match self.log.append(event, Expect::Last(expected), None).await? {
            Appended::Stored { sequence, duplicate: false } => Ok(Reported::Now(sequence)),
            Appended::Stored { duplicate: true, .. } => Ok(Reported::Before(self.progress(placed).await?)),
            Appended::Conflict { last } => Ok(Reported::Before(progress_of(last.as_ref()))),
        }
    }
}

/// Whether this call reported an outcome.
enum Reported {
    /// At this sequence.
    Now(u64),
    /// Another outcome stands there, or this one stood there before.
    Before(Progress),
}

fn log_provider(assignment: &Assignment, placed: &Placed, access: &Access, sequence: u64) {
    let container_id = &placed.container.container_id;
    match access {
        Access::Custom { .. } => {
            metrics::credential_provider("custom", None);
            tracing::info!(
                image_id = assignment.decision().image_id().map(tracing::field::display),
                %container_id,
                provider_name = access.provider_name(),
                placement = placed.number,
                sequence,
                "attached custom credential provider for OCI image"
            );
        }
        Access::DefaultChain => {
            metrics::credential_provider("default_chain", None);
            tracing::info!(
                %container_id,
                placement = placed.number,
                sequence,
                "no image credentials provided, using default provider chain"
            );
        }
    }
}

fn log_failure(placed: &Placed, none: &NoAccess, sequence: u64) {
    let (container_id, placement) = (&placed.container.container_id, placed.number);
    let (reason, detail) = (none.failure.reason, none.failure.detail.as_str());
    metrics::credential_provider("failed", Some(reason.as_str()));
    if reason == ProviderFailure::UnparsableCredentials {
        tracing::warn!(%container_id, placement, detail, sequence, "failed to parse image credentials JSON");
    } else {
        tracing::warn!(%container_id, placement, %reason, detail, sequence, "no credential provider");
    }
}

fn log_pull(placed: &Placed, pulled: &Result<String, PullError>, sequence: u64) {
    let (container_id, placement) = (&placed.container.container_id, placed.number);
    match pulled {
        Ok(digest) => {
            metrics::pull("succeeded", None);
            tracing::info!(%container_id, placement, digest, sequence, "image pulled");
        }
        Err(error) => {
            metrics::pull("failed", Some(error.reason.as_str()));
            let (reason, detail) = (error.reason, error.detail.as_str());
            tracing::warn!(%container_id, placement, %reason, detail, sequence, "image pull failed");
        }
    }
}
