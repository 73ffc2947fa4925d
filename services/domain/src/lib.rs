//! Waybill's pure core: image references, credentials, the save, attach and provider decisions, and the fold.
//!
//! No I/O, no async, no clock, no randomness, no environment: time, ids and keys come in as arguments, effects go
//! out as data. `tests/purity.rs` holds this against `cargo tree` and against the sources.

pub mod credentials;
pub mod decision;
pub mod explain;
pub mod fleet;
pub mod fold;
pub mod identity;
pub mod provider;
pub mod reference;
pub mod retention;
pub mod save;
pub mod secret;
pub mod verify;
