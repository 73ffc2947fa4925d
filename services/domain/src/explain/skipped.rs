//! Builds that left an image without a secret, in words: what the build said, and what to do about it.

use waybill_schemas::{
    Recorded,
    v1::{CredentialSecretSkipped, CredentialSource, SaveSkipReason},
};

use super::verdict::{Hop, Verdict};

/// The verdict on an image whose newest build has no secret.
pub(super) fn verdict(skipped: &Recorded<&CredentialSecretSkipped>) -> Verdict {
    let Recorded { sequence, at, value } = skipped;
    Verdict::broken(Hop::Saved, value.reason.into(), sentence(value), remedy(value)).at(*sequence, *at)
}

/// What the build said.
pub(super) fn sentence(skipped: &CredentialSecretSkipped) -> String {
    let image = skipped.image_ref.as_deref().unwrap_or("the image");
    let registry = skipped.registry.as_deref().unwrap_or("its registry");
    let kind = skipped.cred_type.map_or_else(String::new, |kind| format!("{kind} "));
    let said = match skipped.reason {
        SaveSkipReason::NoCredentialsProvided => format!("the build carried no credentials for {image}"),
        SaveSkipReason::NoImageReference => {
            "the build named no image reference, so there was nothing to save credentials for".to_owned()
        }
        SaveSkipReason::ImageModified => format!(
            "the build changed {image}: what it made is pulled from the platform's registry, not from {registry}"
        ),
        SaveSkipReason::PublicRegistry => format!("{registry} is a public registry, so no credentials were saved"),
        SaveSkipReason::IncompleteCredentials => {
            format!("the {kind}credentials of the build were incomplete: {} is missing", missing_key(skipped))
        }
        SaveSkipReason::RegistryMismatch => {
            format!(
                "the credentials of the build are for another registry than {registry}, where {image} is pulled from"
            )
        }
        SaveSkipReason::UnrecognizedCredentials => {
            format!("the credentials of the build for {image} are of no known kind")
        }
        SaveSkipReason::ExpiredCredentials => {
            format!("the credentials for {image} had expired when the build gave them")
        }
        SaveSkipReason::VerificationFailed => {
            format!("{registry} refused the build's {kind}credentials for {image}, and took the version that is saved")
        }
    };
    match &skipped.detail {
        Some(detail) => format!("{said}: {detail}"),
        None => said,
    }
}

/// What to do, so that the next build has a secret.
pub(super) fn remedy(skipped: &CredentialSecretSkipped) -> String {
    let registry = skipped.registry.as_deref().unwrap_or("the image's registry");
    match skipped.reason {
        SaveSkipReason::NoCredentialsProvided => {
            let (creds, secret, beside) = match skipped.source {
                Some(CredentialSource::BaseImage) => ("base_image_creds", "base_image_secret", "base_image"),
                _ => ("existing_image_creds", "existing_image_secret", "existing_image_uri"),
            };
            format!("Pass credentials for {registry} as {creds}, the field beside {beside}, or name a secret with {secret}; then build again.")
        }
        SaveSkipReason::NoImageReference => {
            "Pass existing_image_uri or base_image in the build request; then build again.".to_owned()
        }
        SaveSkipReason::ImageModified => {
            "If containers pull the original image, report the build with modified: false.".to_owned()
        }
        SaveSkipReason::PublicRegistry => {
            "If the image is private, pass its credentials with the registry that it is on; then build again.".to_owned()
        }
        SaveSkipReason::IncompleteCredentials => {
            format!("Add {} to the credentials in the build request; then build again.", missing_key(skipped))
        }
        SaveSkipReason::RegistryMismatch => {
            format!("Pass credentials for {registry} or name a secret that is for it; then build again.")
        }
        SaveSkipReason::UnrecognizedCredentials => {
            "Pass them as user:password, or with the keys of a kind that POST /v1/builds knows (/openapi.json); then build again."
                .to_owned()
        }
        SaveSkipReason::ExpiredCredentials => "Have the builder fetch new credentials for each build.".to_owned(),
        SaveSkipReason::VerificationFailed => {
            "Build again with credentials that the registry takes, or without any and with the name of the saved secret."
                .to_owned()
        }
    }
}

fn missing_key(skipped: &CredentialSecretSkipped) -> &str {
    skipped.missing_key.as_deref().unwrap_or("a key")
}
