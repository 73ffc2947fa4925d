//! Token endpoints, mostly of OAuth 2.0 (RFC 6749): a form goes there, and a token or the cloud's own words come back.

use std::time::Duration;

use reqwest::{
    StatusCode,
    header::{CONTENT_TYPE, RETRY_AFTER},
};
use serde::de::DeserializeOwned;
use serde_json::Value;
use time::OffsetDateTime;
use waybill_domain::credentials::Secret;
use zeroize::Zeroizing;

use super::{ProviderError, rest::retry_after};
use crate::{
    pull::{connection, proxy::Proxies},
    trace::chain,
    words,
};

const CONNECT_LIMIT: Duration = Duration::from_secs(5);
/// Pauses before the second and the third attempt.
const PAUSES: [Duration; 2] = [Duration::from_millis(200), Duration::from_millis(400)];
/// Whoever asks for more patience than this is asked again another time.
const LONGEST_PAUSE: Duration = Duration::from_secs(2);
const MOST_BYTES: usize = 256 * 1024;
/// No cloud's token lives longer than this is believed.
const LONGEST_LIFE: u64 = 24 * 3600;
const USER_AGENT: &str = concat!("waybill/", env!("CARGO_PKG_VERSION"));

/// One HTTP client for every set of keys, or why there is none. It follows no redirects: whoever is sent a secret is who
/// was meant.
#[derive(Clone)]
pub(super) struct Http(Result<reqwest::Client, String>);

impl Http {
    /// A client that trusts these certificate authorities too.
    pub(super) fn new(ca: Option<&[u8]>) -> Self {
        // A provider that is installed already is just as good.
        let _ = rustls::crypto::ring::default_provider().install_default();
        Self(client(ca).map_err(|error| chain(&error)))
    }
}

fn client(ca: Option<&[u8]>) -> reqwest::Result<reqwest::Client> {
    let trusted = ca.map(reqwest::Certificate::from_pem_bundle).transpose()?;
    let builder = reqwest::Client::builder()
        .redirect(reqwest::redirect::Policy::none())
        .tls_certs_merge(trusted.unwrap_or_default())
        .connect_timeout(CONNECT_LIMIT)
        .user_agent(USER_AGENT);
    builder.build()
}

/// An endpoint, and how it is called in errors.
pub(super) struct Endpoint<'e> {
    pub(super) http: &'e Http,
    pub(super) url: &'e str,
    /// Such as `Google at oauth2.googleapis.com`.
    pub(super) issuer: &'e str,
}

/// What a form carries, in order.
pub(super) type Fields<'f> = [(&'f str, &'f str)];

/// What is posted.
enum Question<'q> {
    Form(&'q Fields<'q>),
    /// As whoever the token is of.
    Json(&'q Value, &'q Secret),
}

impl Endpoint<'_> {
    /// Posts the form until there is an answer that stands: three times at most, as AWS's own client does.
    pub(super) async fn post<A: DeserializeOwned>(&self, fields: &Fields<'_>) -> Result<A, ProviderError> {
        self.ask_patiently(&Question::Form(fields)).await
    }

    /// Likewise a JSON body, with a bearer token.
    pub(super) async fn post_json<A: DeserializeOwned>(
        &self,
        body: &Value,
        bearer: &Secret,
    ) -> Result<A, ProviderError> {
        self.ask_patiently(&Question::Json(body, bearer)).await
    }

    /// The token in an answer, which must have one.
    pub(super) fn given(&self, token: Option<Secret>, a_field: &str) -> Result<Secret, ProviderError> {
        let token = token.filter(|token| !token.is_empty());
        token.ok_or_else(|| self.unusable_error(&format!("an answer without {a_field}")))
    }

    async fn ask_patiently<A: DeserializeOwned>(&self, question: &Question<'_>) -> Result<A, ProviderError> {
        for pause in PAUSES {
            let error = match self.attempt_once(question).await {
                Err(error) if error.is_passing() => error,
                outcome => return outcome,
            };
            let pause = error.retry_after().map_or(pause, |asked| asked.max(pause));
            if pause > LONGEST_PAUSE {
                return Err(error);
            }
            tracing::debug!(%error, "asking for the token again");
            tokio::time::sleep(pause).await;
        }
        self.attempt_once(question).await
    }

    async fn attempt_once<A: DeserializeOwned>(&self, question: &Question<'_>) -> Result<A, ProviderError> {
        let client = self.http.0.as_ref();
        let client = client.map_err(|error| self.unusable_error(&format!("no client can be made: {error}")))?;
        let request = client.post(self.url);
        let request = match question {
            Question::Form(fields) => {
                let form = form_urlencoded::Serializer::new(String::new()).extend_pairs(*fields).finish();
                request.header(CONTENT_TYPE, "application/x-www-form-urlencoded").body(form)
            }
            Question::Json(body, bearer) => {
                let request = request.bearer_auth(bearer.expose());
                request.header(CONTENT_TYPE, "application/json").body(body.to_string())
            }
        };
        let answer = request.send().await.map_err(|error| self.connection_error(&error))?;
        let status = answer.status();
        let asked = answer.headers().get(RETRY_AFTER).and_then(|header| header.to_str().ok());
        let asked = asked.and_then(|header| retry_after(header, OffsetDateTime::now_utc()));
        let body = self.read_body(answer).await?;
        if !status.is_success() {
            return Err(self.refusal_error(status, &body, asked));
        }
        serde_json::from_slice(&body).map_err(|_| self.unusable_error(&unreadable_words(status)))
    }

    async fn read_body(&self, mut answer: reqwest::Response) -> Result<Zeroizing<Vec<u8>>, ProviderError> {
        let mut body = Zeroizing::new(Vec::new());
        while let Some(part) = answer.chunk().await.map_err(|error| self.connection_error(&error))? {
            if body.len().saturating_add(part.len()) > MOST_BYTES {
                return Err(self.unusable_error("an answer that is far too long"));
            }
            body.extend_from_slice(&part);
        }
        Ok(body)
    }

    fn refusal_error(&self, status: StatusCode, body: &[u8], retry_after: Option<Duration>) -> ProviderError {
        let issuer = self.issuer.to_owned();
        let words = serde_json::from_slice::<Value>(body).ok().as_ref().and_then(read_refusal);
        if status == StatusCode::TOO_MANY_REQUESTS || status.is_server_error() {
            let words = words.unwrap_or_else(|| unreadable_words(status));
            return ProviderError::Unavailable { issuer, words, retry_after };
        }
        words.map_or_else(
            || self.unusable_error(&unreadable_words(status)),
            |words| ProviderError::Refused { issuer, words },
        )
    }

    fn connection_error(&self, error: &reqwest::Error) -> ProviderError {
        let issuer = self.issuer.to_owned();
        if error.is_timeout() {
            return ProviderError::TimedOut { issuer, seconds: CONNECT_LIMIT.as_secs() };
        }
        let proxies = Proxies::from_env().unwrap_or_default();
        let (_, words) = connection::classify_failure(error, error.url().and_then(|url| proxies.proxy_for(url)));
        ProviderError::Unreachable { issuer, words }
    }

    fn unusable_error(&self, words: &str) -> ProviderError {
        ProviderError::Unusable { issuer: self.issuer.to_owned(), words: words.to_owned() }
    }
}

fn unreadable_words(status: StatusCode) -> String {
    format!("an answer with status {} that cannot be read", status.as_u16())
}

/// The codes of a refusal and what may be told of its words: `error` and `error_description` (RFC 6749, section 5.2) with
/// Entra ID's `error_codes`, Google's `error.status` and `error.message`, or a registry's `errors` (OCI distribution
/// specification, "Error Codes"). A secret was sent, so that the words may repeat it.
fn read_refusal(body: &Value) -> Option<String> {
    let text = |object: &Value, key: &str| object.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
    let first = |key: &str| body.get(key).and_then(|list| list.get(0));
    let (code, words) = match (body.get("error"), first("errors")) {
        (Some(error @ Value::Object(_)), _) => (text(error, "status"), text(error, "message")),
        (Some(_), _) => (text(body, "error"), text(body, "error_description")),
        (None, Some(error)) => (text(error, "code"), text(error, "message")),
        (None, None) => return None,
    };
    let number = first("error_codes").and_then(Value::as_u64).map(|number| format!("AADSTS{number}"));
    let codes: Vec<&str> = [words::read_code(&code), number.as_deref()].into_iter().flatten().collect();
    Some(words::tell_error(&codes.join(": "), &words, true)).filter(|told| !told.is_empty())
}

/// An exchange that ends in time.
pub(super) async fn limit_time<T>(
    limit: Duration,
    issuer: String,
    exchange: impl Future<Output = Result<T, ProviderError>>,
) -> Result<T, ProviderError> {
    let timed_out = |_| ProviderError::TimedOut { issuer, seconds: limit.as_secs() };
    tokio::time::timeout(limit, exchange).await.map_err(timed_out)?
}

/// `scheme://host[:port]/…` without all but the host.
pub(super) fn host_of(url: &str) -> String {
    let parsed = reqwest::Url::parse(url).ok();
    parsed.and_then(|url| url.host_str().map(str::to_owned)).unwrap_or_else(|| "an address without a host".to_owned())
}

/// The end of a token that lives this many seconds; without an end it serves once.
pub(super) fn token_end(issued_at: OffsetDateTime, seconds: Option<u64>) -> OffsetDateTime {
    issued_at + Duration::from_secs(seconds.unwrap_or(0).min(LONGEST_LIFE))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_refusal_is_told_by_its_codes() {
        let aad = json!({"error": "invalid_client", "error_codes": [7000215],
            "error_description": "AADSTS7000215: Invalid client secret provided. s3cr3t Trace ID: 1"});
        let cases = [
            (json!({"error": "invalid_grant", "error_description": "Bad Request: s3cr3t"}), Some("invalid_grant")),
            (
                json!({"error": "invalid_grant", "error_description": "Invalid JWT Signature."}),
                Some("invalid_grant: Invalid JWT Signature."),
            ),
            (json!({"error": "invalid_client"}), Some("invalid_client")),
            (aad, Some("invalid_client: AADSTS7000215: Invalid client secret provided.")),
            (json!({"error": {"code": 429, "status": "QUOTA", "message": "later"}}), Some("QUOTA")),
            (json!({"errors": [{"code": "UNAUTHORIZED", "message": "no"}]}), Some("UNAUTHORIZED")),
            (json!({"errors": []}), None),
            (json!({"error": 5}), None),
            (json!({"error": "the secret s3cr3t is wrong"}), None),
            (json!(["error"]), None),
            (json!("error"), None),
        ];
        for (body, expected) in cases {
            assert_eq!(read_refusal(&body).as_deref(), expected, "{body}");
        }
    }
}
