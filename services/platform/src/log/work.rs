//! A worker's queue: decisions addressed to it, each until it is acknowledged.

use std::{fmt, time::Duration};

use futures_util::future::BoxFuture;
use tokio::sync::mpsc;

use super::RawMessage;

/// The queue of one worker.
pub type WorkQueue = mpsc::Receiver<Delivered>;

/// What is said of a delivered message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Answer {
    /// Done.
    Ack,
    /// Deliver it again after this long.
    Retry(Duration),
    /// Wait longer for the answer.
    Progress,
}

/// The way back of an answer.
pub(crate) trait Answers: Send + Sync {
    fn answer(&self, answer: Answer) -> BoxFuture<'_, ()>;
}

/// A decision, and the means to say that it is done with.
pub struct Delivered {
    /// The message.
    pub message: RawMessage,
    /// True if it was delivered before: part of the work may be done.
    pub redelivered: bool,
    answers: Box<dyn Answers>,
}

impl fmt::Debug for Delivered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Delivered")
            .field("sequence", &self.message.sequence)
            .field("redelivered", &self.redelivered)
            .finish_non_exhaustive()
    }
}

impl Delivered {
    pub(crate) fn new(message: RawMessage, redelivered: bool, answers: impl Answers + 'static) -> Self {
        Self { message, redelivered, answers: Box::new(answers) }
    }

    /// Done: it will not be delivered again. A lost acknowledgement means a redelivery, which finds the work done.
    pub async fn ack(&self) {
        self.answers.answer(Answer::Ack).await;
    }

    /// Deliver it again after a while.
    pub async fn retry_after(&self, delay: Duration) {
        self.answers.answer(Answer::Retry(delay)).await;
    }

    /// Still at it: wait longer before delivering it again.
    pub async fn in_progress(&self) {
        self.answers.answer(Answer::Progress).await;
    }
}
