//! The keys Waybill knows, found among those a client gave.

use std::collections::BTreeMap;

use super::Secret;

/// Every key with a meaning. A client's key is one of these whatever its case (`username`, `aws_access_key_id`).
const KNOWN: [&str; 40] = [
    "USERNAME",
    "PASSWORD",
    "REGISTRY_USERNAME",
    "REGISTRY_PASSWORD",
    "TOKEN",
    "REGISTRY_TOKEN",
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "AWS_REGION",
    "AWS_DEFAULT_REGION",
    "AWS_CREDENTIAL_EXPIRATION",
    "AWS_ROLE_ARN",
    "AWS_EXTERNAL_ID",
    "AWS_ROLE_SESSION_NAME",
    "GCP_ACCESS_TOKEN",
    "GOOGLE_APPLICATION_CREDENTIALS",
    "GOOGLE_SUBJECT_TOKEN",
    "AZURE_CLIENT_ID",
    "AZURE_CLIENT_SECRET",
    "AZURE_TENANT_ID",
    "DOCKERHUB_USERNAME",
    "DOCKERHUB_PASSWORD",
    "DOCKERHUB_TOKEN",
    "GITHUB_USERNAME",
    "GITHUB_TOKEN",
    "NGC_API_KEY",
    "CI_REGISTRY",
    "CI_REGISTRY_USER",
    "CI_REGISTRY_PASSWORD",
    "CI_DEPLOY_USER",
    "CI_DEPLOY_PASSWORD",
    "CI_JOB_TOKEN",
    "GITLAB_USERNAME",
    "GITLAB_TOKEN",
    "QUAY_USERNAME",
    "QUAY_PASSWORD",
    "QUAY_TOKEN",
    "HARBOR_USERNAME",
    "HARBOR_PASSWORD",
];

/// A client's keys: the known ones under their one name, without those that have no value.
#[derive(Default)]
pub(super) struct Keys {
    known: BTreeMap<&'static str, Secret>,
    unknown: BTreeMap<String, Secret>,
}

impl Keys {
    /// Sorts what was given. Where two spellings of a key have a value, the exact one wins, then the first in byte order.
    pub(super) fn of(given: &BTreeMap<String, Secret>) -> Self {
        let mut keys = Keys::default();
        let exact = |key: &str| KNOWN.contains(&key);
        for (key, value) in
            given.iter().filter(|(key, _)| exact(key)).chain(given.iter().filter(|(key, _)| !exact(key)))
        {
            keys.add(key, value);
        }
        keys
    }

    fn add(&mut self, key: &str, value: &Secret) {
        match KNOWN.into_iter().find(|known| known.eq_ignore_ascii_case(key)) {
            Some(known) => {
                if let Some(value) = usable(known, value) {
                    self.known.entry(known).or_insert(value);
                }
            }
            None if !value.is_empty() => {
                self.unknown.insert(key.to_owned(), value.clone());
            }
            None => {}
        }
    }

    /// The value of the first of these keys that has one.
    pub(super) fn first(&self, keys: &[&str]) -> Option<&Secret> {
        keys.iter().find_map(|key| self.known.get(*key))
    }

    /// Whether any of these keys has a value.
    pub(super) fn any(&self, keys: &[&str]) -> bool {
        self.first(keys).is_some()
    }

    /// Whether nothing was given at all.
    pub(super) fn is_empty(&self) -> bool {
        self.known.is_empty() && self.unknown.is_empty()
    }

    /// Everything that was given, known or not.
    pub(super) fn into_all(self) -> BTreeMap<String, Secret> {
        let known = self.known.into_iter().map(|(key, value)| (key.to_owned(), value));
        self.unknown.into_iter().chain(known).collect()
    }
}

/// The value without surrounding whitespace, or nothing if it is empty then.
///
/// User names and passwords are taken as they are, since a space may be part of them; the rest (key ids, tokens, regions,
/// times, JSON) cannot begin or end with whitespace, which comes from files and shells.
fn usable(key: &str, value: &Secret) -> Option<Secret> {
    let verbatim = ["USERNAME", "_USER", "PASSWORD"].iter().any(|end| key.ends_with(end));
    let text = if verbatim { value.expose() } else { value.expose().trim() };
    (!text.is_empty()).then(|| Secret::from(text))
}
