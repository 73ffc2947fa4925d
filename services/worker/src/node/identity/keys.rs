//! The issuer's public keys: from a file, or from where its discovery document leads; fetched again when a token names one
//! that is not among them.

use std::{
    fs,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use jsonwebtoken::jwk::{Jwk, JwkSet};
use serde::{Deserialize, de::DeserializeOwned};
use tokio::sync::Mutex;

/// How long the issuer may take for one document.
const LIMIT: Duration = Duration::from_secs(5);
/// How long keys are used without another look: a key that the cluster dropped is good for nothing then.
const LONGEST: Duration = Duration::from_secs(600);
/// Largest document, in bytes.
const MOST_BYTES: usize = 256 * 1024;

/// Where keys come from.
#[derive(Debug)]
pub(super) enum Source {
    /// A JWK set (RFC 7517).
    File(PathBuf),
    /// OpenID Connect Discovery 1.0, section 4.
    Issuer { issuer: String, http: reqwest::Client },
}

impl Source {
    /// An issuer that is asked over HTTPS; plain HTTP on this machine only, as in tests.
    pub(super) fn issuer(issuer: &str, ca: Option<&[u8]>) -> Result<Self, String> {
        if !is_safe(issuer) {
            return Err("issuer: it is no https:// address to look keys up at; name a keys_file".to_owned());
        }
        // A provider that is installed already is just as good.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = || {
            let trusted = ca.map(reqwest::Certificate::from_pem_bundle).transpose()?;
            let builder = reqwest::Client::builder().tls_certs_merge(trusted.unwrap_or_default()).timeout(LIMIT);
            // Keys come from where the issuer says, not from where somebody on the way sends us.
            builder.redirect(reqwest::redirect::Policy::none()).build()
        };
        let http = client().map_err(|error| format!("ca_file: {}", waybill_platform::chain(&error)))?;
        Ok(Self::Issuer { issuer: issuer.to_owned(), http })
    }

    async fn fetch(&self) -> Result<JwkSet, String> {
        match self {
            Self::File(file) => read_file(file),
            Self::Issuer { issuer, http } => {
                let at = format!("{}/.well-known/openid-configuration", issuer.trim_end_matches('/'));
                let found: Discovered = get(http, &at).await?;
                // Section 4.3: what another issuer says of itself is not this one's.
                if found.issuer != *issuer {
                    return Err(format!("{at} speaks for another issuer"));
                }
                if !is_safe(&found.jwks_uri) {
                    return Err(format!("{at} names a jwks_uri that is no https:// address"));
                }
                get(http, &found.jwks_uri).await
            }
        }
    }
}

fn is_safe(address: &str) -> bool {
    address.starts_with("https://") || address.starts_with("http://127.0.0.1:")
}

#[derive(Deserialize)]
struct Discovered {
    issuer: String,
    jwks_uri: String,
}

/// Reads a JWK set.
pub(super) fn read_file(file: &Path) -> Result<JwkSet, String> {
    let shown = file.display();
    let text = fs::read(file).map_err(|error| format!("{shown} cannot be read: {error}"))?;
    let help = "is no JWK set; write it with `kubectl get --raw /openid/v1/jwks`";
    serde_json::from_slice(&text).map_err(|_| format!("{shown} {help}"))
}

async fn get<T: DeserializeOwned>(http: &reqwest::Client, address: &str) -> Result<T, String> {
    let problem = |error: &reqwest::Error| format!("{address}: {}", waybill_platform::chain(error));
    let mut answer = http.get(address).send().await.map_err(|error| problem(&error.without_url()))?;
    if !answer.status().is_success() {
        return Err(format!("{address} answered {}", answer.status()));
    }
    let mut body = Vec::new();
    while let Some(part) = answer.chunk().await.map_err(|error| problem(&error.without_url()))? {
        if body.len().saturating_add(part.len()) > MOST_BYTES {
            return Err(format!("{address} answered more than {MOST_BYTES} bytes"));
        }
        body.extend_from_slice(&part);
    }
    serde_json::from_slice(&body).map_err(|_| format!("{address} answered something else than was asked for"))
}

/// Keys that are kept.
#[derive(Debug)]
pub(super) struct Keys {
    source: Source,
    /// Least time between two fetches.
    pause: Duration,
    kept: Mutex<Option<Kept>>,
}

#[derive(Debug)]
struct Kept {
    set: JwkSet,
    at: Instant,
}

impl Keys {
    pub(super) fn new(source: Source, pause: Duration) -> Self {
        Self { source, pause, kept: Mutex::new(None) }
    }

    /// The key of that name, or all where a token names none. Whoever makes up names has keys fetched once a `pause`.
    pub(super) async fn find(&self, key_id: Option<&str>) -> Result<Vec<Jwk>, String> {
        // Held while fetching, so that questions that come together fetch once.
        let mut kept = self.kept.lock().await;
        let found = kept.as_ref().map(|kept| select(&kept.set, key_id)).unwrap_or_default();
        let good_for = if found.is_empty() { self.pause } else { LONGEST };
        if kept.as_ref().is_some_and(|kept| kept.at.elapsed() < good_for) {
            return Ok(found);
        }
        match self.source.fetch().await {
            Ok(set) => {
                let found = select(&set, key_id);
                *kept = Some(Kept { set, at: Instant::now() });
                Ok(found)
            }
            // An issuer that is away for a while stops no pod from starting.
            Err(problem) if !found.is_empty() => {
                tracing::warn!(problem, "the keys of pods' tokens cannot be fetched again, using those at hand");
                Ok(found)
            }
            Err(problem) => Err(problem),
        }
    }
}

fn select(set: &JwkSet, key_id: Option<&str>) -> Vec<Jwk> {
    let is_meant = |key: &&Jwk| key_id.is_none() || key.common.key_id.as_deref() == key_id;
    set.keys.iter().filter(is_meant).cloned().collect()
}
