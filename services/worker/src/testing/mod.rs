//! What the tests of this crate share: the registry crate's tiny servers, and a log in memory.

#[allow(dead_code, unused_imports, unreachable_pub, reason = "the registry's own tests use all of it")]
#[path = "../../../registry/src/testing/mod.rs"]
mod doubles;

pub(crate) use doubles::*;

#[allow(unreachable_pub, reason = "the end-to-end tests use it too")]
pub(crate) mod cluster;
