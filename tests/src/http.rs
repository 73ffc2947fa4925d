//! The harness's HTTP client: no proxy from the environment, no redirects followed.

use std::time::Duration;

use reqwest::{Client, StatusCode, redirect};

/// A client for loopback servers. Installs `ring` as this process's TLS provider when none is installed.
pub fn client() -> reqwest::Result<Client> {
    // An error means that somebody else installed one, which will do as well.
    let _ = rustls::crypto::ring::default_provider().install_default();
    Client::builder().no_proxy().redirect(redirect::Policy::none()).timeout(Duration::from_secs(30)).build()
}

/// The status that a plain GET answers; `None` when nobody answers.
pub async fn status(client: &Client, url: &str) -> Option<StatusCode> {
    client.get(url).send().await.ok().map(|answer| answer.status())
}
