//! AWS ECR: keys are exchanged for a user name and a token that works for some hours (GetAuthorizationToken), by way of STS
//! where they are to assume a role (AssumeRole).

use std::sync::Arc;

use aws_credential_types::Credentials;
use aws_sdk_ecr::config::SharedHttpClient;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use futures_util::{FutureExt as _, future::BoxFuture};
use time::OffsetDateTime;
use tokio::time::Instant;
use waybill_domain::{
    credentials::{AwsKeys, AwsRole, BasicLogin, Secret},
    reference::{AwsPartition, EcrRegistry, Registry, RegistryHost},
};
use waybill_schemas::v1::CredType;
use zeroize::Zeroizing;

use super::{
    CloudConfig, ProviderError,
    aws::{Call, sdk_config},
    token::{Exchange, Token},
};

/// Exchanges one set of keys.
pub(super) struct EcrExchange {
    keys: Credentials,
    role: Option<AwsRole>,
    region: String,
    api: Api,
    config: Arc<CloudConfig>,
    http: SharedHttpClient,
    sends_secret: bool,
}

/// Which API issues a registry's tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Api {
    /// ECR's endpoint in the region that has the properties of the registry's own host.
    Private { fips: bool, dual_stack: bool },
    /// ECR Public's, whose tokens are for `public.ecr.aws`. AWS has this service in `us-east-1` only.
    Public,
}

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
}

impl EcrExchange {
    pub(super) fn new(
        keys: &AwsKeys,
        registry: &RegistryHost,
        config: &Arc<CloudConfig>,
        http: SharedHttpClient,
    ) -> Self {
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

    async fn fetch_token(&self) -> Result<Token, ProviderError> {
        let limit = self.config.limit();
        let call = Call {
            service: "STS",
            method: "AssumeRole",
            region: &self.region,
            until: Instant::now() + limit,
            limit,
            sends_secret: self.sends_secret,
        };
        // A role's keys come with a session token, which the next call sends.
        let (keys, end, sends_secret) = match &self.role {
            Some(role) => {
                let (keys, end) = self.assume_role(role, &call).await?;
                (keys, end, true)
            }
            None => (self.keys.clone(), None, self.sends_secret),
        };
        let call = Call { service: self.api.service(), method: "GetAuthorizationToken", sends_secret, ..call };
        let token = self.issue_token(keys, &call).await?;
        // The token ends no later than the keys that it was had with.
        let expires_at = end.map_or(token.expires_at, |end| end.min(token.expires_at));
        tracing::debug!(region = self.region, %expires_at, "ECR token received");
        Ok(Token { expires_at, ..token })
    }

    /// A role's keys and their end, for the time that STS gives by itself (an hour).
    async fn assume_role(
        &self,
        role: &AwsRole,
        call: &Call<'_>,
    ) -> Result<(Credentials, Option<OffsetDateTime>), ProviderError> {
        let shared = sdk_config(self.keys.clone(), &self.region, self.http.clone());
        let fips = matches!(self.api, Api::Private { fips: true, .. });
        let mut builder = aws_sdk_sts::config::Builder::from(&shared).use_fips(fips);
        builder.set_endpoint_url(self.config.sts_endpoint.clone());
        let request = aws_sdk_sts::Client::from_conf(builder.build()).assume_role();
        let external_id = role.external_id.as_ref().map(|id| id.expose().to_owned());
        let request = request.role_arn(&role.arn).role_session_name(&role.session_name).set_external_id(external_id);
        let answer = call.make_call(request.send()).await?;
        let keys = answer.credentials().ok_or_else(|| call.unusable_error("an answer without keys"))?;
        let token = Some(keys.session_token().to_owned());
        let credentials = Credentials::new(keys.access_key_id(), keys.secret_access_key(), token, None, "waybill");
        Ok((credentials, OffsetDateTime::from_unix_timestamp(keys.expiration().secs()).ok()))
    }

    /// `proxyEndpoint` of an answer is left aside: the token is for the image's registry, wherever the answer says that is.
    async fn issue_token(&self, keys: Credentials, call: &Call<'_>) -> Result<Token, ProviderError> {
        let shared = sdk_config(keys, &self.region, self.http.clone());
        let endpoint = self.config.ecr_endpoint.clone();
        let granted = match self.api {
            Api::Public => {
                let mut builder = aws_sdk_ecrpublic::config::Builder::from(&shared);
                builder.set_endpoint_url(endpoint);
                let client = aws_sdk_ecrpublic::Client::from_conf(builder.build());
                let data = call.make_call(client.get_authorization_token().send()).await?.authorization_data;
                data.map(|data| (data.authorization_token, data.expires_at))
            }
            Api::Private { fips, dual_stack } => {
                let mut builder = aws_sdk_ecr::config::Builder::from(&shared).use_fips(fips).use_dual_stack(dual_stack);
                builder.set_endpoint_url(endpoint);
                let client = aws_sdk_ecr::Client::from_conf(builder.build());
                let data = call.make_call(client.get_authorization_token().send()).await?.authorization_data;
                let first = data.and_then(|data| data.into_iter().next());
                first.map(|data| (data.authorization_token, data.expires_at))
            }
        };
        let (token, end) = granted.ok_or_else(|| call.unusable_error("an answer without a token"))?;
        let login = token.as_deref().and_then(read_login);
        let login = login.ok_or_else(|| call.unusable_error("a token that is not base64 of user:password"))?;
        let issued_at = OffsetDateTime::now_utc();
        let expires_at = end.and_then(|end| OffsetDateTime::from_unix_timestamp(end.secs()).ok());
        // Without an end it serves this once.
        Ok(Token { login, issued_at, expires_at: expires_at.unwrap_or(issued_at) })
    }
}

impl Exchange for EcrExchange {
    fn exchange(&self) -> BoxFuture<'_, Result<Token, ProviderError>> {
        self.fetch_token().boxed()
    }

    fn issuer(&self) -> String {
        format!("{} in {}", self.api.service(), self.region)
    }

    fn cred_type(&self) -> CredType {
        CredType::Aws
    }
}

fn read_login(token: &str) -> Option<BasicLogin> {
    let decoded = Zeroizing::new(STANDARD.decode(token).ok()?);
    let (username, password) = std::str::from_utf8(&decoded).ok()?.split_once(':')?;
    Some(BasicLogin { username: username.to_owned(), password: Secret::from(password) })
}

#[cfg(test)]
mod tests {
    use aws_sdk_ecr::config::endpoint::{DefaultResolver, Params, ResolveEndpoint as _};
    use aws_sdk_sts::config::endpoint as sts;

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

    /// Each region has its own, the partitions' first ones too.
    #[tokio::test]
    async fn which_sts_is_asked() {
        let cases = [
            ("us-east-1", false, "https://sts.us-east-1.amazonaws.com"),
            ("eu-west-1", false, "https://sts.eu-west-1.amazonaws.com"),
            ("us-east-2", true, "https://sts-fips.us-east-2.amazonaws.com"),
            ("us-gov-west-1", true, "https://sts.us-gov-west-1.amazonaws.com"),
            ("cn-north-1", false, "https://sts.cn-north-1.amazonaws.com.cn"),
            ("us-iso-east-1", false, "https://sts.us-iso-east-1.c2s.ic.gov"),
            ("eusc-de-east-1", false, "https://sts.eusc-de-east-1.amazonaws.eu"),
        ];
        for (region, fips, expected) in cases {
            let params = sts::Params::builder().region(region.to_owned()).use_fips(fips).build().unwrap();
            let endpoint = sts::ResolveEndpoint::resolve_endpoint(&sts::DefaultResolver::new(), &params).await.unwrap();
            assert_eq!(endpoint.url(), expected, "{region}");
        }
    }
}
