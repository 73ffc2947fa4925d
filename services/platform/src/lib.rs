//! Shared I/O: the event log and the vault over JetStream, sealing, telemetry, configuration, shutdown, health.

pub mod archive;
mod chain;
pub mod config;
pub mod events;
pub mod explain;
pub mod health;
pub mod identity;
pub mod log;
pub mod metrics;
pub mod sealing;
pub mod shutdown;
pub mod telemetry;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
pub mod trace;
pub mod vault;

pub use chain::{chain, links};
