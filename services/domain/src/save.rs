//! The save decision: what a build's credentials become.

use waybill_schemas::{
    ImageId, Timestamp, WorkspaceId,
    v1::{CredType, CredentialSource, SaveSkipReason},
};

use crate::{
    credentials::{CredentialError, CredentialInput, Credentials, Parsed, Secret},
    reference::{ImageReference, ReferenceError, Registry, secret_name},
};

/// A finished build, as the builder reports it.
#[derive(Debug)]
pub struct BuildRequest {
    /// Owner of the image.
    pub workspace: WorkspaceId,
    /// The image that was built.
    pub image_id: ImageId,
    /// An existing image that the build took as it is. It goes before the base image.
    pub existing_image_uri: Option<String>,
    /// Credentials for it.
    pub existing_image_creds: Option<CredentialInput>,
    /// The image that the build started from.
    pub base_image: Option<String>,
    /// Credentials for it.
    pub base_image_creds: Option<CredentialInput>,
    /// Whether the build changed the image, so that its result is pulled from elsewhere.
    pub modified: bool,
}

/// What becomes of a build's credentials.
#[derive(Debug)]
pub enum SaveDecision {
    /// Seal them to the scheduler and publish.
    Save(SavePlan),
    /// Publish why not.
    Skip(SaveSkip),
}

/// Credentials to save.
#[derive(Debug)]
pub struct SavePlan {
    /// The image they are for.
    pub target: Target,
    /// Kind of the credentials.
    pub cred_type: CredType,
    /// When they stop working, where they say so.
    pub expires_at: Option<Timestamp>,
    /// The JSON to seal.
    pub credentials: Secret,
    /// What was dropped from the values, in words for people.
    pub note: Option<String>,
}

/// Which image reference a build's credentials belong to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// The reference, parsed.
    pub reference: ImageReference,
    /// Where the build named it.
    pub source: CredentialSource,
}

impl Target {
    /// Registry host of the reference.
    pub fn registry(&self) -> String {
        self.reference.registry().to_string()
    }

    /// Label of the secret.
    pub fn secret_name(&self) -> String {
        secret_name(self.reference.registry())
    }
}

/// Why nothing is saved.
#[derive(Debug, PartialEq, Eq)]
pub struct SaveSkip {
    /// Reason code of the event.
    pub reason: SaveSkipReason,
    /// The image, where the build named one.
    pub target: Option<Target>,
    /// Kind of the credentials, as far as it was told.
    pub cred_type: Option<CredType>,
    /// With `incomplete_credentials`: the name of the missing key.
    pub missing_key: Option<String>,
    /// Whom the credentials are for, in words for people: with `registry_mismatch`, and with a Docker configuration file
    /// that has none for the image.
    pub detail: Option<String>,
}

/// Input that no decision can be made about.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BuildError {
    /// An image reference is not valid.
    #[error("{field} is not an image reference")]
    Reference {
        /// Field of the request.
        field: &'static str,
        /// What is wrong with it.
        source: ReferenceError,
    },
    /// Credentials have none of the accepted forms.
    #[error("{field} cannot be read")]
    Credentials {
        /// Field of the request.
        field: &'static str,
        /// What is wrong with them.
        source: CredentialError,
    },
}

impl BuildError {
    /// Field of the request that is wrong.
    pub fn field(&self) -> &'static str {
        match self {
            Self::Reference { field, .. } | Self::Credentials { field, .. } => field,
        }
    }
}

/// Decides what becomes of a build's credentials at `now`. The first rule that applies wins.
///
/// # Errors
/// [`BuildError`] where a reference or the credentials' form is not valid; nothing is published then.
pub fn decide_save(build: &BuildRequest, now: Timestamp) -> Result<SaveDecision, BuildError> {
    let Some(subject) = subject_of(build)? else {
        return Ok(skip(SaveSkipReason::NoImageReference, None));
    };
    if build.modified {
        return Ok(skip(SaveSkipReason::ImageModified, Some(subject.target)));
    }
    let Some(input) = subject.credentials else { return Ok(skip_without(subject.target)) };
    match Credentials::parse(input, &subject.target.reference) {
        Ok(parsed) => Ok(decide_parsed(subject.target, parsed, now)),
        Err(CredentialError::None) => Ok(skip_without(subject.target)),
        Err(empty @ CredentialError::Empty { .. }) => {
            Ok(SaveDecision::Skip(SaveSkip { detail: Some(empty.to_string()), ..without(subject.target) }))
        }
        Err(CredentialError::Public) => {
            Ok(SaveDecision::Skip(of_kind(SaveSkipReason::PublicRegistry, subject.target, CredType::Public)))
        }
        Err(CredentialError::Unrecognized) => {
            Ok(SaveDecision::Skip(of_kind(SaveSkipReason::UnrecognizedCredentials, subject.target, CredType::Unknown)))
        }
        Err(CredentialError::Incomplete { cred_type, missing }) => Ok(SaveDecision::Skip(SaveSkip {
            reason: SaveSkipReason::IncompleteCredentials,
            target: Some(subject.target),
            cred_type: Some(cred_type),
            missing_key: Some(missing.to_owned()),
            detail: None,
        })),
        // Whoever sends a whole configuration file names nobody for this image, which may be a public one.
        Err(no_entry @ CredentialError::NoEntry { .. }) => {
            Ok(SaveDecision::Skip(SaveSkip { detail: Some(no_entry.to_string()), ..without(subject.target) }))
        }
        Err(mismatch @ CredentialError::RegistryMismatch { .. }) => Ok(SaveDecision::Skip(SaveSkip {
            reason: SaveSkipReason::RegistryMismatch,
            target: Some(subject.target),
            cred_type: None,
            missing_key: None,
            detail: Some(mismatch.to_string()),
        })),
        Err(source) => Err(BuildError::Credentials { field: subject.credentials_field, source }),
    }
}

struct Subject<'b> {
    target: Target,
    credentials: Option<&'b CredentialInput>,
    credentials_field: &'static str,
}

fn subject_of(build: &BuildRequest) -> Result<Option<Subject<'_>>, BuildError> {
    let given = |text: &Option<String>| text.as_deref().map(str::trim).filter(|t| !t.is_empty()).map(str::to_owned);
    let (field, text, source, credentials, credentials_field) =
        match (given(&build.existing_image_uri), given(&build.base_image)) {
            (Some(uri), _) => (
                "existing_image_uri",
                uri,
                CredentialSource::FromRegistry,
                build.existing_image_creds.as_ref(),
                "existing_image_creds",
            ),
            (None, Some(base)) => {
                ("base_image", base, CredentialSource::BaseImage, build.base_image_creds.as_ref(), "base_image_creds")
            }
            (None, None) => return Ok(None),
        };
    let reference = ImageReference::parse(&text).map_err(|source| BuildError::Reference { field, source })?;
    Ok(Some(Subject { target: Target { reference, source }, credentials, credentials_field }))
}

fn decide_parsed(target: Target, parsed: Parsed, now: Timestamp) -> SaveDecision {
    let (note, credentials) = (parsed.note(), parsed.credentials);
    let (cred_type, expires_at) = (credentials.cred_type(), credentials.expires_at());
    if expires_at.is_some_and(|expiry| expiry <= now) {
        return SaveDecision::Skip(of_kind(SaveSkipReason::ExpiredCredentials, target, cred_type));
    }
    let credentials = credentials.to_json(target.reference.registry());
    SaveDecision::Save(SavePlan { target, cred_type, expires_at, credentials, note })
}

fn of_kind(reason: SaveSkipReason, target: Target, cred_type: CredType) -> SaveSkip {
    SaveSkip { cred_type: Some(cred_type), ..skipped(reason, Some(target)) }
}

fn skip_without(target: Target) -> SaveDecision {
    SaveDecision::Skip(without(target))
}

fn without(target: Target) -> SaveSkip {
    let public = matches!(target.reference.registry().kind(), Registry::EcrPublic);
    let reason = if public { SaveSkipReason::PublicRegistry } else { SaveSkipReason::NoCredentialsProvided };
    skipped(reason, Some(target))
}

fn skip(reason: SaveSkipReason, target: Option<Target>) -> SaveDecision {
    SaveDecision::Skip(skipped(reason, target))
}

fn skipped(reason: SaveSkipReason, target: Option<Target>) -> SaveSkip {
    SaveSkip { reason, target, cred_type: None, missing_key: None, detail: None }
}
