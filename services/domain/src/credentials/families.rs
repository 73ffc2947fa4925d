//! Families of keys: which keys belong together, for which registries, and what they become.

use waybill_schemas::v1::CredType;

use super::keys::Keys;
use super::{CredentialError, Credentials, Secret, aws, azure, basic, google, token};
use crate::reference::{Registry, RegistryHost};

/// Keys that mean something together.
pub(super) struct Family {
    /// Kind of credentials they make.
    pub(super) cred_type: CredType,
    /// Whose they are, for messages.
    service: &'static str,
    /// Any of these says that the family is meant.
    telling: &'static [&'static str],
    /// These say so only when nothing else does: a region or a user name alone is no credential.
    supporting: &'static [&'static str],
    /// Which registries take them.
    serves: Serves,
    extract: fn(&Keys, &RegistryHost) -> Result<Credentials, CredentialError>,
}

/// Which registries a family's keys may be used for. Keys that name one service go to no other.
enum Serves {
    /// Any registry.
    Any,
    /// Those of the service only. A cloud's keys are exchanged for that cloud's hosts and for no other: whatever they are
    /// exchanged for would be sent to a stranger.
    Service(fn(&Registry) -> bool),
    /// Self-hosted ones only: the service has no host of its own.
    SelfHosted,
    /// Those of the service and self-hosted ones, of which a key names the one that the keys are for.
    ServiceAndNamed(fn(&Registry) -> bool, &'static str),
}

impl Family {
    /// True if the registry takes these keys at all.
    pub(super) fn serves(&self, host: &RegistryHost, keys: &Keys) -> bool {
        let registry = host.kind();
        match self.serves {
            Serves::Any => true,
            Serves::Service(own) => own(&registry),
            Serves::SelfHosted => registry == Registry::Generic,
            Serves::ServiceAndNamed(own, key) => {
                let named = |name: &Secret| RegistryHost::parse(name.expose()).is_ok_and(|named| named == *host);
                (own(&registry) || registry == Registry::Generic) && keys.first_value(&[key]).is_none_or(named)
            }
        }
    }

    /// True if these are the registry's own keys, which go before all others.
    fn is_own_of(&self, registry: &Registry) -> bool {
        match self.serves {
            Serves::Any | Serves::SelfHosted => false,
            Serves::Service(own) | Serves::ServiceAndNamed(own, _) => own(registry),
        }
    }

    fn is_given(&self, keys: &Keys) -> bool {
        keys.has_any(self.telling) || keys.has_any(self.supporting)
    }

    /// The credentials, complete, or the first key that is missing.
    pub(super) fn extract_credentials(&self, keys: &Keys, host: &RegistryHost) -> Result<Credentials, CredentialError> {
        (self.extract)(keys, host)
    }

    /// The error for keys that this host does not take.
    pub(super) fn mismatch_error(&self, host: &RegistryHost) -> CredentialError {
        CredentialError::RegistryMismatch { claimed: self.service.to_owned(), image: host.to_string() }
    }
}

/// Keys that mean something beside others only.
static FURTHER: [&str; 3] = ["AWS_EXTERNAL_ID", "AWS_ROLE_SESSION_NAME", "CI_REGISTRY"];

/// Every key with a meaning.
pub(super) fn known_keys() -> impl Iterator<Item = &'static str> {
    let of_families = FAMILIES.iter().flat_map(|family| family.telling.iter().chain(family.supporting));
    of_families.chain(&FURTHER).copied()
}

/// The family of a kind under its plain names.
pub(super) fn find_plain(cred_type: CredType) -> Option<&'static Family> {
    FAMILIES.iter().find(|family| family.cred_type == cred_type)
}

/// The family that decides what keys are for a host: the host's own before the others, and keys that tell before keys that
/// only support.
pub(super) fn find_deciding(keys: &Keys, claimed: Option<CredType>, host: &RegistryHost) -> Option<&'static Family> {
    let kind = &host.kind();
    let eligible =
        |family: &&Family| family.serves(host, keys) && claimed.is_none_or(|claimed| claimed == family.cred_type);
    let own = FAMILIES.iter().filter(|family| family.is_own_of(kind));
    let others = FAMILIES.iter().filter(|family| !family.is_own_of(kind));
    let mut ordered = own.chain(others).filter(eligible);
    let supported = ordered.clone().find(|family| keys.has_any(family.supporting));
    ordered.find(|family| keys.has_any(family.telling)).or(supported)
}

/// The family of another service that these keys are of.
pub(super) fn find_elsewhere(keys: &Keys, host: &RegistryHost) -> Option<&'static Family> {
    FAMILIES.iter().find(|family| !family.serves(host, keys) && family.is_given(keys))
}

/// All families. Of several that a registry takes, its own goes first and then this order decides.
static FAMILIES: [Family; 11] = [
    Family {
        cred_type: CredType::Basic,
        service: "any registry",
        telling: &["PASSWORD", "REGISTRY_PASSWORD"],
        supporting: &["USERNAME", "REGISTRY_USERNAME"],
        serves: Serves::Any,
        extract: basic::read_keys,
    },
    Family {
        cred_type: CredType::Token,
        service: "any registry",
        telling: &["TOKEN", "REGISTRY_TOKEN"],
        supporting: &[],
        serves: Serves::Any,
        extract: token::read_keys,
    },
    Family {
        cred_type: CredType::Aws,
        service: "Amazon ECR",
        telling: &["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"],
        supporting: &["AWS_REGION", "AWS_DEFAULT_REGION", "AWS_CREDENTIAL_EXPIRATION", "AWS_ROLE_ARN"],
        serves: Serves::Service(|kind| matches!(kind, Registry::Ecr(_) | Registry::EcrPublic)),
        extract: aws::read_keys,
    },
    Family {
        cred_type: CredType::Gcp,
        service: "Google Artifact Registry",
        telling: &["GCP_ACCESS_TOKEN", "GOOGLE_APPLICATION_CREDENTIALS"],
        supporting: &["GOOGLE_SUBJECT_TOKEN"],
        serves: Serves::Service(|kind| matches!(kind, Registry::Gcr | Registry::ArtifactRegistry { .. })),
        extract: google::read_keys,
    },
    Family {
        cred_type: CredType::Azure,
        service: "Azure Container Registry",
        telling: &["AZURE_CLIENT_ID", "AZURE_CLIENT_SECRET", "AZURE_TENANT_ID"],
        supporting: &[],
        serves: Serves::Service(|kind| matches!(kind, Registry::Acr { .. })),
        extract: azure::read_keys,
    },
    Family {
        cred_type: CredType::Basic,
        service: "Docker Hub",
        telling: &["DOCKERHUB_PASSWORD", "DOCKERHUB_TOKEN"],
        supporting: &["DOCKERHUB_USERNAME"],
        serves: Serves::Service(|kind| *kind == Registry::DockerHub),
        extract: basic::read_docker_hub,
    },
    Family {
        cred_type: CredType::Token,
        service: "GitHub Container Registry",
        telling: &["GITHUB_TOKEN"],
        supporting: &["GITHUB_USERNAME"],
        serves: Serves::Service(|kind| *kind == Registry::Ghcr),
        extract: token::read_github,
    },
    Family {
        cred_type: CredType::Token,
        service: "NVIDIA NGC",
        telling: &["NGC_API_KEY"],
        supporting: &[],
        serves: Serves::Service(|kind| *kind == Registry::Ngc),
        extract: token::read_ngc,
    },
    Family {
        cred_type: CredType::Basic,
        service: "GitLab",
        telling: &["CI_DEPLOY_PASSWORD", "GITLAB_TOKEN", "CI_REGISTRY_PASSWORD", "CI_JOB_TOKEN"],
        supporting: &["CI_DEPLOY_USER", "GITLAB_USERNAME", "CI_REGISTRY_USER"],
        serves: Serves::ServiceAndNamed(|kind| *kind == Registry::Gitlab, "CI_REGISTRY"),
        extract: basic::read_gitlab,
    },
    Family {
        cred_type: CredType::Basic,
        service: "Quay.io",
        telling: &["QUAY_PASSWORD", "QUAY_TOKEN"],
        supporting: &["QUAY_USERNAME"],
        serves: Serves::Service(|kind| *kind == Registry::Quay),
        extract: basic::read_quay,
    },
    Family {
        cred_type: CredType::Basic,
        service: "Harbor",
        telling: &["HARBOR_PASSWORD"],
        supporting: &["HARBOR_USERNAME"],
        serves: Serves::SelfHosted,
        extract: basic::read_harbor,
    },
];
