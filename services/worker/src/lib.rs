//! The worker of a node: turns granted credentials into a provider, pulls, and reports each outcome.
//!
//! [`node`] needs no NATS: a runtime can use it on its own, with the providers and pulls of `waybill-registry`. [`view`] is
//! the worker's state as a pure machine, and [`progress`] what its outcome subjects say.

mod access;
mod config;
mod dispatch;
mod grants;
mod handler;
mod job;
mod logins;
mod lookup;
pub mod node;
mod outcome;
mod placing;
#[doc(hidden)]
pub mod progress;
mod providers;
mod pulling;
mod questions;
mod register;
mod renewing;
mod start;
#[cfg(test)]
mod testing;
#[doc(hidden)]
pub mod view;
mod watch;

pub use config::{WorkerConfig, read_trial};
pub use start::{WorkerError, run};

/// `ce-source` of a worker's events.
pub fn source(worker_id: &waybill_schemas::WorkerId) -> String {
    format!("/waybill/worker/{worker_id}")
}
