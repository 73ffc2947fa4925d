//! The gateway: builds and container requests come in over HTTP and become events. It answers when the log has them.

mod config;
#[cfg(test)]
mod fake;
mod http;
mod idempotency;
mod port;
mod probe;
mod record;
mod serve;
mod server;
pub mod tokens;

pub use config::GatewayConfig;
pub use http::openapi;
pub use port::{Appender, Explains, NotAccepted, Sibling, Unverified, Verifies, VerifyFailure};
pub use serve::{GatewayError, run};

/// `ce-source` of the gateway's events.
pub const SOURCE: &str = "/waybill/gateway";
