//! AWS ECR: keys are exchanged for a user name and a token that works for some hours (GetAuthorizationToken).

use std::time::Duration;

use aws_credential_types::Credentials;
use aws_sdk_ecr::{Client, config::SharedHttpClient, operation::get_authorization_token::GetAuthorizationTokenOutput};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use time::OffsetDateTime;
use tokio::time::Instant;
use waybill_domain::{
    credentials::{AwsKeys, AwsRole, BasicLogin, Secret},
    reference::{AwsPartition, EcrRegistry, Registry, RegistryHost},
};
use waybill_schemas::v1::CredType;
use zeroize::Zeroizing;

use super::{
    ProviderError,
    aws::{Call, sdk_config},
    ecr_public, sts,
    token::{Exchange, Token},
};

/// How long one exchange may take, retries included.
const LIMIT: Duration = Duration::from_secs(20);

/// Where AWS is asked.
#[derive(Debug, Clone, Default)]
pub struct EcrConfig {
    /// ECR's endpoint instead of AWS's own for the region.
    pub endpoint: Option<String>,
    /// STS's endpoint instead of AWS's own for the region.
    pub sts_endpoint: Option<String>,
    /// Certificate authorities to trust beside the system's, PEM, and valid.
    pub ca: Option<Bytes>,
    /// How long one exchange may take, retries included; 20 s if not given.
    pub limit: Option<Duration>,
}

/// Exchanges one set of keys.
pub(super) struct EcrExchange {
    keys: Credentials,
    role: Option<AwsRole>,
    region: String,
    api: Api,
    config: EcrConfig,
    http: SharedHttpClient,
    sends_secret: bool,
}

/// Which API issues a registry's tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Api {
    /// ECR's endpoint in the region that has the properties of the registry's own host.
    Private { fips: bool, dual_stack: bool },
    /// ECR Public's.
    Public,
}

/// A token in Base64 and its end, in seconds since 1970.
pub(super) type Grant = (Option<String>, Option<i64>);

impl Api {
    fn of(registry: &RegistryHost) -> Self {
        match registry.kind() {
            Registry::Ecr(EcrRegistry { fips, dual_stack, partition, .. }) => {
                // AWS's rules know no such API of the other partitions; their usual one gives the same tokens.
                let has_dual_stack =
                    matches!(partition, AwsPartition::Standard | AwsPartition::UsGov | AwsPartition::China);
                Self::Private { fips, dual_stack: dual_stack && has_dual_stack }
            }
            Registry::EcrPublic => Self::Public,
            _ => Self::Private { fips: false, dual_stack: false },
        }
    }

    fn service(self) -> &'static str {
        match self {
            Self::Private { .. } => "ECR",
            Self::Public => "ECR Public",
        }
    }

    fn is_fips(self) -> bool {
        matches!(self, Self::Private { fips: true, .. })
    }
}

impl EcrExchange {
    pub(super) fn new(keys: &AwsKeys, registry: &RegistryHost, config: &EcrConfig, http: SharedHttpClient) -> Self {
        let has_external_id = keys.role.as_ref().is_some_and(|role| role.external_id.is_some());
        let token = keys.session_token.as_ref().map(|token| token.expose().to_owned());
        Self {
            keys: Credentials::new(&keys.access_key_id, keys.secret_access_key.expose(), token, None, "waybill"),
            role: keys.role.clone(),
            region: keys.region.clone(),
            api: Api::of(registry),
            config: config.clone(),
            http,
            sends_secret: keys.session_token.is_some() || has_external_id,
        }
    }

    fn call<'c>(&'c self, service: &'static str, method: &'static str) -> Call<'c> {
        let limit = self.config.limit.unwrap_or(LIMIT);
        Call {
            service,
            method,
            region: &self.region,
            until: Instant::now() + limit,
            limit,
            sends_secret: self.sends_secret,
        }
    }

    /// With a role: its keys first, and the token ends no later than they do.
    async fn as_role(&self, role: &AwsRole) -> Result<Token, ProviderError> {
        let call = self.call("STS", "AssumeRole");
        let shared = sdk_config(self.keys.clone(), &self.region, self.http.clone());
        let client = sts::client(&shared, self.config.sts_endpoint.as_deref(), self.api.is_fips());
        let session = sts::assume(&client, role, &call).await?;
        let next = Call { service: self.api.service(), method: "GetAuthorizationToken", sends_secret: true, ..call };
        let token = self.ask(session.keys, &next).await?;
        Ok(Token { expires_at: session.expires_at.map_or(token.expires_at, |end| end.min(token.expires_at)), ..token })
    }

    async fn ask(&self, keys: Credentials, call: &Call<'_>) -> Result<Token, ProviderError> {
        let shared = sdk_config(keys, &self.region, self.http.clone());
        let grant = match self.api {
            Api::Public => ecr_public::ask(&shared, self.config.endpoint.as_deref(), call).await?,
            Api::Private { fips, dual_stack } => {
                let builder = aws_sdk_ecr::config::Builder::from(&shared);
                let mut builder = builder.use_fips(fips).use_dual_stack(dual_stack);
                builder.set_endpoint_url(self.config.endpoint.clone());
                let answer = call.make(Client::from_conf(builder.build()).get_authorization_token().send()).await?;
                grant(answer)
            }
        };
        token(grant).map_err(|words| call.unusable(words))
    }
}

impl Exchange for EcrExchange {
    async fn exchange(&self) -> Result<Token, ProviderError> {
        let token = match &self.role {
            Some(role) => self.as_role(role).await?,
            None => {
                let call = self.call(self.api.service(), "GetAuthorizationToken");
                self.ask(self.keys.clone(), &call).await?
            }
        };
        tracing::debug!(region = self.region, expires_at = %token.expires_at, "ECR token received");
        Ok(token)
    }

    fn issuer(&self) -> String {
        format!("{} in {}", self.api.service(), self.region)
    }

    fn cred_type(&self) -> CredType {
        CredType::Aws
    }
}

/// `proxyEndpoint` is left aside: the token is for the image's registry, and an answer cannot move it elsewhere.
fn grant(answer: GetAuthorizationTokenOutput) -> Option<Grant> {
    let data = answer.authorization_data?.into_iter().next()?;
    Some((data.authorization_token, data.expires_at.map(|at| at.secs())))
}

fn token(grant: Option<Grant>) -> Result<Token, &'static str> {
    let (token, end) = grant.ok_or("an answer without a token")?;
    let login = token.as_deref().and_then(login).ok_or("a token that is not base64 of user:password")?;
    let issued_at = OffsetDateTime::now_utc();
    let expires_at = end.and_then(|end| OffsetDateTime::from_unix_timestamp(end).ok());
    // Without an end it serves this once.
    Ok(Token { login, issued_at, expires_at: expires_at.unwrap_or(issued_at) })
}

fn login(token: &str) -> Option<BasicLogin> {
    let decoded = Zeroizing::new(STANDARD.decode(token).ok()?);
    let (username, password) = std::str::from_utf8(&decoded).ok()?.split_once(':')?;
    Some(BasicLogin { username: username.to_owned(), password: Secret::from(password) })
}

#[cfg(test)]
mod tests {
    use aws_sdk_ecr::config::endpoint::{DefaultResolver, Params, ResolveEndpoint as _};

    use super::*;

    /// Registry hosts, and the address of the API that AWS's own rules give for them.
    #[tokio::test]
    async fn which_api_is_asked_for_a_registry() {
        let cases = [
            ("dkr.ecr.eu-west-1.amazonaws.com", "https://api.ecr.eu-west-1.amazonaws.com"),
            ("dkr.ecr-fips.us-east-2.amazonaws.com", "https://api.ecr-fips.us-east-2.amazonaws.com"),
            ("dkr.ecr-fips.us-gov-west-1.amazonaws.com", "https://api.ecr-fips.us-gov-west-1.amazonaws.com"),
            ("dkr.ecr.cn-north-1.amazonaws.com.cn", "https://api.ecr.cn-north-1.amazonaws.com.cn"),
            ("dkr-ecr.us-west-2.on.aws", "https://ecr.us-west-2.api.aws"),
            ("dkr-ecr-fips.us-west-2.on.aws", "https://ecr-fips.us-west-2.api.aws"),
            ("dkr-ecr.cn-north-1.on.amazonwebservices.com.cn", "https://ecr.cn-north-1.api.amazonwebservices.com.cn"),
            ("dkr.ecr.us-iso-east-1.c2s.ic.gov", "https://api.ecr.us-iso-east-1.c2s.ic.gov"),
            ("dkr.ecr.us-isob-east-1.sc2s.sgov.gov", "https://api.ecr.us-isob-east-1.sc2s.sgov.gov"),
            ("dkr.ecr.eu-isoe-west-1.cloud.adc-e.uk", "https://api.ecr.eu-isoe-west-1.cloud.adc-e.uk"),
            ("dkr.ecr.us-isof-south-1.csp.hci.ic.gov", "https://api.ecr.us-isof-south-1.csp.hci.ic.gov"),
            ("dkr.ecr.eusc-de-east-1.amazonaws.eu", "https://api.ecr.eusc-de-east-1.amazonaws.eu"),
            ("dkr-ecr.eusc-de-east-1.on.amazonwebservices.eu", "https://api.ecr.eusc-de-east-1.amazonaws.eu"),
            ("dkr-ecr.us-iso-east-1.on.aws.ic.gov", "https://api.ecr.us-iso-east-1.c2s.ic.gov"),
            ("dkr-ecr-fips.us-isob-east-1.on.aws.scloud", "https://api.ecr-fips.us-isob-east-1.sc2s.sgov.gov"),
        ];
        for (rest, expected) in cases {
            let host = RegistryHost::parse(&format!("123456789012.{rest}")).unwrap();
            let Registry::Ecr(EcrRegistry { region, .. }) = host.kind() else { panic!("{host}") };
            let Api::Private { fips, dual_stack } = Api::of(&host) else { panic!("{host}") };
            let params = Params::builder().region(region).use_fips(fips).use_dual_stack(dual_stack).build().unwrap();
            let endpoint = DefaultResolver::new().resolve_endpoint(&params).await.unwrap();
            assert_eq!(endpoint.url(), expected, "{host}");
        }
    }
}
