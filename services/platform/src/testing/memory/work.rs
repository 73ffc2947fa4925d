//! A worker's queue in memory. A message is given again when its delivery is dropped unanswered.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use futures_util::{FutureExt as _, future::BoxFuture};
use tokio::{sync::mpsc, time::sleep};

use super::MemoryLog;
use crate::{
    health::ComponentHandle,
    log::{
        Delivered, Missing, WorkQueue,
        work::{Answer, Answers},
    },
};

/// How long a missing consumer is waited for before it is asked for again.
const MISSING_WAIT: Duration = Duration::from_millis(20);

pub(super) fn deliver(
    log: MemoryLog,
    name: String,
    ahead: usize,
    ready: ComponentHandle,
    missing: Missing,
) -> WorkQueue {
    let (sender, receiver) = mpsc::channel(ahead.max(1));
    tokio::spawn(async move {
        let mut changed = log.changed.subscribe();
        loop {
            let Ok(room) = sender.reserve().await else { return };
            changed.mark_unchanged();
            let next = log.server().deliver(&name);
            match next {
                Some(Some((message, redelivered))) => {
                    ready.ready();
                    let handle = Handle {
                        log: log.clone(),
                        name: name.clone(),
                        sequence: message.sequence,
                        answered: AtomicBool::new(false),
                    };
                    room.send(Delivered::new(message, redelivered, handle));
                }
                Some(None) => {
                    ready.ready();
                    drop(room);
                    tokio::select! {
                        () = sender.closed() => return,
                        _ = changed.changed() => {}
                    }
                }
                None => {
                    ready.not_ready("waiting for the consumer");
                    drop(room);
                    missing().await;
                    tokio::select! {
                        () = sender.closed() => return,
                        _ = changed.changed() => {}
                        () = sleep(MISSING_WAIT) => {}
                    }
                }
            }
        }
    });
    receiver
}

struct Handle {
    log: MemoryLog,
    name: String,
    sequence: u64,
    answered: AtomicBool,
}

impl Drop for Handle {
    fn drop(&mut self) {
        if !self.answered.load(Ordering::Relaxed) {
            Self::deliver_again(&self.log, &self.name, self.sequence);
        }
    }
}

impl Handle {
    fn deliver_again(log: &MemoryLog, name: &str, sequence: u64) {
        if let Some(consumer) = log.server().consumers.get_mut(name)
            && consumer.unacknowledged.contains(&sequence)
        {
            consumer.again.insert(sequence);
        }
        log.wake();
    }
}

impl Answers for Handle {
    fn answer(&self, answer: Answer) -> BoxFuture<'_, ()> {
        self.answered.fetch_or(answer != Answer::Progress, Ordering::Relaxed);
        match answer {
            Answer::Ack => {
                if let Some(consumer) = self.log.server().consumers.get_mut(&self.name) {
                    consumer.unacknowledged.remove(&self.sequence);
                    consumer.again.remove(&self.sequence);
                }
                self.log.wake();
            }
            Answer::Retry(delay) => {
                let (log, name, sequence) = (self.log.clone(), self.name.clone(), self.sequence);
                tokio::spawn(async move {
                    sleep(delay).await;
                    Self::deliver_again(&log, &name, sequence);
                });
            }
            Answer::Progress => {}
        }
        async {}.boxed()
    }
}
