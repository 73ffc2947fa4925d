//! The node's socket as a program asks it: questions, answers, and a client. A worker serves it.

mod client;
mod protocol;

pub use client::{Client, ClientError, ask};
pub use protocol::{Answer, Code, Error, GivenLogin, LIMIT, MAX_BYTES, Request, SOCKET};
