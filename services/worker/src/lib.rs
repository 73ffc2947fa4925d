//! The worker of a node: turns attached credentials into a provider, pulls, and reports each outcome.
//!
//! [`provider`], [`pull`], [`helper`] and [`node`] need no NATS: a runtime can use them on their own.

mod access;
mod attached;
mod config;
mod default_chain;
mod dispatch;
mod handle;
pub mod helper;
pub mod node;
mod outcome;
mod port;
pub mod provider;
pub mod pull;
mod pulling;
mod redact;
mod register;
mod start;
mod step;
#[cfg(test)]
mod testing;
pub mod trial;

pub use config::WorkerConfig;
pub use start::{WorkerError, run};

/// `ce-source` of a worker's events.
pub fn source(worker_id: &waybill_schemas::WorkerId) -> String {
    format!("/waybill/worker/{worker_id}")
}
