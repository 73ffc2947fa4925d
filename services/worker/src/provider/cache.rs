//! One token source for each workspace, registry and set of keys, so that many containers make one exchange.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, Mutex, PoisonError},
};

use sha2::{Digest as _, Sha256};
use waybill_domain::{credentials::AwsKeys, reference::RegistryHost};
use waybill_schemas::WorkspaceId;

use super::ecr::{EcrConfig, EcrProvider};

/// Most token sources that are kept. Past that, those that nobody uses go first.
const CAPACITY: usize = 1024;

/// Token sources by workspace, registry and keys. Workspaces never share one.
#[derive(Clone)]
pub struct TokenCache {
    ecr: EcrConfig,
    sources: Arc<Mutex<BTreeMap<Key, Arc<EcrProvider>>>>,
}

type Key = (String, String, [u8; 32]);

impl fmt::Debug for TokenCache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TokenCache").field("ecr", &self.ecr).finish_non_exhaustive()
    }
}

impl TokenCache {
    /// An empty cache.
    pub fn new(ecr: EcrConfig) -> Self {
        Self { ecr, sources: Arc::default() }
    }

    pub(super) fn provider(&self, workspace: &WorkspaceId, registry: &RegistryHost, keys: AwsKeys) -> Arc<EcrProvider> {
        let key = (workspace.to_string(), registry.to_string(), fingerprint(&keys));
        let mut sources = self.sources.lock().unwrap_or_else(PoisonError::into_inner);
        if sources.len() >= CAPACITY && !sources.contains_key(&key) {
            sources.retain(|_, source| Arc::strong_count(source) > 1);
        }
        sources.entry(key).or_insert_with(|| Arc::new(EcrProvider::new(keys, &self.ecr))).clone()
    }
}

/// Keys differ when any of their parts does; the map holds no secret.
fn fingerprint(keys: &AwsKeys) -> [u8; 32] {
    let mut hash = Sha256::new();
    let session = keys.session_token.as_ref().map_or("", |token| token.expose());
    for part in [keys.access_key_id.as_str(), keys.secret_access_key.expose(), session, keys.region.as_str()] {
        hash.update(part.len().to_be_bytes());
        hash.update(part.as_bytes());
    }
    hash.finalize().into()
}
