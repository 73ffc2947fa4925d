//! Many containers at once, each container's decisions one after the other, and what cannot wait beside them.

use std::{
    collections::{HashMap, VecDeque},
    future::Future,
    hash::Hash,
    mem,
    time::Duration,
};

use tokio::{
    sync::mpsc,
    task::{Id, JoinError, JoinSet},
    time::{Interval, MissedTickBehavior, interval, timeout},
};
use tokio_util::sync::CancellationToken;

/// How often the log is told of what is worked on, or waits for it; it delivers again after 30 s of silence.
pub(crate) const PROGRESS: Duration = Duration::from_secs(10);
/// How long work under way may take once the worker is stopping. What is not done then is delivered again.
const DRAIN: Duration = Duration::from_secs(10);

/// Something to work on.
pub(crate) trait Item: Send + 'static {
    /// What is served one after the other.
    type Key: Eq + Hash + Clone + Send + 'static;

    /// The line that it waits in; none for what is served at once, whatever else is under way.
    fn line(&self) -> Option<Self::Key>;

    /// Its number: a copy has the same.
    fn number(&self) -> u64;

    /// Says that it still waits, so that nobody sends a copy.
    fn wait_longer(&self) -> impl Future<Output = ()> + Send;
}

/// Runs `work` for each item of the queue: what has no line at once, of the others at most `slots` at a time and never two of
/// the same line. Everything is taken from the queue as it comes: its sender bounds it. A copy of what waits takes its place.
/// Returns on shutdown, or when the queue ends.
pub(crate) async fn dispatch<Q, T, F>(
    mut queue: mpsc::Receiver<Q>,
    slots: usize,
    work: impl Fn(T) -> F,
    shutdown: &CancellationToken,
) where
    T: Item + From<Q>,
    F: Future<Output = ()> + Send + 'static,
{
    let mut lines = Lines { waiting: HashMap::new(), turns: VecDeque::new() };
    let mut running: JoinSet<()> = JoinSet::new();
    let mut keys: HashMap<Id, T::Key> = HashMap::new();
    let mut ticks = interval(PROGRESS);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut ended = false;
    while !(ended && running.is_empty()) {
        tokio::select! {
            biased;
            () = shutdown.cancelled() => break,
            Some(finished) = running.join_next_with_id(), if !running.is_empty() => {
                if let Some(key) = keys.remove(&finished_id(finished)) {
                    lines.leave(key);
                }
            }
            item = queue.recv(), if !ended => match item.map(T::from) {
                None => ended = true,
                Some(item) => match item.line() {
                    None => drop(running.spawn(work(item))),
                    Some(key) => lines.join(key, item),
                },
            },
            () = lines.remind(&mut ticks) => {}
        }
        while keys.len() < slots
            && let Some((key, item)) = lines.next()
        {
            keys.insert(running.spawn(work(item)).id(), key);
        }
    }
    let drained = timeout(DRAIN, async { while running.join_next().await.is_some() {} }).await;
    if drained.is_err() {
        tracing::warn!(unfinished = running.len(), "stopping with work under way; it will be delivered again");
    }
}

fn finished_id(finished: Result<(Id, ()), JoinError>) -> Id {
    match finished {
        Ok((id, ())) => id,
        Err(error) => {
            tracing::error!(%error, "work on a decision ended badly; it will be delivered again");
            error.id()
        }
    }
}

/// What waits, by key. A key that is being worked on has a line, if an empty one; the others with a line await their turn.
struct Lines<T: Item> {
    waiting: HashMap<T::Key, VecDeque<T>>,
    turns: VecDeque<T::Key>,
}

impl<T: Item> Lines<T> {
    /// Puts an item in the line of its key. Of two copies the newer is kept, in the older one's place.
    fn join(&mut self, key: T::Key, item: T) {
        let Some(line) = self.waiting.get_mut(&key) else {
            self.waiting.insert(key.clone(), VecDeque::from([item]));
            return self.turns.push_back(key);
        };
        match line.iter_mut().find(|waiting| waiting.number() == item.number()) {
            Some(copy) => drop(mem::replace(copy, item)),
            None => line.push_back(item),
        }
    }

    /// The first item of the key whose turn it is. The key is being worked on from then on.
    fn next(&mut self) -> Option<(T::Key, T)> {
        let key = self.turns.pop_front()?;
        let item = self.waiting.get_mut(&key)?.pop_front()?;
        Some((key, item))
    }

    /// A key is no longer worked on. If more waits for it, its next turn comes after the others'.
    fn leave(&mut self, key: T::Key) {
        if self.waiting.get(&key).is_some_and(VecDeque::is_empty) {
            self.waiting.remove(&key);
        } else {
            self.turns.push_back(key);
        }
    }

    /// Speaks for everything that waits, at the next tick.
    async fn remind(&self, ticks: &mut Interval) {
        ticks.tick().await;
        for item in self.waiting.values().flatten() {
            item.wait_longer().await;
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

        fn line(&self) -> Option<&'static str> {
            (self.key != "at once").then_some(self.key)
        }

        fn number(&self) -> u64 {
            self.number
        }

        async fn wait_longer(&self) {
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

    /// Pulls that hang take every slot, and more wait behind them: a withdrawal is served all the same (fault 12).
    #[tokio::test]
    async fn what_is_served_at_once_waits_for_no_slot_and_the_queue_is_never_left() {
        let (sender, queue) = mpsc::channel(1);
        let stop = CancellationToken::new();
        let (gate, served) = (Arc::new(Semaphore::new(0)), Arc::new(Semaphore::new(0)));
        let (held, at_once) = (gate.clone(), served.clone());
        let work = move |item: Test| {
            let (gate, at_once) = (held.clone(), at_once.clone());
            async move {
                match item.key {
                    "at once" => at_once.add_permits(1),
                    _ => gate.acquire().await.unwrap().forget(),
                }
            }
        };
        let stopped = stop.clone();
        let dispatching = tokio::spawn(async move { dispatch(queue, 2, work, &stopped).await });
        let keys = ["a", "b", "c", "d", "e", "f"];
        for number in 0..300 {
            sender.send(item(keys[number % keys.len()], u64::try_from(number).unwrap())).await.unwrap();
        }
        sender.send(item("at once", 1)).await.unwrap();
        served.acquire().await.unwrap().forget();
        gate.add_permits(300);
        drop(sender);
        dispatching.await.unwrap();
        assert_eq!(gate.available_permits(), 0, "everything that waited was served");
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
