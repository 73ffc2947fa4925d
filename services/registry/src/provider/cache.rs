//! One token source for each workspace, registry and set of keys, so that many containers make one exchange.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, Mutex, OnceLock, PoisonError},
};

use aws_sdk_ecr::config::SharedHttpClient;
use sha2::{Digest as _, Sha256};
use waybill_domain::{credentials::AwsKeys, reference::RegistryHost};
use waybill_schemas::WorkspaceId;

use super::{
    aws::http_client,
    clouds::{CloudConfig, Clouds},
    ecr::{EcrConfig, EcrExchange},
    token::{Exchange, Observer, TokenSource},
};

/// Most token sources that are kept. Those in use beyond that are as many as containers being served.
pub(super) const CAPACITY: usize = 1024;

/// Token sources by workspace, registry and keys. Workspaces never share one.
#[derive(Clone)]
pub struct TokenCache {
    ecr: EcrConfig,
    http: Arc<OnceLock<SharedHttpClient>>,
    pub(super) observer: Observer,
    sources: Arc<Mutex<Sources<EcrExchange>>>,
    pub(super) clouds: Clouds,
}

type Key = (String, String, [u8; 32]);
pub(super) type Source<E> = Arc<TokenSource<E>>;

pub(super) struct Sources<E> {
    by_key: BTreeMap<Key, (u64, Source<E>)>,
    uses: u64,
}

impl<E> Default for Sources<E> {
    fn default() -> Self {
        Self { by_key: BTreeMap::new(), uses: 0 }
    }
}

impl fmt::Debug for TokenCache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TokenCache").field("ecr", &self.ecr).finish_non_exhaustive()
    }
}

impl TokenCache {
    /// An empty cache.
    pub fn new(ecr: EcrConfig) -> Self {
        let observer: Observer = |_, _| {};
        Self { ecr, http: Arc::default(), observer, sources: Arc::default(), clouds: Clouds::default() }
    }

    /// The same cache, with the other clouds asked as configured.
    pub fn with_clouds(self, config: CloudConfig) -> Self {
        Self { clouds: Clouds::new(config), ..self }
    }

    /// The same cache, which tells of each exchange.
    pub fn observed_by(self, observer: Observer) -> Self {
        Self { observer, ..self }
    }

    pub(super) fn source(
        &self,
        workspace: &WorkspaceId,
        registry: &RegistryHost,
        keys: &AwsKeys,
    ) -> Source<EcrExchange> {
        let key = (workspace.to_string(), registry.to_string(), fingerprint(keys));
        let mut sources = self.sources.lock().unwrap_or_else(PoisonError::into_inner);
        sources.get(key, CAPACITY, || {
            let http = self.http.get_or_init(|| http_client(self.ecr.ca.as_deref())).clone();
            Arc::new(TokenSource::new(EcrExchange::new(keys, registry, &self.ecr, http), self.observer))
        })
    }
}

impl<E: Exchange> Sources<E> {
    pub(super) fn get(&mut self, key: Key, capacity: usize, make: impl FnOnce() -> Source<E>) -> Source<E> {
        self.uses = self.uses.saturating_add(1);
        if let Some((used, source)) = self.by_key.get_mut(&key) {
            *used = self.uses;
            return source.clone();
        }
        // Keys stay in memory no longer than there is a token of theirs, or a refusal to remember.
        self.by_key.retain(|_, (_, source)| in_use(source) || source.is_live() || source.is_resting());
        while self.by_key.len() >= capacity {
            let idle = self.by_key.iter().filter(|(_, (_, source))| !in_use(source));
            // No number of refusals costs anybody a token.
            let oldest = idle.min_by_key(|(_, (used, source))| (source.is_live(), *used));
            let Some(oldest) = oldest.map(|(key, _)| key.clone()) else { break };
            self.by_key.remove(&oldest);
        }
        let source = make();
        self.by_key.insert(key, (self.uses, source.clone()));
        source
    }
}

fn in_use<E>(source: &Source<E>) -> bool {
    Arc::strong_count(source) > 1
}

/// Keys differ when any of their parts does; the map holds no secret.
fn fingerprint(keys: &AwsKeys) -> [u8; 32] {
    let mut hash = Sha256::new();
    let session = keys.session_token.as_ref().map_or("", |token| token.expose());
    let role = keys.role.as_ref().map_or(["", "", ""], |role| {
        [&role.arn, role.external_id.as_ref().map_or("", |id| id.expose()), &role.session_name]
    });
    let own = [keys.access_key_id.as_str(), keys.secret_access_key.expose(), session, keys.region.as_str()];
    for part in own.into_iter().chain(role) {
        hash.update(part.len().to_be_bytes());
        hash.update(part.as_bytes());
    }
    hash.finalize().into()
}

#[cfg(test)]
mod tests {
    use waybill_domain::credentials::{AwsRole, Secret};

    use super::*;
    use crate::testing::FakeEcr;

    fn keys(id: &str, secret: &str, session: Option<&str>, region: &str) -> AwsKeys {
        AwsKeys {
            access_key_id: id.to_owned(),
            secret_access_key: Secret::from(secret),
            session_token: session.map(Secret::from),
            region: region.to_owned(),
            role: None,
            expires_at: None,
        }
    }

    fn as_role(arn: &str, external_id: Option<&str>, session_name: &str) -> AwsKeys {
        let external_id = external_id.map(Secret::from);
        let role = AwsRole { arn: arn.to_owned(), external_id, session_name: session_name.to_owned() };
        AwsKeys { role: Some(role), ..keys("id", "secret", None, "eu-west-1") }
    }

    #[test]
    fn a_source_is_shared_only_where_everything_is_the_same() {
        let cache = TokenCache::new(EcrConfig::default());
        let source = |workspace: &str, host: &str, keys: &AwsKeys| {
            cache.source(&workspace.parse().unwrap(), &RegistryHost::parse(host).unwrap(), keys)
        };
        let usual = keys("id", "secret", None, "eu-west-1");
        let first = source("acme", "a.b", &usual);
        assert!(Arc::ptr_eq(&first, &source("acme", "a.b", &usual)));
        let others = [
            source("umbrella", "a.b", &usual),
            source("acme", "a-b.localhost", &usual),
            source("acme", "a.b", &keys("id2", "secret", None, "eu-west-1")),
            source("acme", "a.b", &keys("id", "secret2", None, "eu-west-1")),
            source("acme", "a.b", &keys("id", "secret", Some("session"), "eu-west-1")),
            source("acme", "a.b", &keys("id", "secret", None, "eu-west-2")),
            source("acme", "a.b", &keys("idsecret", "", None, "eu-west-1")),
            source("acme", "a.b", &as_role("r", None, "waybill")),
            source("acme", "a.b", &as_role("r", Some("x"), "waybill")),
            source("acme", "a.b", &as_role("r", None, "other")),
            source("acme", "a.b", &as_role("r2", None, "waybill")),
        ];
        let all: Vec<_> = others.iter().chain([&first]).collect();
        for (number, one) in all.iter().enumerate() {
            assert!(!all.iter().skip(number + 1).any(|other| Arc::ptr_eq(one, other)), "case {number}");
        }
    }

    #[test]
    fn the_cache_is_bounded_and_lets_idle_keys_go() {
        let http = http_client(None);
        let make = || {
            let (keys, host) = (keys("id", "s", None, "eu-west-1"), RegistryHost::parse("a.b").unwrap());
            let exchange = EcrExchange::new(&keys, &host, &EcrConfig::default(), http.clone());
            Arc::new(TokenSource::new(exchange, |_, _| {}))
        };
        let mut sources = Sources::default();
        let held: Vec<Source<EcrExchange>> = (0..3).map(|number| sources.get(key(number), 2, make)).collect();
        assert_eq!(sources.by_key.len(), 3, "what is in use stays");
        drop(held);
        sources.get(key(9), 2, make);
        assert_eq!(sources.by_key.keys().map(|key| key.2[0]).collect::<Vec<_>>(), [9], "no token, no use: gone");
    }

    /// Sources that all ask the same issuer.
    fn maker(fake: &FakeEcr) -> impl Fn() -> Arc<TokenSource<EcrExchange>> {
        let config = EcrConfig { endpoint: Some(fake.endpoint()), ..EcrConfig::default() };
        let http = http_client(None);
        move || {
            let (keys, host) = (keys("id", "s", None, "eu-west-1"), RegistryHost::parse("a.b").unwrap());
            Arc::new(TokenSource::new(EcrExchange::new(&keys, &host, &config, http.clone()), |_, _| {}))
        }
    }

    fn key(number: u8) -> Key {
        ("acme".to_owned(), "a.b".to_owned(), [number; 32])
    }

    #[tokio::test]
    async fn refusals_are_remembered_but_cost_nobody_a_token() {
        let fake = FakeEcr::start().await;
        let make = maker(&fake);
        let mut sources = Sources::default();
        sources.get(key(0), 3, &make).token().await.unwrap();
        for number in 1..=5 {
            fake.script().failures = vec![(400, "UnrecognizedClientException")];
            sources.get(key(number), 3, &make).token().await.unwrap_err();
        }
        let kept: Vec<u8> = sources.by_key.keys().map(|key| key.2[0]).collect();
        assert_eq!(kept, [0, 4, 5], "the refusals that are longest unused go, the token stays");
        sources.get(key(5), 3, &make).token().await.unwrap_err();
        assert_eq!(fake.calls(), 6);
    }

    #[tokio::test]
    async fn of_idle_tokens_the_longest_unused_goes_first_and_an_exchange_under_way_stays() {
        let fake = FakeEcr::start().await;
        let make = maker(&fake);
        let mut sources = Sources::default();
        for number in [0, 1] {
            sources.get(key(number), 2, &make).token().await.unwrap();
        }
        sources.get(key(0), 2, &make);
        sources.get(key(2), 2, &make).token().await.unwrap();
        let kept = |sources: &Sources<EcrExchange>| sources.by_key.keys().map(|key| key.2[0]).collect::<Vec<_>>();
        assert_eq!((kept(&sources), fake.calls()), (vec![0, 2], 3), "0 was used after 1");

        // Whoever asked for it is gone; its exchange is not.
        fake.hold();
        let source = sources.get(key(3), 2, &make);
        let asking = tokio::spawn(async move { source.token().await.map(drop) });
        while fake.calls() < 4 {
            tokio::task::yield_now().await;
        }
        asking.abort();
        assert!(asking.await.unwrap_err().is_cancelled());
        for number in 4..8 {
            sources.get(key(number), 2, &make);
        }
        assert!(kept(&sources).contains(&3), "{:?}", kept(&sources));
        fake.release();
        assert!(sources.get(key(3), 2, &make).token().await.is_ok());
        assert_eq!(fake.calls(), 4, "and it serves the next one");
    }
}
