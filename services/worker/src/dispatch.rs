//! Many containers at once, each container's decisions one after the other.

use std::{
    collections::{HashMap, VecDeque},
    future::Future,
    hash::Hash,
    time::Duration,
};

use tokio::{sync::mpsc, task::JoinSet, time::timeout};
use tokio_util::sync::CancellationToken;

/// How long work under way may take once the worker is stopping. What is not done then is delivered again.
const DRAIN: Duration = Duration::from_secs(10);

/// Runs `work` for each item, at most `limit` at once, and never two of the same key. At most as many again wait for
/// their key; then nothing more is taken from the queue. Returns on shutdown, or when the queue ends.
pub(crate) async fn dispatch<T, K, F>(
    mut queue: mpsc::Receiver<T>,
    limit: usize,
    key_of: impl Fn(&T) -> K,
    work: impl Fn(T) -> F,
    shutdown: &CancellationToken,
) where
    K: Eq + Hash + Clone + Send + 'static,
    F: Future<Output = ()> + Send + 'static,
{
    let mut waiting: HashMap<K, VecDeque<T>> = HashMap::new();
    let mut running: JoinSet<()> = JoinSet::new();
    let mut keys: HashMap<tokio::task::Id, K> = HashMap::new();
    let (mut ended, mut in_line) = (false, 0_usize);
    while !(ended && running.is_empty()) {
        let finished = tokio::select! {
            biased;
            () = shutdown.cancelled() => break,
            Some(finished) = running.join_next_with_id(), if !running.is_empty() => finished,
            item = queue.recv(), if !ended && running.len() < limit && in_line < limit => {
                let Some(item) = item else {
                    ended = true;
                    continue;
                };
                let key = key_of(&item);
                if let Some(line) = waiting.get_mut(&key) {
                    line.push_back(item);
                    in_line = in_line.saturating_add(1);
                } else {
                    waiting.insert(key.clone(), VecDeque::new());
                    keys.insert(running.spawn(work(item)).id(), key);
                }
                continue;
            }
        };
        let id = match finished {
            Ok((id, ())) => id,
            Err(error) => {
                tracing::error!(%error, "a container's work ended badly; its decision will be delivered again");
                error.id()
            }
        };
        let Some(key) = keys.remove(&id) else { continue };
        match waiting.get_mut(&key).and_then(VecDeque::pop_front) {
            Some(item) => {
                in_line = in_line.saturating_sub(1);
                keys.insert(running.spawn(work(item)).id(), key);
            }
            None => drop(waiting.remove(&key)),
        }
    }
    let drained = timeout(DRAIN, async { while running.join_next().await.is_some() {} }).await;
    if drained.is_err() {
        tracing::warn!(unfinished = running.len(), "stopping with work under way; it will be delivered again");
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use tokio::sync::Semaphore;

    use super::*;

    #[tokio::test]
    async fn a_key_is_served_in_order_and_others_do_not_wait_for_it() {
        let (sender, queue) = mpsc::channel(16);
        for item in [("slow", 1), ("slow", 2), ("quick", 1), ("quick", 2)] {
            sender.send(item).await.unwrap();
        }
        drop(sender);
        let gate = Arc::new(Semaphore::new(0));
        let done = Arc::new(Mutex::new(Vec::new()));
        let work = |item: (&'static str, u8)| {
            let (gate, done) = (gate.clone(), done.clone());
            async move {
                if item == ("slow", 1) {
                    gate.acquire().await.unwrap().forget();
                }
                done.lock().unwrap().push(item);
                if item == ("quick", 2) {
                    gate.add_permits(1);
                }
            }
        };
        dispatch(queue, 4, |item| item.0, work, &CancellationToken::new()).await;
        let done = done.lock().unwrap().clone();
        assert_eq!(done.first(), Some(&("quick", 1)), "{done:?}");
        let slow: Vec<_> = done.iter().filter(|item| item.0 == "slow").map(|item| item.1).collect();
        assert_eq!(slow, [1, 2], "{done:?}");
    }

    #[tokio::test]
    async fn what_waits_for_its_key_is_bounded() {
        let (sender, queue) = mpsc::channel(100);
        for item in 0..100 {
            sender.send(item).await.unwrap();
        }
        let stop = CancellationToken::new();
        let gate = Arc::new(Semaphore::new(0));
        let held = gate.clone();
        let work = move |_: u8| {
            let gate = held.clone();
            async move { gate.acquire().await.unwrap().forget() }
        };
        let stopped = stop.clone();
        let dispatching = tokio::spawn(async move { dispatch(queue, 4, |_| "one key", work, &stopped).await });
        while sender.capacity() < 5 {
            tokio::task::yield_now().await;
        }
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
        assert_eq!(sender.capacity(), 5, "one runs and four wait");
        gate.add_permits(100);
        while sender.capacity() < 100 {
            tokio::task::yield_now().await;
        }
        stop.cancel();
        dispatching.await.unwrap();
    }
}
