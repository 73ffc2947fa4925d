//! The HTTP surface over a log in memory.

mod canary;
mod connections;
mod contract;
mod explain;
mod idempotency;
mod logs;
mod outcomes;
mod refusals;
mod schema;
mod secrets;
mod spans;
mod support;
mod verify;
