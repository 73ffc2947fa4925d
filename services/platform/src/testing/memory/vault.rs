//! The vault in memory, for tests of services.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use waybill_schemas::{Timestamp, VaultFilter, VaultKey};

use super::server::matches;
use crate::{
    log::LogError,
    vault::{Created, Kept, Vault, VaultEntry, VaultError},
};

/// A vault in memory. Clones share it.
#[derive(Debug, Clone, Default)]
pub struct MemoryVault(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    last_sequence: u64,
    entries: Vec<Kept>,
    unavailable: bool,
    /// Time of what is written next; the present where it is not set.
    now: Option<Timestamp>,
}

impl MemoryVault {
    /// Lets every request fail until it is told otherwise.
    pub fn set_available(&self, available: bool) {
        self.lock().unavailable = !available;
    }

    /// Lets the next entries be written at this time.
    pub fn set_now(&self, now: Timestamp) {
        self.lock().now = Some(now);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn state(&self) -> Result<MutexGuard<'_, State>, VaultError> {
        let state = self.lock();
        if state.unavailable {
            let (what, reason) = ("vault".to_owned(), "no answer in time".to_owned());
            return Err(LogError::Unavailable { what, reason }.into());
        }
        Ok(state)
    }
}

impl State {
    fn last(&self, filter: &str) -> Option<Kept> {
        self.entries.iter().rev().find(|kept| matches(filter, &kept.key.subject())).cloned()
    }

    fn write(&mut self, key: &VaultKey, entry: &VaultEntry) -> u64 {
        self.last_sequence = self.last_sequence.saturating_add(1);
        let at = self.now.unwrap_or_else(crate::trace::now);
        self.entries.push(Kept { key: key.clone(), sequence: self.last_sequence, at, entry: entry.clone() });
        self.last_sequence
    }
}

#[async_trait]
impl Vault for MemoryVault {
    async fn ensure(&self, _: usize) -> Result<(), VaultError> {
        self.state().map(|_| ())
    }

    async fn create(&self, key: &VaultKey, entry: &VaultEntry) -> Result<Created, VaultError> {
        let mut state = self.state()?;
        if !entry.fits(key) {
            return Err(VaultError::Kind { key: key.clone() });
        }
        match state.last(&key.subject()) {
            Some(kept) if kept.entry == *entry => Ok(Created::Stored(kept.sequence)),
            Some(kept) => Ok(Created::Conflict(kept)),
            None => Ok(Created::Stored(state.write(key, entry))),
        }
    }

    async fn put(&self, key: &VaultKey, entry: &VaultEntry) -> Result<u64, VaultError> {
        let mut state = self.state()?;
        if !entry.fits(key) {
            return Err(VaultError::Kind { key: key.clone() });
        }
        let sequence = state.write(key, entry);
        state.entries.retain(|kept| kept.key != *key || kept.sequence == sequence);
        Ok(sequence)
    }

    async fn get(&self, key: &VaultKey) -> Result<Option<Kept>, VaultError> {
        Ok(self.state()?.last(&key.subject()))
    }

    async fn last_matching(&self, filter: &VaultFilter) -> Result<Option<Kept>, VaultError> {
        Ok(self.state()?.last(&filter.to_string()))
    }

    async fn keys(&self, filter: &VaultFilter) -> Result<Vec<VaultKey>, VaultError> {
        let filter = filter.to_string();
        let state = self.state()?;
        let mut keys: Vec<VaultKey> = state.entries.iter().map(|kept| kept.key.clone()).collect();
        keys.retain(|key| matches(&filter, &key.subject()));
        keys.sort();
        keys.dedup();
        Ok(keys)
    }

    async fn erase(&self, key: &VaultKey) -> Result<u64, VaultError> {
        let mut state = self.state()?;
        let before = state.entries.len();
        state.entries.retain(|kept| kept.key != *key);
        Ok(u64::try_from(before.saturating_sub(state.entries.len())).unwrap_or(u64::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn it_is_a_vault() {
        crate::testing::check_vault(&MemoryVault::default()).await;
    }
}
