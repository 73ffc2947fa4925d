//! Where the credentials of the node's placements come from: a worker's view, or what a runtime puts here.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use futures_util::future::BoxFuture;
use waybill_registry::node::{Code, Error};

use super::{asked::Asked, running::Attachment};
use crate::view::Placed;

/// Knows the credentials of placements.
pub trait Attached: Send + Sync + 'static {
    /// What a placement has now.
    fn attached<'a>(&'a self, placed: &'a Placed) -> BoxFuture<'a, Result<Attachment, Error>>;

    /// Records that a placement has ended, so that nobody renews its credentials. An error means that it is not recorded.
    fn ended<'a>(&'a self, placed: &'a Placed) -> BoxFuture<'a, Result<(), Error>>;

    /// Hears of each question and its answer, when it has been answered. Returns at once: the next question may wait for it.
    fn asked(&self, _: Asked) {}
}

/// Credentials that a runtime attaches itself. Clones share them.
#[derive(Debug, Clone, Default)]
pub struct Attachments(Arc<Mutex<BTreeMap<Placed, Attachment>>>);

impl Attachments {
    /// Gives a placement its credentials, in place of those that it had.
    pub fn put(&self, placed: Placed, attachment: Attachment) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(placed, attachment);
    }

    /// Takes a placement's credentials away.
    pub fn remove(&self, placed: &Placed) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(placed);
    }

    /// A placement's credentials.
    pub fn get(&self, placed: &Placed) -> Option<Attachment> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(placed).cloned()
    }
}

impl Attached for Attachments {
    fn attached<'a>(&'a self, placed: &'a Placed) -> BoxFuture<'a, Result<Attachment, Error>> {
        Box::pin(async move { self.get(placed).ok_or_else(|| nothing_attached(placed)) })
    }

    fn ended<'a>(&'a self, placed: &'a Placed) -> BoxFuture<'a, Result<(), Error>> {
        Box::pin(async move {
            self.remove(placed);
            Ok(())
        })
    }
}

pub(crate) fn nothing_attached(placed: &Placed) -> Error {
    Error::because(Code::NotFound, format!("container {} has no credentials of its own", placed.container.container_id))
}
