//! The newest version of each secret that this worker was told of.

use std::collections::BTreeMap;

use waybill_domain::{decision::Credential, fold::SecretKey};

/// Most secrets that are remembered; beyond it, those in use and the newer half.
const REMEMBERED: usize = 10_000;

#[derive(Debug, Clone, Default)]
pub(super) struct Secrets {
    newest: BTreeMap<SecretKey, Version>,
}

#[derive(Debug, Clone)]
struct Version {
    credential: Credential,
    /// Stream sequence of the last decision that handed it over.
    decided_by: u64,
}

impl Secrets {
    /// Notes a version. False if a newer one is known. What is not `used` may be forgotten.
    pub(super) fn learn(
        &mut self,
        secret: SecretKey,
        credential: &Credential,
        decided_by: u64,
        used: impl Fn(&SecretKey) -> bool,
    ) -> bool {
        let known = self.newest.get(&secret).map(|known| (known.credential.version, known.decided_by));
        match known {
            Some((version, _)) if version > credential.version => return false,
            // An older decision about the same version: there is nothing to learn from it.
            Some((version, last)) if version == credential.version && last >= decided_by => return true,
            _ => {}
        }
        self.newest.insert(secret, Version { credential: credential.clone(), decided_by });
        if self.newest.len() > REMEMBERED {
            self.forget_oldest(used);
        }
        true
    }

    fn forget_oldest(&mut self, used: impl Fn(&SecretKey) -> bool) {
        let mut sequences: Vec<u64> = self.newest.values().map(|version| version.decided_by).collect();
        sequences.sort_unstable();
        let middle = sequences.get(sequences.len() / 2).copied().unwrap_or_default();
        self.newest.retain(|secret, version| version.decided_by > middle || used(secret));
    }

    pub(super) fn newest(&self, secret: &SecretKey) -> Option<&Credential> {
        self.newest.get(secret).map(|version| &version.credential)
    }

    pub(super) fn decided_by(&self, secret: &SecretKey) -> Option<u64> {
        self.newest.get(secret).map(|version| version.decided_by)
    }
}
