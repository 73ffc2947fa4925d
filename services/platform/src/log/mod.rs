//! The event log: one JetStream stream, appended to exactly once and read without silent stops.
//!
//! [`Log`] and [`Administration`] are the port. [`EventLog`] implements them over NATS, `testing` has one in memory; both
//! share the protocol of appending, and one conformance suite runs over both.

pub(crate) mod append;
mod archives;
pub(crate) mod batch;
mod error;
pub(crate) mod gather;
mod message;
pub(crate) mod nats;
mod port;
pub(crate) mod publish;
pub(crate) mod room;
pub(crate) mod work;

pub use append::{Appended, Expect, NewEvent};
pub use archives::read_archives;
pub use error::{AppendError, ErrorKind, LogError, ReadError};
pub use message::RawMessage;
pub(crate) use nats::Halving;
pub use nats::{
    EventLog, InspectError, Inspector, NatsConfig, Reply, Server, Storage, StorageError, StreamProblem, hosts,
    stream_problems, supported,
};
pub use port::{
    Administration, ConsumerSpec, ConsumerState, ELECTION_LIMIT, Follow, Identity, Lasts, Log, Missing, Newest, Page,
    StreamState,
};
pub use work::{Delivered, WorkQueue};

#[cfg(any(test, feature = "testing"))]
pub use crate::testing::{Failure, MemoryLog};

/// Name of the stream.
pub const STREAM: &str = "WAYBILL";
/// JetStream's API, which every role's account imports what it needs of.
pub const API_PREFIX: &str = "$JS.API";
