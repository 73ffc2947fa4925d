//! The event log: one JetStream stream, appended to exactly once and read without silent stops.
//!
//! [`Log`] and [`Administration`] are the port. [`EventLog`] implements them over NATS, `MemoryLog` in memory, for tests;
//! both share the protocol of appending, and one conformance suite (`testing`) runs over both.

mod append;
mod batch;
mod error;
#[cfg(any(test, feature = "testing"))]
pub(crate) mod memory;
mod message;
pub(crate) mod nats;
mod port;
pub(crate) mod publish;
mod room;
mod work;

pub use append::{Appended, Expect, NewEvent};
pub use error::{AppendError, ErrorKind, LogError, ReadError};
#[cfg(any(test, feature = "testing"))]
pub use memory::{Failure, MemoryLog};
pub use message::RawMessage;
pub use nats::{EventLog, InspectError, Inspector, NatsConfig, Reply, Server, StreamProblem, hosts, stream_problems};
pub use port::{
    Administration, ConsumerSpec, ConsumerState, Follow, Identity, Lasts, Log, Missing, Newest, Page, StreamState,
};
pub use work::{Delivered, WorkQueue};

/// Name of the stream.
pub const STREAM: &str = "WAYBILL";
/// JetStream API prefix in every role's NATS account.
pub const API_PREFIX: &str = "waybill.api";
