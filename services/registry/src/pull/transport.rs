//! Connections to registries: whom to trust, how long to wait, how much to read.

use std::{
    fs, io,
    path::Path,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, pem::PemObject as _},
};
use rustls_platform_verifier::Verifier;
use waybill_domain::reference::RegistryHost;
use waybill_schemas::v1::PullFailure;

use crate::trace::chain;

use super::{PullConfig, PullError, guard::PublicOnly, proxy::Proxies};

const CONNECT_LIMIT: Duration = Duration::from_secs(10);
const SILENCE_LIMIT: Duration = Duration::from_secs(60);
/// How long what is trusted is kept: the system's authorities may change while a worker runs.
const TRUST_LIFE: Duration = Duration::from_secs(600);
const USER_AGENT: &str = concat!("waybill/", env!("CARGO_PKG_VERSION"));

/// Reads a PEM file of certificate authorities.
///
/// # Errors
/// When the file cannot be read, holds no certificate, or one that cannot be trusted.
pub fn read_ca_file(file: &Path) -> io::Result<Vec<u8>> {
    let pem = fs::read(file)?;
    let invalid = |words: &str| io::Error::new(io::ErrorKind::InvalidData, words);
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(&pem) {
        let certificate = certificate.map_err(|_| invalid("it is no whole PEM file"))?;
        roots.add(certificate).map_err(|_| invalid("it holds a certificate that is malformed"))?;
    }
    if roots.is_empty() { Err(invalid("it holds no PEM certificate")) } else { Ok(pem) }
}

/// The client of one pull. Its connections and whom it judges are of no other: what is a stranger to one registry may be
/// another one itself.
pub(super) struct Transport {
    /// It follows no redirects.
    pub(super) http: reqwest::Client,
    /// What keeps `http` out of private networks.
    pub(super) guard: Arc<PublicOnly>,
    /// The proxies that `http` goes through.
    pub(super) proxies: Proxies,
}

impl Transport {
    pub(super) fn new(config: &PullConfig) -> Result<Self, PullError> {
        // For the other clients of this crate. A provider that is installed already is just as good.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let unreadable = |file: &Path, error: io::Error| tls_error(format!("the CA file {}: {error}", file.display()));
        let ca = match &config.ca_file {
            Some(file) => Some(read_ca_file(file).map_err(|error| unreadable(file, error))?),
            None => None,
        };
        let proxies = Proxies::from_env().map_err(|error| PullError::new(PullFailure::Proxy, error.to_string()))?;
        let guard = Arc::new(PublicOnly::default());
        let builder = reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .dns_resolver(guard.clone())
            .tls_backend_preconfigured(shared_trust(ca)?)
            .connect_timeout(CONNECT_LIMIT)
            .read_timeout(SILENCE_LIMIT)
            .user_agent(USER_AGENT);
        Ok(Self { http: builder.build().map_err(client_error)?, guard, proxies })
    }
}

/// What is trusted, until when, and the further authority that it was made for.
struct Trust {
    made: Instant,
    ca: Option<Vec<u8>>,
    config: ClientConfig,
}

/// The trust of the pull before. Reading the system's authorities takes more time than a pull of one manifest.
static TRUST: Mutex<Option<Trust>> = Mutex::new(None);

/// The system's authorities and a further one, read again after a while and when the further one changes.
fn shared_trust(ca: Option<Vec<u8>>) -> Result<ClientConfig, PullError> {
    let mut trust = TRUST.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(known) = trust.as_ref().filter(|known| known.ca == ca && known.made.elapsed() < TRUST_LIFE) {
        return Ok(known.config.clone());
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let further: Result<Vec<_>, _> = ca.iter().flat_map(|pem| CertificateDer::pem_slice_iter(pem)).collect();
    let verifier =
        Verifier::new_with_extra_roots(further.map_err(client_error)?, provider.clone()).map_err(client_error)?;
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let builder = builder.map_err(client_error)?.dangerous().with_custom_certificate_verifier(Arc::new(verifier));
    let mut config = builder.with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    *trust = Some(Trust { made: Instant::now(), ca, config: config.clone() });
    Ok(config)
}

/// `scheme://host[:port]` of a registry.
pub(super) fn registry_base(registry: &RegistryHost, config: &PullConfig) -> String {
    if let Some(endpoint) = config.endpoints.get(registry) {
        return endpoint.trim_end_matches('/').to_owned();
    }
    let scheme = if config.plain_http.contains(registry) { "http" } else { "https" };
    format!("{scheme}://{}", wire_host(registry))
}

/// Docker Hub's name and the host that serves it differ.
fn wire_host(host: &RegistryHost) -> &str {
    if *host == RegistryHost::docker_hub() { "index.docker.io" } else { host.as_str() }
}

fn client_error(error: impl std::error::Error + 'static) -> PullError {
    tls_error(format!("no client can be made: {}", chain(&error)))
}

fn tls_error(detail: String) -> PullError {
    PullError::new(PullFailure::Tls, detail)
}

/// A body of at most `most` bytes; nothing if there are more.
pub(super) async fn read_bounded(
    mut answer: reqwest::Response,
    most: usize,
) -> Result<Option<Vec<u8>>, reqwest::Error> {
    let mut body = Vec::new();
    while let Some(part) = answer.chunk().await? {
        if body.len().saturating_add(part.len()) > most {
            return Ok(None);
        }
        body.extend_from_slice(&part);
    }
    Ok(Some(body))
}
