//! Many containers at once, each container's decisions one after the other.

use std::{
    collections::{HashMap, VecDeque},
    future::Future,
    hash::Hash,
    mem,
    time::Duration,
};

use tokio::{
    sync::mpsc,
    task::JoinSet,
    time::{Interval, MissedTickBehavior, interval, timeout},
};
use tokio_util::sync::CancellationToken;

/// How often the log is told of what is worked on, or waits for it; it delivers again after 10 s of silence.
pub(crate) const PROGRESS: Duration = Duration::from_secs(3);
/// How long work under way may take once the worker is stopping. What is not done then is delivered again.
const DRAIN: Duration = Duration::from_secs(10);

/// Something to work on.
pub(crate) trait Item: Send + 'static {
    /// What is served one after the other.
    type Key: Eq + Hash + Clone + Send + 'static;

    /// What it is about.
    fn key(&self) -> Self::Key;

    /// Its number: a copy has the same.
    fn number(&self) -> u64;

    /// Says that it still waits, so that nobody sends a copy.
    fn waits(&self) -> impl Future<Output = ()> + Send;
}

/// Runs `work` for each item, at most `limit` at once, and never two of the same key. At most as many again wait for
/// their key; then nothing more is taken from the queue. A copy of what waits takes its place. Returns on shutdown, or
/// when the queue ends.
pub(crate) async fn dispatch<T, F>(
    mut queue: mpsc::Receiver<T>,
    limit: usize,
    work: impl Fn(T) -> F,
    shutdown: &CancellationToken,
) where
    T: Item,
    F: Future<Output = ()> + Send + 'static,
{
    let mut lines = Lines { waiting: HashMap::new(), in_line: 0 };
    let mut running: JoinSet<()> = JoinSet::new();
    let mut keys: HashMap<tokio::task::Id, T::Key> = HashMap::new();
    let mut ticks = interval(PROGRESS);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut ended = false;
    while !(ended && running.is_empty()) {
        let finished = tokio::select! {
            biased;
            () = shutdown.cancelled() => break,
            Some(finished) = running.join_next_with_id(), if !running.is_empty() => finished,
            item = queue.recv(), if !ended && running.len() < limit && lines.in_line < limit => {
                let Some(item) = item else {
                    ended = true;
                    continue;
                };
                let key = item.key();
                if let Some(free) = lines.join(&key, item) {
                    keys.insert(running.spawn(work(free)).id(), key);
                }
                continue;
            }
            () = lines.remind(&mut ticks) => continue,
        };
        let id = match finished {
            Ok((id, ())) => id,
            Err(error) => {
                tracing::error!(%error, "a container's work ended badly; its decision will be delivered again");
                error.id()
            }
        };
        let Some(key) = keys.remove(&id) else { continue };
        if let Some(item) = lines.next(&key) {
            keys.insert(running.spawn(work(item)).id(), key);
        }
    }
    let drained = timeout(DRAIN, async { while running.join_next().await.is_some() {} }).await;
    if drained.is_err() {
        tracing::warn!(unfinished = running.len(), "stopping with work under way; it will be delivered again");
    }
}

/// What waits, by key. A key that is being worked on has a line, if an empty one.
struct Lines<T: Item> {
    waiting: HashMap<T::Key, VecDeque<T>>,
    in_line: usize,
}

impl<T: Item> Lines<T> {
    /// Puts an item in the line of its key, or gives it back if nothing of the key is being worked on. Of two copies the
    /// newer is kept, in the older one's place.
    fn join(&mut self, key: &T::Key, item: T) -> Option<T> {
        let Some(line) = self.waiting.get_mut(key) else {
            self.waiting.insert(key.clone(), VecDeque::new());
            return Some(item);
        };
        match line.iter_mut().find(|waiting| waiting.number() == item.number()) {
            Some(copy) => drop(mem::replace(copy, item)),
            None => {
                line.push_back(item);
                self.in_line = self.in_line.saturating_add(1);
            }
        }
        None
    }

    /// The next item of a key; without one, the key is free.
    fn next(&mut self, key: &T::Key) -> Option<T> {
        let next = self.waiting.get_mut(key).and_then(VecDeque::pop_front);
        match next {
            Some(_) => self.in_line = self.in_line.saturating_sub(1),
            None => drop(self.waiting.remove(key)),
        }
        next
    }

    /// Speaks for everything that waits, at the next tick.
    async fn remind(&self, ticks: &mut Interval) {
        ticks.tick().await;
        for item in self.waiting.values().flatten() {
            item.waits().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use tokio::sync::Semaphore;

    use super::*;

    /// Which copy of which item of a key, and where it says that it waits.
    #[derive(Debug, Clone)]
    struct Test {
        key: &'static str,
        number: u64,
        copy: u8,
        waited: Arc<Semaphore>,
    }

    impl Item for Test {
        type Key = &'static str;

        fn key(&self) -> &'static str {
            self.key
        }

        fn number(&self) -> u64 {
            self.number
        }

        async fn waits(&self) {
            self.waited.add_permits(1);
        }
    }

    fn item(key: &'static str, number: u64) -> Test {
        Test { key, number, copy: 0, waited: Arc::new(Semaphore::new(0)) }
    }

    #[tokio::test]
    async fn a_key_is_served_in_order_and_others_do_not_wait_for_it() {
        let (sender, queue) = mpsc::channel(16);
        for item in [item("slow", 1), item("slow", 2), item("quick", 1), item("quick", 2)] {
            sender.send(item).await.unwrap();
        }
        drop(sender);
        let gate = Arc::new(Semaphore::new(0));
        let done = Arc::new(Mutex::new(Vec::new()));
        let work = |item: Test| {
            let (gate, done) = (gate.clone(), done.clone());
            async move {
                if (item.key, item.number) == ("slow", 1) {
                    gate.acquire().await.unwrap().forget();
                }
                done.lock().unwrap().push((item.key, item.number));
                if (item.key, item.number) == ("quick", 2) {
                    gate.add_permits(1);
                }
            }
        };
        dispatch(queue, 4, work, &CancellationToken::new()).await;
        let done = done.lock().unwrap().clone();
        assert_eq!(done.first(), Some(&("quick", 1)), "{done:?}");
        let slow: Vec<_> = done.iter().filter(|item| item.0 == "slow").map(|item| item.1).collect();
        assert_eq!(slow, [1, 2], "{done:?}");
    }

    #[tokio::test]
    async fn what_waits_for_its_key_is_bounded() {
        let (sender, queue) = mpsc::channel(100);
        for number in 0..100 {
            sender.send(item("one key", number)).await.unwrap();
        }
        let stop = CancellationToken::new();
        let gate = Arc::new(Semaphore::new(0));
        let held = gate.clone();
        let work = move |_: Test| {
            let gate = held.clone();
            async move { gate.acquire().await.unwrap().forget() }
        };
        let stopped = stop.clone();
        let dispatching = tokio::spawn(async move { dispatch(queue, 4, work, &stopped).await });
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

    /// A slow pull, and what is delivered again and again behind it.
    #[tokio::test]
    async fn copies_of_what_waits_do_not_use_up_the_line() {
        let (sender, queue) = mpsc::channel(200);
        sender.send(item("slow", 1)).await.unwrap();
        for copy in 0..50 {
            for number in [2, 3] {
                sender.send(Test { copy, ..item("slow", number) }).await.unwrap();
            }
        }
        sender.send(item("quick", 1)).await.unwrap();
        drop(sender);
        let gate = Arc::new(Semaphore::new(0));
        let done = Arc::new(Mutex::new(Vec::new()));
        let work = |item: Test| {
            let (gate, done) = (gate.clone(), done.clone());
            async move {
                match (item.key, item.number) {
                    ("slow", 1) => gate.acquire().await.unwrap().forget(),
                    ("quick", _) => gate.add_permits(1),
                    _ => {}
                }
                done.lock().unwrap().push((item.key, item.number, item.copy));
            }
        };
        dispatch(queue, 4, work, &CancellationToken::new()).await;
        let done = done.lock().unwrap().clone();
        assert_eq!(done, [("quick", 1, 0), ("slow", 1, 0), ("slow", 2, 49), ("slow", 3, 49)]);
    }

    #[tokio::test]
    async fn what_waits_says_so_again_and_again() {
        let (sender, queue) = mpsc::channel(4);
        let (first, second) = (item("slow", 1), item("slow", 2));
        let (running, waiting) = (first.waited.clone(), second.waited.clone());
        sender.send(first).await.unwrap();
        sender.send(second).await.unwrap();
        drop(sender);
        let gate = Arc::new(Semaphore::new(0));
        let held = gate.clone();
        let work = move |_: Test| {
            let gate = held.clone();
            async move { gate.acquire().await.unwrap().forget() }
        };
        let dispatching = tokio::spawn(async move { dispatch(queue, 4, work, &CancellationToken::new()).await });
        waiting.acquire_many(2).await.unwrap().forget();
        assert_eq!(running.available_permits(), 0, "whoever works says so");
        gate.add_permits(2);
        dispatching.await.unwrap();
    }
}
