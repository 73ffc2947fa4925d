//! The rotation decision: what new credentials for a saved image become, and what a revocation withdraws.

use waybill_schemas::{
    Event, Timestamp,
    v1::{CredType, CredentialSecretRevoked, CredentialSecretRotated, CredentialSecretSaved},
};

use crate::{
    credentials::{CredentialError, CredentialInput, Credentials, Secret},
    reference::{ImageReference, ReferenceError},
};

/// Whether a rotation comes too late to count: whoever asked for it had looked at the log before an event (at `sequence`) that
/// saved or withdrew credentials for another image. The new ones are for the image before that one.
pub fn is_overtaken(rotated: &CredentialSecretRotated, sequence: u64, image_ref: &str, registry: &str) -> bool {
    let CredentialSecretRotated { replaces, secret } = rotated;
    sequence > *replaces && (secret.image_ref != image_ref || secret.registry != registry)
}

/// The credentials of an image that a container would get, event by event in the order of the log.
#[derive(Debug, Clone, Copy, Default)]
pub struct InUse<'e> {
    saved: Option<(u64, &'e CredentialSecretSaved)>,
    revoked: Option<(u64, &'e CredentialSecretRevoked)>,
}

impl<'e> InUse<'e> {
    /// The credentials, with the sequence of the event that saved them.
    pub fn saved(&self) -> Option<(u64, &'e CredentialSecretSaved)> {
        self.saved
    }

    /// Takes the next event, and says whether it changed them.
    pub fn take(&mut self, sequence: u64, event: &'e Event) -> bool {
        match event {
            Event::CredentialSecretRevoked(revoked) => {
                self.revoked = Some((sequence, revoked));
                self.saved.take_if(|(saved, _)| *saved <= revoked.revokes).is_some()
            }
            Event::CredentialSecretRotated(rotated) if self.overtakes(rotated) => false,
            event => {
                let saved = event.saved().map(|saved| (sequence, saved));
                self.saved = saved.or(self.saved);
                saved.is_some()
            }
        }
    }

    fn overtakes(&self, rotated: &CredentialSecretRotated) -> bool {
        match (self.saved, self.revoked) {
            (Some((sequence, saved)), _) => is_overtaken(rotated, sequence, &saved.image_ref, &saved.registry),
            (None, Some((sequence, revoked))) => is_overtaken(rotated, sequence, &revoked.image_ref, &revoked.registry),
            (None, None) => false,
        }
    }
}

/// The credentials of an image that a container would get after these events, which are in the order of the log, with the
/// sequence of the event that saved them.
pub fn in_use<'e>(events: impl IntoIterator<Item = (u64, &'e Event)>) -> Option<(u64, &'e CredentialSecretSaved)> {
    let mut present = InUse::default();
    for (sequence, event) in events {
        present.take(sequence, event);
    }
    present.saved()
}

/// New credentials, ready to be sealed in place of saved ones.
#[derive(Debug)]
pub struct RotatePlan {
    /// Their kind, which may be another than before.
    pub cred_type: CredType,
    /// When they stop working, where they say so.
    pub expires_at: Option<Timestamp>,
    /// The JSON to seal.
    pub credentials: Secret,
}

/// Why new credentials cannot take the place of saved ones. Nothing is published then.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RotateError {
    /// The saved reference is not one that this version can read.
    #[error("the saved image reference cannot be read")]
    Reference(#[source] ReferenceError),
    /// They have none of the accepted forms, or a part is missing.
    #[error("the credentials cannot be used")]
    Credentials(#[source] CredentialError),
    /// They are of no known kind, or none are needed.
    #[error("credentials of type {0} cannot take the place of others")]
    Kind(CredType),
    /// They have expired.
    #[error("the credentials expired at {0}")]
    Expired(Timestamp),
}

/// Decides whether credentials can take the place of saved ones at `now`. They are for the same image, so for its registry.
///
/// # Errors
/// [`RotateError`].
pub fn decide_rotation(
    saved: &CredentialSecretSaved,
    credentials: &CredentialInput,
    now: Timestamp,
) -> Result<RotatePlan, RotateError> {
    let reference = ImageReference::parse(&saved.image_ref).map_err(RotateError::Reference)?;
    let parsed = Credentials::parse(credentials, &reference).map_err(|error| match error {
        CredentialError::Public => RotateError::Kind(CredType::Public),
        CredentialError::Unrecognized => RotateError::Kind(CredType::Unknown),
        error => RotateError::Credentials(error),
    })?;
    let credentials = parsed.credentials;
    let expires_at = credentials.expires_at();
    if let Some(expiry) = expires_at.filter(|expiry| *expiry <= now) {
        return Err(RotateError::Expired(expiry));
    }
    let cred_type = credentials.cred_type();
    Ok(RotatePlan { cred_type, expires_at, credentials: credentials.to_json(reference.registry()) })
}
