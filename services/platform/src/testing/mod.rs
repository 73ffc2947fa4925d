//! What tests of services use: the log and the vault in memory, and one conformance suite for every implementation.

// Tests fail by panicking.
#![allow(clippy::expect_used, clippy::indexing_slicing, clippy::panic, clippy::unwrap_used)]

mod events;
mod follow;
mod log;
mod memory;
mod vault;
mod work;

pub use self::{
    events::Sample,
    log::{check_appending, check_looking_up},
    memory::{Failure, MemoryLog, MemoryVault},
    vault::check_vault,
    work::check_work,
};

use nkeys::KeyPair;
use waybill_domain::credentials::Secret;

use crate::{
    identity::{Claims, Credentials},
    log::Administration,
};

/// A credentials file of a user that no server knows.
pub fn credentials_text() -> String {
    let user = KeyPair::new_user();
    let claims = Claims::new(&user.public_key(), "nobody", serde_json::json!({ "type": "user", "version": 2 }));
    let token = claims.sign(&KeyPair::new_account()).expect("a key that signs");
    let seed = Secret::new(user.seed().expect("a key that was made"));
    Credentials::new(token, seed).to_text().expose().to_owned()
}

/// Checks everything that a log must do. The log has a stream, and whatever else it holds is left alone.
pub async fn check_log(log: &dyn Administration) {
    log::check_appending(log).await;
    log::check_looking_up(log).await;
    follow::check_following(log).await;
    work::check_work(log).await;
}
