//! The gateway: builds, secrets and container requests come in over HTTP and become events. It answers when the log has them.

mod builds;
mod config;
mod console;
mod feed;
mod http;
mod idempotency;
mod operations;
mod placements;
mod port;
mod probe;
mod record;
mod refusals;
mod serve;
mod server;
mod service;
mod tls;
pub mod tokens;
mod versions;
mod withdrawals;

pub use config::{GatewayConfig, Limits, trace_pages};
pub use http::openapi;
pub use port::{NotAccepted, Unverified, Verifies, VerifyFailure};
pub use serve::{GatewayError, run};
pub use tls::TlsFiles;

/// `ce-source` of the gateway's events.
pub const SOURCE: &str = "/waybill/gateway";
