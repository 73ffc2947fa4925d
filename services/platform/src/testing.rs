//! What tests of services use: the log and the vault in memory, and one conformance suite for every implementation.

pub use crate::{
    log::{Failure, MemoryLog},
    vault::MemoryVault,
};
