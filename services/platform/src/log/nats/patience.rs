//! When to leave a server that keeps its clients and serves none: one that is cut off from the others.
//!
//! A server that hangs answers no ping, and the client leaves it. A server that is cut off from a cluster's majority answers
//! pings, and even reads, while every request to JetStream fails there. Nothing but the requests themselves can tell.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

/// How long requests fail before the server is left.
const LEAST: Duration = Duration::from_secs(4);
/// Where other servers are no better, such as on full disks, moving on becomes rare.
const MOST: Duration = Duration::from_secs(60);

/// Servers that are tried before it counts as everybody's trouble.
const TRIES: u32 = 3;

/// How a server fares, shared by everything that uses the connection.
#[derive(Debug, Clone, Default)]
pub(super) struct Patience(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    /// Start of the first request that failed since the last one that was answered.
    failing_since: Option<Instant>,
    /// How often a server was left since then.
    left: u32,
    /// A server was left, and no other is chosen yet.
    choosing: bool,
}

impl Patience {
    /// Notes how a request that began at a time ended by now. True if the server is to be left.
    pub(super) fn is_exhausted(&self, answered: bool, began: Instant, now: Instant) -> bool {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if answered {
            *state = State::default();
            return false;
        }
        let since = *state.failing_since.get_or_insert(began);
        let limit = LEAST.saturating_mul(1 << (state.left / TRIES).min(4)).min(MOST);
        if now.saturating_duration_since(since) < limit {
            return false;
        }
        *state = State { failing_since: Some(now), left: state.left.saturating_add(1), choosing: true };
        true
    }

    /// The server to go to after one was left: each in turn, since the client does not say which one it left. None where the
    /// connection was lost by itself.
    pub(super) fn choose<S>(&self, mut servers: Vec<S>, key: impl Fn(&S) -> String) -> Option<S> {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if !std::mem::take(&mut state.choosing) || servers.is_empty() {
            return None;
        }
        servers.sort_by_key(key);
        let next = usize::try_from(state.left).unwrap_or_default() % servers.len();
        Some(servers.swap_remove(next))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_that_serves_nobody_is_left_ever_more_rarely() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let patience = Patience::default();
        // When the request began, when it ended, whether it was answered; whether the server is left.
        let requests = [
            (0, 0, true, false),
            (1, 3, false, false),
            (2, 4, true, false),
            (4, 6, false, false),
            (5, 8, false, true),
            (8, 10, false, false),
            (10, 12, false, true),
            (12, 16, false, true),
            (16, 23, false, false),
            (23, 24, false, true),
            (24, 25, true, false),
            (25, 30, false, true),
        ];
        for (began, ended, answered, left) in requests {
            assert_eq!(patience.is_exhausted(answered, at(began), at(ended)), left, "the one that ended at {ended}");
        }
    }

    #[test]
    fn each_server_has_its_turn() {
        let start = Instant::now();
        let patience = Patience::default();
        let choose = |patience: &Patience| patience.choose(vec!["b", "c", "a"], |name| (*name).to_owned());
        assert_eq!(choose(&patience), None, "the connection was lost by itself");
        let mut chosen = Vec::new();
        for round in 1..=3 {
            assert!(patience.is_exhausted(false, start, start + Duration::from_secs(100 * round)));
            chosen.extend(choose(&patience));
            assert_eq!(choose(&patience), None, "the next try is the client's own");
        }
        assert_eq!(chosen, ["b", "c", "a"]);
    }
}
