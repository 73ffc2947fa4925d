//! Named secrets: which name a build's credentials get, and what becomes of a new version, a revocation or a shredding.
//!
//! The last event on a secret's subject is its head, and everything here is decided from it. The log compares: an event that
//! was decided from another head is refused, so that nothing is recorded that changes nothing.

use waybill_schemas::{
    Event, ImageId, SecretName, Timestamp,
    v1::{CredType, SecretVersion},
};

use crate::{
    credentials::{Parsed, Secret},
    fold::SecretState,
    reference::{RegistryHost, secret_name},
};

/// The newest event about a secret, as far as the next one depends on it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SecretHead {
    /// Its sequence.
    pub sequence: u64,
    /// Number of the newest version.
    pub version: u64,
    /// Host that the secret is bound to.
    pub registry: String,
    /// Keyed hash of the account's name.
    pub account: Option<String>,
    /// Whether the secret may be used.
    pub state: SecretState,
    /// The newest version, where it may be used.
    pub stored: Option<SecretVersion>,
}

impl SecretHead {
    /// The head that an event at `sequence` leaves; none for an event about something else.
    pub fn from_event(sequence: u64, event: &Event) -> Option<Self> {
        if let Some(stored) = event.stored_version() {
            return Some(Self {
                sequence,
                version: stored.version,
                registry: stored.registry.clone(),
                account: stored.account.clone(),
                state: SecretState::Active,
                stored: Some(stored.clone()),
            });
        }
        let (version, registry, account, state) = match event {
            Event::CredentialSecretRevoked(body) => (body.version, &body.registry, &body.account, SecretState::Revoked),
            Event::CredentialSecretShredded(body) => {
                (body.version, &body.registry, &body.account, SecretState::Shredded)
            }
            _ => return None,
        };
        let (registry, account) = (registry.clone(), account.clone());
        Some(Self { sequence, version, registry, account, state, stored: None })
    }

    /// True if the registry took the newest version when it was asked.
    pub fn is_verified(&self) -> bool {
        let verified = self.stored.as_ref().and_then(|stored| stored.verified.as_ref());
        verified.is_some_and(|verified| verified.digest.is_some())
    }
}

/// Credentials that are to become a version.
#[derive(Debug)]
pub struct NewVersion {
    /// Host that they are bound to.
    pub registry: String,
    /// Kind of the credentials.
    pub cred_type: CredType,
    /// The account's name, where the credentials have one that stays; hashed with a key before it is written anywhere.
    pub identity: Option<String>,
    /// When they stop working, where they say so.
    pub expires_at: Option<Timestamp>,
    /// The JSON to seal.
    pub credentials: Secret,
    /// What was dropped from the values, in words for people.
    pub note: Option<String>,
}

/// The version that credentials become, for one registry host.
pub fn new_version(parsed: &Parsed, registry: &RegistryHost) -> NewVersion {
    NewVersion {
        registry: registry.to_string(),
        cred_type: parsed.credentials.cred_type(),
        identity: parsed.credentials.identity(),
        expires_at: parsed.credentials.expires_at(),
        credentials: parsed.credentials.to_json(registry),
        note: parsed.note(),
    }
}

/// How the secret of a build is named.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Naming {
    /// By the build.
    Given(SecretName),
    /// By default: the first of a row of names that is free, or taken by the same account of the same registry.
    Default {
        /// The first of the row; `-2`, `-3` and so on follow.
        base: SecretName,
    },
}

impl Naming {
    /// The default for an unnamed build: `oci-registry-<registry>`. Keys whose identity changes at each issue cannot be told from
    /// another account's, so each image has a secret of its own then.
    pub fn for_build(registry: &RegistryHost, new: &NewVersion, image_id: &ImageId) -> Self {
        let base = secret_name(registry);
        match new.identity {
            Some(_) => Self::Default { base },
            None => Self::Default { base: base.with_suffix(image_id.as_str()) },
        }
    }

    /// The name to try, counted from 0; none after the only one.
    pub fn candidate(&self, index: u32) -> Option<SecretName> {
        match (self, index) {
            (Self::Given(name), 0) => Some(name.clone()),
            (Self::Given(_), _) => None,
            (Self::Default { base }, 0) => Some(base.clone()),
            (Self::Default { base }, index) => Some(base.with_suffix(&index.saturating_add(1).to_string())),
        }
    }
}

/// True if a default name may be used for an account of a registry: it is free, or theirs already.
pub fn is_same_account(head: Option<&SecretHead>, registry: &str, account: Option<&str>) -> bool {
    head.is_none_or(|head| head.registry == registry && head.account.as_deref() == account)
}

/// Why something about a secret cannot be said.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SecretRefusal {
    /// There is no such secret.
    #[error("there is no secret of this name")]
    Unknown,
    /// It is revoked or shredded already.
    #[error("the secret is withdrawn already, at version {version}")]
    Withdrawn {
        /// Newest version.
        version: u64,
    },
    /// It is bound to another registry.
    #[error("the secret is for {bound_to}; a secret belongs to one registry")]
    RegistryMismatch {
        /// The registry that it is bound to.
        bound_to: String,
    },
    /// The version that was asked for is not the present one.
    #[error("the secret is at version {present} now, not at {asked}")]
    VersionConflict {
        /// The present version; 0 where there is none.
        present: u64,
        /// The version that was asked for.
        asked: u64,
    },
}

/// Where the next event about a secret goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Next {
    /// The version that it brings or withdraws.
    pub version: u64,
    /// Sequence of the head that it was decided from; 0 where there is none.
    pub after: u64,
}

fn check_version(head: Option<&SecretHead>, if_version: Option<u64>) -> Result<(), SecretRefusal> {
    let present = head.map_or(0, |head| head.version);
    match if_version {
        Some(asked) if asked != present => Err(SecretRefusal::VersionConflict { present, asked }),
        _ => Ok(()),
    }
}

/// Decides where a new version goes, for a registry host.
///
/// # Errors
/// [`SecretRefusal::VersionConflict`] and [`SecretRefusal::RegistryMismatch`].
pub fn decide_new_version(
    head: Option<&SecretHead>,
    registry: &str,
    if_version: Option<u64>,
) -> Result<Next, SecretRefusal> {
    check_version(head, if_version)?;
    match head {
        None => Ok(Next { version: 1, after: 0 }),
        Some(head) if head.registry != registry => {
            Err(SecretRefusal::RegistryMismatch { bound_to: head.registry.clone() })
        }
        Some(head) => Ok(Next { version: head.version.saturating_add(1), after: head.sequence }),
    }
}

/// Decides about a revocation. A shredding may follow a revocation; nothing follows a shredding but a new version.
///
/// # Errors
/// [`SecretRefusal::Unknown`], [`SecretRefusal::Withdrawn`] and [`SecretRefusal::VersionConflict`].
pub fn decide_withdrawal(
    head: Option<&SecretHead>,
    shred: bool,
    if_version: Option<u64>,
) -> Result<Next, SecretRefusal> {
    let Some(present) = head else { return Err(SecretRefusal::Unknown) };
    check_version(head, if_version)?;
    let done = match present.state {
        SecretState::Active => false,
        SecretState::Revoked => !shred,
        SecretState::Shredded => true,
    };
    if done {
        return Err(SecretRefusal::Withdrawn { version: present.version });
    }
    Ok(Next { version: present.version, after: present.sequence })
}
