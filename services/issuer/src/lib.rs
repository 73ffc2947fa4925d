//! The issuer: one process that holds the signing keys, and that nobody reaches but over NATS.
//!
//! It decides by what the log says (`register`), records what it decides, and only then signs or revokes: a crash between the
//! two is made up for at the next start, since revocations are a function of the log.

mod accounts;
mod config;
mod register;
mod serve;

pub use config::{Cluster, IssuerConfig};
pub use serve::{IssuerError, run};

/// `ce-source` of the issuer's events.
pub const SOURCE: &str = "/waybill/issuer";
