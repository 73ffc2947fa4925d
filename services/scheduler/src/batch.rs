//! Fold what is queued: a batch ends at 1000 messages, at 8 MiB, after 5 ms, or as soon as nothing more waits.

use std::time::Duration;

use futures_util::{Stream, StreamExt};
use tokio::time::{Instant, timeout_at};

/// Bounds of a batch.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bounds {
    /// Most messages.
    pub(crate) messages: usize,
    /// Bytes at which a batch ends: the last message may exceed them.
    pub(crate) bytes: usize,
    /// Longest that a message waits for company.
    pub(crate) wait: Duration,
}

/// Bounds of what is folded in one transaction while somebody waits for it.
pub(crate) const LIVE: Bounds = Bounds { messages: 1000, bytes: 8 * 1024 * 1024, wait: Duration::from_millis(5) };

/// Bounds where nobody waits: each transaction writes the pages that it touches anew.
pub(crate) const BULK: Bounds = Bounds { messages: 4000, bytes: 16 * 1024 * 1024, wait: Duration::from_millis(50) };

/// A message, as far as batches depend on it.
pub(crate) trait Batched {
    /// Bytes that it takes.
    fn size(&self) -> usize;

    /// True if more messages wait behind it.
    fn more_waits(&self) -> bool;
}

impl Batched for waybill_platform::log::RawMessage {
    fn size(&self) -> usize {
        let headers = self.headers.iter().map(|(name, values)| {
            let name: &str = name.as_ref();
            values.iter().map(|value| name.len().saturating_add(value.as_str().len())).sum::<usize>()
        });
        headers.sum::<usize>().saturating_add(self.payload.len()).saturating_add(self.subject.len())
    }

    fn more_waits(&self) -> bool {
        self.pending > 0
    }
}

impl Bounds {
    fn have_room(&self, messages: usize, bytes: usize) -> bool {
        messages < self.messages && bytes < self.bytes
    }
}

/// The next messages, or none when the stream has ended.
///
/// # Errors
/// The stream's own; what came before it in the batch is dropped, and read again by whoever starts over.
pub(crate) async fn next_batch<T: Batched, E>(
    messages: &mut (impl Stream<Item = Result<T, E>> + Unpin),
    bounds: Bounds,
) -> Result<Vec<T>, E> {
    complete_batch(messages, Vec::new(), bounds).await
}

/// Reads messages as long as something else takes, and within bounds.
///
/// # Errors
/// Those of the stream, once the other is done, or else the other's.
pub(crate) async fn read_during<T: Batched, E>(
    messages: &mut (impl Stream<Item = Result<T, impl Into<E>>> + Unpin),
    bounds: Bounds,
    other: impl Future<Output = Result<(), E>>,
) -> Result<Vec<T>, E> {
    let (mut ahead, mut bytes, mut failed) = (Vec::new(), 0_usize, None);
    let mut other = std::pin::pin!(other);
    loop {
        tokio::select! {
            biased;
            done = &mut other => {
                done?;
                return failed.map_or(Ok(ahead), Err);
            }
            Some(message) = messages.next(), if failed.is_none() && bounds.have_room(ahead.len(), bytes) => {
                match message {
                    Ok(message) => {
                        bytes = bytes.saturating_add(T::size(&message));
                        ahead.push(message);
                    }
                    Err(error) => failed = Some(error.into()),
                }
            }
        }
    }
}

/// As [`next_batch`], with messages that were read before.
pub(crate) async fn complete_batch<T: Batched, E>(
    messages: &mut (impl Stream<Item = Result<T, E>> + Unpin),
    mut batch: Vec<T>,
    bounds: Bounds,
) -> Result<Vec<T>, E> {
    if batch.is_empty() {
        let Some(first) = messages.next().await else { return Ok(Vec::new()) };
        batch.push(first?);
    }
    let mut bytes = batch.iter().map(T::size).sum::<usize>();
    let deadline = Instant::now() + bounds.wait;
    while bounds.have_room(batch.len(), bytes) && batch.last().is_some_and(T::more_waits) {
        match timeout_at(deadline, messages.next()).await {
            Ok(Some(message)) => {
                let message = message?;
                bytes = bytes.saturating_add(message.size());
                batch.push(message);
            }
            Ok(None) | Err(_) => break,
        }
    }
    Ok(batch)
}

#[cfg(test)]
mod tests {
    use futures_util::stream;

    use super::*;

    /// Messages that wait behind one, and its bytes.
    #[derive(Debug, PartialEq, Eq)]
    struct Message(u64, usize);

    impl Batched for Message {
        fn size(&self) -> usize {
            self.1
        }

        fn more_waits(&self) -> bool {
            self.0 > 0
        }
    }

    async fn sizes(messages: Vec<Message>) -> Vec<usize> {
        let end = messages.len();
        let mut stream = stream::iter(messages.into_iter().map(Ok::<Message, ()>)).chain(stream::pending());
        let mut sizes = Vec::new();
        while sizes.iter().sum::<usize>() < end {
            sizes.push(next_batch(&mut stream, LIVE).await.unwrap().len());
        }
        sizes
    }

    fn small(waiting: impl IntoIterator<Item = u64>) -> Vec<Message> {
        waiting.into_iter().map(|waiting| Message(waiting, 500)).collect()
    }

    #[tokio::test]
    async fn a_batch_is_what_is_queued() {
        assert_eq!(sizes(small([0, 0, 0])).await, [1, 1, 1], "nothing more waits: at once");
        assert_eq!(sizes(small([2, 1, 0, 0])).await, [3, 1]);
        assert_eq!(sizes(small((0..2500).rev())).await, [1000, 1000, 500]);
        assert_eq!(sizes(small([9, 9])).await, [2], "promised, but late: 5 ms and no longer");
    }

    #[tokio::test]
    async fn a_batch_is_bounded_in_bytes() {
        let megabyte = 1024 * 1024;
        let large = (0..20).rev().map(|waiting| Message(waiting, megabyte)).collect();
        assert_eq!(sizes(large).await, [8, 8, 4]);
        let huge = vec![Message(1, 64 * megabyte), Message(0, 1)];
        assert_eq!(sizes(huge).await, [1, 1], "one that is larger than a batch goes alone");
    }

    #[tokio::test]
    async fn what_comes_during_something_else_begins_the_next_batch() {
        let mut messages =
            stream::iter(small((0..4).rev()).into_iter().map(Ok::<Message, &str>)).chain(stream::pending());
        let two = Bounds { messages: 2, ..LIVE };
        let yielding = async {
            for _ in 0..3 {
                tokio::task::yield_now().await;
            }
            Ok::<(), &str>(())
        };
        let ahead = read_during(&mut messages, two, yielding).await.unwrap();
        assert_eq!(ahead.len(), 2, "within bounds");
        assert_eq!(complete_batch(&mut messages, ahead, LIVE).await.unwrap().len(), 4);
        let failed = read_during(&mut messages, two, async { Err("the other's") }).await;
        assert_eq!(failed, Err("the other's"));
        let mut ended = stream::iter(vec![Err::<Message, _>("the stream's")]);
        let yielding = async {
            for _ in 0..3 {
                tokio::task::yield_now().await;
            }
            Ok::<(), &str>(())
        };
        assert_eq!(read_during(&mut ended, two, yielding).await, Err("the stream's"));
    }

    #[tokio::test]
    async fn an_ended_stream_gives_nothing() {
        let mut ended = stream::iter(Vec::<Result<Message, ()>>::new());
        assert_eq!(next_batch(&mut ended, LIVE).await, Ok(vec![]));
        let mut failed = stream::iter(vec![Ok(Message(1, 1)), Err("gone")]);
        assert_eq!(next_batch(&mut failed, LIVE).await, Err("gone"));
    }
}
