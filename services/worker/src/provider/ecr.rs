//! AWS ECR: keys are exchanged for a user name and a token that works for some hours (GetAuthorizationToken).

use std::{sync::Arc, time::Duration};

use aws_credential_types::Credentials;
use aws_sdk_ecr::{
    Client,
    config::{BehaviorVersion, Region, retry::RetryConfig, timeout::TimeoutConfig},
    error::{DisplayErrorContext, ProvideErrorMetadata as _},
};
use aws_smithy_http_client::tls::{Provider as TlsProvider, rustls_provider::CryptoMode};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use time::OffsetDateTime;
use tokio::sync::Mutex;
use tracing::Instrument as _;
use waybill_domain::credentials::{AwsKeys, BasicLogin, Secret};

use super::{
    ProviderError,
    freshness::{Freshness, freshness},
};
use crate::pull::clean;

const EXCHANGE_LIMIT: Duration = Duration::from_secs(20);

/// Where ECR is asked.
#[derive(Debug, Clone, Default)]
pub struct EcrConfig {
    /// Endpoint instead of AWS's own for the region.
    pub endpoint: Option<String>,
}

/// A token and its true expiry.
#[derive(Debug, Clone)]
pub(super) struct Token {
    pub(super) login: BasicLogin,
    issued_at: OffsetDateTime,
    pub(super) expires_at: OffsetDateTime,
}

impl Token {
    fn freshness(&self) -> Freshness {
        freshness(self.issued_at, self.expires_at, OffsetDateTime::now_utc())
    }
}

/// Exchanges one set of keys, one request at a time.
pub(super) struct EcrProvider {
    client: Client,
    keys: AwsKeys,
    held: Mutex<Option<Token>>,
}

impl EcrProvider {
    pub(super) fn new(keys: AwsKeys, config: &EcrConfig) -> Self {
        Self { client: client(&keys, config), keys, held: Mutex::new(None) }
    }

    /// A token that works now. The lock makes all who ask at once wait for the same exchange.
    pub(super) async fn token(self: &Arc<Self>) -> Result<Token, ProviderError> {
        let mut held = self.held.lock().await;
        if let Some(token) = held.as_ref() {
            match token.freshness() {
                Freshness::Fresh => return Ok(token.clone()),
                Freshness::Ageing => {
                    self.refresh();
                    return Ok(token.clone());
                }
                Freshness::Expired => {}
            }
        }
        // What has just been issued is used, whatever it says of its end; the next one who asks judges it by that.
        let token = self.exchange().await?;
        *held = Some(token.clone());
        Ok(token)
    }

    /// Forgets a token that the registry refused, unless it was replaced meanwhile.
    pub(super) async fn forget(&self, refused: &BasicLogin) -> bool {
        let mut held = self.held.lock().await;
        if held.as_ref().is_some_and(|token| token.login == *refused) {
            *held = None;
        }
        true
    }

    /// Gets the next token in the background; whoever asks meanwhile waits for it.
    fn refresh(self: &Arc<Self>) {
        let provider = self.clone();
        tokio::spawn(async move {
            let mut held = provider.held.lock().await;
            if held.as_ref().is_some_and(|token| token.freshness() == Freshness::Fresh) {
                return;
            }
            match provider.exchange().await {
                Ok(token) => *held = Some(token),
                Err(error) => tracing::warn!(%error, "the next ECR token cannot be had yet, keeping the present one"),
            }
        });
    }

    async fn exchange(&self) -> Result<Token, ProviderError> {
        let span = tracing::info_span!(
            "exchange",
            otel.name = "ecr GetAuthorizationToken",
            otel.kind = "client",
            rpc.system = "aws-api",
            rpc.service = "ECR",
            rpc.method = "GetAuthorizationToken",
            cloud.region = self.keys.region,
            otel.status_code = tracing::field::Empty,
            otel.status_description = tracing::field::Empty,
        );
        let outcome = self.ask().instrument(span.clone()).await;
        waybill_platform::trace::record_outcome(&span, outcome.as_ref().err());
        outcome
    }

    async fn ask(&self) -> Result<Token, ProviderError> {
        let failed =
            |reason: String| ProviderError::Exchange(format!("ECR in {}: {}", self.keys.region, self.clean(&reason)));
        let answer = tokio::time::timeout(EXCHANGE_LIMIT, self.client.get_authorization_token().send()).await;
        let answer = answer.map_err(|_| failed("no answer in time".to_owned()))?;
        let answer = answer.map_err(|error| match error.as_service_error() {
            Some(refused) => {
                let code = refused.code().unwrap_or("refused");
                failed(format!("{code}: {}", refused.message().unwrap_or("no reason given")))
            }
            None => failed(DisplayErrorContext(&error).to_string()),
        })?;
        let data = answer.authorization_data().first().ok_or_else(|| failed("an answer without a token".to_owned()))?;
        let login = data
            .authorization_token()
            .and_then(login)
            .ok_or_else(|| failed("a token that is not base64 of user:password".to_owned()))?;
        let issued_at = OffsetDateTime::now_utc();
        let expires_at = data.expires_at().and_then(|at| OffsetDateTime::from_unix_timestamp(at.secs()).ok());
        tracing::debug!(region = self.keys.region, "ECR token received");
        Ok(Token { login, issued_at, expires_at: expires_at.unwrap_or(issued_at) })
    }

    fn clean(&self, text: &str) -> String {
        let session = self.keys.session_token.iter();
        clean(text, session.chain([&self.keys.secret_access_key]))
    }
}

fn login(token: &str) -> Option<BasicLogin> {
    let decoded = zeroize::Zeroizing::new(STANDARD.decode(token).ok()?);
    let (username, password) = std::str::from_utf8(&decoded).ok()?.split_once(':')?;
    Some(BasicLogin { username: username.to_owned(), password: Secret::from(password) })
}

/// Only the supplied keys are used: no profile, no environment, no metadata service.
fn client(keys: &AwsKeys, config: &EcrConfig) -> Client {
    let credentials = Credentials::new(
        keys.access_key_id.clone(),
        keys.secret_access_key.expose(),
        keys.session_token.as_ref().map(|token| token.expose().to_owned()),
        None,
        "waybill",
    );
    let http = aws_smithy_http_client::Builder::new().tls_provider(TlsProvider::Rustls(CryptoMode::Ring)).build_https();
    let mut builder = aws_sdk_ecr::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new(keys.region.clone()))
        .credentials_provider(credentials)
        .retry_config(RetryConfig::standard().with_max_attempts(3))
        .timeout_config(TimeoutConfig::builder().connect_timeout(Duration::from_secs(5)).build())
        .http_client(http);
    if let Some(endpoint) = &config.endpoint {
        builder = builder.endpoint_url(endpoint);
    }
    Client::from_conf(builder.build())
}
