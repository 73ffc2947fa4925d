//! Exchanges with Google and Azure: where they are asked, and one token source for each set of keys.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, OnceLock, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use sha2::{Digest as _, Sha256};
use waybill_domain::{
    credentials::{AzureKeys, GoogleKeys},
    reference::RegistryHost,
};
use waybill_schemas::{WorkspaceId, v1::CredType};

use super::{
    ProviderError,
    azure::AzureExchange,
    cache::{CAPACITY, Source, Sources},
    google::GoogleExchange,
    oauth::Http,
    token::{Exchange, Observer, Token, TokenSource},
};

/// Where Google and Azure are asked, and how.
#[derive(Debug, Clone, Default)]
pub struct CloudConfig {
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
    /// Further certificate authorities, PEM.
    pub ca: Option<Bytes>,
    /// How long one exchange may take, retries included; 20 s if not given.
    pub limit: Option<Duration>,
}

/// An exchange with one of these clouds.
pub(super) enum CloudExchange {
    Google(GoogleExchange),
    Azure(AzureExchange),
}

impl Exchange for CloudExchange {
    async fn exchange(&self) -> Result<Token, ProviderError> {
        match self {
            Self::Google(google) => google.exchange().await,
            Self::Azure(azure) => azure.exchange().await,
        }
    }

    fn issuer(&self) -> String {
        match self {
            Self::Google(google) => google.issuer(),
            Self::Azure(azure) => azure.issuer(),
        }
    }

    fn cred_type(&self) -> CredType {
        match self {
            Self::Google(google) => google.cred_type(),
            Self::Azure(azure) => azure.cred_type(),
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
        observer: Observer,
    ) -> Source<CloudExchange> {
        let make = |http| CloudExchange::Google(GoogleExchange::new(keys, &self.config, http));
        self.source((workspace, registry), google_parts(keys), observer, make)
    }

    pub(super) fn azure(
        &self,
        workspace: &WorkspaceId,
        registry: &RegistryHost,
        keys: &AzureKeys,
        observer: Observer,
    ) -> Source<CloudExchange> {
        let parts = ["azure", &keys.tenant, &keys.client_id, keys.client_secret.expose(), keys.authority];
        let make = |http| CloudExchange::Azure(AzureExchange::new(keys, registry, &self.config, http));
        self.source((workspace, registry), parts, observer, make)
    }

    fn source<const N: usize>(
        &self,
        (workspace, registry): (&WorkspaceId, &RegistryHost),
        parts: [&str; N],
        observer: Observer,
        make: impl FnOnce(Http) -> CloudExchange,
    ) -> Source<CloudExchange> {
        let key = (workspace.to_string(), registry.to_string(), fingerprint(parts));
        let mut sources = self.sources.lock().unwrap_or_else(PoisonError::into_inner);
        sources.get(key, CAPACITY, || {
            let http = self.http.get_or_init(|| Http::new(self.config.ca.as_deref())).clone();
            Arc::new(TokenSource::new(make(http), observer))
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
            "",
        ],
        GoogleKeys::User(user) => {
            ["user", &user.client_id, user.client_secret.expose(), user.refresh_token.expose(), ""]
        }
        GoogleKeys::External(account) => [
            "external account",
            &account.audience,
            &account.subject_token_type,
            account.subject_token.expose(),
            account.service_account.as_deref().unwrap_or_default(),
        ],
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

#[cfg(test)]
mod tests {
    use waybill_domain::credentials::{ExternalAccount, GoogleUser, Secret, ServiceAccount};

    use super::*;

    fn account(email: &str, key: &str) -> GoogleKeys {
        GoogleKeys::ServiceAccount(ServiceAccount {
            email: email.to_owned(),
            key_id: None,
            private_key: Secret::from(key),
        })
    }

    fn user(client: &str, secret: &str, token: &str) -> GoogleKeys {
        GoogleKeys::User(GoogleUser {
            client_id: client.to_owned(),
            client_secret: Secret::from(secret),
            refresh_token: Secret::from(token),
        })
    }

    fn external(parts: [&str; 4]) -> GoogleKeys {
        let [audience, kind, token, account] = parts;
        GoogleKeys::External(ExternalAccount {
            audience: audience.to_owned(),
            subject_token_type: kind.to_owned(),
            subject_token: Secret::from(token),
            service_account: (!account.is_empty()).then(|| account.to_owned()),
        })
    }

    fn principal(tenant: &str, client: &str, secret: &str) -> AzureKeys {
        AzureKeys {
            tenant: tenant.to_owned(),
            client_id: client.to_owned(),
            client_secret: Secret::from(secret),
            authority: "https://login.microsoftonline.com",
        }
    }

    #[test]
    fn a_source_is_shared_only_where_everything_is_the_same() {
        let clouds = Clouds::default();
        let google = |workspace: &str, host: &str, keys: &GoogleKeys| {
            clouds.google(&workspace.parse().unwrap(), &RegistryHost::parse(host).unwrap(), keys, |_, _| {})
        };
        let azure = |workspace: &str, host: &str, keys: &AzureKeys| {
            clouds.azure(&workspace.parse().unwrap(), &RegistryHost::parse(host).unwrap(), keys, |_, _| {})
        };
        let all = [
            google("acme", "gcr.io", &account("a", "k")),
            google("umbrella", "gcr.io", &account("a", "k")),
            google("acme", "eu.gcr.io", &account("a", "k")),
            google("acme", "gcr.io", &account("b", "k")),
            google("acme", "gcr.io", &account("a", "l")),
            google("acme", "gcr.io", &account("ak", "")),
            google("acme", "gcr.io", &user("a", "k", "u")),
            google("acme", "gcr.io", &user("a", "k", "v")),
            google("acme", "gcr.io", &external(["a", "k", "s", ""])),
            google("acme", "gcr.io", &external(["b", "k", "s", ""])),
            google("acme", "gcr.io", &external(["a", "l", "s", ""])),
            google("acme", "gcr.io", &external(["a", "k", "t", ""])),
            google("acme", "gcr.io", &external(["a", "k", "s", "w"])),
            azure("acme", "my.azurecr.io", &principal("t.x", "c", "s")),
            azure("umbrella", "my.azurecr.io", &principal("t.x", "c", "s")),
            azure("acme", "your.azurecr.io", &principal("t.x", "c", "s")),
            azure("acme", "my.azurecr.io", &principal("u.x", "c", "s")),
            azure("acme", "my.azurecr.io", &principal("t.x", "d", "s")),
            azure("acme", "my.azurecr.io", &principal("t.x", "c", "r")),
        ];
        for (number, one) in all.iter().enumerate() {
            assert!(!all.iter().skip(number + 1).any(|other| Arc::ptr_eq(one, other)), "case {number}");
        }
        assert!(Arc::ptr_eq(&all[0], &google("acme", "gcr.io", &account("a", "k"))));
        assert!(Arc::ptr_eq(&all[8], &google("acme", "gcr.io", &external(["a", "k", "s", ""]))));
        assert!(Arc::ptr_eq(&all[13], &azure("acme", "my.azurecr.io", &principal("t.x", "c", "s"))));
    }
}
