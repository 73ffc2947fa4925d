//! Google: a service account's key, a user's refresh token or the token of a federated identity is exchanged for an access
//! token.

use std::{sync::Arc, time::Duration};

use serde::Deserialize;
use serde_json::json;
use time::OffsetDateTime;
use waybill_domain::credentials::{
    BasicLogin, ExternalAccount, GOOGLE_TOKEN_USER, GoogleKeys, GoogleUser, Secret, ServiceAccount,
};
use waybill_schemas::{Timestamp, v1::CredType};

use super::{
    ProviderError,
    clouds::CloudConfig,
    oauth::{Endpoint, Fields, Http, LIMIT, end, host_of},
    rs256,
    token::{Exchange, Token},
};
use crate::{number::seconds, trace::trace_exchange};

/// All that a pull needs, of Artifact Registry as of gcr.io ("Deploying to Compute Engine": read-only storage access).
const SCOPE: &str = "https://www.googleapis.com/auth/devstorage.read_only";
/// What a federated identity's own token has to be for, whatever is done with it (AIP-4117).
const FEDERATED_SCOPE: &str = "https://www.googleapis.com/auth/cloud-platform";
/// RFC 8693, sections 2.1 and 3.
const TOKEN_EXCHANGE: &str = "urn:ietf:params:oauth:grant-type:token-exchange";
const ACCESS_TOKEN: &str = "urn:ietf:params:oauth:token-type:access_token";
/// Where a federated identity becomes a service account.
const IAM: &str = "https://iamcredentials.googleapis.com";
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
}

#[derive(Deserialize)]
struct Answer {
    access_token: Option<Secret>,
    /// A number, but not everywhere.
    expires_in: Option<serde_json::Value>,
}

/// "Method: projects.serviceAccounts.generateAccessToken".
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Impersonated {
    access_token: Option<Secret>,
    expire_time: Option<String>,
}

impl GoogleExchange {
    pub(super) fn new(keys: &GoogleKeys, config: &Arc<CloudConfig>, http: Http) -> Self {
        Self { keys: keys.clone(), config: config.clone(), http, limit: config.limit.unwrap_or(LIMIT) }
    }

    async fn ask(&self) -> Result<Token, ProviderError> {
        let token = tokio::time::timeout(self.limit, self.token()).await;
        let timed_out = |_| ProviderError::TimedOut { issuer: self.issuer(), seconds: self.limit.as_secs() };
        let token = token.map_err(timed_out)??;
        tracing::debug!(expires_at = %token.expires_at, "Google token received");
        Ok(token)
    }

    /// The token; its end is counted from when it was asked for.
    async fn token(&self) -> Result<Token, ProviderError> {
        let now = OffsetDateTime::now_utc();
        let answer = match &self.keys {
            GoogleKeys::ServiceAccount(account) => {
                let assertion = assertion(account, self.keys.token_endpoint(), now)?;
                let fields = [("grant_type", JWT_BEARER), ("assertion", assertion.expose())];
                self.post(&fields).await?
            }
            GoogleKeys::User(user) => self.post(&refresh(user)).await?,
            GoogleKeys::External(account) => self.post(&exchange(account)).await?,
        };
        let password = given(answer.access_token, &self.issuer(), "an answer without an access_token")?;
        match &self.keys {
            GoogleKeys::External(ExternalAccount { service_account: Some(account), .. }) => {
                self.impersonate(account, &password).await
            }
            _ => Ok(login(password, now, end(now, answer.expires_in.as_ref().and_then(seconds)))),
        }
    }

    /// The service account's token, in exchange for that of an identity that may act as it.
    async fn impersonate(&self, account: &str, identity: &Secret) -> Result<Token, ProviderError> {
        let base = self.config.google_iam_endpoint.as_deref().unwrap_or(IAM).trim_end_matches('/');
        let url = format!("{base}/v1/projects/-/serviceAccounts/{account}:generateAccessToken");
        let issuer = format!("Google at {}", host_of(&url));
        let endpoint = Endpoint { http: &self.http, url: &url, issuer: &issuer };
        let now = OffsetDateTime::now_utc();
        let body = json!({ "scope": [SCOPE], "lifetime": "3600s" });
        let answer: Impersonated = endpoint.post_json(&body, identity).await?;
        let password = given(answer.access_token, &issuer, "an answer without an accessToken")?;
        let expires_at = answer.expire_time.and_then(|time| time.parse().ok()).map(Timestamp::instant);
        // Without an end it serves once.
        Ok(login(password, now, expires_at.unwrap_or(now).min(end(now, Some(u64::MAX)))))
    }

    /// The operator's endpoint if there is one.
    fn endpoint(&self) -> &str {
        self.config.google_endpoint.as_deref().unwrap_or(self.keys.token_endpoint())
    }

    async fn post(&self, fields: &Fields<'_>) -> Result<Answer, ProviderError> {
        let url = self.endpoint();
        Endpoint { http: &self.http, url, issuer: &self.issuer() }.post(fields).await
    }
}

impl Exchange for GoogleExchange {
    async fn exchange(&self) -> Result<Token, ProviderError> {
        trace_exchange("google token", self.ask()).await
    }

    fn issuer(&self) -> String {
        format!("Google at {}", host_of(self.endpoint()))
    }

    fn cred_type(&self) -> CredType {
        CredType::Gcp
    }
}

/// Says who asks, for what and until when ("Using OAuth 2.0 for Server to Server Applications").
fn assertion(account: &ServiceAccount, audience: &str, now: OffsetDateTime) -> Result<Secret, ProviderError> {
    let mut header = json!({ "alg": "RS256", "typ": "JWT" });
    if let (Some(id), Some(header)) = (&account.key_id, header.as_object_mut()) {
        header.insert("kid".to_owned(), id.as_str().into());
    }
    let issued = now.unix_timestamp().saturating_sub(CLOCK_SKEW);
    let claims = json!({
        "iss": account.email,
        "scope": SCOPE,
        "aud": audience,
        "iat": issued,
        "exp": issued.saturating_add(ASSERTION_LIFE),
    });
    rs256::sign(&header, &claims, &account.private_key).map_err(|error| ProviderError::Keys {
        words: format!("GOOGLE_APPLICATION_CREDENTIALS.private_key cannot be used: {error}"),
    })
}

fn given(token: Option<Secret>, issuer: &str, otherwise: &str) -> Result<Secret, ProviderError> {
    let unusable = || ProviderError::Unusable { issuer: issuer.to_owned(), words: otherwise.to_owned() };
    token.filter(|token| !token.is_empty()).ok_or_else(unusable)
}

fn login(password: Secret, issued_at: OffsetDateTime, expires_at: OffsetDateTime) -> Token {
    Token { login: BasicLogin { username: GOOGLE_TOKEN_USER.to_owned(), password }, issued_at, expires_at }
}

/// AIP-4117, "Token exchange".
fn exchange(account: &ExternalAccount) -> [(&'static str, &str); 6] {
    [
        ("grant_type", TOKEN_EXCHANGE),
        ("audience", &account.audience),
        ("scope", FEDERATED_SCOPE),
        ("requested_token_type", ACCESS_TOKEN),
        ("subject_token", account.subject_token.expose()),
        ("subject_token_type", &account.subject_token_type),
    ]
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
