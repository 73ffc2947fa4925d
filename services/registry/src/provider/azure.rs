//! Azure: a service principal's secret becomes a token of Entra ID, and the registry exchanges that for one of its own.

use std::{sync::Arc, time::Duration};

use serde::{Deserialize, de::DeserializeOwned};
use time::OffsetDateTime;
use waybill_domain::{
    credentials::{AzureKeys, BasicLogin, Secret, jwt_expires_at},
    reference::RegistryHost,
};
use waybill_schemas::{Timestamp, v1::CredType};

use super::{
    ProviderError,
    clouds::CloudConfig,
    oauth::{Endpoint, Fields, Http, LIMIT, host_of},
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
    limit: Duration,
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
            limit: config.limit.unwrap_or(LIMIT),
            keys: keys.clone(),
        }
    }

    async fn ask(&self) -> Result<Token, ProviderError> {
        let exchanged = tokio::time::timeout(self.limit, self.both_steps()).await;
        let timed_out = |_| ProviderError::TimedOut { issuer: self.issuer(), seconds: self.limit.as_secs() };
        let password = exchanged.map_err(timed_out)??;
        let issued_at = OffsetDateTime::now_utc();
        // Without an end it serves this once.
        let expires_at = jwt_expires_at(&password).map_or(issued_at, Timestamp::instant);
        tracing::debug!(%expires_at, "Azure registry token received");
        Ok(Token { login: BasicLogin { username: USER.to_owned(), password }, issued_at, expires_at })
    }

    async fn both_steps(&self) -> Result<Secret, ProviderError> {
        let access_token = self.access_token().await?;
        self.refresh_token(&access_token).await
    }

    async fn access_token(&self) -> Result<Secret, ProviderError> {
        let fields = [
            ("grant_type", "client_credentials"),
            ("client_id", &self.keys.client_id),
            ("client_secret", self.keys.client_secret.expose()),
            ("scope", SCOPE),
        ];
        let issuer = self.issuer();
        let AccessToken { access_token } = self.post(&self.token_url, &issuer, &fields).await?;
        given(access_token, &issuer, "an answer without an access_token")
    }

    async fn refresh_token(&self, access_token: &Secret) -> Result<Secret, ProviderError> {
        let fields = [
            ("grant_type", "access_token"),
            ("service", self.registry.as_str()),
            ("tenant", &self.keys.tenant),
            ("access_token", access_token.expose()),
        ];
        let issuer = format!("the registry {}", self.registry);
        let RefreshToken { refresh_token } = self.post(&self.exchange_url, &issuer, &fields).await?;
        given(refresh_token, &issuer, "an answer without a refresh_token")
    }

    async fn post<A: DeserializeOwned>(
        &self,
        url: &str,
        issuer: &str,
        fields: &Fields<'_>,
    ) -> Result<A, ProviderError> {
        Endpoint { http: &self.http, url, issuer }.post(fields).await
    }
}

impl Exchange for AzureExchange {
    async fn exchange(&self) -> Result<Token, ProviderError> {
        trace_exchange("azure registry token", self.ask()).await
    }

    fn issuer(&self) -> String {
        format!("Azure at {}", host_of(&self.token_url))
    }

    fn cred_type(&self) -> CredType {
        CredType::Azure
    }
}

fn given(token: Option<Secret>, issuer: &str, otherwise: &str) -> Result<Secret, ProviderError> {
    let unusable = || ProviderError::Unusable { issuer: issuer.to_owned(), words: otherwise.to_owned() };
    token.filter(|token| !token.is_empty()).ok_or_else(unusable)
}

#[cfg(test)]
mod tests;
