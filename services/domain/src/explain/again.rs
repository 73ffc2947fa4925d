//! What a new request would come to: the same decision, asked of the facts at the end.
//!
//! A remedy follows from it. What was put right since needs no remedy but to ask again, and what else is in the way by now is
//! told, too.

use waybill_schemas::{
    Timestamp,
    v1::{AttachSkipReason, ContainerRequested},
};

use super::{
    History,
    reason::{Situation, clause, remedy},
};
use crate::{
    decision::{AttachedImage, Credential, Outcome},
    fold::{ImageFact, ImageKey, Known, MemoryFacts, SecretFact, SecretKey, WorkerFact, decide_request},
};

pub(super) const ASK_AGAIN: &str = "Then ask for the container again.";

/// The answer that a container would get if it were asked for again.
pub(super) struct Again<'v> {
    history: &'v History,
    request: &'v ContainerRequested,
    pub(super) image: Option<&'v ImageFact>,
    secret: Option<&'v SecretFact>,
    worker: Option<&'v WorkerFact>,
    outcome: Outcome,
}

impl<'v> Again<'v> {
    pub(super) fn ask(
        history: &'v History,
        facts: &'v MemoryFacts,
        request: &'v ContainerRequested,
        now: Timestamp,
    ) -> Self {
        let workspace = &request.workspace;
        let image = request.image_id.as_ref().and_then(|image_id| {
            facts.images.get(&ImageKey { workspace: workspace.clone(), image_id: image_id.clone() })
        });
        let secret = image
            .and_then(|image| image.secret_name.clone())
            .and_then(|secret_name| facts.secrets.get(&SecretKey { workspace: workspace.clone(), secret_name }));
        let worker = facts.workers.get(&request.worker_id);
        let outcome = decide_request(request, 0, now, Known { image, secret, worker });
        Self { history, request, image, secret, worker, outcome }
    }

    /// What it would come to.
    pub(super) fn outcome(&self) -> &Outcome {
        &self.outcome
    }

    /// The image and the version that it would be given.
    pub(super) fn attached(&self) -> Option<(&AttachedImage, &Credential)> {
        match &self.outcome {
            Outcome::Attached { image, credential, .. } => Some((image, credential)),
            _ => None,
        }
    }

    /// The remedy for a placement that was refused credentials for a reason: `usual` while that reason holds.
    pub(super) fn after_skip(&self, reason: AttachSkipReason, usual: String) -> String {
        match &self.outcome {
            Outcome::Attached { image, credential, .. } => {
                let new = match (reason, self.worker) {
                    (AttachSkipReason::UnknownWorker, Some(worker)) => {
                        format!("worker {} is registered since sequence {}", self.request.worker_id, worker.sequence)
                    }
                    _ => format!("new credentials since sequence {}", credential.saved_by.max(image.image_event)),
                };
                format!("Ask for the container again: {new}.")
            }
            Outcome::Skipped { reason: by_now, .. } if *by_now != reason => self.by_now(*by_now),
            _ => usual,
        }
    }

    /// The remedy for a failure that other credentials may mend: `usual` while there are no others.
    pub(super) fn after_failure(&self, used: &Credential, usual: String) -> String {
        match &self.outcome {
            Outcome::Attached { credential, .. } if credential.saved_by != used.saved_by => {
                format!("Ask for the container again: new credentials since sequence {}.", credential.saved_by)
            }
            Outcome::Skipped { reason, .. } => self.by_now(*reason),
            _ => usual,
        }
    }

    /// The remedy for credentials that ended on the way: `usual` while there are no others.
    pub(super) fn after_expiry(&self, used: &Credential, usual: String) -> String {
        match &self.outcome {
            Outcome::Skipped { reason: AttachSkipReason::SecretExpired, .. } => usual,
            _ => self.after_failure(used, usual),
        }
    }

    /// The remedy for a failure that another reference may mend: `usual` while the newest build names the same one.
    pub(super) fn after_reference(&self, used: Option<&str>, usual: String) -> String {
        match self.image.and_then(|image| Some((image.sequence, image.image_ref.as_deref()?))) {
            Some((sequence, newest)) if used.is_some_and(|used| used != newest) => {
                format!("Ask for the container again: the build at sequence {sequence} names {newest}.")
            }
            _ => usual,
        }
    }

    fn by_now(&self, reason: AttachSkipReason) -> String {
        let situation = Situation {
            history: self.history,
            workspace: &self.request.workspace,
            image_id: self.request.image_id.as_ref(),
            image_event: self.image.map(|image| image.sequence),
            registry: self.image.and_then(|image| image.registry.as_deref()),
            secret_name: self.image.and_then(|image| image.secret_name.as_ref()),
            secret: self.secret,
            worker: &self.request.worker_id,
        };
        format!("By now {}. {} {ASK_AGAIN}", clause(reason, &situation, "is"), remedy(reason, &situation))
    }
}
