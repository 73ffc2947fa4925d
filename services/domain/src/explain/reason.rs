//! Why there are no credentials for a container or an image, in words: one clause and one remedy a reason.

use waybill_schemas::{
    Event, ImageId, Recorded, SecretName, WorkerId, WorkspaceId,
    v1::{AttachSkipReason, CredentialSecretSkipped},
};

use super::{History, skipped};
use crate::fold::SecretFact;

/// What the log says at one moment, as far as a reason speaks of it.
pub(super) struct Situation<'s> {
    pub(super) history: &'s History,
    pub(super) workspace: &'s WorkspaceId,
    pub(super) image_id: Option<&'s ImageId>,
    /// Sequence of the image's newest build.
    pub(super) image_event: Option<u64>,
    pub(super) registry: Option<&'s str>,
    pub(super) secret_name: Option<&'s SecretName>,
    pub(super) secret: Option<&'s SecretFact>,
    pub(super) worker: &'s WorkerId,
}

impl<'s> Situation<'s> {
    /// What the image's newest build said, if it has no secret.
    pub(super) fn skipped(&self) -> Option<Recorded<&'s CredentialSecretSkipped>> {
        let build = self.history.at(self.image_event?)?;
        match &build.value.event {
            Event::CredentialSecretSkipped(skipped) => {
                Some(Recorded { sequence: build.sequence, at: build.at, value: skipped })
            }
            _ => None,
        }
    }

    pub(super) fn secret_name(&self) -> &str {
        self.secret_name.map_or("that the build names", SecretName::as_str)
    }

    fn image(&self) -> &str {
        self.image_id.map_or("of the request", ImageId::as_str)
    }
}

/// The reason as a clause; `is` is "is" or "was".
pub(super) fn clause(reason: AttachSkipReason, situation: &Situation<'_>, is: &str) -> String {
    let name = situation.secret_name();
    let registry = situation.registry.unwrap_or("another registry");
    match reason {
        AttachSkipReason::NoImageId => "the request names no image, so nothing can be found for it".to_owned(),
        AttachSkipReason::BuildContainer => {
            "a container that builds images brings its own credentials and is given none".to_owned()
        }
        AttachSkipReason::NoSecretForImage | AttachSkipReason::CredentialsUnusable => match situation.skipped() {
            Some(build) => skipped::sentence(build.value),
            None => {
                format!("no build of image {} {is} recorded in workspace {}", situation.image(), situation.workspace)
            }
        },
        AttachSkipReason::SecretNotFound => format!("there {is} no secret {name}, which the build of the image names"),
        AttachSkipReason::RegistryMismatch => {
            let bound_to = situation.secret.map_or("another registry", |secret| secret.registry.as_str());
            format!("secret {name} {is} for {bound_to}, and the image {is} on {registry}")
        }
        AttachSkipReason::UnknownWorker => format!("worker {} {is} not registered", situation.worker),
        AttachSkipReason::SecretExpired => match situation.secret.and_then(|secret| Some((secret, secret.expires_at?)))
        {
            Some((secret, expiry)) => {
                format!("secret {name} {is} at version {}, which expired at {expiry}", secret.version)
            }
            None => format!("the newest version of secret {name} {is} expired"),
        },
        AttachSkipReason::SecretRevoked => format!("secret {name} {is} revoked{}", why(situation)),
        AttachSkipReason::SecretShredded => format!("secret {name} {is} shredded{}", why(situation)),
    }
}

/// The words of the revocation or shredding.
fn why(situation: &Situation<'_>) -> String {
    let said = situation.secret.and_then(|secret| situation.history.at(secret.sequence));
    let reason = said.and_then(|said| match &said.value.event {
        Event::CredentialSecretRevoked(event) => event.reason.as_deref(),
        Event::CredentialSecretShredded(event) => event.reason.as_deref(),
        _ => None,
    });
    reason.map_or_else(String::new, |reason| format!(" ({reason})"))
}

/// What to do about the reason.
pub(super) fn remedy(reason: AttachSkipReason, situation: &Situation<'_>) -> String {
    let name = situation.secret_name();
    let registry = situation.registry.unwrap_or("REGISTRY");
    match reason {
        AttachSkipReason::NoImageId => "Have the orchestrator pass image_id in the request.".to_owned(),
        AttachSkipReason::BuildContainer => {
            "Check the credentials of the build itself; a container that runs the image asks with build_container: false."
                .to_owned()
        }
        AttachSkipReason::NoSecretForImage | AttachSkipReason::CredentialsUnusable => match situation.skipped() {
            Some(build) => skipped::remedy(build.value),
            None => "Check the image id, that the builder calls POST /v1/builds after each build, and what it was answered: of a \
                     build that is refused without a valid token (401) it is not known what it was about."
                .to_owned(),
        },
        AttachSkipReason::SecretNotFound => format!(
            "Save it with `waybill secrets put {name} --registry {registry} --creds FILE`, or build again with the name of \
             one that exists."
        ),
        AttachSkipReason::RegistryMismatch => {
            format!("Build again with credentials for {registry}, or with the name of a secret that is for it.")
        }
        AttachSkipReason::UnknownWorker => format!(
            "Start `waybill worker --id {}` on its node, or correct the worker_id of the request; nats-server must know the \
             worker before it can register.",
            situation.worker
        ),
        AttachSkipReason::SecretExpired => rotate(name, "with credentials that have not expired"),
        AttachSkipReason::SecretRevoked => rotate(name, "once there are new credentials"),
        AttachSkipReason::SecretShredded => rotate(name, "with new credentials; the old ones are erased"),
    }
}

/// The way to a new version of a secret.
pub(super) fn rotate(name: &str, how: &str) -> String {
    format!("Give the secret a new version, {how}: `waybill secrets rotate {name} --creds FILE`.")
}
