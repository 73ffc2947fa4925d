//! The scheduler: folds the log into a redb projection and publishes what it decides.
//!
//! Loops share the projection. [`folding`](crate) reads the log in order and commits rows, position and outbox in one
//! transaction; the publisher makes grants and sends what the outbox holds; the keeper erases from the vault what was
//! withdrawn. None needs to know where the others were when the process died.

mod announcement;
mod aside;
mod batch;
mod bounded;
mod config;
mod consumers;
mod folding;
mod gauges;
mod grants;
mod in_flight;
mod keeper;
mod keys;
pub mod origin;
pub mod projection;
mod publisher;
mod refold;
mod retry;
mod sending;
mod standing;
mod start;
#[cfg(test)]
mod tests;

use waybill_platform::{
    log::{LogError, ReadError},
    vault::VaultError,
};

pub use config::SchedulerConfig;
pub use keys::{KeyFolderError, PublishKeysError, read_keys};
pub use refold::rebuild;
pub use start::run;

/// `ce-source` of the scheduler's events.
pub const SOURCE: &str = "/waybill/scheduler";

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
    /// The vault refuses.
    #[error("the vault failed")]
    Vault(#[from] VaultError),
    /// The scheduler's keys could not be published.
    #[error("publishing the scheduler's keys failed")]
    Keys(#[from] PublishKeysError),
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
    /// A new projection could not be made, or not be put in place.
    #[error("cannot put a new projection at {}", .path.display())]
    Swap {
        /// The projection's place.
        path: std::path::PathBuf,
        /// Why.
        source: std::io::Error,
    },
}

/// Runs work that waits for the disk beside the asynchronous tasks. The store gives up on files that are damaged.
async fn run_blocking<T: Send + 'static, E: Into<SchedulerError> + Send + 'static>(
    work: impl FnOnce() -> Result<T, E> + Send + 'static,
) -> Result<T, SchedulerError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done.map_err(Into::into),
        Err(error) if error.is_panic() => Err(projection::ProjectionError::GaveUp.into()),
        Err(_) => Err(SchedulerError::Interrupted),
    }
}
