//! The provider decision: what a worker does with a decision of the scheduler.

use waybill_schemas::v1::{AttachSkipReason, DEFAULT_CHAIN, ProviderFailure};

use crate::{
    credentials::{CredentialError, Credentials, Secret},
    reference::{ImageReference, RegistryHost},
};

/// How a worker logs in for one container.
#[derive(Debug)]
pub enum ProviderPlan {
    /// No credentials were supplied: the node's default chain.
    DefaultChain,
    /// The supplied credentials, bound to one registry host.
    Custom(CustomPlan),
    /// No provider can be built, and no pull may be tried as somebody else.
    Fail(Failure),
}

/// Supplied credentials ready for use.
#[derive(Debug)]
pub struct CustomPlan {
    /// Host the login is for, and the only one it is offered to.
    pub registry: RegistryHost,
    /// The credentials.
    pub credentials: Credentials,
}

/// Why there is no provider.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// Reason code of the event.
    pub reason: ProviderFailure,
    /// More words for people, without secrets.
    pub detail: String,
}

impl Failure {
    fn new(reason: ProviderFailure, detail: impl Into<String>) -> Self {
        Self { reason, detail: detail.into() }
    }
}

/// Name of the provider when the scheduler attached none.
pub fn default_chain_name() -> &'static str {
    DEFAULT_CHAIN
}

/// What to do when the scheduler attached nothing.
pub fn plan_without_credentials(reason: AttachSkipReason) -> ProviderPlan {
    if reason.withholds_credentials() {
        let detail = format!("credentials were supplied for the image, but the scheduler attached none: {reason}");
        return ProviderPlan::Fail(Failure::new(ProviderFailure::CredentialsWithheld, detail));
    }
    ProviderPlan::DefaultChain
}

/// What to do with credentials for a registry host, as the decision states it; `opened` is the credentials JSON of the grant.
/// With an image, its reference must be on that host.
pub fn plan_with_credentials(registry: &str, image_ref: Option<&str>, opened: &Secret) -> ProviderPlan {
    match plan_custom(registry, image_ref, opened) {
        Ok(plan) => ProviderPlan::Custom(plan),
        Err(failure) => ProviderPlan::Fail(failure),
    }
}

/// The provider of credentials that are for no container yet: the JSON text that is sealed for the journey.
///
/// # Errors
/// [`Failure`], as the worker would record it.
pub fn plan_to_try(credentials: &Secret) -> Result<CustomPlan, Failure> {
    let (registry, credentials) = Credentials::from_json(credentials)?;
    Ok(CustomPlan { registry, credentials })
}

fn plan_custom(registry: &str, image_ref: Option<&str>, opened: &Secret) -> Result<CustomPlan, Failure> {
    let plan = plan_to_try(opened)?;
    check_host(registry, image_ref, &plan.registry)?;
    Ok(plan)
}

/// Invariant 7: the image's host, the decision's host and the host inside the sealed credentials are one.
fn check_host(registry: &str, image_ref: Option<&str>, bound: &RegistryHost) -> Result<(), Failure> {
    let mismatch = |other: &str| {
        let detail = format!("the credentials are bound to {bound}, the image is on {other}");
        Err(Failure::new(ProviderFailure::RegistryMismatch, detail))
    };
    match image_ref.map(ImageReference::parse) {
        Some(Err(_)) => mismatch("no valid reference"),
        Some(Ok(image)) if image.registry() != bound => mismatch(image.registry().as_str()),
        _ if registry != bound.as_str() => mismatch(registry),
        _ => Ok(()),
    }
}

impl From<CredentialError> for Failure {
    fn from(error: CredentialError) -> Self {
        let reason = match error {
            CredentialError::RegistryMismatch { .. } => ProviderFailure::RegistryMismatch,
            CredentialError::UnsupportedValue { .. } | CredentialError::Public | CredentialError::Unrecognized => {
                ProviderFailure::Unsupported
            }
            _ => ProviderFailure::UnparsableCredentials,
        };
        Self::new(reason, error.to_string())
    }
}
