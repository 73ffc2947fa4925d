//! Pods that ask by their service account: the token is verified here, and rules say whose login it has.

mod keys;
mod token;

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use serde::Deserialize;
use waybill_domain::{
    credentials::Secret,
    identity::{Rule, Target, map_identity},
};
use waybill_registry::{
    node::{Code, Error},
    pull::read_ca_file,
};
use waybill_schemas::v1::PodIdentity;

use self::{
    keys::{Keys, Source},
    token::{TokenError, Verifier, key_id},
};

/// How soon keys are fetched again for a token that names none of those at hand.
const PAUSE: Duration = Duration::from_secs(30);

/// What `WAYBILL_WORKER_POD_IDENTITIES` names: a JSON file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    /// `iss` of the cluster's tokens (`kube-apiserver --service-account-issuer`).
    issuer: String,
    /// `aud` that a token must have: the kubelet's `serviceAccountTokenAudience`.
    audience: String,
    /// The cluster's public keys (`kubectl get --raw /openid/v1/jwks`); without it they are looked up at the issuer.
    #[serde(default)]
    keys_file: Option<PathBuf>,
    /// Certificate authorities of the issuer, where it is asked.
    #[serde(default)]
    ca_file: Option<PathBuf>,
    rules: Vec<Rule>,
}

/// Whom a node's pods are, and whose logins they have.
#[derive(Debug)]
pub struct PodIdentities {
    verifier: Verifier,
    keys: Keys,
    rules: Vec<Rule>,
}

impl PodIdentities {
    /// Reads the settings file. Paths in it are relative to its folder.
    ///
    /// # Errors
    /// In words, with what to do.
    pub fn read(file: &Path) -> Result<Self, String> {
        let shown = file.display();
        let text = fs::read_to_string(file).map_err(|error| format!("{shown} cannot be read: {error}"))?;
        let read: File = serde_json::from_str(&text).map_err(|error| format!("{shown}: {error}"))?;
        if read.issuer.is_empty() || read.audience.is_empty() || read.rules.is_empty() {
            return Err(format!("{shown}: issuer, audience and rules must not be empty"));
        }
        let beside = |path: PathBuf| file.parent().unwrap_or(Path::new(".")).join(path);
        let source = match read.keys_file.map(beside) {
            Some(keys) => Source::File(keys),
            None => {
                let read_ca =
                    |path: PathBuf| read_ca_file(&path).map_err(|error| format!("{}: {error}", path.display()));
                let ca = read.ca_file.map(beside).map(read_ca).transpose();
                Source::issuer(&read.issuer, ca.map_err(|error| format!("{shown}: ca_file: {error}"))?.as_deref())
                    .map_err(|problem| format!("{shown}: {problem}"))?
            }
        };
        if let Source::File(keys) = &source {
            keys::read_file(keys).map_err(|problem| format!("{shown}: keys_file: {problem}"))?;
        }
        let verifier = Verifier::new(&read.issuer, &read.audience);
        Ok(Self { verifier, keys: Keys::new(source, PAUSE), rules: read.rules })
    }

    /// Verifies a token, and says whose it is.
    ///
    /// # Errors
    /// [`Code::TokenRefused`], or [`Code::Unavailable`] when the issuer's keys cannot be had.
    pub(super) async fn identify(&self, token: &Secret) -> Result<PodIdentity, Error> {
        let refused = |error: TokenError| Error::because(Code::TokenRefused, error.to_string());
        let key_id = key_id(token).map_err(refused)?;
        let keys = self.keys.find(key_id.as_deref()).await.map_err(|problem| {
            Error::because(Code::Unavailable, format!("the issuer's keys cannot be had: {problem}"))
        })?;
        self.verifier.verify(token, &keys).map_err(refused)
    }

    /// Whose login a service account has.
    ///
    /// # Errors
    /// [`Code::NoRule`].
    pub(super) fn find_target(
        &self,
        identity: &PodIdentity,
        annotations: &BTreeMap<String, String>,
    ) -> Result<Target, Error> {
        map_identity(&self.rules, identity, annotations)
            .map_err(|unmapped| Error::because(Code::NoRule, unmapped.to_string()))
    }
}

#[cfg(test)]
pub(in crate::node) mod tests;
