//! A manifest's request: its answer is bounded, since it is held in memory, and verified against its digests.
//!
//! oci-client reads manifests of any size.

use bytes::Bytes;
use oci_client::errors::{DigestError, OciDistributionError, OciEnvelope};
use reqwest::{RequestBuilder, Response, StatusCode, Url, header::LOCATION};
use sha2::{Digest as _, Sha256, Sha384, Sha512};

use super::{manifest::Document, transport::read_bounded};

/// The largest manifest that registries need to take (OCI distribution specification, "Pushing Manifests").
const MOST_BYTES: usize = 4 * 1024 * 1024;
const MOST_REDIRECTS: usize = 5;
const MOST_WORDS: usize = 256 * 1024;

/// Gets a manifest, which must have the wanted digest if there is one. `ask` makes a request, with credentials if told that
/// it goes to the registry itself.
pub(super) async fn get(
    url: &str,
    wanted: Option<&str>,
    ask: impl Fn(Url, bool) -> RequestBuilder,
) -> Result<Document, OciDistributionError> {
    let answer = follow(url, ask).await?;
    if answer.status() != StatusCode::OK {
        return Err(refusal(answer).await);
    }
    let header = answer.headers().get("docker-content-digest").map(|value| value.to_str().map(str::to_owned));
    let header = header.transpose().map_err(DigestError::from)?.filter(|digest| !digest.is_empty());
    let too_large = || OciDistributionError::SpecViolationError("the manifest has more than 4 MiB".to_owned());
    let body = read_bounded(answer, MOST_BYTES).await?.ok_or_else(too_large)?;
    let digest = verify(&body, header.as_deref(), wanted)?;
    Ok(Document { body: Bytes::from(body), digest })
}

/// The first answer that is no redirect, or the last one of too many. Whoever is not the registry gets no credentials.
async fn follow(url: &str, ask: impl Fn(Url, bool) -> RequestBuilder) -> Result<Response, OciDistributionError> {
    let url = Url::parse(url).map_err(|error| OciDistributionError::UrlParseError(error.to_string()))?;
    let (registry, mut answer) = (url.origin(), ask(url, true).send().await?);
    for _ in 0..MOST_REDIRECTS {
        let Some(next) = next(&answer) else { break };
        let at_registry = next.origin() == registry;
        answer = ask(next, at_registry).send().await?;
    }
    Ok(answer)
}

fn next(answer: &Response) -> Option<Url> {
    let location = answer.headers().get(LOCATION).filter(|_| answer.status().is_redirection())?;
    answer.url().join(location.to_str().ok()?).ok()
}

async fn refusal(answer: Response) -> OciDistributionError {
    let (status, url) = (answer.status(), answer.url().to_string());
    if status == StatusCode::UNAUTHORIZED {
        return OciDistributionError::UnauthorizedError { url };
    }
    let body = read_bounded(answer, MOST_WORDS).await.ok().flatten().unwrap_or_default();
    match serde_json::from_slice::<OciEnvelope>(&body) {
        Ok(envelope) if status.is_client_error() => OciDistributionError::RegistryError { envelope, url },
        _ => {
            let message = String::from_utf8_lossy(&body).into_owned();
            OciDistributionError::ServerError { code: status.as_u16(), url, message }
        }
    }
}

/// The content's digest: as the registry says it, as it was wanted, or else SHA-256. What is said and what is wanted must
/// both be right.
fn verify(body: &[u8], said: Option<&str>, wanted: Option<&str>) -> Result<String, DigestError> {
    for expected in wanted.iter().chain(&said) {
        let actual = digest_like(expected, body)?;
        if actual != **expected {
            return Err(DigestError::VerificationError { expected: (*expected).to_owned(), actual });
        }
    }
    said.or(wanted).map_or_else(|| digest_like("sha256:", body), |digest| Ok(digest.to_owned()))
}

/// The content's digest by the algorithm of another one.
fn digest_like(other: &str, body: &[u8]) -> Result<String, DigestError> {
    let (algorithm, _) = other.split_once(':').ok_or(DigestError::MissingAlgorithm)?;
    let digest = match algorithm {
        "sha256" => Sha256::digest(body).to_vec(),
        "sha384" => Sha384::digest(body).to_vec(),
        "sha512" => Sha512::digest(body).to_vec(),
        other => return Err(DigestError::UnsupportedAlgorithm(other.to_owned())),
    };
    let hex: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    Ok(format!("{algorithm}:{hex}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_digest_must_be_right() {
        let (body, own) = (b"{}", |algorithm: &str| digest_like(algorithm, b"{}").unwrap());
        let (sha256, sha512) = (own("sha256:"), own("sha512:"));
        assert_eq!(sha256, "sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a");
        let wrong = format!("sha256:{}", "0".repeat(64));
        let (s256, s512, no) = (Some(sha256.as_str()), Some(sha512.as_str()), Some(wrong.as_str()));
        let cases = [
            (None, None, s256),
            (s256, None, s256),
            (None, s256, s256),
            (s512, None, s512),
            (s512, s256, s512),
            (s256, s512, s256),
            (no, None, None),
            (None, no, None),
            (no, s256, None),
            (s256, no, None),
            (Some("md5:00"), None, None),
            (Some("nothing"), s256, None),
        ];
        for (said, wanted, expected) in cases {
            assert_eq!(verify(body, said, wanted).ok().as_deref(), expected, "{said:?} {wanted:?}");
        }
    }
}
