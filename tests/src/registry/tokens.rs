//! The token service's memory: what it issued to whom, and until when that holds.

use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use uuid::Uuid;

use super::lock;

/// What a token opens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Grant {
    /// To whom it was issued; `None` to somebody who gave no account.
    pub(super) account: Option<String>,
    pub(super) granted: BTreeSet<String>,
    /// Repositories that were asked for, which this account may not pull.
    pub(super) refused: BTreeSet<String>,
}

/// All tokens issued; `Debug` shows none.
pub(super) struct Tokens {
    lifetime: Duration,
    issued: Mutex<HashMap<String, (Grant, Instant)>>,
}

impl Tokens {
    pub(super) fn new(lifetime: Duration) -> Self {
        Self { lifetime, issued: Mutex::default() }
    }

    pub(super) fn lifetime(&self) -> Duration {
        self.lifetime
    }

    /// A new token that cannot be guessed.
    pub(super) fn issue(&self, grant: Grant) -> String {
        let token = Uuid::new_v4().simple().to_string();
        lock(&self.issued).insert(token.clone(), (grant, Instant::now() + self.lifetime));
        token
    }

    /// What a token opens; `None` when it is unknown or has expired.
    pub(super) fn grant(&self, token: &str) -> Option<Grant> {
        let issued = lock(&self.issued);
        issued.get(token).filter(|(_, until)| Instant::now() < *until).map(|(grant, _)| grant.clone())
    }

    pub(super) fn expire_all(&self) {
        lock(&self.issued).clear();
    }
}

impl fmt::Debug for Tokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tokens").field("lifetime", &self.lifetime).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_expire() {
        let grant = Grant { account: None, granted: BTreeSet::new(), refused: BTreeSet::new() };
        let tokens = Tokens::new(Duration::from_secs(60));
        let token = tokens.issue(grant.clone());
        assert_eq!(tokens.grant(&token), Some(grant.clone()));
        tokens.expire_all();
        assert_eq!(tokens.grant(&token), None);

        let short_lived = Tokens::new(Duration::ZERO);
        assert_eq!(short_lived.grant(&short_lived.issue(grant)), None);
    }
}
