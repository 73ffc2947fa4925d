//! The worker of a node: turns attached credentials into a provider, pulls, and reports each outcome.
//!
//! [`node`] needs no NATS: a runtime can use it on its own, with the providers and pulls of `waybill-registry`.

mod access;
mod attached;
mod config;
mod dispatch;
mod handle;
pub mod node;
mod outcome;
mod port;
mod pulling;
mod register;
mod start;
mod step;
#[cfg(test)]
mod testing;

pub use config::{WorkerConfig, read_trial};
pub use start::{WorkerError, run};

/// `ce-source` of a worker's events.
pub fn source(worker_id: &waybill_schemas::WorkerId) -> String {
    format!("/waybill/worker/{worker_id}")
}
