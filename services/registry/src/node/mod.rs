//! The node's socket as a program asks it: questions, answers, and a client. A worker serves it.

mod client;
mod protocol;

pub use waybill_schemas::v1::LoginRefusal as Code;

pub use client::{Client, ClientError, ask, socket_from_env};
pub use protocol::{Answer, Error, GivenLogin, LIMIT, MAX_BYTES, Request, SOCKET};
