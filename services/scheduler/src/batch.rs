//! Fold what is queued: a batch ends at 1000 messages, after 5 ms, or as soon as nothing more waits.

use std::time::Duration;

use futures_util::{Stream, StreamExt};
use tokio::time::{Instant, timeout_at};

/// Most messages folded in one transaction.
pub(crate) const MAX_BATCH: usize = 1000;
/// Longest that a message waits for company.
pub(crate) const MAX_WAIT: Duration = Duration::from_millis(5);

/// The next messages, or none when the stream has ended. `more_waits` tells whether the log holds more than what came.
///
/// # Errors
/// The stream's own; what came before it in the batch is dropped, and read again by whoever starts over.
pub(crate) async fn next_batch<T, E>(
    messages: &mut (impl Stream<Item = Result<T, E>> + Unpin),
    more_waits: impl Fn(&T) -> bool,
) -> Result<Vec<T>, E> {
    let Some(first) = messages.next().await else { return Ok(Vec::new()) };
    let mut batch = vec![first?];
    let deadline = Instant::now() + MAX_WAIT;
    while batch.len() < MAX_BATCH && batch.last().is_some_and(&more_waits) {
        match timeout_at(deadline, messages.next()).await {
            Ok(Some(message)) => batch.push(message?),
            Ok(None) | Err(_) => break,
        }
    }
    Ok(batch)
}

#[cfg(test)]
mod tests {
    use futures_util::stream;

    use super::*;

    async fn sizes(messages: Vec<u64>) -> Vec<usize> {
        let end = messages.len();
        let mut stream = stream::iter(messages.into_iter().map(Ok::<u64, ()>)).chain(stream::pending());
        let mut sizes = Vec::new();
        while sizes.iter().sum::<usize>() < end {
            sizes.push(next_batch(&mut stream, |pending| *pending > 0).await.unwrap().len());
        }
        sizes
    }

    #[tokio::test]
    async fn a_batch_is_what_is_queued() {
        assert_eq!(sizes(vec![0, 0, 0]).await, [1, 1, 1], "nothing more waits: at once");
        assert_eq!(sizes(vec![2, 1, 0, 0]).await, [3, 1]);
        assert_eq!(sizes((0..2500).rev().collect()).await, [1000, 1000, 500]);
        assert_eq!(sizes(vec![9, 9]).await, [2], "promised, but late: 5 ms and no longer");
    }

    #[tokio::test]
    async fn an_ended_stream_gives_nothing() {
        let mut ended = stream::iter(Vec::<Result<u64, ()>>::new());
        assert_eq!(next_batch(&mut ended, |_| true).await, Ok(vec![]));
        let mut failed = stream::iter(vec![Ok(1), Err("gone")]);
        assert_eq!(next_batch(&mut failed, |_| true).await, Err("gone"));
    }
}
