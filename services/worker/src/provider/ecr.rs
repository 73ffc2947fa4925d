//! AWS ECR: keys are exchanged for a user name and a token that works for some hours (GetAuthorizationToken).

use std::{error::Error, time::Duration};

use aws_credential_types::Credentials;
use aws_sdk_ecr::{
    Client,
    config::{
        BehaviorVersion, Region, SharedHttpClient, http::HttpResponse, retry::RetryConfig, timeout::TimeoutConfig,
    },
    error::{ProvideErrorMetadata as _, SdkError},
    operation::get_authorization_token::{GetAuthorizationTokenError, GetAuthorizationTokenOutput},
};
use aws_smithy_http_client::tls::{Provider as TlsProvider, rustls_provider::CryptoMode};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use time::OffsetDateTime;
use tracing::{Instrument as _, instrument::WithSubscriber as _, subscriber::NoSubscriber};
use waybill_domain::credentials::{AwsKeys, BasicLogin, Secret};
use waybill_platform::trace;
use waybill_schemas::v1::CredType;
use zeroize::Zeroizing;

use super::{
    ProviderError,
    token::{Exchange, Token},
};
use crate::redact::Redactor;

/// How long one exchange may take, retries included.
const LIMIT: Duration = Duration::from_secs(20);
const CONNECT_LIMIT: Duration = Duration::from_secs(5);
const ATTEMPTS: u32 = 3;
const FIRST_PAUSE: Duration = Duration::from_millis(200);

/// Where ECR is asked.
#[derive(Debug, Clone, Default)]
pub struct EcrConfig {
    /// Endpoint instead of AWS's own for the region.
    pub endpoint: Option<String>,
    /// How long one exchange may take, retries included; 20 s if not given.
    pub limit: Option<Duration>,
}

/// Exchanges one set of keys.
pub(super) struct EcrExchange {
    client: Client,
    region: String,
    limit: Duration,
    redactor: Redactor,
}

impl EcrExchange {
    pub(super) fn new(keys: &AwsKeys, config: &EcrConfig, http: SharedHttpClient) -> Self {
        let secrets = keys.session_token.iter().chain([&keys.secret_access_key]);
        Self {
            client: client(keys, config, http),
            region: keys.region.clone(),
            limit: config.limit.unwrap_or(LIMIT),
            redactor: Redactor::new(secrets),
        }
    }

    async fn ask(&self) -> Result<Token, ProviderError> {
        // At TRACE the SDK prints the answer as it came, with the token: it gets no subscriber at all.
        let request = self.client.get_authorization_token().send().with_subscriber(NoSubscriber::new());
        let answer = tokio::time::timeout(self.limit, request).await;
        let answer = answer.map_err(|_| self.timed_out())?;
        let token = token(&answer.map_err(|error| self.failed(&error))?)
            .map_err(|words| ProviderError::Unusable { issuer: self.issuer(), words: words.to_owned() })?;
        tracing::debug!(region = self.region, expires_at = %token.expires_at, "ECR token received");
        Ok(token)
    }

    fn timed_out(&self) -> ProviderError {
        ProviderError::TimedOut { issuer: self.issuer(), seconds: self.limit.as_secs() }
    }

    /// The SDK's own texts repeat requests and answers; what is told is the code, the message, or the innermost cause.
    fn failed(&self, error: &SdkError<GetAuthorizationTokenError, HttpResponse>) -> ProviderError {
        let issuer = self.issuer();
        let words = |text: &str| self.redactor.clean(text);
        match error {
            SdkError::ServiceError(refused) => match refused.err().code() {
                Some(code) => {
                    let message = refused.err().message().unwrap_or("no reason given");
                    ProviderError::Refused { issuer, words: words(&format!("{code}: {message}")) }
                }
                None => {
                    let words =
                        format!("an answer with status {} that cannot be read", refused.raw().status().as_u16());
                    ProviderError::Unusable { issuer, words }
                }
            },
            SdkError::TimeoutError(_) => self.timed_out(),
            SdkError::DispatchFailure(failure) if failure.is_timeout() => self.timed_out(),
            SdkError::DispatchFailure(failure) => {
                let cause = failure.as_connector_error().map_or_else(|| "no connection".to_owned(), innermost);
                ProviderError::Unreachable { issuer, words: words(&cause) }
            }
            SdkError::ResponseError(_) => {
                ProviderError::Unusable { issuer, words: "an answer that cannot be read".to_owned() }
            }
            _ => ProviderError::Unusable { issuer, words: "the request cannot be made".to_owned() },
        }
    }
}

impl Exchange for EcrExchange {
    async fn exchange(&self) -> Result<Token, ProviderError> {
        let span = tracing::info_span!(
            "exchange",
            otel.name = "ecr GetAuthorizationToken",
            otel.kind = "client",
            rpc.system = "aws-api",
            rpc.service = "ECR",
            rpc.method = "GetAuthorizationToken",
            cloud.region = self.region,
            otel.status_code = tracing::field::Empty,
            otel.status_description = tracing::field::Empty,
        );
        let outcome = self.ask().instrument(span.clone()).await;
        trace::record_outcome(&span, outcome.as_ref().err());
        outcome
    }

    fn issuer(&self) -> String {
        format!("ECR in {}", self.region)
    }

    fn cred_type(&self) -> CredType {
        CredType::Aws
    }
}

/// `proxyEndpoint` is left aside: the token is for the image's registry, and an answer cannot move it elsewhere.
fn token(answer: &GetAuthorizationTokenOutput) -> Result<Token, &'static str> {
    let data = answer.authorization_data().first().ok_or("an answer without a token")?;
    let login = data.authorization_token().and_then(login).ok_or("a token that is not base64 of user:password")?;
    let issued_at = OffsetDateTime::now_utc();
    let expires_at = data.expires_at().and_then(|at| OffsetDateTime::from_unix_timestamp(at.secs()).ok());
    // Without an end it serves this once.
    Ok(Token { login, issued_at, expires_at: expires_at.unwrap_or(issued_at) })
}

fn login(token: &str) -> Option<BasicLogin> {
    let decoded = Zeroizing::new(STANDARD.decode(token).ok()?);
    let (username, password) = std::str::from_utf8(&decoded).ok()?.split_once(':')?;
    Some(BasicLogin { username: username.to_owned(), password: Secret::from(password) })
}

fn innermost(error: &(impl Error + 'static)) -> String {
    let mut cause: &dyn Error = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause.to_string()
}

/// One HTTP client for every set of keys: requests are signed one by one, and loading the trust store is slow.
pub(super) fn http_client() -> SharedHttpClient {
    aws_smithy_http_client::Builder::new().tls_provider(TlsProvider::Rustls(CryptoMode::Ring)).build_https()
}

/// Only the supplied keys are used: no profile, no environment, no metadata service.
fn client(keys: &AwsKeys, config: &EcrConfig, http: SharedHttpClient) -> Client {
    let credentials = Credentials::new(
        keys.access_key_id.clone(),
        keys.secret_access_key.expose(),
        keys.session_token.as_ref().map(|token| token.expose().to_owned()),
        None,
        "waybill",
    );
    let mut builder = aws_sdk_ecr::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new(keys.region.clone()))
        .credentials_provider(credentials)
        .retry_config(RetryConfig::standard().with_max_attempts(ATTEMPTS).with_initial_backoff(FIRST_PAUSE))
        .timeout_config(TimeoutConfig::builder().connect_timeout(CONNECT_LIMIT).build())
        .http_client(http);
    if let Some(endpoint) = &config.endpoint {
        builder = builder.endpoint_url(endpoint);
    }
    Client::from_conf(builder.build())
}
