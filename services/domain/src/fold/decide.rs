//! The decision about a request: what a placement gets, given what the log said before it.

use waybill_schemas::{
    Timestamp,
    v1::{AttachSkipReason, ContainerRequested, SaveSkipReason},
};

use super::{ImageFact, SecretFact, SecretState, WorkerFact};
use crate::decision::{AttachedImage, Credential, Outcome, Placement, SkippedImage};

/// What the log said before a request.
#[derive(Debug, Clone, Copy, Default)]
pub struct Known<'f> {
    /// The newest build of the image.
    pub image: Option<&'f ImageFact>,
    /// The secret that it named.
    pub secret: Option<&'f SecretFact>,
    /// The worker's registration.
    pub worker: Option<&'f WorkerFact>,
}

/// Decides about a request made at `at` (the stream's time). The first rule that applies wins.
pub fn decide_request(request: &ContainerRequested, number: u64, at: Timestamp, known: Known<'_>) -> Outcome {
    let placement = Placement { container_id: request.container_id.clone(), number };
    let reason = match find_attachment(request, at, known) {
        Ok((image, credential)) => return Outcome::Attached { placement, image, credential },
        Err(reason) => reason,
    };
    let image = known.image;
    let image = SkippedImage {
        image_id: request.image_id.clone(),
        image_ref: image.and_then(|image| image.image_ref.clone()),
        registry: image.and_then(|image| image.registry.clone()),
        secret_name: image.and_then(|image| image.secret_name.clone()),
        image_event: image.map(|image| image.sequence),
    };
    Outcome::Skipped { placement, image, reason }
}

type Attachment = (AttachedImage, Credential);

fn find_attachment(
    request: &ContainerRequested,
    at: Timestamp,
    known: Known<'_>,
) -> Result<Attachment, AttachSkipReason> {
    let image_id = request.image_id.as_ref().ok_or(AttachSkipReason::NoImageId)?;
    if request.build_container {
        return Err(AttachSkipReason::BuildContainer);
    }
    let image = known.image.ok_or(AttachSkipReason::NoSecretForImage)?;
    let (image_ref, credential) = find_credential(image, known.secret, at)?;
    known.worker.ok_or(AttachSkipReason::UnknownWorker)?;
    Ok((AttachedImage { image_id: image_id.clone(), image_ref, image_event: image.sequence }, credential))
}

/// The reference that an image's containers pull at `at`, and the version that they pull it with.
///
/// # Errors
/// Why they have none.
pub fn find_credential(
    image: &ImageFact,
    secret: Option<&SecretFact>,
    at: Timestamp,
) -> Result<(String, Credential), AttachSkipReason> {
    let (Some(secret_name), Some(image_ref)) = (&image.secret_name, &image.image_ref) else {
        return Err(reason_without_secret(image));
    };
    let secret = secret.ok_or(AttachSkipReason::SecretNotFound)?;
    match secret.state {
        SecretState::Active => {}
        SecretState::Revoked => return Err(AttachSkipReason::SecretRevoked),
        SecretState::Shredded => return Err(AttachSkipReason::SecretShredded),
    }
    // Invariant 7: a secret may have been made, or made again, for another host since the build named it.
    if image.registry.as_deref() != Some(secret.registry.as_str()) {
        return Err(AttachSkipReason::RegistryMismatch);
    }
    if secret.expires_at.is_some_and(|expiry| expiry <= at) {
        return Err(AttachSkipReason::SecretExpired);
    }
    Ok((image_ref.clone(), secret.credential(secret_name)))
}

/// Why an image has no secret. Credentials that a build supplied are not the same as none: the worker pulls as somebody else
/// only where nobody was named.
fn reason_without_secret(image: &ImageFact) -> AttachSkipReason {
    match image.skipped {
        Some(
            SaveSkipReason::IncompleteCredentials
            | SaveSkipReason::RegistryMismatch
            | SaveSkipReason::UnrecognizedCredentials
            | SaveSkipReason::ExpiredCredentials
            | SaveSkipReason::VerificationFailed,
        ) => AttachSkipReason::CredentialsUnusable,
        Some(
            SaveSkipReason::NoCredentialsProvided
            | SaveSkipReason::NoImageReference
            | SaveSkipReason::ImageModified
            | SaveSkipReason::PublicRegistry,
        )
        | None => AttachSkipReason::NoSecretForImage,
    }
}
