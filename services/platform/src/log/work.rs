//! A worker's queue: decisions addressed to it, each until it is acknowledged.

use std::{fmt, time::Duration};

use async_nats::jetstream::{AckKind, consumer::pull};
use futures_util::{Stream, StreamExt as _};
use tokio::{sync::mpsc, time::sleep};
use waybill_schemas::WorkerId;

use super::{EventLog, LogError, RawMessage, STREAM, publish::pause, read::raw};
use crate::health::ComponentHandle;

const HEARTBEAT: Duration = Duration::from_secs(2);
const PULL_EXPIRY: Duration = Duration::from_secs(20);

/// A decision, and the means to say that it is done with.
pub struct Delivered {
    /// The message.
    pub message: RawMessage,
    /// Whether it was delivered before: part of the work may be done.
    pub redelivered: bool,
    handle: async_nats::jetstream::Message,
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
    /// Done: it will not be delivered again. Lost acknowledgements mean a redelivery, which finds the work done.
    pub async fn ack(&self) {
        self.answer(AckKind::Ack).await;
    }

    /// Not done: deliver it again after a while.
    pub async fn retry_after(&self, delay: Duration) {
        self.answer(AckKind::Nak(Some(delay))).await;
    }

    /// Still at it: wait longer before delivering it again.
    pub async fn in_progress(&self) {
        self.answer(AckKind::Progress).await;
    }

    async fn answer(&self, kind: AckKind) {
        if let Err(error) = self.handle.ack_with(kind).await {
            tracing::debug!(sequence = self.message.sequence, %error, "acknowledgement not sent");
        }
    }
}

/// The queue of one worker.
pub type WorkQueue = mpsc::Receiver<Delivered>;

impl EventLog {
    /// Decisions for a worker, for ever, at most `waiting` ahead of the caller.
    ///
    /// The scheduler makes the consumer when it folds the worker's registration. While there is none, `missing` is called
    /// (so that the worker can register again), and the queue waits.
    pub fn work<F>(
        &self,
        worker_id: &WorkerId,
        waiting: usize,
        ready: ComponentHandle,
        missing: impl Fn() -> F + Send + Sync + 'static,
    ) -> WorkQueue
    where
        F: Future<Output = ()> + Send,
    {
        let (sender, receiver) = mpsc::channel(waiting.max(1));
        let (log, name) = (self.clone(), format!("worker-{worker_id}"));
        tokio::spawn(async move {
            let mut tries = 0_u32;
            while !sender.is_closed() {
                let outcome = log.work_round(&name, &sender, &ready).await;
                ready.not_ready("waiting for the consumer");
                match outcome {
                    Ok(()) => return,
                    Err(Interrupted::Missing) => {
                        tracing::warn!(
                            consumer = name,
                            "this worker's consumer does not exist yet or was deleted; registering so that the scheduler makes it"
                        );
                        missing().await;
                    }
                    Err(Interrupted::Failed { worked: true, error }) => {
                        tries = 0;
                        tracing::warn!(consumer = name, %error, "receiving decisions was interrupted, going on");
                    }
                    Err(Interrupted::Failed { worked: false, error }) => {
                        tracing::warn!(consumer = name, %error, "cannot receive decisions yet, trying again");
                    }
                }
                tokio::select! {
                    () = sender.closed() => return,
                    () = sleep(pause(tries)) => tries = tries.saturating_add(1),
                }
            }
        });
        receiver
    }

    /// Receives until something fails; fine when nobody listens any more.
    async fn work_round(
        &self,
        name: &str,
        sender: &mpsc::Sender<Delivered>,
        ready: &ComponentHandle,
    ) -> Result<(), Interrupted> {
        let failed = |worked, reason: String| {
            let what = format!("consumer {name}");
            Interrupted::Failed { worked, error: LogError::Unavailable { what, reason } }
        };
        let found = self.jetstream.get_consumer_from_stream::<pull::Config, _, _>(name, STREAM).await;
        let consumer = found.map_err(|error| match error.to_string() {
            reason if reason.contains("10014") || reason.contains("not found") => Interrupted::Missing,
            reason => failed(false, reason),
        })?;
        let messages =
            consumer.stream().max_messages_per_batch(64).expires(PULL_EXPIRY).heartbeat(HEARTBEAT).messages();
        let messages = messages.await.map_err(|error| failed(false, error.to_string()))?;
        tracing::info!(consumer = name, "receiving decisions");
        ready.ready();
        forward(messages, sender).await.map_err(|(worked, reason)| failed(worked, reason))
    }
}

enum Interrupted {
    Missing,
    Failed { worked: bool, error: LogError },
}

async fn forward<E: fmt::Display>(
    messages: impl Stream<Item = Result<async_nats::jetstream::Message, E>>,
    sender: &mpsc::Sender<Delivered>,
) -> Result<(), (bool, String)> {
    let mut messages = std::pin::pin!(messages);
    let mut worked = false;
    loop {
        let next = tokio::select! {
            () = sender.closed() => return Ok(()),
            next = messages.next() => next,
        };
        let handle = match next {
            Some(Ok(handle)) => handle,
            Some(Err(error)) => return Err((worked, error.to_string())),
            None => return Err((worked, "the consumer ended".to_owned())),
        };
        worked = true;
        let redelivered = handle.info().is_ok_and(|info| info.delivered > 1);
        let Some(message) = raw(handle.clone()) else { continue };
        if sender.send(Delivered { message, redelivered, handle }).await.is_err() {
            return Ok(());
        }
    }
}
