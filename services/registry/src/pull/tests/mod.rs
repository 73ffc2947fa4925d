//! Pulls against a tiny registry.

mod content;
mod failures;
mod identity;
mod later;
mod logins;
mod redirects;
mod services;
mod situations;

use std::time::Duration;

use waybill_domain::credentials::{BasicLogin, Secret};

use super::*;
use crate::testing::PrivateCa;

const PASSWORD: &str = "s3cr3t-p:ss wörd/+";

fn ada() -> RegistryLogin {
    ada_with(PASSWORD)
}

fn ada_with(password: &str) -> RegistryLogin {
    RegistryLogin::Basic(BasicLogin { username: "ada".to_owned(), password: Secret::from(password) })
}

/// Speaks plain HTTP to these hosts.
fn config(hosts: &[&str]) -> PullConfig {
    let plain_http = hosts.iter().map(|host| RegistryHost::parse(host).unwrap()).collect();
    PullConfig { plain_http, limit: Duration::from_secs(20), ..PullConfig::default() }
}

/// Speaks TLS, and trusts this authority; these places may be in the private network that tests run in.
fn trusting(ca: &PrivateCa, internal: &[&str]) -> PullConfig {
    let internal_token_services = internal.iter().map(|host| RegistryHost::parse(host).unwrap()).collect();
    PullConfig { internal_token_services, ca_file: Some(ca.file()), ..config(&[]) }
}

async fn pull_as(config: &PullConfig, reference: &str, login: &RegistryLogin) -> Result<String, PullError> {
    pull(config, &ImageReference::parse(reference).unwrap(), login, "acme/c-1").await
}
