//! An in-process OCI registry with accounts, a token service, faults on demand, and a record of who asked for what.
//!
//! It serves pulls only, over plain HTTP (OCI distribution specification 1.1; token service as in distribution's
//! "Token Authentication Specification").

mod accounts;
mod answer;
mod fault;
mod target;
mod tokens;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::http::{Method, StatusCode};
use bytes::Bytes;

pub use accounts::Accounts;
pub use fault::Fault;
pub use target::Endpoint;

use crate::error::StartError;
use crate::image::TinyImage;
use crate::serving::Serving;
use fault::Faults;
use tokens::Tokens;

/// How a registry wants its callers to log in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scheme {
    /// Not at all.
    Open,
    /// User and password with every request, as with htpasswd and ECR.
    Basic,
    /// User and password at `/token`, for a bearer token that holds for this long; as at Docker Hub and GHCR.
    /// Who gives none gets a token that opens nothing.
    Bearer(Duration),
}

/// By what means a request named its account.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Credential {
    /// No `Authorization` header.
    None,
    /// User and password.
    Basic,
    /// A token.
    Bearer,
    /// A header that is neither.
    Unreadable,
}

/// A request as it was answered; it never holds a password or a token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// The method.
    pub method: Method,
    /// The path, without the query.
    pub path: String,
    /// What was asked.
    pub endpoint: Endpoint,
    /// By what means the caller logged in, rightly or not.
    pub credential: Credential,
    /// The user named with a password, or the one to whom the token was issued.
    pub account: Option<String>,
    /// The answer.
    pub status: StatusCode,
}

/// A running registry; it stops when dropped.
#[derive(Debug)]
pub struct Registry {
    state: Arc<State>,
    serving: Serving,
}

/// What the handler and the handle share.
#[derive(Debug)]
struct State {
    scheme: Scheme,
    realm: Mutex<String>,
    accounts: Accounts,
    tokens: Tokens,
    faults: Faults,
    content: Mutex<Content>,
    seen: Mutex<Vec<Seen>>,
}

/// Manifests by repository and by tag or digest; blobs by repository and digest.
#[derive(Debug, Default)]
struct Content {
    manifests: BTreeMap<(String, String), Manifest>,
    blobs: BTreeMap<(String, String), Bytes>,
}

#[derive(Debug, Clone)]
struct Manifest {
    digest: String,
    media_type: &'static str,
    body: Bytes,
}

impl Registry {
    /// Starts an empty registry without accounts on a free port of 127.0.0.1.
    pub fn start(scheme: Scheme) -> Result<Self, StartError> {
        Self::with_accounts(scheme, &Accounts::default())
    }

    /// Starts an empty registry whose accounts are those of others, as one ECR issues the tokens of many registries.
    pub fn with_accounts(scheme: Scheme, accounts: &Accounts) -> Result<Self, StartError> {
        Self::with_routes(scheme, accounts, Router::new())
    }

    /// Likewise, with further routes of its own.
    pub fn with_routes(scheme: Scheme, accounts: &Accounts, routes: Router) -> Result<Self, StartError> {
        let mut shared = None;
        let serving = Serving::start("the in-process registry", |address| {
            let state = Arc::new(State::new(scheme, format!("http://{address}/token"), accounts.clone()));
            shared = Some(state.clone());
            Router::new().fallback(answer::handle).with_state(state).merge(routes)
        })?;
        let gone = || StartError::setup("the in-process registry")(std::io::Error::other("it made no routes"));
        Ok(Self { state: shared.ok_or_else(gone)?, serving })
    }

    /// `127.0.0.1:<port>`: the registry host of its images.
    pub fn host(&self) -> String {
        self.serving.host()
    }

    /// `http://127.0.0.1:<port>`.
    pub fn url(&self) -> String {
        self.serving.url()
    }

    /// Serves an image under a repository and a tag, and yields its reference `host/repository:tag`.
    pub fn serve(&self, repository: &str, tag: &str, image: &TinyImage) -> String {
        let mut content = lock(&self.state.content);
        let manifest = Manifest {
            media_type: image.media_type(),
            digest: image.digest().to_owned(),
            body: image.manifest().clone(),
        };
        for name in [tag, image.digest()] {
            content.manifests.insert((repository.to_owned(), name.to_owned()), manifest.clone());
        }
        for (digest, blob) in image.blobs() {
            content.blobs.insert((repository.to_owned(), digest.clone()), blob.clone());
        }
        format!("{}/{repository}:{tag}", self.host())
    }

    /// Who may pull what; changes hold from the next request or token on.
    pub fn accounts(&self) -> &Accounts {
        &self.state.accounts
    }

    /// Misbehaves from now on, as the fault says. Of several that fit, the first added wins.
    pub fn inject(&self, fault: Fault) {
        self.state.faults.add(fault);
    }

    /// Behaves again.
    pub fn heal(&self) {
        self.state.faults.clear();
    }

    /// Lets every bearer token issued so far expire.
    pub fn expire_tokens(&self) {
        self.state.tokens.expire_all();
    }

    /// Sends callers to another token service than its own.
    pub fn send_for_tokens_to(&self, realm: impl Into<String>) {
        *lock(&self.state.realm) = realm.into();
    }

    /// Every request answered so far, in order.
    pub fn seen(&self) -> Vec<Seen> {
        lock(&self.state.seen).clone()
    }
}

impl State {
    fn new(scheme: Scheme, realm: String, accounts: Accounts) -> Self {
        let lifetime = if let Scheme::Bearer(lifetime) = scheme { lifetime } else { Duration::ZERO };
        Self {
            scheme,
            realm: Mutex::new(realm),
            accounts,
            tokens: Tokens::new(lifetime),
            faults: Faults::default(),
            content: Mutex::default(),
            seen: Mutex::default(),
        }
    }
}

/// A test that panicked with a lock in hand has failed already; the others need not.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
