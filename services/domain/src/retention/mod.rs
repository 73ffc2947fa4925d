//! What leaves the log: which events belong to placements that are over, and what the log says of those that left.
//!
//! ARCHITECTURE.md has the rules, by the letters that the comments here name.

mod ledger;
mod proof;
mod removed;

pub use ledger::{Ledger, Selection, hash_container};
pub use proof::account_for_renewals;
pub use removed::{Archives, Part, Removed, Run};
