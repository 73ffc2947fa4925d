//! The build decision: which secret an image is pulled with, and whether the build brings a version of it.

use waybill_schemas::{
    ImageId, SecretName, Timestamp, WorkspaceId,
    v1::{CredType, CredentialSource, SaveSkipReason},
};

use crate::{
    credentials::{CredentialError, CredentialInput, Credentials, Parsed},
    reference::{ImageReference, ReferenceError, Registry},
    secret::{Naming, NewVersion, new_version},
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
    /// The secret that the credentials become, or that is to be used as it is.
    pub existing_image_secret: Option<SecretName>,
    /// The image that the build started from.
    pub base_image: Option<String>,
    /// Credentials for it.
    pub base_image_creds: Option<CredentialInput>,
    /// The secret that the credentials become, or that is to be used as it is.
    pub base_image_secret: Option<SecretName>,
    /// Whether the build changed the image, so that its result is pulled from elsewhere.
    pub modified: bool,
}

/// What a build comes to.
#[derive(Debug)]
pub enum BuildDecision {
    /// Put a version into the vault and say so, then name the secret.
    Save(Box<SavePlan>),
    /// Name a secret that is, or will be, there.
    Name {
        /// The image.
        target: Target,
        /// The secret.
        secret_name: SecretName,
    },
    /// Say why there is no secret.
    Skip(SaveSkip),
}

/// Credentials to save.
#[derive(Debug)]
pub struct SavePlan {
    /// The image they are for.
    pub target: Target,
    /// The credentials.
    pub new: NewVersion,
    /// Under which name.
    pub naming: Naming,
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
    /// The secret that the build named.
    pub secret_name: Option<SecretName>,
    /// More of what is wrong, in words for people and without anything that the build carried: whom the credentials are for,
    /// which keys are empty or misspelt, in which field they stand.
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

/// Decides what a build comes to at `now`, before anything is known of the secret. The first rule that applies wins.
///
/// # Errors
/// [`BuildError`] where a reference or the credentials' form is not valid; nothing is published then.
pub fn decide_build(build: &BuildRequest, now: Timestamp) -> Result<BuildDecision, BuildError> {
    let Some(subject) = find_subject(build)? else {
        return Ok(skip(SaveSkipReason::NoImageReference, None));
    };
    let Subject { target, credentials, credentials_field, secret_name, misplaced } = subject;
    if build.modified {
        return Ok(skip(SaveSkipReason::ImageModified, Some(target)));
    }
    let named = |target: Target| match secret_name.clone() {
        Some(secret_name) => BuildDecision::Name { target, secret_name },
        None => BuildDecision::Skip(SaveSkip {
            detail: misplaced.map(|field| format!("there is {field}, which is not for this image")),
            ..skip_without_credentials(target)
        }),
    };
    let Some(input) = credentials else { return Ok(named(target)) };
    match Credentials::parse(input, &target.reference) {
        Ok(parsed) => Ok(decide_parsed(build, target, &parsed, secret_name.clone(), now)),
        Err(CredentialError::None) => Ok(named(target)),
        Err(CredentialError::Empty { keys }) => Ok(match named(target) {
            BuildDecision::Skip(skip) => {
                BuildDecision::Skip(SaveSkip { detail: Some(format!("{keys} came without a value")), ..skip })
            }
            named => named,
        }),
        Err(CredentialError::Public) => Ok(BuildDecision::Skip(SaveSkip {
            cred_type: Some(CredType::Public),
            ..new_skip(SaveSkipReason::PublicRegistry, Some(target))
        })),
        Err(CredentialError::Unrecognized) => Ok(BuildDecision::Skip(SaveSkip {
            cred_type: Some(CredType::Unknown),
            ..new_skip(SaveSkipReason::UnrecognizedCredentials, Some(target))
        })),
        Err(CredentialError::Incomplete { cred_type, missing, misspelt }) => Ok(BuildDecision::Skip(SaveSkip {
            cred_type: Some(cred_type),
            missing_key: Some(missing.to_owned()),
            detail: misspelt.then(|| format!("there is a key whose name is almost {missing}")),
            ..new_skip(SaveSkipReason::IncompleteCredentials, Some(target))
        })),
        // Whoever sends a whole configuration file names nobody for this image, which may be a public one.
        Err(no_entry @ CredentialError::NoEntry { .. }) => {
            Ok(BuildDecision::Skip(SaveSkip { detail: Some(no_entry.to_string()), ..skip_without_credentials(target) }))
        }
        Err(mismatch @ CredentialError::RegistryMismatch { .. }) => Ok(BuildDecision::Skip(SaveSkip {
            detail: Some(mismatch.to_string()),
            ..new_skip(SaveSkipReason::RegistryMismatch, Some(target))
        })),
        Err(source) => Err(BuildError::Credentials { field: credentials_field, source }),
    }
}

/// The skip of a build that names a secret, or brings credentials for one, which is bound to another registry.
pub fn skip_bound_elsewhere(target: Target, secret_name: SecretName, bound_to: &str) -> SaveSkip {
    let detail = format!("secret {secret_name} is for {bound_to}, the image is on {}", target.registry());
    SaveSkip {
        secret_name: Some(secret_name),
        detail: Some(detail),
        ..new_skip(SaveSkipReason::RegistryMismatch, Some(target))
    }
}

/// The skip of a build whose credentials the registry refused, where it took the version that is saved.
pub fn skip_refused(target: Target, secret_name: SecretName, cred_type: CredType, why: String) -> SaveSkip {
    SaveSkip {
        secret_name: Some(secret_name),
        cred_type: Some(cred_type),
        detail: Some(why),
        ..new_skip(SaveSkipReason::VerificationFailed, Some(target))
    }
}

struct Subject<'b> {
    target: Target,
    credentials: Option<&'b CredentialInput>,
    credentials_field: &'static str,
    secret_name: Option<SecretName>,
    /// Credentials that stand in the field of another image.
    misplaced: Option<&'static str>,
}

fn find_subject(build: &BuildRequest) -> Result<Option<Subject<'_>>, BuildError> {
    let given = |text: &Option<String>| text.as_deref().map(str::trim).filter(|t| !t.is_empty()).map(str::to_owned);
    let parse =
        |field, text: String| ImageReference::parse(&text).map_err(|source| BuildError::Reference { field, source });
    if let Some(uri) = given(&build.existing_image_uri) {
        let reference = parse("existing_image_uri", uri)?;
        return Ok(Some(Subject {
            target: Target { reference, source: CredentialSource::FromRegistry },
            credentials: build.existing_image_creds.as_ref(),
            credentials_field: "existing_image_creds",
            secret_name: build.existing_image_secret.clone(),
            misplaced: build.base_image_creds.as_ref().filter(|creds| !creds.is_blank()).map(|_| "base_image_creds"),
        }));
    }
    let Some(base) = given(&build.base_image) else { return Ok(None) };
    let reference = parse("base_image", base)?;
    Ok(Some(Subject {
        target: Target { reference, source: CredentialSource::BaseImage },
        credentials: build.base_image_creds.as_ref(),
        credentials_field: "base_image_creds",
        secret_name: build.base_image_secret.clone(),
        misplaced: build
            .existing_image_creds
            .as_ref()
            .filter(|creds| !creds.is_blank())
            .map(|_| "existing_image_creds"),
    }))
}

fn decide_parsed(
    build: &BuildRequest,
    target: Target,
    parsed: &Parsed,
    secret_name: Option<SecretName>,
    now: Timestamp,
) -> BuildDecision {
    let credentials = &parsed.credentials;
    if credentials.expires_at().is_some_and(|expiry| expiry <= now) {
        let cred_type = Some(credentials.cred_type());
        let skip = new_skip(SaveSkipReason::ExpiredCredentials, Some(target));
        return BuildDecision::Skip(SaveSkip { cred_type, secret_name, ..skip });
    }
    let new = new_version(parsed, target.reference.registry());
    let naming = match secret_name {
        Some(name) => Naming::Given(name),
        None => Naming::for_build(target.reference.registry(), &new, &build.image_id),
    };
    BuildDecision::Save(Box::new(SavePlan { target, new, naming }))
}

fn skip_without_credentials(target: Target) -> SaveSkip {
    let public = matches!(target.reference.registry().kind(), Registry::EcrPublic);
    let reason = if public { SaveSkipReason::PublicRegistry } else { SaveSkipReason::NoCredentialsProvided };
    new_skip(reason, Some(target))
}

fn skip(reason: SaveSkipReason, target: Option<Target>) -> BuildDecision {
    BuildDecision::Skip(new_skip(reason, target))
}

fn new_skip(reason: SaveSkipReason, target: Option<Target>) -> SaveSkip {
    SaveSkip { reason, target, cred_type: None, missing_key: None, secret_name: None, detail: None }
}
