//! A worker's queue over NATS: a durable pull consumer, for ever.

use std::{fmt, time::Duration};

use async_nats::jetstream::{AckKind, consumer::pull};
use futures_util::{FutureExt as _, Stream, StreamExt as _, future::BoxFuture};
use tokio::{sync::mpsc, time::sleep};

use super::{EventLog, read::raw};
use crate::{
    health::ComponentHandle,
    log::{
        Delivered, LogError, Missing, STREAM, WorkQueue,
        publish::back_off,
        work::{Answer, Answers},
    },
};

const HEARTBEAT: Duration = Duration::from_secs(2);
const PULL_EXPIRY: Duration = Duration::from_secs(20);

struct Handle(async_nats::jetstream::Message);

impl Answers for Handle {
    fn answer(&self, answer: Answer) -> BoxFuture<'_, ()> {
        let kind = match answer {
            Answer::Ack => AckKind::Ack,
            Answer::Retry(delay) => AckKind::Nak(Some(delay)),
            Answer::Progress => AckKind::Progress,
        };
        async move {
            if let Err(error) = self.0.ack_with(kind).await {
                tracing::debug!(%error, "acknowledgement not sent");
            }
        }
        .boxed()
    }
}

impl EventLog {
    pub(super) fn receive(&self, consumer: &str, ahead: usize, ready: ComponentHandle, missing: Missing) -> WorkQueue {
        let (sender, receiver) = mpsc::channel(ahead.max(1));
        let (log, name) = (self.clone(), consumer.to_owned());
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
                    () = sleep(back_off(tries)) => tries = tries.saturating_add(1),
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
        let state = self.read_consumer_state(name).await;
        state.map_err(|error| Interrupted::Failed { worked: false, error })?.ok_or(Interrupted::Missing)?;
        let found = self.jetstream.get_consumer_from_stream::<pull::Config, _, _>(name, STREAM).await;
        let consumer = found.map_err(|error| failed(false, error.to_string()))?;
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
        if sender.send(Delivered::new(message, redelivered, Handle(handle))).await.is_err() {
            return Ok(());
        }
    }
}
