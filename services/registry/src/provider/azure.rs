//! Azure: a service principal's secret becomes a token of Entra ID, and the registry exchanges that for one of its own.

use std::sync::Arc;

use futures_util::{FutureExt as _, future::BoxFuture};
use serde::Deserialize;
use time::OffsetDateTime;
use waybill_domain::{
    credentials::{AzureKeys, BasicLogin, Secret, jwt_expires_at},
    reference::RegistryHost,
};
use waybill_schemas::{Timestamp, v1::CredType};

use super::{
    CloudConfig, ProviderError,
    oauth::{Endpoint, Http, host_of, limit_time},
    token::{Exchange, Token},
};
use crate::trace::trace_exchange;

/// User name with which a registry takes its refresh token as the password ("Authenticate with an Azure container
/// registry").
const USER: &str = "00000000-0000-0000-0000-000000000000";
/// Container registries of every cloud, as Azure's own clients ask for them.
const SCOPE: &str = "https://containerregistry.azure.net/.default";

/// Exchanges one service principal's secret at one registry.
pub(super) struct AzureExchange {
    keys: AzureKeys,
    token_url: String,
    /// Where the registry exchanges tokens ("Azure Container Registry authentication with the REST API").
    exchange_url: String,
    registry: RegistryHost,
    http: Http,
    config: Arc<CloudConfig>,
}

#[derive(Deserialize)]
struct AccessToken {
    access_token: Option<Secret>,
}

#[derive(Deserialize)]
struct RefreshToken {
    refresh_token: Option<Secret>,
}

impl AzureExchange {
    pub(super) fn new(keys: &AzureKeys, registry: &RegistryHost, config: &Arc<CloudConfig>, http: Http) -> Self {
        let authority = config.azure_endpoint.as_deref().unwrap_or(keys.authority);
        let scheme = if config.plain_http.contains(registry) { "http" } else { "https" };
        let own = || format!("{scheme}://{registry}");
        let base = config.endpoints.get(registry).cloned().unwrap_or_else(own);
        Self {
            token_url: format!("{}/{}/oauth2/v2.0/token", authority.trim_end_matches('/'), keys.tenant),
            exchange_url: format!("{}/oauth2/exchange", base.trim_end_matches('/')),
            registry: registry.clone(),
            http,
            config: config.clone(),
            keys: keys.clone(),
        }
    }

    async fn fetch_token(&self) -> Result<Token, ProviderError> {
        let password = limit_time(self.config.limit(), self.issuer(), self.refresh_token()).await?;
        let issued_at = OffsetDateTime::now_utc();
        // Without an end it serves this once.
        let expires_at = jwt_expires_at(&password).map_or(issued_at, Timestamp::instant);
        tracing::debug!(%expires_at, "Azure registry token received");
        Ok(Token { login: BasicLogin { username: USER.to_owned(), password }, issued_at, expires_at })
    }

    /// Entra ID's token first, then the registry's for it.
    async fn refresh_token(&self) -> Result<Secret, ProviderError> {
        let entra = Endpoint { http: &self.http, url: &self.token_url, issuer: &self.issuer() };
        let fields = [
            ("grant_type", "client_credentials"),
            ("client_id", &self.keys.client_id),
            ("client_secret", self.keys.client_secret.expose()),
            ("scope", SCOPE),
        ];
        let AccessToken { access_token } = entra.post(&fields).await?;
        let access_token = entra.given(access_token, "an access_token")?;
        let issuer = format!("the registry {}", self.registry);
        let registry = Endpoint { http: &self.http, url: &self.exchange_url, issuer: &issuer };
        let fields = [
            ("grant_type", "access_token"),
            ("service", self.registry.as_str()),
            ("tenant", &self.keys.tenant),
            ("access_token", access_token.expose()),
        ];
        let RefreshToken { refresh_token } = registry.post(&fields).await?;
        registry.given(refresh_token, "a refresh_token")
    }
}

impl Exchange for AzureExchange {
    fn exchange(&self) -> BoxFuture<'_, Result<Token, ProviderError>> {
        trace_exchange("azure registry token", self.fetch_token()).boxed()
    }

    fn issuer(&self) -> String {
        format!("Azure at {}", host_of(&self.token_url))
    }

    fn cred_type(&self) -> CredType {
        CredType::Azure
    }
}

#[cfg(test)]
mod tests;
