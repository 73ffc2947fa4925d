//! The scheduler: folds the log into a redb projection and publishes what it decides.
//!
//! Two loops share the projection. [`folding`](crate) reads the log in order and commits rows, position and outbox in one
//! transaction; the publisher sends what the outbox holds. Neither needs to know where the other was when the process died.

mod announce;
mod batch;
mod config;
mod consumers;
mod folding;
mod gauges;
pub mod origin;
pub mod projection;
mod publisher;
mod rebuild;
mod start;

use waybill_platform::log::{AppendError, LogError, ReadError};

pub use announce::{Keys, SOURCE};
pub use config::SchedulerConfig;
pub use rebuild::rebuild;
pub use start::run;

/// Why the scheduler stopped.
#[derive(Debug, thiserror::Error)]
pub enum SchedulerError {
    /// The projection failed.
    #[error("the projection failed")]
    Projection(#[from] projection::ProjectionError),
    /// The log is not the projection's.
    #[error("refusing the log")]
    ForeignLog(#[from] origin::ForeignLog),
    /// The log could not be reached or asked.
    #[error("the event log failed")]
    Log(#[from] LogError),
    /// Reading the log failed for good.
    #[error("reading the event log failed")]
    Read(#[from] ReadError),
    /// A decision was refused by the log.
    #[error("publishing a decision failed")]
    Append(#[from] AppendError),
    /// The stream of messages ended, which it never should.
    #[error("the event log's messages ended; start the scheduler again")]
    LogEnded,
    /// A task was ended from outside.
    #[error("the process is going down")]
    Interrupted,
    /// The health endpoint could not be served.
    #[error("cannot serve health checks on {address}; is the port free?")]
    Health {
        /// Where.
        address: std::net::SocketAddr,
        /// Why.
        source: std::io::Error,
    },
    /// The rebuilt file could not be put in place.
    #[error("cannot put the rebuilt projection at {}", .path.display())]
    Swap {
        /// The projection's place.
        path: std::path::PathBuf,
        /// Why.
        source: std::io::Error,
    },
}
