//! Shared I/O: the event log over JetStream, sealing, telemetry, configuration, shutdown, health.

mod chain;
pub mod config;
pub mod explain;
pub mod health;
pub mod log;
pub mod metrics;
pub mod sealing;
pub mod shutdown;
pub mod telemetry;
pub mod trace;

pub use chain::{chain, links};
