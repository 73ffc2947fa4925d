//! Who may pull what from the in-process registry.

use std::sync::{Arc, Mutex};

use super::lock;
use crate::login::Login;

/// The accounts of a registry; clones are the same list. One user may have several passwords at once.
#[derive(Debug, Clone, Default)]
pub struct Accounts(Arc<Mutex<Vec<Account>>>);

#[derive(Debug, Clone)]
struct Account {
    login: Login,
    access: Access,
}

/// The repositories that an account may pull.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Access {
    Everything,
    Only(Vec<String>),
}

impl Access {
    pub(super) fn covers(&self, repository: &str) -> bool {
        match self {
            Self::Everything => true,
            Self::Only(repositories) => repositories.iter().any(|one| one == repository),
        }
    }
}

impl Accounts {
    /// Lets this account pull every repository.
    pub fn allow(&self, login: &Login) {
        self.add(login, Access::Everything);
    }

    /// Lets this account log in, and pull these repositories and no other.
    pub fn allow_only(&self, login: &Login, repositories: &[&str]) {
        self.add(login, Access::Only(repositories.iter().map(|&one| one.to_owned()).collect()));
    }

    /// Refuses this user and password from now on; tokens issued for it hold until they expire.
    pub fn revoke(&self, login: &Login) {
        lock(&self.0).retain(|account| account.login != *login);
    }

    /// True if the registry takes this user and password.
    pub fn knows(&self, login: &Login) -> bool {
        self.access(login).is_some()
    }

    /// What this user and password may pull; `None` when they are unknown or do not belong together.
    pub(super) fn access(&self, login: &Login) -> Option<Access> {
        lock(&self.0).iter().find(|account| account.login == *login).map(|account| account.access.clone())
    }

    fn add(&self, login: &Login, access: Access) {
        self.revoke(login);
        lock(&self.0).push(Account { login: login.clone(), access });
    }
}
