//! The HTTP surface over a log and a vault in memory.

mod builds;
mod canary;
mod connections;
mod console;
mod contract;
mod events;
mod explain;
mod fleet;
mod idempotency;
#[path = "../../../../registry/src/testing/lines.rs"]
mod lines;
mod logs;
mod names;
mod outcomes;
mod placements;
mod races;
mod refusals;
mod refused;
mod roles;
mod schema;
mod secrets;
mod spans;
mod support;
mod unwell;
mod verify;
