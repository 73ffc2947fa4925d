//! The event log: one JetStream stream, appended to exactly once and read without silent stops.

mod append;
mod batch;
mod connect;
mod direct;
mod error;
mod history;
mod inspect;
mod message;
mod publish;
mod read;
mod readers;
mod request;
mod settings;
mod stream;
mod work;

use std::sync::Arc;

use tokio::sync::watch;
use waybill_schemas::{Envelope, Event};

pub use append::Appended;
pub use connect::{HistoryAccess, NatsConfig, hosts};
pub use error::{AppendError, LogError, ReadError};
pub use history::Newest;
pub use inspect::{InspectError, Inspector, Reply, Server};
pub use message::RawMessage;
pub use readers::ConsumerState;
pub use settings::{StreamProblem, stream_problems};
pub use stream::StreamState;
pub use work::{Delivered, WorkQueue};

/// Name of the stream.
pub const STREAM: &str = "WAYBILL";
/// JetStream API prefix in every role's NATS account.
pub const API_PREFIX: &str = "waybill.api";

/// An event to append.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewEvent {
    /// What stands around it; the trace context is filled in when it is published.
    pub envelope: Envelope,
    /// The fact.
    pub event: Event,
}

/// What the log must hold for an append to count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expect {
    /// Anything.
    Nothing,
    /// That the last event among the siblings (same image, container or decision) has this sequence, 0 for none. A
    /// guess will do: where it is wrong, appending reads what is there and tries again.
    LastSibling(u64),
}

/// A connection to the log. Clones share it.
#[derive(Debug, Clone)]
pub struct EventLog {
    client: async_nats::Client,
    jetstream: async_nats::jetstream::Context,
    api_prefix: Arc<str>,
    history: HistoryAccess,
    /// Whose readers these are, as the server lists them.
    name: Arc<str>,
    connected: watch::Receiver<bool>,
}
