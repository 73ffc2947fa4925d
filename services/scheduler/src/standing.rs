//! Which of several schedulers publishes. There is no lock: each decision is said once whoever says it (invariant 5), and two
//! that say the same only cost each other time. Whoever finds its decisions said is behind, and lets them come by the fold;
//! it goes on as soon as some wait that nobody says.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::time::Instant;

/// How long decisions may wait, with none being said, until the scheduler that is behind says them.
const PATIENCE: Duration = Duration::from_secs(1);

/// Where this scheduler stands.
#[derive(Debug, Default)]
pub(crate) struct Standing {
    behind: Option<Behind>,
    /// The same for others to see.
    shown: Arc<AtomicBool>,
    /// True once something was said by this scheduler first.
    sure: bool,
}

/// Another scheduler publishes.
#[derive(Debug)]
struct Behind {
    /// When it was seen at work last, or when nothing waited.
    since: Instant,
    /// Decisions folded by then.
    answered: u64,
}

impl Standing {
    /// Begins ahead, until a batch shows otherwise; `shown` is true while it is behind.
    pub(crate) fn new(shown: Arc<AtomicBool>) -> Self {
        Self { shown, ..Self::default() }
    }

    pub(crate) fn is_behind(&self) -> bool {
        self.behind.is_some()
    }

    /// True if no other scheduler is known to be ahead since this one said something first.
    pub(crate) fn is_sure(&self) -> bool {
        self.sure
    }

    pub(crate) fn become_sure(&mut self) {
        self.sure = self.behind.is_none();
    }

    /// Another scheduler has said what this one sent. `answered` is the number of decisions folded so far.
    pub(crate) fn fall_behind(&mut self, now: Instant, answered: u64) {
        (self.behind, self.sure) = (Some(Behind { since: now, answered }), false);
        self.shown.store(true, Ordering::Relaxed);
    }

    /// Looks at how many decisions are folded by now, and whether any wait. True if this scheduler is to publish.
    pub(crate) fn look(&mut self, now: Instant, answered: u64, waiting: bool) -> bool {
        let Some(behind) = &mut self.behind else { return true };
        if !waiting || answered > behind.answered {
            (behind.since, behind.answered) = (now, answered);
            return false;
        }
        let goes_on = now.duration_since(behind.since) >= PATIENCE;
        if goes_on {
            self.behind = None;
            self.shown.store(false, Ordering::Relaxed);
        }
        goes_on
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_nobody_says_is_said_after_a_while() {
        let start = Instant::now();
        /// Milliseconds, decisions folded, and whether some wait.
        type Look = (u64, u64, bool);
        let cases: [(&str, &[Look], bool); 6] = [
            ("the other goes on", &[(500, 1, true), (1400, 2, true), (2300, 3, true)], false),
            ("the other stands still", &[(500, 1, true), (1400, 1, true), (1500, 1, true)], true),
            ("it stood still from the start", &[(500, 0, true), (1000, 0, true)], true),
            ("not for long enough", &[(500, 1, true), (1400, 1, true)], false),
            ("nothing waits", &[(500, 0, false), (5000, 0, false)], false),
            ("something waits at last", &[(5000, 0, false), (5250, 0, true), (6000, 0, true)], true),
        ];
        for (name, looks, goes_on) in cases {
            let mut standing = Standing::default();
            standing.fall_behind(start, 0);
            let mut last = false;
            for (milliseconds, answered, waiting) in looks {
                last = standing.look(start + Duration::from_millis(*milliseconds), *answered, *waiting);
            }
            assert_eq!((last, standing.is_behind()), (goes_on, !goes_on), "{name}");
        }
    }

    #[test]
    fn only_who_says_something_first_is_sure() {
        let mut standing = Standing::default();
        assert!(!standing.is_sure() && !standing.is_behind(), "it begins with one batch");
        standing.become_sure();
        assert!(standing.is_sure());
        standing.fall_behind(Instant::now(), 0);
        // A batch that was under way when another one was found said.
        standing.become_sure();
        assert!(!standing.is_sure() && standing.is_behind());
    }
}
