//! Tests of the scheduler's loops against a log and a vault in memory.

// Tests fail by panicking.
#![allow(clippy::expect_used, clippy::indexing_slicing, clippy::panic, clippy::unwrap_used)]

mod bench;
mod conflicts;
mod crash;
mod damage;
mod guards;
mod keeper;
mod publisher;
mod retry;
mod rows;
mod running;
mod starts;

use bench::Bench;
