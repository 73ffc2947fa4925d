//! Logins under the names that GitLab, Quay and Harbor give them.

use waybill_schemas::v1::CredType;

use super::family::{Need, Values, values};
use super::keys::Keys;
use super::{CredentialError, Secret};
use crate::reference::Registry;

/// User names and passwords of GitLab, the longest-lived first: deploy tokens, access tokens, and what a job is given
/// for as long as it runs (GitLab documentation, "Predefined CI/CD variables" and "Deploy tokens").
const GITLAB: [(&str, &str); 3] = [
    ("CI_DEPLOY_USER", "CI_DEPLOY_PASSWORD"),
    ("GITLAB_USERNAME", "GITLAB_TOKEN"),
    ("CI_REGISTRY_USER", "CI_REGISTRY_PASSWORD"),
];

/// The user name that goes with a job's token.
const JOB_USER: &str = "gitlab-ci-token";

/// A self-hosted GitLab can be on any host, so its keys say on which: they are offered to no other.
pub(super) fn gitlab(keys: &Keys, registry: &Registry) -> Result<Values, CredentialError> {
    let need = Need { keys, cred_type: CredType::Basic };
    if *registry == Registry::Generic {
        need.one("CI_REGISTRY", &["CI_REGISTRY"])?;
    }
    let given = GITLAB.iter().find(|(_, password)| keys.any(&[password]));
    if let (None, Some(token)) = (given, keys.first(&["CI_JOB_TOKEN"])) {
        return Ok(values([("USERNAME", Some(Secret::from(JOB_USER))), ("PASSWORD", Some(token.clone()))]));
    }
    match given.or_else(|| GITLAB.iter().find(|(username, _)| keys.any(&[username]))) {
        Some((username, password)) => need.login(username, &[password]),
        None => Err(need.missing("CI_REGISTRY_PASSWORD")),
    }
}

/// Robot accounts are `namespace+robot`.
pub(super) fn quay(keys: &Keys, _: &Registry) -> Result<Values, CredentialError> {
    Need { keys, cred_type: CredType::Basic }.login("QUAY_USERNAME", &["QUAY_PASSWORD", "QUAY_TOKEN"])
}

/// Robot accounts are `robot$project+name`.
pub(super) fn harbor(keys: &Keys, _: &Registry) -> Result<Values, CredentialError> {
    Need { keys, cred_type: CredType::Basic }.login("HARBOR_USERNAME", &["HARBOR_PASSWORD"])
}
