//! What all calls to AWS share: one connection, the supplied keys and no others, and refusals in AWS's own words.

use std::{error::Error, future::Future, time::Duration};

use aws_credential_types::{Credentials, provider::SharedCredentialsProvider};
use aws_sdk_ecr::{
    config::{
        BehaviorVersion, Region, SharedHttpClient, http::HttpResponse, retry::RetryConfig, timeout::TimeoutConfig,
    },
    error::{ProvideErrorMetadata, SdkError},
};
use aws_smithy_http_client::tls::{Provider as TlsProvider, TlsContext, TrustStore, rustls_provider::CryptoMode};
use aws_types::SdkConfig;
use time::OffsetDateTime;
use tokio::time::Instant;
use tracing::{Instrument as _, field::Empty, instrument::WithSubscriber as _, subscriber::NoSubscriber};

use super::{ProviderError, rest::retry_after};
use crate::{trace::record_outcome, words};

const CONNECT_LIMIT: Duration = Duration::from_secs(5);
const ATTEMPTS: u32 = 3;
const FIRST_PAUSE: Duration = Duration::from_millis(200);

/// One HTTP client for every set of keys: requests are signed one by one, and loading the trust store is slow.
/// `ca` is valid PEM: the SDK panics over anything else.
pub(super) fn http_client(ca: Option<&[u8]>) -> SharedHttpClient {
    let builder = aws_smithy_http_client::Builder::new().tls_provider(TlsProvider::Rustls(CryptoMode::Ring));
    let trusted = ca.map(|pem| TrustStore::default().with_pem_certificate(pem));
    let context = trusted.and_then(|store| TlsContext::builder().with_trust_store(store).build().ok());
    builder.tls_context(context.unwrap_or_default()).build_https()
}

/// Only the given keys are used: no profile, no environment, no metadata service.
pub(super) fn sdk_config(keys: Credentials, region: &str, http: SharedHttpClient) -> SdkConfig {
    SdkConfig::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new(region.to_owned()))
        .credentials_provider(SharedCredentialsProvider::new(keys))
        .retry_config(RetryConfig::standard().with_max_attempts(ATTEMPTS).with_initial_backoff(FIRST_PAUSE))
        .timeout_config(TimeoutConfig::builder().connect_timeout(CONNECT_LIMIT).build())
        .http_client(http)
        .build()
}

/// One call of an operation.
pub(super) struct Call<'c> {
    /// The service, such as `ECR`.
    pub(super) service: &'static str,
    /// The operation, such as `GetAuthorizationToken`.
    pub(super) method: &'static str,
    pub(super) region: &'c str,
    /// When it must have ended, retries included.
    pub(super) until: Instant,
    /// How long that is, for people.
    pub(super) limit: Duration,
    /// True if the call itself carries a secret. A signature is none, and the key that signs is not sent.
    pub(super) sends_secret: bool,
}

impl Call<'_> {
    /// Who is asked, for errors.
    pub(super) fn issuer(&self) -> String {
        format!("{} in {}", self.service, self.region)
    }

    /// Makes the call, in a span of its own.
    pub(super) async fn make_call<T, E: ProvideErrorMetadata>(
        &self,
        request: impl Future<Output = Result<T, SdkError<E, HttpResponse>>>,
    ) -> Result<T, ProviderError> {
        let span = tracing::info_span!(
            "exchange",
            otel.name = format!("{} {}", self.service.to_ascii_lowercase(), self.method),
            otel.kind = "client",
            rpc.system = "aws-api",
            rpc.service = self.service,
            rpc.method = self.method,
            cloud.region = self.region,
            error.r#type = Empty,
            otel.status_code = Empty,
            otel.status_description = Empty,
        );
        // At TRACE the SDK prints the answer as it came, with the token: it gets no subscriber at all.
        let request = tokio::time::timeout_at(self.until, request.with_subscriber(NoSubscriber::new()));
        let outcome = match request.instrument(span.clone()).await {
            Ok(answer) => answer.map_err(|error| self.classify_failure(&error)),
            Err(_) => Err(self.timed_out()),
        };
        record_outcome(&span, outcome.as_ref().err());
        outcome
    }

    /// The error for an answer that holds no token.
    pub(super) fn unusable_error(&self, words: &str) -> ProviderError {
        ProviderError::Unusable { issuer: self.issuer(), words: words.to_owned() }
    }

    fn timed_out(&self) -> ProviderError {
        ProviderError::TimedOut { issuer: self.issuer(), seconds: self.limit.as_secs() }
    }

    fn refusal_error(&self, error: &impl ProvideErrorMetadata, answer: &HttpResponse) -> ProviderError {
        let status = answer.status().as_u16();
        let unreadable = || format!("an answer with status {status} that cannot be read");
        let told = error.code().map(|code| {
            words::tell_aws_error(
                words::read_code(code).unwrap_or_default(),
                error.message().unwrap_or_default(),
                self.sends_secret,
            )
        });
        if is_passing(status, error.code().unwrap_or_default()) {
            let asked = answer.headers().get("retry-after");
            let retry_after = asked.and_then(|header| retry_after(header, OffsetDateTime::now_utc()));
            let words = told.unwrap_or_else(unreadable);
            return ProviderError::Unavailable { issuer: self.issuer(), words, retry_after };
        }
        match told {
            Some(words) => ProviderError::Refused { issuer: self.issuer(), words },
            None => self.unusable_error(&unreadable()),
        }
    }

    /// The SDK's own texts repeat requests and answers; what is told is the code, the message, or the innermost cause.
    fn classify_failure<E: ProvideErrorMetadata>(&self, error: &SdkError<E, HttpResponse>) -> ProviderError {
        match error {
            SdkError::ServiceError(refused) => self.refusal_error(refused.err(), refused.raw()),
            SdkError::TimeoutError(_) => self.timed_out(),
            SdkError::DispatchFailure(failure) if failure.is_timeout() => self.timed_out(),
            SdkError::DispatchFailure(failure) => {
                let cause = failure.as_connector_error().map_or_else(|| "no connection".to_owned(), innermost_cause);
                ProviderError::Unreachable { issuer: self.issuer(), words: cause }
            }
            SdkError::ResponseError(_) => self.unusable_error("an answer that cannot be read"),
            _ => self.unusable_error("the request cannot be made"),
        }
    }
}

/// Whether AWS cannot answer at the moment. It says that it was asked too often with status 400 ("Common error types").
fn is_passing(status: u16, code: &str) -> bool {
    let busy =
        ["TooManyRequestsException", "RequestLimitExceeded", "RequestTimeout", "RequestTimeoutException", "SlowDown"];
    status == 429 || status >= 500 || code.contains("Throttl") || busy.contains(&code)
}

fn innermost_cause(error: &(impl Error + 'static)) -> String {
    let mut cause: &dyn Error = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_passes_and_what_is_a_refusal() {
        let cases = [
            (400, "ThrottlingException", true),
            (400, "Throttling", true),
            (400, "TooManyRequestsException", true),
            (429, "", true),
            (500, "ServerException", true),
            (503, "", true),
            (400, "UnrecognizedClientException", false),
            (400, "ExpiredTokenException", false),
            (403, "AccessDeniedException", false),
            (404, "", false),
        ];
        for (status, code, expected) in cases {
            assert_eq!(is_passing(status, code), expected, "{status} {code}");
        }
    }
}
