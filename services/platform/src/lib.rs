//! Shared I/O: the event log over JetStream, sealing, telemetry, configuration, shutdown, health.

pub mod config;
pub mod health;
pub mod log;
pub mod sealing;
pub mod shutdown;
pub mod telemetry;
pub mod trace;
