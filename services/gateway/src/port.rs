//! What the HTTP layer needs of the log, so that it can be tested with one that is slow, away or full.

use std::time::Duration;

use futures_util::future::BoxFuture;
use waybill_domain::{credentials::Secret, explain::Explanation, reference::ImageReference};
use waybill_platform::{
    explain::Explainer,
    log::{AppendError, Appended, EventLog, Expect, LogError, NewEvent},
};
use waybill_schemas::{
    ContainerId, DecodeError, ImageId, Recorded, RecordedEvent, Subject, WorkspaceId,
    v1::{ProviderFailure, PullFailure},
};

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

/// Credentials to ask a registry about.
#[derive(Debug)]
pub struct Unverified {
    /// Owner of the image. Nothing is shared between workspaces.
    pub workspace: WorkspaceId,
    /// The image to ask for.
    pub image: ImageReference,
    /// The credentials, as they are sealed.
    pub credentials: Secret,
}

/// Why credentials are not known to work.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NotAccepted {
    /// Why.
    pub failure: VerifyFailure,
    /// More words for people, without secrets.
    pub detail: String,
}

/// Which step failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum VerifyFailure {
    /// There is no login to ask with.
    Provider(ProviderFailure),
    /// The registry did not give the manifest.
    Pull(PullFailure),
}

/// Asks registries whether credentials work. How is not the gateway's business.
pub trait Verifies: Send + Sync + 'static {
    /// The digest of the image's manifest, fetched with the credentials, within a time of the implementation's own.
    fn verify<'a>(&'a self, asked: &'a Unverified) -> BoxFuture<'a, Result<String, NotAccepted>>;
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
