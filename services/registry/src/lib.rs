//! Registries and their credentials: providers of logins, pulls, the node's own logins, and the protocol by which programs
//! of a node ask for a login. Nothing here needs NATS or a running Waybill.

pub mod core_dumps;
pub mod default_chain;
pub mod helper;
pub mod node;
mod number;
pub mod provider;
pub mod pull;
#[cfg(test)]
mod testing;
mod trace;
pub mod trial;
mod words;
