//! Tests against real servers, one module per concern. One binary, because each would link the whole workspace again.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::type_complexity,
    reason = "tests fail by panicking, also in the functions that they share, and their tables of cases have long types"
)]

mod accounts;
mod archive;
mod attacks;
mod authority;
mod bench;
mod canary;
mod chain;
mod chaos;
mod check;
mod clouds;
mod cluster;
mod console;
mod crash;
mod default_chain;
mod dev;
mod doctor;
mod documents;
mod ecr;
mod ecr_roles;
mod events;
mod explain;
mod faults;
mod foreign;
mod forge;
mod guide;
mod harness;
mod hostile;
mod identities;
mod isolation;
mod log;
mod many;
mod metrics;
mod node;
mod official_clients;
mod operations;
mod own_keys;
mod permissions;
mod quarantine;
mod rebuild;
mod replay;
mod schedulers;
mod secrets;
mod terminal;
mod tracing;
