//! Registries and their credentials: providers of logins, pulls, the node's own logins, and the protocol by which programs
//! of a node ask for a login. Nothing here needs NATS or a running Waybill.

pub mod core_dumps;
pub mod default_chain;
pub mod helper;
pub mod node;
pub mod provider;
pub mod pull;
mod redact;
#[cfg(test)]
mod testing;
mod trace;
pub mod trial;
