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

use crate::log::Administration;

/// Checks everything that a log must do. The log has a stream, and whatever else it holds is left alone.
pub async fn check_log(log: &dyn Administration) {
    log::check_appending(log).await;
    log::check_looking_up(log).await;
    follow::check_following(log).await;
    work::check_work(log).await;
}
