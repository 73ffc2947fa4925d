//! The rotation decision: what new credentials for a saved image become, and what a revocation withdraws.

use waybill_schemas::{
    Event, Timestamp,
    v1::{CredType, CredentialSecretSaved},
};

use crate::{
    credentials::{CredentialError, CredentialInput, Secret, marshal, parse_for},
    reference::{ImageReference, ReferenceError},
};

/// The credentials of an image that a container would get after these events, which are in the order of the log, with the
/// sequence of the event that saved them.
pub fn in_use<'e>(events: impl IntoIterator<Item = (u64, &'e Event)>) -> Option<(u64, &'e CredentialSecretSaved)> {
    let mut newest = None;
    for (sequence, event) in events {
        match event {
            Event::CredentialSecretRevoked(revoked) => {
                newest = newest.filter(|(saved, _)| *saved > revoked.revokes);
            }
            event => newest = event.saved().map(|saved| (sequence, saved)).or(newest),
        }
    }
    newest
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
    let parsed = parse_for(credentials, &reference).map_err(RotateError::Credentials)?;
    if matches!(parsed.cred_type, CredType::Public | CredType::Unknown) {
        return Err(RotateError::Kind(parsed.cred_type));
    }
    if let Some(expiry) = parsed.expires_at.filter(|expiry| *expiry <= now) {
        return Err(RotateError::Expired(expiry));
    }
    let credentials = marshal(&parsed, reference.registry());
    Ok(RotatePlan { cred_type: parsed.cred_type, expires_at: parsed.expires_at, credentials })
}
