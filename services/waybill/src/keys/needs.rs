//! Which of the scheduler's keys the log names and the vault still needs.

use std::collections::BTreeMap;

use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use serde::Serialize;
use waybill_platform::{
    log::{EventLog, Log},
    vault::{Vault, VaultEntry},
};
use waybill_schemas::{Event, PublicSealingKey, Subject, Timestamp, VaultFilter};

use crate::Failure;

/// Entries of the vault that are read at once.
const AT_ONCE: usize = 32;

/// How much of the vault a key is needed for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub(super) struct Needs {
    /// Versions of secrets that are sealed to it.
    pub(super) secrets: u64,
    /// Grants that are sealed with it.
    pub(super) grants: u64,
}

impl Needs {
    /// True if the vault can do without the key.
    pub(super) fn are_none(self) -> bool {
        self == Self::default()
    }
}

/// What the scheduler said of its keys last.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Published {
    /// The key that gateways seal to.
    pub(crate) present: PublicSealingKey,
    /// Keys whose grants workers take besides.
    pub(crate) earlier: Vec<PublicSealingKey>,
    /// The stream's time of that.
    pub(crate) at: Timestamp,
}

impl Published {
    /// Reads the scheduler's last word about its keys; none if it has not said any.
    pub(crate) async fn read(log: &impl Log) -> Result<Option<Self>, Failure> {
        let Some(message) = log.last(&Subject::SchedulerKeys).await? else { return Ok(None) };
        match message.decode()?.event {
            Event::SchedulerKeyPublished(event) => {
                Ok(Some(Self { present: event.sealing_key, earlier: event.earlier_keys, at: message.at }))
            }
            _ => Ok(None),
        }
    }
}

/// What the vault needs, by key. A key that is not in the map is not needed.
pub(super) async fn count(vault: &impl Vault) -> Result<BTreeMap<PublicSealingKey, Needs>, Failure> {
    let keys = vault.keys(&VaultFilter::All).await?;
    let entries = stream::iter(&keys).map(|key| vault.get(key)).buffer_unordered(AT_ONCE);
    let needed = entries.try_fold(BTreeMap::<_, Needs>::new(), async |mut needed, kept| {
        if let Some((key, is_secret)) = kept.as_ref().and_then(|kept| needed_key(&kept.entry)) {
            let needs = needed.entry(key.clone()).or_default();
            let count = if is_secret { &mut needs.secrets } else { &mut needs.grants };
            *count = count.saturating_add(1);
        }
        Ok(needed)
    });
    Ok(needed.await?)
}

/// The scheduler's key that an entry needs, and true if the entry is a secret. A secret is opened with it; a grant is good as
/// long as workers know its sender.
fn needed_key(entry: &VaultEntry) -> Option<(&PublicSealingKey, bool)> {
    let sealed = entry.sealed()?;
    match entry {
        VaultEntry::Secret(_) => Some((&sealed.recipient, true)),
        VaultEntry::Grant(_) => Some((&sealed.sender, false)),
    }
}

/// Reads both over one connection.
pub(super) async fn read(log: &EventLog) -> Result<(Option<Published>, BTreeMap<PublicSealingKey, Needs>), Failure> {
    let vault = log.vault();
    let (published, needs): (_, _) = futures_util::future::try_join(Published::read(log), count(&vault)).await?;
    Ok((published, needs))
}
