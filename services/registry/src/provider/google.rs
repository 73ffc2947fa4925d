//! Google: a service account's key, a user's refresh token or the token of a federated identity is exchanged for an access
//! token.

use std::sync::Arc;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use futures_util::{FutureExt as _, future::BoxFuture};
use rustls::{
    SignatureScheme,
    crypto::ring::sign::RsaSigningKey,
    pki_types::{PrivateKeyDer, pem::PemObject as _},
    sign::SigningKey as _,
};
use serde::Deserialize;
use serde_json::{Value, json};
use time::OffsetDateTime;
use waybill_domain::credentials::{
    BasicLogin, ExternalAccount, GOOGLE_TOKEN_USER, GoogleKeys, GoogleUser, Secret, ServiceAccount,
};
use waybill_schemas::{Timestamp, v1::CredType};

use super::{
    CloudConfig, ProviderError,
    oauth::{Endpoint, Http, host_of, limit_time, token_end},
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
        Self { keys: keys.clone(), config: config.clone(), http }
    }

    async fn fetch_token(&self) -> Result<Token, ProviderError> {
        let token = limit_time(self.config.limit(), self.issuer(), self.exchange_keys()).await?;
        tracing::debug!(expires_at = %token.expires_at, "Google token received");
        Ok(token)
    }

    /// The token; its end is counted from when it was asked for.
    async fn exchange_keys(&self) -> Result<Token, ProviderError> {
        let now = OffsetDateTime::now_utc();
        let endpoint = Endpoint { http: &self.http, url: self.token_endpoint_url(), issuer: &self.issuer() };
        let answer: Answer = match &self.keys {
            GoogleKeys::ServiceAccount(account) => {
                let assertion = assertion(account, self.keys.token_endpoint(), now)?;
                endpoint.post(&[("grant_type", JWT_BEARER), ("assertion", assertion.expose())]).await?
            }
            GoogleKeys::User(user) => endpoint.post(&refresh(user)).await?,
            GoogleKeys::External(account) => endpoint.post(&exchange(account)).await?,
        };
        let password = endpoint.given(answer.access_token, "an access_token")?;
        match &self.keys {
            GoogleKeys::External(ExternalAccount { service_account: Some(account), .. }) => {
                self.impersonate(account, &password).await
            }
            _ => Ok(login(password, now, token_end(now, answer.expires_in.as_ref().and_then(seconds)))),
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
        let password = endpoint.given(answer.access_token, "an accessToken")?;
        let expires_at = answer.expire_time.and_then(|time| time.parse().ok()).map(Timestamp::instant);
        // Without an end it serves once.
        Ok(login(password, now, expires_at.unwrap_or(now).min(token_end(now, Some(u64::MAX)))))
    }

    /// The operator's endpoint if there is one.
    fn token_endpoint_url(&self) -> &str {
        self.config.google_endpoint.as_deref().unwrap_or(self.keys.token_endpoint())
    }
}

impl Exchange for GoogleExchange {
    fn exchange(&self) -> BoxFuture<'_, Result<Token, ProviderError>> {
        trace_exchange("google token", self.fetch_token()).boxed()
    }

    fn issuer(&self) -> String {
        format!("Google at {}", host_of(self.token_endpoint_url()))
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
    // What is wrong with a key in detail might repeat it.
    sign(&header, &claims, &account.private_key).ok_or_else(|| ProviderError::Keys {
        words:
            "GOOGLE_APPLICATION_CREDENTIALS.private_key cannot be used: expected an RSA key in PEM, of 2048 bits or \
                more"
                .to_owned(),
    })
}

/// A signed JSON Web Token (RFC 7515) with RS256; none where the key is no RSA key in PEM (PKCS #1 or PKCS #8) that the ring
/// of TLS takes.
fn sign(header: &Value, claims: &Value, key: &Secret) -> Option<Secret> {
    let der = PrivateKeyDer::from_pem_slice(key.expose().as_bytes()).ok()?;
    let signer = RsaSigningKey::new(&der).ok()?.choose_scheme(&[SignatureScheme::RSA_PKCS1_SHA256])?;
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let message = format!("{}.{}", part(header), part(claims));
    let signature = signer.sign(message.as_bytes()).ok()?;
    Some(Secret::from(format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature))))
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
