//! Which of several schedulers publishes. There is no lock: each decision is said once whoever says it (invariant 5), and two
//! that say the same only cost each other time. Whoever finds its decisions said is behind, and lets them come by the fold;
//! it goes on as soon as some wait that nobody says. With several batches under way each of two may find some of its own said
//! by the other: who has published alone before goes on if it was first with the latest decision, and a newcomer never does.

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

/// Batches without another scheduler's word after which a scheduler is no newcomer.
const ESTABLISHED: u32 = 8;

/// Where this scheduler stands.
#[derive(Debug, Default)]
pub(crate) struct Standing {
    behind: Option<Behind>,
    /// The same for others to see.
    shown: Arc<AtomicBool>,
    /// True once something was said by this scheduler first.
    sure: bool,
    /// Cause of the latest decision that this scheduler said first, and of the latest that another one did; 0 for none.
    first_with: u64,
    second_with: u64,
    /// Batches that were published before another scheduler was first with any.
    undisputed: u32,
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

    /// A decision with this cause was said by this scheduler first.
    pub(crate) fn note_first(&mut self, cause: u64) {
        self.first_with = self.first_with.max(cause);
    }

    /// Another scheduler has said, or is saying, a decision with this cause.
    pub(crate) fn note_second(&mut self, cause: u64) {
        self.second_with = self.second_with.max(cause);
    }

    /// Judges by what was noted. `answered` is the number of decisions folded so far. True if another scheduler is ahead.
    pub(crate) fn judge(&mut self, now: Instant, answered: u64) -> bool {
        let is_disputed = self.second_with > 0;
        self.undisputed = self.undisputed.saturating_add(u32::from(!is_disputed));
        let yields = self.second_with >= self.first_with || self.undisputed < ESTABLISHED;
        let is_behind = is_disputed && yields;
        self.sure = !is_behind && self.first_with > 0;
        if !is_behind {
            self.behind = None;
        } else if self.behind.is_none() {
            self.behind = Some(Behind { since: now, answered });
        }
        self.shown.store(is_behind, Ordering::Relaxed);
        is_behind
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
            *self = Self::new(self.shown.clone());
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
            standing.note_second(1);
            assert!(standing.judge(start, 0));
            let mut last = false;
            for (milliseconds, answered, waiting) in looks {
                last = standing.look(start + Duration::from_millis(*milliseconds), *answered, *waiting);
            }
            assert_eq!((last, standing.is_behind()), (goes_on, !goes_on), "{name}");
        }
    }

    #[test]
    fn who_is_first_with_the_latest_goes_on() {
        enum Noted {
            First(u64),
            Second(u64),
        }
        use Noted::{First, Second};
        /// Undisputed batches before, what was noted, and whether the scheduler is behind and sure then.
        type Case = (&'static str, u32, &'static [Noted], (bool, bool));
        let cases: [Case; 8] = [
            ("it begins with one batch", 0, &[], (false, false)),
            ("alone", 0, &[First(5)], (false, true)),
            ("another one says it", 0, &[Second(5)], (true, false)),
            ("another one says it to one that was alone", 8, &[Second(5)], (true, false)),
            ("a batch under way was first, and an earlier one second", 8, &[Second(5), First(9)], (false, true)),
            ("the same, and it is a newcomer", 0, &[First(1), Second(5), First(9)], (true, false)),
            ("the other way around", 8, &[First(5), Second(9)], (true, false)),
            ("one cause of many decisions", 8, &[First(5), Second(5)], (true, false)),
        ];
        for (name, undisputed, noted, expected) in cases {
            let mut standing = Standing { undisputed, ..Standing::default() };
            for noted in noted {
                match noted {
                    First(cause) => standing.note_first(*cause),
                    Second(cause) => standing.note_second(*cause),
                }
                standing.judge(Instant::now(), 0);
            }
            assert_eq!((standing.is_behind(), standing.is_sure()), expected, "{name}");
            assert_eq!(standing.shown.load(Ordering::Relaxed), expected.0, "{name}");
        }
    }
}
