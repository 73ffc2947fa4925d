//! The attach decision: what a container request gets, given what the log said before it.

use waybill_schemas::{
    Timestamp,
    v1::{AttachSkipReason, ContainerRequested, SaveSkipReason},
};

use super::{AttachPlan, Decision, ImageFact, SkipPlan, WorkerFact};

/// Decides about a request made at `at` (the stream's time), from the facts before it. The first rule that applies wins.
pub fn decide_attach(
    request: &ContainerRequested,
    at: Timestamp,
    image: Option<&ImageFact>,
    worker: Option<&WorkerFact>,
) -> Decision {
    let Some(image_id) = &request.image_id else { return skip(AttachSkipReason::NoImageId, image) };
    if request.build_container {
        return skip(AttachSkipReason::BuildContainer, image);
    }
    let Some(saved) = image.and_then(|image| image.saved.as_ref()) else {
        return skip(why_none(image), image);
    };
    if saved.expires_at.is_some_and(|expiry| expiry <= at) {
        return skip(AttachSkipReason::SecretExpired, image);
    }
    let Some(worker) = worker else { return skip(AttachSkipReason::UnknownWorker, image) };
    Decision::Attach(AttachPlan {
        image_id: image_id.clone(),
        saved: saved.clone(),
        worker_key: worker.sealing_key.clone(),
    })
}

/// Why nothing is saved for an image. Credentials that a build supplied are not the same as none: the worker pulls as
/// somebody else only where nobody was named.
fn why_none(image: Option<&ImageFact>) -> AttachSkipReason {
    let Some(image) = image else { return AttachSkipReason::NoSecretForImage };
    let unusable = image.skipped.as_ref().is_some_and(|skipped| supplied(skipped.reason));
    match image.revoked {
        Some(_) => AttachSkipReason::SecretRevoked,
        None if unusable => AttachSkipReason::CredentialsUnusable,
        None => AttachSkipReason::NoSecretForImage,
    }
}

/// Whether a build that saved nothing had credentials for the image that containers pull.
fn supplied(reason: SaveSkipReason) -> bool {
    match reason {
        SaveSkipReason::IncompleteCredentials
        | SaveSkipReason::RegistryMismatch
        | SaveSkipReason::UnrecognizedCredentials
        | SaveSkipReason::ExpiredCredentials => true,
        SaveSkipReason::NoCredentialsProvided
        | SaveSkipReason::NoImageReference
        | SaveSkipReason::ImageModified
        | SaveSkipReason::PublicRegistry => false,
    }
}

/// The skip says what the builds knew: the worker needs the reference for a pull without credentials.
fn skip(reason: AttachSkipReason, image: Option<&ImageFact>) -> Decision {
    let saved = image.and_then(|image| image.saved.as_ref());
    let skipped = image.and_then(|image| image.skipped.as_ref());
    let revoked = image.and_then(|image| image.revoked.as_ref());
    let (image_ref, registry, image_event) = match (saved, revoked, skipped) {
        (Some(s), _, _) => (Some(s.image_ref.clone()), Some(s.registry.clone()), Some(s.sequence)),
        (None, Some(r), _) => (Some(r.image_ref.clone()), Some(r.registry.clone()), Some(r.sequence)),
        (None, None, Some(s)) => (s.image_ref.clone(), s.registry.clone(), Some(s.sequence)),
        (None, None, None) => (None, None, None),
    };
    Decision::Skip(SkipPlan { reason, image_ref, registry, image_event })
}
