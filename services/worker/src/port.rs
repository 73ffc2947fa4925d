//! What handling a decision needs of the log, so that it can be tested with one in memory.

use futures_util::future::BoxFuture;
use waybill_platform::log::{AppendError, Appended, EventLog, Expect, LogError, NewEvent};
use waybill_schemas::{RecordedEvent, Subject};

/// Appends outcomes, and tells which are there.
pub(crate) trait OutcomeLog: Send + Sync + 'static {
    /// As [`EventLog::append`], for as long as it takes.
    fn append<'a>(&'a self, event: &'a NewEvent, expect: Expect) -> BoxFuture<'a, Result<Appended, AppendError>>;

    /// The siblings of a subject that can be decoded, with their sequences.
    fn history<'a>(&'a self, subject: &'a Subject) -> BoxFuture<'a, Result<Vec<(u64, RecordedEvent)>, LogError>>;
}

impl OutcomeLog for EventLog {
    fn append<'a>(&'a self, event: &'a NewEvent, expect: Expect) -> BoxFuture<'a, Result<Appended, AppendError>> {
        Box::pin(Self::append(self, event, expect, None))
    }

    fn history<'a>(&'a self, subject: &'a Subject) -> BoxFuture<'a, Result<Vec<(u64, RecordedEvent)>, LogError>> {
        Box::pin(async move {
            let messages = Self::history(self, subject).await?;
            Ok(messages.iter().filter_map(|message| Some((message.sequence, message.decode().ok()?))).collect())
        })
    }
}
