//! What the HTTP layer needs of the log, so that it can be tested with one that is slow, away or full.

use std::time::Duration;

use futures_util::future::BoxFuture;
use waybill_domain::explain::Explanation;
use waybill_platform::{
    explain::Explainer,
    log::{AppendError, Appended, EventLog, Expect, LogError, NewEvent},
};
use waybill_schemas::{ContainerId, DecodeError, ImageId, Recorded, RecordedEvent, Subject, WorkspaceId};

/// A sibling in the log: an event, or something that could not be decoded.
pub type Sibling = Recorded<Result<RecordedEvent, DecodeError>>;

/// Appends events and looks up what is there.
pub trait Appender: Send + Sync + 'static {
    /// As [`EventLog::append`].
    fn append<'a>(
        &'a self,
        event: &'a NewEvent,
        expect: Expect,
        limit: Duration,
    ) -> BoxFuture<'a, Result<Appended, AppendError>>;

    /// As [`EventLog::history`], decoded.
    fn history<'a>(&'a self, subject: &'a Subject) -> BoxFuture<'a, Result<Vec<Sibling>, LogError>>;
}

impl Appender for EventLog {
    fn append<'a>(
        &'a self,
        event: &'a NewEvent,
        expect: Expect,
        limit: Duration,
    ) -> BoxFuture<'a, Result<Appended, AppendError>> {
        Box::pin(Self::append(self, event, expect, Some(limit)))
    }

    fn history<'a>(&'a self, subject: &'a Subject) -> BoxFuture<'a, Result<Vec<Sibling>, LogError>> {
        Box::pin(async move {
            let messages = Self::history(self, subject).await?;
            let sibling = |message: waybill_platform::log::RawMessage| Recorded {
                sequence: message.sequence,
                at: message.at,
                value: message.decode(),
            };
            Ok(messages.into_iter().map(sibling).collect())
        })
    }
}

/// Answers questions from the log.
pub trait Explains: Send + Sync + 'static {
    /// As [`Explainer::image`].
    fn image<'a>(&'a self, workspace: &'a WorkspaceId, id: &'a ImageId)
    -> BoxFuture<'a, Result<Explanation, LogError>>;

    /// As [`Explainer::container`].
    fn container<'a>(
        &'a self,
        workspace: &'a WorkspaceId,
        id: &'a ContainerId,
    ) -> BoxFuture<'a, Result<Explanation, LogError>>;
}

impl Explains for Explainer {
    fn image<'a>(
        &'a self,
        workspace: &'a WorkspaceId,
        id: &'a ImageId,
    ) -> BoxFuture<'a, Result<Explanation, LogError>> {
        Box::pin(Self::image(self, workspace, id))
    }

    fn container<'a>(
        &'a self,
        workspace: &'a WorkspaceId,
        id: &'a ContainerId,
    ) -> BoxFuture<'a, Result<Explanation, LogError>> {
        Box::pin(Self::container(self, workspace, id))
    }
}
