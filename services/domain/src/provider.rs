//! The provider decision: what a worker does with a decision of the scheduler.

use waybill_schemas::v1::{AttachSkipReason, CredType, DEFAULT_CHAIN, ProviderFailure};

use crate::{
    credentials::{
        AwsKeys, AzureKeys, BasicLogin, GoogleKeys, GoogleLogin, Marshalled, Secret, TokenLogin, UnmarshalError,
        unmarshal,
    },
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
    /// Kind of the credentials.
    pub cred_type: CredType,
    /// How they become a login.
    pub login: Login,
}

impl CustomPlan {
    /// Name of the provider in events and log lines: `creds-<registry>`.
    pub fn provider_name(&self) -> String {
        format!("creds-{}", self.registry)
    }
}

/// How credentials become a login.
#[derive(Debug)]
pub enum Login {
    /// User name and password, as they are.
    Basic(BasicLogin),
    /// A bearer token, as it is.
    Bearer(Secret),
    /// AWS keys, exchanged with ECR for a user name and a token.
    Ecr(AwsKeys),
    /// A Google key, exchanged for an access token, which is the password of [`GOOGLE_TOKEN_USER`].
    Google(GoogleKeys),
    /// A service principal of Azure, whose token the registry exchanges for one of its own.
    Azure(AzureKeys),
}

/// User name with which Google's registries take an access token as the password
/// (Artifact Registry, "Configure authentication to Artifact Registry for Docker").
pub const GOOGLE_TOKEN_USER: &str = "oauth2accesstoken";

impl From<TokenLogin> for Login {
    fn from(token: TokenLogin) -> Self {
        match token {
            TokenLogin::Bearer(token) => Self::Bearer(token),
            TokenLogin::Login(login) => Self::Basic(login),
        }
    }
}

impl From<GoogleLogin> for Login {
    fn from(google: GoogleLogin) -> Self {
        match google {
            GoogleLogin::Token(password) => {
                Self::Basic(BasicLogin { username: GOOGLE_TOKEN_USER.to_owned(), password })
            }
            GoogleLogin::Keys(keys) => Self::Google(keys),
        }
    }
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
    match custom(registry, image_ref, opened) {
        Ok(plan) => ProviderPlan::Custom(plan),
        Err(failure) => ProviderPlan::Fail(failure),
    }
}

/// How credentials would log in that are for no container yet: the JSON text that is sealed for the journey.
///
/// # Errors
/// [`Failure`], as the worker would record it.
pub fn plan_to_try(credentials: &Secret) -> Result<CustomPlan, Failure> {
    let marshalled = unmarshal(credentials.expose())
        .map_err(|error| Failure::new(ProviderFailure::UnparsableCredentials, error.to_string()))?;
    let login = login(&marshalled)?;
    Ok(CustomPlan { registry: marshalled.registry, cred_type: marshalled.cred_type, login })
}

fn custom(registry: &str, image_ref: Option<&str>, opened: &Secret) -> Result<CustomPlan, Failure> {
    let marshalled = unmarshal(opened.expose())
        .map_err(|error: UnmarshalError| Failure::new(ProviderFailure::UnparsableCredentials, error.to_string()))?;
    let registry = bound_host(registry, image_ref, &marshalled)?;
    let login = login(&marshalled)?;
    Ok(CustomPlan { registry, cred_type: marshalled.cred_type, login })
}

/// Invariant 7: the image's host, the decision's host and the host inside the sealed credentials are one.
fn bound_host(registry: &str, image_ref: Option<&str>, marshalled: &Marshalled) -> Result<RegistryHost, Failure> {
    let mismatch = |other: &str| {
        let detail = format!("the credentials are bound to {}, the image is on {other}", marshalled.registry);
        Failure::new(ProviderFailure::RegistryMismatch, detail)
    };
    if let Some(image_ref) = image_ref {
        let image = ImageReference::parse(image_ref).map_err(|_| mismatch("no valid reference"))?;
        if *image.registry() != marshalled.registry {
            return Err(mismatch(image.registry().as_str()));
        }
    }
    if registry != marshalled.registry.as_str() {
        return Err(mismatch(registry));
    }
    Ok(marshalled.registry.clone())
}

fn login(marshalled: &Marshalled) -> Result<Login, Failure> {
    let incomplete = |error: UnmarshalError| {
        let unsupported = matches!(error, UnmarshalError::UnsupportedValue { .. });
        let reason = if unsupported { ProviderFailure::Unsupported } else { ProviderFailure::UnparsableCredentials };
        Failure::new(reason, error.to_string())
    };
    match marshalled.cred_type {
        CredType::Basic => marshalled.basic().map(Login::Basic).map_err(incomplete),
        CredType::Token => marshalled.token().map(Login::from).map_err(incomplete),
        CredType::Aws => marshalled.aws().map(Login::Ecr).map_err(incomplete),
        CredType::Gcp => marshalled.google().map(Login::from).map_err(incomplete),
        CredType::Azure => marshalled.azure().map(Login::Azure).map_err(incomplete),
        unsupported @ (CredType::Public | CredType::Unknown) => {
            let detail = format!("there is no provider for credentials of type {unsupported}");
            Err(Failure::new(ProviderFailure::Unsupported, detail))
        }
    }
}
