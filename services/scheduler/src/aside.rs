//! Decisions that the log refused for good: set aside for a while, so that the others go on.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

/// How long a decision stays aside before it is tried again: what kept it out may have been put right.
const STAYS: Duration = Duration::from_secs(300);

/// Keys of outbox rows that are set aside.
#[derive(Debug, Default)]
pub(crate) struct Aside(Mutex<HashMap<String, Instant>>);

impl Aside {
    pub(crate) fn put(&self, key: String) {
        self.lock().insert(key, Instant::now());
    }

    /// Keys that are aside now.
    pub(crate) fn keys(&self) -> std::collections::HashSet<String> {
        let mut aside = self.lock();
        aside.retain(|_, since| since.elapsed() < STAYS);
        aside.keys().cloned().collect()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<String, Instant>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
