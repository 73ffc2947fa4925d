//! Families of keys: which keys belong together, for which registries, and what they become.

use std::collections::BTreeMap;

use waybill_schemas::{Timestamp, v1::CredType};

use super::keys::Keys;
use super::{CredentialError, GoogleKeys, Secret, azure, google, named, role};
use crate::reference::{EcrRegistry, Registry, RegistryHost};

/// The values of one kind of credentials, under the names they are carried by.
pub(super) type Values = BTreeMap<String, Secret>;

/// Keys that mean something together.
pub(super) struct Family {
    /// Kind of credentials they make.
    pub(super) cred_type: CredType,
    /// Whose they are, for messages.
    pub(super) service: &'static str,
    /// Any of these says that the family is meant.
    pub(super) telling: &'static [&'static str],
    /// These say so only when nothing else does: a region or a user name alone is no credential.
    pub(super) supporting: &'static [&'static str],
    /// Which registries take them.
    serves: Serves,
    extract: fn(&Keys, &Registry) -> Result<Values, CredentialError>,
}

/// Which registries a family's keys may be used for. Keys that name one service go to no other.
enum Serves {
    /// Any registry.
    Any,
    /// Those of the service, and self-hosted ones that no service is known for (a proxy or a test double).
    ServiceAndGeneric(fn(&Registry) -> bool),
    /// Those of the service only.
    Service(fn(&Registry) -> bool),
    /// Those of the service and self-hosted ones, of which a key names the one that the keys are for.
    ServiceAndNamed(fn(&Registry) -> bool, &'static str),
}

impl Family {
    /// Whether the registry takes these keys at all.
    pub(super) fn serves(&self, host: &RegistryHost, keys: &Keys) -> bool {
        let registry = host.kind();
        match self.serves {
            Serves::Any => true,
            Serves::ServiceAndGeneric(own) => own(&registry) || registry == Registry::Generic,
            Serves::Service(own) => own(&registry),
            Serves::ServiceAndNamed(own, key) => {
                let named = |name: &Secret| RegistryHost::parse(name.expose()).is_ok_and(|named| named == *host);
                (own(&registry) || registry == Registry::Generic) && keys.first(&[key]).is_none_or(named)
            }
        }
    }

    /// Whether these are the registry's own keys, which go before all others.
    pub(super) fn is_own_of(&self, registry: &Registry) -> bool {
        match self.serves {
            Serves::Any => false,
            Serves::ServiceAndGeneric(own) | Serves::Service(own) | Serves::ServiceAndNamed(own, _) => own(registry),
        }
    }

    /// The values to carry, complete, or the first key that is missing.
    pub(super) fn extract(&self, keys: &Keys, registry: &Registry) -> Result<Values, CredentialError> {
        (self.extract)(keys, registry)
    }
}

/// All families. Of several that a registry takes, its own goes first and then this order decides.
pub(super) static FAMILIES: [Family; 11] = [
    Family {
        cred_type: CredType::Basic,
        service: "any registry",
        telling: &["PASSWORD", "REGISTRY_PASSWORD"],
        supporting: &["USERNAME", "REGISTRY_USERNAME"],
        serves: Serves::Any,
        extract: basic,
    },
    Family {
        cred_type: CredType::Token,
        service: "any registry",
        telling: &["TOKEN", "REGISTRY_TOKEN"],
        supporting: &[],
        serves: Serves::Any,
        extract: token,
    },
    Family {
        cred_type: CredType::Aws,
        service: "Amazon ECR",
        telling: &["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"],
        supporting: &["AWS_REGION", "AWS_DEFAULT_REGION", "AWS_CREDENTIAL_EXPIRATION", "AWS_ROLE_ARN"],
        serves: Serves::ServiceAndGeneric(|kind| matches!(kind, Registry::Ecr(_) | Registry::EcrPublic)),
        extract: aws,
    },
    Family {
        cred_type: CredType::Gcp,
        service: "Google Artifact Registry",
        telling: &["GCP_ACCESS_TOKEN", "GOOGLE_APPLICATION_CREDENTIALS"],
        supporting: &["GOOGLE_SUBJECT_TOKEN"],
        serves: Serves::ServiceAndGeneric(|kind| matches!(kind, Registry::Gcr | Registry::ArtifactRegistry { .. })),
        extract: gcp,
    },
    Family {
        cred_type: CredType::Azure,
        service: "Azure Container Registry",
        telling: &["AZURE_CLIENT_ID", "AZURE_CLIENT_SECRET", "AZURE_TENANT_ID"],
        supporting: &[],
        serves: Serves::ServiceAndGeneric(|kind| matches!(kind, Registry::Acr { .. })),
        extract: azure,
    },
    Family {
        cred_type: CredType::Basic,
        service: "Docker Hub",
        telling: &["DOCKERHUB_PASSWORD", "DOCKERHUB_TOKEN"],
        supporting: &["DOCKERHUB_USERNAME"],
        serves: Serves::Service(|kind| *kind == Registry::DockerHub),
        extract: docker_hub,
    },
    Family {
        cred_type: CredType::Token,
        service: "GitHub Container Registry",
        telling: &["GITHUB_TOKEN"],
        supporting: &["GITHUB_USERNAME"],
        serves: Serves::Service(|kind| *kind == Registry::Ghcr),
        extract: github,
    },
    Family {
        cred_type: CredType::Token,
        service: "NVIDIA NGC",
        telling: &["NGC_API_KEY"],
        supporting: &[],
        serves: Serves::Service(|kind| *kind == Registry::Ngc),
        extract: ngc,
    },
    Family {
        cred_type: CredType::Basic,
        service: "GitLab",
        telling: &["CI_DEPLOY_PASSWORD", "GITLAB_TOKEN", "CI_REGISTRY_PASSWORD", "CI_JOB_TOKEN"],
        supporting: &["CI_DEPLOY_USER", "GITLAB_USERNAME", "CI_REGISTRY_USER"],
        serves: Serves::ServiceAndNamed(|kind| *kind == Registry::Gitlab, "CI_REGISTRY"),
        extract: named::gitlab,
    },
    Family {
        cred_type: CredType::Basic,
        service: "Quay.io",
        telling: &["QUAY_PASSWORD", "QUAY_TOKEN"],
        supporting: &["QUAY_USERNAME"],
        serves: Serves::Service(|kind| *kind == Registry::Quay),
        extract: named::quay,
    },
    Family {
        cred_type: CredType::Basic,
        service: "Harbor",
        telling: &["HARBOR_PASSWORD"],
        supporting: &["HARBOR_USERNAME"],
        // There is no Harbor but self-hosted ones.
        serves: Serves::ServiceAndGeneric(|_| false),
        extract: named::harbor,
    },
];

fn basic(keys: &Keys, _: &Registry) -> Result<Values, CredentialError> {
    let need = Need { keys, cred_type: CredType::Basic };
    let username = need.user("USERNAME", &["USERNAME", "REGISTRY_USERNAME"])?;
    let password = need.one("PASSWORD", &["PASSWORD", "REGISTRY_PASSWORD"])?;
    Ok(values([("USERNAME", Some(username)), ("PASSWORD", Some(password))]))
}

fn docker_hub(keys: &Keys, _: &Registry) -> Result<Values, CredentialError> {
    Need { keys, cred_type: CredType::Basic }.login("DOCKERHUB_USERNAME", &["DOCKERHUB_PASSWORD", "DOCKERHUB_TOKEN"])
}

/// With a user name the token is a password that the registry's token service takes; alone it is a bearer token.
fn token(keys: &Keys, _: &Registry) -> Result<Values, CredentialError> {
    let need = Need { keys, cred_type: CredType::Token };
    let token = need.one("TOKEN", &["TOKEN", "REGISTRY_TOKEN"])?;
    let username = match keys.any(&["USERNAME", "REGISTRY_USERNAME"]) {
        true => Some(need.user("USERNAME", &["USERNAME", "REGISTRY_USERNAME"])?),
        false => None,
    };
    Ok(values([("TOKEN", Some(token)), ("USERNAME", username)]))
}

fn github(keys: &Keys, _: &Registry) -> Result<Values, CredentialError> {
    let need = Need { keys, cred_type: CredType::Token };
    let username = need.user("GITHUB_USERNAME", &["GITHUB_USERNAME"])?;
    let token = need.one("GITHUB_TOKEN", &["GITHUB_TOKEN"])?;
    Ok(values([("TOKEN", Some(token)), ("USERNAME", Some(username))]))
}

/// NGC's user name for API keys is this literal text.
fn ngc(keys: &Keys, _: &Registry) -> Result<Values, CredentialError> {
    let need = Need { keys, cred_type: CredType::Token };
    let key = need.one("NGC_API_KEY", &["NGC_API_KEY"])?;
    Ok(values([("TOKEN", Some(key)), ("USERNAME", Some(Secret::from("$oauthtoken")))]))
}

/// Ids that begin so are temporary and worth nothing without their session token
/// (IAM user guide, "Understanding unique ID prefixes").
const TEMPORARY_KEY: &str = "ASIA";

fn aws(keys: &Keys, registry: &Registry) -> Result<Values, CredentialError> {
    let need = Need { keys, cred_type: CredType::Aws };
    let id = need.one("AWS_ACCESS_KEY_ID", &["AWS_ACCESS_KEY_ID"])?;
    let secret = need.one("AWS_SECRET_ACCESS_KEY", &["AWS_SECRET_ACCESS_KEY"])?;
    let session = keys.first(&["AWS_SESSION_TOKEN"]).cloned();
    if session.is_none() && id.expose().starts_with(TEMPORARY_KEY) {
        return Err(need.missing("AWS_SESSION_TOKEN"));
    }
    let region = aws_region(&need, registry)?;
    let [role, external_id, session_name] = role::values(keys)?;
    Ok(values([
        ("AWS_ACCESS_KEY_ID", Some(id)),
        ("AWS_SECRET_ACCESS_KEY", Some(secret)),
        ("AWS_SESSION_TOKEN", session),
        ("AWS_REGION", Some(region)),
        ("AWS_CREDENTIAL_EXPIRATION", keys.first(&["AWS_CREDENTIAL_EXPIRATION"]).cloned()),
        ("AWS_ROLE_ARN", role),
        ("AWS_EXTERNAL_ID", external_id),
        ("AWS_ROLE_SESSION_NAME", session_name),
    ]))
}

/// The region that issues the token. An ECR host says it itself; a region among the keys is often just the region its
/// owner works in, so it counts only where the host says none.
fn aws_region(need: &Need<'_>, registry: &Registry) -> Result<Secret, CredentialError> {
    let region = match registry {
        Registry::Ecr(EcrRegistry { region, .. }) => return Ok(Secret::from(region.as_str())),
        Registry::EcrPublic => return Ok(Secret::from("us-east-1")),
        _ => need.one("AWS_REGION", &["AWS_REGION", "AWS_DEFAULT_REGION"])?,
    };
    // It becomes part of a host name.
    let legal = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    match region.len() <= 63 && region.expose().bytes().all(legal) {
        true => Ok(region),
        false => Err(CredentialError::InvalidValue { key: "AWS_REGION", expected: "a region such as eu-west-1" }),
    }
}

/// When AWS keys stop working, from `AWS_CREDENTIAL_EXPIRATION` (RFC 3339).
pub(super) fn expires_at(expiration: &Secret) -> Result<Timestamp, CredentialError> {
    expiration.expose().parse().map_err(|_| CredentialError::InvalidValue {
        key: "AWS_CREDENTIAL_EXPIRATION",
        expected: "an RFC 3339 time such as 2030-01-31T12:00:00Z",
    })
}

fn gcp(keys: &Keys, _: &Registry) -> Result<Values, CredentialError> {
    let need = Need { keys, cred_type: CredType::Gcp };
    let subject_token = keys.first(&["GOOGLE_SUBJECT_TOKEN"]);
    let missing = if subject_token.is_some() { "GOOGLE_APPLICATION_CREDENTIALS" } else { "GCP_ACCESS_TOKEN" };
    need.one(missing, &["GCP_ACCESS_TOKEN", "GOOGLE_APPLICATION_CREDENTIALS"])?;
    let (token, file) = (keys.first(&["GCP_ACCESS_TOKEN"]), keys.first(&["GOOGLE_APPLICATION_CREDENTIALS"]));
    // Where there is a token, the file is not read.
    let read = match (token, file) {
        (None, Some(file)) => Some(google::check(file, subject_token)?),
        _ => None,
    };
    // One that nothing needs is not carried, nor does its end count.
    let subject_token = subject_token.filter(|_| matches!(read, Some(GoogleKeys::External(_))));
    Ok(values([
        ("GCP_ACCESS_TOKEN", token.cloned()),
        ("GOOGLE_APPLICATION_CREDENTIALS", file.cloned()),
        ("GOOGLE_SUBJECT_TOKEN", subject_token.cloned()),
    ]))
}

fn azure(keys: &Keys, _: &Registry) -> Result<Values, CredentialError> {
    let need = Need { keys, cred_type: CredType::Azure };
    let id = need.one("AZURE_CLIENT_ID", &["AZURE_CLIENT_ID"])?;
    let secret = need.one("AZURE_CLIENT_SECRET", &["AZURE_CLIENT_SECRET"])?;
    let tenant = need.one("AZURE_TENANT_ID", &["AZURE_TENANT_ID"])?;
    if !azure::is_tenant(tenant.expose()) {
        return Err(CredentialError::InvalidValue { key: "AZURE_TENANT_ID", expected: azure::TENANT });
    }
    Ok(values([
        ("AZURE_CLIENT_ID", Some(id)),
        ("AZURE_CLIENT_SECRET", Some(secret)),
        ("AZURE_TENANT_ID", Some(tenant)),
    ]))
}

/// Takes required keys, naming the one that is missing.
pub(super) struct Need<'k> {
    pub(super) keys: &'k Keys,
    pub(super) cred_type: CredType,
}

impl Need<'_> {
    /// The value of the first of `keys` that has one; `missing` is the name to ask for.
    pub(super) fn one(&self, missing: &'static str, keys: &[&str]) -> Result<Secret, CredentialError> {
        self.keys.first(keys).cloned().ok_or_else(|| self.missing(missing))
    }

    /// Likewise for a user name, which cannot contain a colon (RFC 7617, section 2).
    fn user(&self, missing: &'static str, keys: &[&str]) -> Result<Secret, CredentialError> {
        let username = self.one(missing, keys)?;
        match username.expose().contains(':') {
            true => Err(CredentialError::InvalidValue { key: missing, expected: "a user name without a colon" }),
            false => Ok(username),
        }
    }

    /// A user name, and the first of `passwords` that has a value.
    pub(super) fn login(&self, username: &'static str, passwords: &[&'static str]) -> Result<Values, CredentialError> {
        let missing = passwords.first().copied().unwrap_or("PASSWORD");
        let (username, password) = (self.user(username, &[username])?, self.one(missing, passwords)?);
        Ok(values([("USERNAME", Some(username)), ("PASSWORD", Some(password))]))
    }

    pub(super) fn missing(&self, missing: &'static str) -> CredentialError {
        CredentialError::Incomplete { cred_type: self.cred_type, missing }
    }
}

pub(super) fn values<const N: usize>(pairs: [(&str, Option<Secret>); N]) -> Values {
    pairs.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value?))).collect()
}
