//! One token source for each workspace, registry and set of keys, so that many containers make one exchange.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, Mutex, OnceLock, PoisonError},
    time::Duration,
};

use aws_sdk_ecr::config::SharedHttpClient;
use bytes::Bytes;
use sha2::{Digest as _, Sha256};
use waybill_domain::{credentials::Credentials, reference::RegistryHost};
use waybill_schemas::WorkspaceId;

use super::{
    aws::http_client,
    oauth::Http,
    token::{Exchange, Observer, TokenSource},
};

/// Most token sources that are kept. Those in use beyond that are as many as containers being served.
const CAPACITY: usize = 1024;

/// Where clouds are asked, and how.
#[derive(Debug, Clone, Default)]
pub struct CloudConfig {
    /// ECR's endpoint instead of AWS's own for the region.
    pub ecr_endpoint: Option<String>,
    /// STS's endpoint instead of AWS's own for the region.
    pub sts_endpoint: Option<String>,
    /// Token endpoint instead of the one that a Google key file names.
    pub google_endpoint: Option<String>,
    /// Service account credentials (`scheme://host`) instead of `https://iamcredentials.googleapis.com`.
    pub google_iam_endpoint: Option<String>,
    /// Identity service (`scheme://host`) instead of the one of the registry's Azure cloud.
    pub azure_endpoint: Option<String>,
    /// Hosts that are spoken to without TLS: an Azure registry exchanges tokens itself.
    pub plain_http: Vec<RegistryHost>,
    /// Where registries are reached instead of at their own host: `scheme://host[:port]`.
    pub endpoints: BTreeMap<RegistryHost, String>,
    /// Certificate authorities to trust beside the system's, PEM, and valid.
    pub ca: Option<Bytes>,
    /// How long one exchange may take, retries included; 20 s if not given.
    pub limit: Option<Duration>,
}

impl CloudConfig {
    pub(super) fn limit(&self) -> Duration {
        self.limit.unwrap_or(Duration::from_secs(20))
    }
}

/// Token sources by workspace and keys. Workspaces never share one.
#[derive(Clone)]
pub struct TokenCache {
    pub(super) config: Arc<CloudConfig>,
    observer: Observer,
    clients: Arc<Clients>,
    sources: Arc<Mutex<Sources>>,
}

/// HTTP clients for every set of keys, each made when it is first needed: loading the trust store is slow.
#[derive(Default)]
struct Clients {
    aws: OnceLock<SharedHttpClient>,
    oauth: OnceLock<Http>,
}

/// Digest of the keys and their registry: the map holds no secret.
type Key = (String, [u8; 32]);
pub(super) type Source = Arc<TokenSource<Box<dyn Exchange>>>;

#[derive(Default)]
struct Sources {
    by_key: BTreeMap<Key, (u64, Source)>,
    uses: u64,
}

impl fmt::Debug for TokenCache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TokenCache").field("config", &self.config).finish_non_exhaustive()
    }
}

impl TokenCache {
    /// An empty cache.
    pub fn new(config: CloudConfig) -> Self {
        let observer: Observer = |_, _| {};
        Self { config: Arc::new(config), observer, clients: Arc::default(), sources: Arc::default() }
    }

    /// The same cache, which tells of each exchange.
    pub fn observed_by(self, observer: Observer) -> Self {
        Self { observer, ..self }
    }

    pub(super) fn aws_client(&self) -> SharedHttpClient {
        self.clients.aws.get_or_init(|| http_client(self.config.ca.as_deref())).clone()
    }

    pub(super) fn oauth_client(&self) -> Http {
        self.clients.oauth.get_or_init(|| Http::new(self.config.ca.as_deref())).clone()
    }

    /// The source that exchanges these credentials for the registry.
    pub(super) fn source(
        &self,
        workspace: &WorkspaceId,
        registry: &RegistryHost,
        credentials: &Credentials,
        exchange: impl FnOnce() -> Box<dyn Exchange>,
    ) -> Source {
        let keys = Sha256::digest(credentials.to_json(registry).expose());
        let mut sources = self.sources.lock().unwrap_or_else(PoisonError::into_inner);
        let make = || Arc::new(TokenSource::new(exchange(), self.observer));
        sources.get((workspace.to_string(), keys.into()), CAPACITY, make)
    }
}

impl Sources {
    fn get(&mut self, key: Key, capacity: usize, make: impl FnOnce() -> Source) -> Source {
        self.uses = self.uses.saturating_add(1);
        if let Some((used, source)) = self.by_key.get_mut(&key) {
            *used = self.uses;
            return source.clone();
        }
        // Keys stay in memory no longer than there is a token of theirs, or a refusal to remember.
        self.by_key.retain(|_, (_, source)| is_used(source) || source.is_live() || source.is_resting());
        while self.by_key.len() >= capacity {
            let idle = self.by_key.iter().filter(|(_, (_, source))| !is_used(source));
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

fn is_used(source: &Source) -> bool {
    Arc::strong_count(source) > 1
}

#[cfg(test)]
mod tests {
    use waybill_domain::credentials::{AwsKeys, AwsRole, AzureKeys, GoogleCredentials, GoogleKeys, Secret};

    use super::{super::ecr::EcrExchange, *};
    use crate::testing::FakeEcr;

    fn keys(id: &str, secret: &str, session: Option<&str>, role: Option<[&str; 3]>) -> Credentials {
        Credentials::Aws(AwsKeys {
            access_key_id: id.to_owned(),
            secret_access_key: Secret::from(secret),
            session_token: session.map(Secret::from),
            region: "eu-west-1".to_owned(),
            role: role.map(|[arn, external_id, session_name]| AwsRole {
                arn: arn.to_owned(),
                external_id: (!external_id.is_empty()).then(|| Secret::from(external_id)),
                session_name: session_name.to_owned(),
            }),
            expires_at: None,
        })
    }

    fn google(file: &str, token: &str) -> Credentials {
        let keys = GoogleKeys::parse(&Secret::from(file), Some(&Secret::from(token))).unwrap();
        Credentials::Google(GoogleCredentials::Keys(keys))
    }

    fn user(client: &str, token: &str) -> Credentials {
        let file = r#"{"type":"authorized_user","client_id":"CLIENT","client_secret":"s","refresh_token":"TOKEN"}"#;
        google(&file.replace("CLIENT", client).replace("TOKEN", token), "")
    }

    fn external(audience: &str, kind: &str, token: &str, account: &str) -> Credentials {
        let file = r#"{"type":"external_account","audience":"AUDIENCE","subject_token_type":"KIND",
            "token_url":"https://sts.googleapis.com/v1/token","service_account_impersonation_url":
            "https://iamcredentials.googleapis.com/v1/projects/-/serviceAccounts/ACCOUNT:generateAccessToken"}"#;
        google(&file.replace("AUDIENCE", audience).replace("KIND", kind).replace("ACCOUNT", account), token)
    }

    fn principal(tenant: &str, client: &str, secret: &str) -> Credentials {
        Credentials::Azure(AzureKeys {
            tenant: tenant.to_owned(),
            client_id: client.to_owned(),
            client_secret: Secret::from(secret),
            authority: "https://login.microsoftonline.com",
        })
    }

    #[test]
    fn a_source_is_shared_only_where_everything_is_the_same() {
        let cache = TokenCache::new(CloudConfig::default());
        let fake = |keys: &Credentials| -> Box<dyn Exchange> {
            let Credentials::Aws(keys) = keys else { panic!("{keys:?}") };
            let host = RegistryHost::parse("a.b").unwrap();
            Box::new(EcrExchange::new(keys, &host, &cache.config, cache.aws_client()))
        };
        let usual = keys("id", "secret", None, None);
        let source = |workspace: &str, host: &str, keys: &Credentials| {
            let host = RegistryHost::parse(host).unwrap();
            cache.source(&workspace.parse().unwrap(), &host, keys, || fake(&usual))
        };
        let cases = [
            ("acme", "a.b", usual.clone()),
            ("umbrella", "a.b", usual.clone()),
            ("acme", "a-b.localhost", usual.clone()),
            ("acme", "a.b", keys("id2", "secret", None, None)),
            ("acme", "a.b", keys("id", "secret2", None, None)),
            ("acme", "a.b", keys("id", "secret", Some("session"), None)),
            ("acme", "a.b", keys("idsecret", "", None, None)),
            ("acme", "a.b", keys("id", "secret", None, Some(["r", "", "waybill"]))),
            ("acme", "a.b", keys("id", "secret", None, Some(["r", "x", "waybill"]))),
            ("acme", "a.b", keys("id", "secret", None, Some(["r", "", "other"]))),
            ("acme", "a.b", keys("id", "secret", None, Some(["r2", "", "waybill"]))),
            ("acme", "a.b", user("a", "u")),
            ("acme", "a.b", user("b", "u")),
            ("acme", "a.b", user("a", "v")),
            ("acme", "a.b", external("a", "k", "s", "w")),
            ("acme", "a.b", external("b", "k", "s", "w")),
            ("acme", "a.b", external("a", "l", "s", "w")),
            ("acme", "a.b", external("a", "k", "t", "w")),
            ("acme", "a.b", external("a", "k", "s", "x")),
            ("acme", "a.b", principal("t.x", "c", "s")),
            ("acme", "a.b", principal("u.x", "c", "s")),
            ("acme", "a.b", principal("t.x", "d", "s")),
            ("acme", "a.b", principal("t.x", "c", "r")),
        ];
        let all: Vec<Source> = cases.iter().map(|(workspace, host, keys)| source(workspace, host, keys)).collect();
        for (number, (workspace, host, keys)) in cases.iter().enumerate() {
            let again = source(workspace, host, keys);
            let same: Vec<usize> = (0..all.len()).filter(|other| Arc::ptr_eq(&again, &all[*other])).collect();
            assert_eq!(same, [number]);
        }
    }

    #[test]
    fn the_cache_is_bounded_and_lets_idle_keys_go() {
        let make = maker(CloudConfig::default());
        let mut sources = Sources::default();
        let held: Vec<Source> = (0..3).map(|number| sources.get(key(number), 2, &make)).collect();
        assert_eq!(sources.by_key.len(), 3, "what is in use stays");
        drop(held);
        sources.get(key(9), 2, &make);
        assert_eq!(sources.by_key.keys().map(|key| key.1[0]).collect::<Vec<_>>(), [9], "no token, no use: gone");
    }

    /// Sources that all ask the same issuer.
    fn maker(config: CloudConfig) -> impl Fn() -> Source {
        let http = http_client(None);
        move || {
            let Credentials::Aws(keys) = keys("id", "s", None, None) else { panic!("no keys of AWS") };
            let host = RegistryHost::parse("a.b").unwrap();
            let exchange: Box<dyn Exchange> =
                Box::new(EcrExchange::new(&keys, &host, &Arc::new(config.clone()), http.clone()));
            Arc::new(TokenSource::new(exchange, |_, _| {}))
        }
    }

    fn at(fake: &FakeEcr) -> CloudConfig {
        CloudConfig { ecr_endpoint: Some(fake.endpoint()), ..CloudConfig::default() }
    }

    fn key(number: u8) -> Key {
        ("acme".to_owned(), [number; 32])
    }

    #[tokio::test]
    async fn refusals_are_remembered_but_cost_nobody_a_token() {
        let fake = FakeEcr::start().await;
        let make = maker(at(&fake));
        let mut sources = Sources::default();
        sources.get(key(0), 3, &make).token().await.unwrap();
        for number in 1..=5 {
            fake.script().failures = vec![(400, "UnrecognizedClientException")];
            sources.get(key(number), 3, &make).token().await.unwrap_err();
        }
        let kept: Vec<u8> = sources.by_key.keys().map(|key| key.1[0]).collect();
        assert_eq!(kept, [0, 4, 5], "the refusals that are longest unused go, the token stays");
        sources.get(key(5), 3, &make).token().await.unwrap_err();
        assert_eq!(fake.calls(), 6);
    }

    #[tokio::test]
    async fn of_idle_tokens_the_longest_unused_goes_first_and_an_exchange_under_way_stays() {
        let fake = FakeEcr::start().await;
        let make = maker(at(&fake));
        let mut sources = Sources::default();
        for number in [0, 1] {
            sources.get(key(number), 2, &make).token().await.unwrap();
        }
        sources.get(key(0), 2, &make);
        sources.get(key(2), 2, &make).token().await.unwrap();
        let kept = |sources: &Sources| sources.by_key.keys().map(|key| key.1[0]).collect::<Vec<_>>();
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
