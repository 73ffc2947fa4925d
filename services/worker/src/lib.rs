//! The worker of a node: turns attached credentials into a provider, pulls, and reports each outcome.
//!
//! [`provider`] and [`pull`] need no NATS: a runtime can use them on their own.

mod config;
mod dispatch;
mod handle;
mod outcome;
pub mod provider;
pub mod pull;
mod register;
mod start;
mod step;

pub use config::WorkerConfig;
pub use start::{WorkerError, run};

/// `ce-source` of a worker's events.
pub fn source(worker_id: &waybill_schemas::WorkerId) -> String {
    format!("/waybill/worker/{worker_id}")
}
