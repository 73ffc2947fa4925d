//! The HTTP surface over a log and a vault in memory.

mod builds;
mod canary;
mod connections;
mod contract;
mod explain;
mod idempotency;
#[path = "../../../../registry/src/testing/lines.rs"]
mod lines;
mod logs;
mod names;
mod outcomes;
mod placements;
mod races;
mod refusals;
mod schema;
mod secrets;
mod spans;
mod support;
mod unwell;
mod verify;
