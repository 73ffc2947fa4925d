//! Exchanges with Google and Azure: where they are asked, and one token source for each set of keys.

use std::{
    path::PathBuf,
    sync::{Arc, Mutex, OnceLock, PoisonError},
    time::Duration,
};

use sha2::{Digest as _, Sha256};
use waybill_domain::{credentials::GoogleKeys, reference::RegistryHost};
use waybill_schemas::{WorkspaceId, v1::CredType};

use super::{
    ProviderError,
    cache::{CAPACITY, Source, Sources},
    google::GoogleExchange,
    oauth::Http,
    token::{Exchange, Token, TokenSource},
};

/// Where Google and Azure are asked, and how.
#[derive(Debug, Clone, Default)]
pub struct CloudConfig {
    /// Token endpoint instead of the one that a Google key file names.
    pub google_endpoint: Option<String>,
    /// A further certificate authority, PEM.
    pub ca_file: Option<PathBuf>,
    /// How long one exchange may take, retries included; 20 s if not given.
    pub limit: Option<Duration>,
}

/// An exchange with one of these clouds.
pub(super) enum CloudExchange {
    Google(GoogleExchange),
}

impl Exchange for CloudExchange {
    async fn exchange(&self) -> Result<Token, ProviderError> {
        match self {
            Self::Google(google) => google.exchange().await,
        }
    }

    fn issuer(&self) -> String {
        match self {
            Self::Google(google) => google.issuer(),
        }
    }

    fn cred_type(&self) -> CredType {
        match self {
            Self::Google(google) => google.cred_type(),
        }
    }
}

/// Token sources of these clouds by workspace, registry and keys.
#[derive(Clone, Default)]
pub(super) struct Clouds {
    config: Arc<CloudConfig>,
    http: Arc<OnceLock<Http>>,
    sources: Arc<Mutex<Sources<CloudExchange>>>,
}

impl Clouds {
    pub(super) fn new(config: CloudConfig) -> Self {
        Self { config: Arc::new(config), ..Self::default() }
    }

    pub(super) fn google(
        &self,
        workspace: &WorkspaceId,
        registry: &RegistryHost,
        keys: &GoogleKeys,
    ) -> Source<CloudExchange> {
        let make = |http| CloudExchange::Google(GoogleExchange::new(keys, &self.config, http));
        self.source(workspace, registry, google_parts(keys), make)
    }

    fn source<const N: usize>(
        &self,
        workspace: &WorkspaceId,
        registry: &RegistryHost,
        parts: [&str; N],
        make: impl FnOnce(Http) -> CloudExchange,
    ) -> Source<CloudExchange> {
        let key = (workspace.to_string(), registry.to_string(), fingerprint(parts));
        let mut sources = self.sources.lock().unwrap_or_else(PoisonError::into_inner);
        sources.get(key, CAPACITY, || {
            let http = self.http.get_or_init(|| Http::new(self.config.ca_file.as_deref())).clone();
            Arc::new(TokenSource::new(make(http)))
        })
    }
}

fn google_parts(keys: &GoogleKeys) -> [&str; 5] {
    match keys {
        GoogleKeys::ServiceAccount(account) => [
            "service account",
            &account.email,
            account.key_id.as_deref().unwrap_or_default(),
            account.private_key.expose(),
            &account.token_uri,
        ],
        GoogleKeys::User(user) => {
            ["user", &user.client_id, user.client_secret.expose(), user.refresh_token.expose(), ""]
        }
    }
}

/// Keys differ when any of their parts does; the map holds no secret.
fn fingerprint<const N: usize>(parts: [&str; N]) -> [u8; 32] {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update(part.len().to_be_bytes());
        hash.update(part.as_bytes());
    }
    hash.finalize().into()
}
