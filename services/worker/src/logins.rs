//! What programs of the node may have: from the view, and from the log for placements of an earlier run.

use std::{sync::Arc, time::Duration};

use futures_util::future::BoxFuture;
use waybill_domain::{provider::ProviderPlan, reference::ImageReference};
use waybill_platform::log::{AppendError, Appended, Expect};
use waybill_registry::node::{Code, Error};

use crate::{
    access::Granted,
    handler::{HandleError, Handler},
    lookup::progress_of,
    node::{Asked, Attached, Attachment, nothing_attached},
    outcome,
    progress::Progress,
    questions::Questions,
    view::{Access, Effect, Input, Placed, Purpose},
};

/// How long a runtime waits for the log to take a container's end.
const ENDED_LIMIT: Duration = Duration::from_secs(5);

/// The view of a handler, for programs of the node.
pub(crate) struct Logins {
    pub(crate) handler: Arc<Handler>,
    pub(crate) questions: Questions,
}

impl Attached for Logins {
    fn attached<'a>(&'a self, placed: &'a Placed) -> BoxFuture<'a, Result<Attachment, Error>> {
        Box::pin(self.handler.attachment(placed))
    }

    fn ended<'a>(&'a self, placed: &'a Placed) -> BoxFuture<'a, Result<(), Error>> {
        Box::pin(self.handler.end(placed))
    }

    fn asked(&self, asked: Asked) {
        self.questions.take(asked);
    }
}

impl Handler {
    /// What a placement has. Nobody is asked for a login: that is for who wants one.
    async fn attachment(&self, placed: &Placed) -> Result<Attachment, Error> {
        if matches!(self.view().access(placed), Access::Unread) {
            let look_up = Effect::LookUp { placed: placed.clone(), purpose: Purpose::Answer };
            self.perform_quietly(vec![look_up]).await.map_err(|error| not_told(placed, &error))?;
        }
        let is_unread = matches!(self.view().access(placed), Access::Unread);
        let (secret, image_ref, credential) = match self.granted(placed) {
            Granted::Over if is_unread => {
                return Err(unavailable("the log does not know this placement yet; try again"));
            }
            Granted::Over => {
                let words = format!("container {} has ended here, or was placed again", placed.container.container_id);
                return Err(Error::because(Code::NoAccess, words));
            }
            // Who hears of nothing attached goes on as nobody. Credentials that are there and cannot be used are another matter.
            Granted::Plan(ProviderPlan::Fail(failure)) => return Err(Error::because(Code::Unusable, failure.detail)),
            Granted::Plan(_) => return Err(nothing_attached(placed)),
            Granted::Secret { secret, image_ref, credential } => (secret, image_ref, credential),
        };
        let made = self.provider(&secret, &credential).await.map_err(|error| not_told(placed, &error))?;
        let provider = made.map_err(|failure| Error::because(Code::Unusable, failure.detail))?;
        let image =
            ImageReference::parse(&image_ref).map_err(|error| Error::because(Code::Unusable, error.to_string()))?;
        if image.registry() != provider.registry() {
            let words =
                format!("the credentials are for {}, the image is on {}", provider.registry(), image.registry());
            return Err(Error::because(Code::Unusable, words));
        }
        // It may have been withdrawn meanwhile.
        match self.granted(placed) {
            Granted::Secret { .. } => {
                let (expires_at, placement) = (credential.expires_at, placed.number);
                Ok(Attachment { provider, image, expires_at, placement })
            }
            Granted::Over | Granted::Plan(_) => Err(nothing_attached(placed)),
        }
    }

    /// Records the end of a placement once, and takes away what it has.
    async fn end(&self, placed: &Placed) -> Result<(), Error> {
        self.record_end(placed).await.map_err(|error| {
            let (workspace, container_id) = (&placed.container.workspace, &placed.container.container_id);
            let error = waybill_platform::chain(&error);
            tracing::warn!(%workspace, %container_id, placement = placed.number, error, "the container's end is not recorded");
            unavailable("the container's end is not recorded, since the log does not take it; nothing is removed, try again")
        })?;
        let effects = self.tell(Input::Ended(placed.clone()));
        self.perform_quietly(effects).await.map_err(|error| not_told(placed, &error))
    }

    async fn record_end(&self, placed: &Placed) -> Result<(), HandleError> {
        let event = outcome::ended(&self.worker_id, placed);
        let mut progress = self.progress(placed).await?;
        while !matches!(progress, Progress::Ended { .. }) {
            let expect = Expect::Last(progress.sequence());
            match self.log.append(&event, expect, Some(ENDED_LIMIT)).await? {
                Appended::Stored { sequence, .. } => {
                    tracing::debug!(container_id = %placed.container.container_id, sequence, "end recorded");
                    return Ok(());
                }
                Appended::Conflict { last } => {
                    let now = progress_of(last.as_ref());
                    if now == progress {
                        return Err(no_progress(&event.subject.to_string()).into());
                    }
                    progress = now;
                }
            }
        }
        Ok(())
    }
}

/// The log refuses what its own answer asks for: a replica that is behind answered.
fn no_progress(subject: &str) -> AppendError {
    let reason = "a replica that is behind the others answered; try again".to_owned();
    AppendError::Unavailable { subject: subject.to_owned(), reason }
}

fn not_told(placed: &Placed, error: &HandleError) -> Error {
    let (workspace, container_id) = (&placed.container.workspace, &placed.container.container_id);
    let chain = waybill_platform::chain(error);
    tracing::warn!(%workspace, %container_id, placement = placed.number, error = chain, "a login cannot be told now");
    match error {
        HandleError::Log(_) | HandleError::Append(_) => {
            unavailable("the log does not answer, and the worker has started anew since the container did; try again")
        }
        HandleError::Vault(_) => unavailable("the vault does not answer; try again"),
        HandleError::GrantFollows => unavailable("the worker has a new key, and its grant is not there yet; try again"),
        HandleError::Files(error) => unavailable(&error.to_string()),
    }
}

fn unavailable(words: &str) -> Error {
    Error::because(Code::Unavailable, words)
}
