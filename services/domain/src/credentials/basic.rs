//! User names and passwords, under their own names and under those that registry services give them.

use waybill_schemas::v1::CredType;

use super::keys::{Keys, Values, collect_values};
use super::{CredentialError, Credentials, GOOGLE_TOKEN_USER, IDENTITY_TOKEN_USER, Secret, google};
use crate::reference::{Registry, RegistryHost};

/// A user name and a password.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BasicLogin {
    /// The user name. It has no colon (RFC 7617, section 2).
    pub username: String,
    /// The password.
    pub password: Secret,
}

/// User names that say how the password is to be read, not whose it is: ECR, Google, Azure, GitLab's jobs, NGC and Quay,
/// GitHub, DigitalOcean and IBM, and Docker's identity tokens.
const SHARED_USERS: [&str; 14] = [
    "AWS",
    GOOGLE_TOKEN_USER,
    "_json_key",
    "_json_key_base64",
    "_token",
    "00000000-0000-0000-0000-000000000000",
    JOB_USER,
    "$oauthtoken",
    super::token::GITHUB_USER,
    "iamapikey",
    "oauth2",
    "token",
    "nologin",
    IDENTITY_TOKEN_USER,
];

/// User names of Google's registries with which the password is a key file, as it is or in Base64.
const KEY_FILE_USERS: [&str; 2] = ["_json_key", "_json_key_base64"];

impl BasicLogin {
    /// The user name, or the account in the key file that stands in the password's place.
    pub(super) fn identity(&self) -> Option<String> {
        match KEY_FILE_USERS.contains(&self.username.as_str()) {
            true => google::account_in_key_file(&self.password),
            false => identity_of_user(&self.username),
        }
    }

    pub(super) fn to_values(&self) -> Values {
        collect_values([
            ("USERNAME", Some(Secret::from(self.username.as_str()))),
            ("PASSWORD", Some(self.password.clone())),
        ])
    }
}

/// The user name, where it is an account's.
pub(super) fn identity_of_user(username: &str) -> Option<String> {
    (!SHARED_USERS.contains(&username)).then(|| username.to_owned())
}

pub(super) fn read_keys(keys: &Keys, _: &RegistryHost) -> Result<Credentials, CredentialError> {
    let username = keys.need_user(CredType::Basic, "USERNAME", &["USERNAME", "REGISTRY_USERNAME"])?;
    let password = keys.need_value(CredType::Basic, "PASSWORD", &["PASSWORD", "REGISTRY_PASSWORD"])?;
    Ok(Credentials::Basic(BasicLogin { username, password }))
}

/// A user name, and the first of `passwords` that has a value.
fn read_login(keys: &Keys, username: &'static str, passwords: &[&'static str]) -> Result<Credentials, CredentialError> {
    let missing = passwords.first().copied().unwrap_or("PASSWORD");
    let username = keys.need_user(CredType::Basic, username, &[username])?;
    let password = keys.need_value(CredType::Basic, missing, passwords)?;
    Ok(Credentials::Basic(BasicLogin { username, password }))
}

pub(super) fn read_docker_hub(keys: &Keys, _: &RegistryHost) -> Result<Credentials, CredentialError> {
    read_login(keys, "DOCKERHUB_USERNAME", &["DOCKERHUB_PASSWORD", "DOCKERHUB_TOKEN"])
}

/// Robot accounts are `namespace+robot`.
pub(super) fn read_quay(keys: &Keys, _: &RegistryHost) -> Result<Credentials, CredentialError> {
    read_login(keys, "QUAY_USERNAME", &["QUAY_PASSWORD", "QUAY_TOKEN"])
}

/// Robot accounts are `robot$project+name`.
pub(super) fn read_harbor(keys: &Keys, _: &RegistryHost) -> Result<Credentials, CredentialError> {
    read_login(keys, "HARBOR_USERNAME", &["HARBOR_PASSWORD"])
}

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
pub(super) fn read_gitlab(keys: &Keys, host: &RegistryHost) -> Result<Credentials, CredentialError> {
    if host.kind() == Registry::Generic {
        keys.need_value(CredType::Basic, "CI_REGISTRY", &["CI_REGISTRY"])?;
    }
    let given = GITLAB.iter().find(|(_, password)| keys.has_any(&[password]));
    if let (None, Some(token)) = (given, keys.first_value(&["CI_JOB_TOKEN"])) {
        return Ok(Credentials::Basic(BasicLogin { username: JOB_USER.to_owned(), password: token.clone() }));
    }
    match given.or_else(|| GITLAB.iter().find(|(username, _)| keys.has_any(&[username]))) {
        Some((username, password)) => read_login(keys, username, &[password]),
        None => Err(CredentialError::Incomplete {
            cred_type: CredType::Basic,
            missing: "CI_REGISTRY_PASSWORD",
            misspelt: false,
        }),
    }
}
