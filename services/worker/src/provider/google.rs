//! Google: a service account's key or a user's refresh token is exchanged for an access token.

use std::{sync::Arc, time::Duration};

use serde::Deserialize;
use serde_json::json;
use time::OffsetDateTime;
use tracing::Instrument as _;
use waybill_domain::{
    credentials::{BasicLogin, GoogleKeys, GoogleUser, Secret, ServiceAccount},
    provider::GOOGLE_TOKEN_USER,
};
use waybill_platform::trace;
use waybill_schemas::v1::CredType;

use super::{
    ProviderError,
    clouds::CloudConfig,
    oauth::{Endpoint, Fields, Http, LIMIT, end, host_of, knowing},
    rs256,
    token::{Exchange, Token},
};
use crate::redact::Redactor;

/// All that a pull needs, of Artifact Registry as of gcr.io ("Deploying to Compute Engine": read-only storage access).
const SCOPE: &str = "https://www.googleapis.com/auth/devstorage.read_only";
/// RFC 7523, section 2.1.
const JWT_BEARER: &str = "urn:ietf:params:oauth:grant-type:jwt-bearer";
/// The most that Google allows between `iat` and `exp`.
const ASSERTION_LIFE: i64 = 3600;
/// `iat` lies this far back: a node's clock may be ahead of Google's.
const CLOCK_SKEW: i64 = 10;

/// Exchanges one key.
pub(super) struct GoogleExchange {
    keys: GoogleKeys,
    config: Arc<CloudConfig>,
    http: Http,
    limit: Duration,
    redactor: Redactor,
}

#[derive(Deserialize)]
struct Answer {
    access_token: Option<Secret>,
    expires_in: Option<u64>,
}

impl GoogleExchange {
    pub(super) fn new(keys: &GoogleKeys, config: &Arc<CloudConfig>, http: Http) -> Self {
        let secrets = match keys {
            GoogleKeys::ServiceAccount(account) => vec![&account.private_key],
            GoogleKeys::User(user) => vec![&user.client_secret, &user.refresh_token],
        };
        let redactor = Redactor::new(secrets);
        Self { keys: keys.clone(), config: config.clone(), http, limit: config.limit.unwrap_or(LIMIT), redactor }
    }

    async fn ask(&self) -> Result<Token, ProviderError> {
        let answer = tokio::time::timeout(self.limit, self.answer()).await;
        let timed_out = |_| ProviderError::TimedOut { issuer: self.issuer(), seconds: self.limit.as_secs() };
        let (issued_at, answer) = answer.map_err(timed_out)??;
        let password = answer.access_token.filter(|token| !token.is_empty()).ok_or_else(|| {
            ProviderError::Unusable { issuer: self.issuer(), words: "an answer without an access_token".to_owned() }
        })?;
        let login = BasicLogin { username: GOOGLE_TOKEN_USER.to_owned(), password };
        let token = Token { login, issued_at, expires_at: end(issued_at, answer.expires_in) };
        tracing::debug!(expires_at = %token.expires_at, "Google token received");
        Ok(token)
    }

    /// The answer, and when it was asked for: its end is counted from then.
    async fn answer(&self) -> Result<(OffsetDateTime, Answer), ProviderError> {
        let now = OffsetDateTime::now_utc();
        let answer = match &self.keys {
            GoogleKeys::ServiceAccount(account) => {
                let assertion = assertion(account, now)?;
                let fields = [("grant_type", JWT_BEARER), ("assertion", assertion.expose())];
                self.post(&fields, &knowing(&self.redactor, &assertion)).await
            }
            GoogleKeys::User(user) => self.post(&refresh(user), &self.redactor).await,
        };
        Ok((now, answer?))
    }

    async fn post(&self, fields: &Fields<'_>, redactor: &Redactor) -> Result<Answer, ProviderError> {
        let url = self.keys.token_endpoint(self.config.google_endpoint.as_deref());
        let url = url.map_err(|error| ProviderError::Keys { words: error.to_string() })?;
        Endpoint { http: &self.http, url, issuer: &self.issuer(), redactor }.post(fields).await
    }
}

impl Exchange for GoogleExchange {
    async fn exchange(&self) -> Result<Token, ProviderError> {
        let span = tracing::info_span!(
            "exchange",
            otel.name = "google token",
            otel.kind = "client",
            otel.status_code = tracing::field::Empty,
            otel.status_description = tracing::field::Empty,
        );
        let outcome = self.ask().instrument(span.clone()).await;
        trace::record_outcome(&span, outcome.as_ref().err());
        outcome
    }

    fn issuer(&self) -> String {
        let endpoint = self.keys.token_endpoint(self.config.google_endpoint.as_deref());
        endpoint.map_or_else(|_| "Google".to_owned(), |url| format!("Google at {}", host_of(url)))
    }

    fn cred_type(&self) -> CredType {
        CredType::Gcp
    }
}

/// Says who asks, for what and until when ("Using OAuth 2.0 for Server to Server Applications").
fn assertion(account: &ServiceAccount, now: OffsetDateTime) -> Result<Secret, ProviderError> {
    let mut header = json!({ "alg": "RS256", "typ": "JWT" });
    if let (Some(id), Some(header)) = (&account.key_id, header.as_object_mut()) {
        header.insert("kid".to_owned(), id.as_str().into());
    }
    let issued = now.unix_timestamp().saturating_sub(CLOCK_SKEW);
    let claims = json!({
        "iss": account.email,
        "scope": SCOPE,
        "aud": account.token_uri,
        "iat": issued,
        "exp": issued.saturating_add(ASSERTION_LIFE),
    });
    rs256::sign(&header, &claims, &account.private_key).map_err(|error| ProviderError::Keys {
        words: format!("GOOGLE_APPLICATION_CREDENTIALS.private_key cannot be used: {error}"),
    })
}

/// RFC 6749, section 6. Without a scope the token is for what its owner consented to.
fn refresh(user: &GoogleUser) -> [(&'static str, &str); 4] {
    [
        ("grant_type", "refresh_token"),
        ("client_id", &user.client_id),
        ("client_secret", user.client_secret.expose()),
        ("refresh_token", user.refresh_token.expose()),
    ]
}

#[cfg(test)]
mod tests;
