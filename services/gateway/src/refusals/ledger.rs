//! Which refusals are said: each answer once until it changes, something is accepted or some time passes, within a budget.

use std::{
    collections::{HashMap, hash_map::Entry},
    time::{Duration, Instant},
};

use waybill_schemas::{
    Subject, WorkspaceId,
    v1::{RefusalCode, RefusedOperation},
};

/// After so long the same answer is said again.
const PERIOD: Duration = Duration::from_secs(600);
/// Most answers that are remembered.
const MOST: usize = 4096;

/// What one kind of asker may have said: so many at once, and one more after each interval.
#[derive(Debug, Clone, Copy)]
struct Budget {
    at_once: u32,
    interval: Duration,
}

/// Of a workspace. A broken builder is told of within its first requests; 1,440 events a day are none for a log.
const OF_WORKSPACE: Budget = Budget { at_once: 60, interval: Duration::from_secs(60) };
/// Of all who have no valid token, together.
const OF_STRANGERS: Budget = Budget { at_once: 10, interval: Duration::from_secs(300) };

/// What makes two answers about one thing the same.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Sameness {
    pub(crate) operation: RefusedOperation,
    pub(crate) code: RefusalCode,
    pub(crate) field: Option<Box<str>>,
    pub(crate) actor: Option<String>,
}

/// Whether a refusal is said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Admission {
    /// It is, and so many of the same were passed over before it.
    Said { repeated: u64 },
    /// The same was said lately.
    Repeated,
    /// Too many were said.
    OverBudget,
}

/// What was said lately.
#[derive(Debug)]
struct Said {
    answer: Sameness,
    at: Instant,
    /// The same since then, not said.
    since: u64,
}

/// A budget, as far as it is used: full again at a time.
#[derive(Debug, Clone, Copy)]
struct Used {
    full_at: Instant,
}

/// One thing has one present answer. Requests that name nothing may be about anything: each of their answers counts alone.
type Key = (Subject, Option<Sameness>);

/// Everything that the decision rests on.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    said: HashMap<Key, Said>,
    used: HashMap<Option<WorkspaceId>, Used>,
}

fn key(subject: &Subject, answer: &Sameness) -> Key {
    let is_unnamed = matches!(subject, Subject::RefusedWorkspace { .. } | Subject::RefusedUnowned);
    (subject.clone(), is_unnamed.then(|| answer.clone()))
}

impl Ledger {
    /// Decides about a refusal on a subject at a time.
    pub(crate) fn admit(&mut self, subject: &Subject, answer: Sameness, now: Instant) -> Admission {
        let key = key(subject, &answer);
        let known = self.said.get_mut(&key).filter(|said| said.answer == answer);
        let repeated = match known {
            Some(said) if now.saturating_duration_since(said.at) < PERIOD => {
                said.since = said.since.saturating_add(1);
                return Admission::Repeated;
            }
            Some(said) => said.since,
            None => 0,
        };
        if !self.has_place(&key, now) || !self.spend(subject.workspace(), now) {
            return Admission::OverBudget;
        }
        self.said.insert(key, Said { answer, at: now, since: 0 });
        Admission::Said { repeated }
    }

    /// Notes that a request about what the subject names was accepted: its next refusal is news.
    pub(crate) fn accept(&mut self, subject: &Subject) {
        self.said.remove(&(subject.clone(), None));
    }

    /// Notes that what was admitted did not come into the log.
    pub(crate) fn forget(&mut self, subject: &Subject, answer: &Sameness) {
        self.said.remove(&key(subject, answer));
    }

    fn has_place(&mut self, key: &Key, now: Instant) -> bool {
        if self.said.len() >= MOST && !self.said.contains_key(key) {
            self.said.retain(|_, said| now.saturating_duration_since(said.at) < PERIOD);
        }
        self.said.len() < MOST || self.said.contains_key(key)
    }

    /// Takes one from a budget, if there is one left.
    fn spend(&mut self, workspace: Option<&WorkspaceId>, now: Instant) -> bool {
        let Budget { at_once, interval } = if workspace.is_some() { OF_WORKSPACE } else { OF_STRANGERS };
        if self.used.len() >= MOST {
            self.used.retain(|_, used| used.full_at > now);
        }
        let is_crowded = self.used.len() >= MOST;
        match self.used.entry(workspace.cloned()) {
            Entry::Vacant(_) if is_crowded => false,
            Entry::Vacant(free) => {
                free.insert(Used { full_at: now + interval });
                true
            }
            Entry::Occupied(mut used) => {
                let full_at = used.get().full_at.max(now) + interval;
                let is_left = full_at.saturating_duration_since(now) <= interval.saturating_mul(at_once);
                if is_left {
                    used.insert(Used { full_at });
                }
                is_left
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image(workspace: &str, image: &str) -> Subject {
        Subject::RefusedImage { workspace: workspace.parse().unwrap(), image_id: image.parse().unwrap() }
    }

    fn answer(code: RefusalCode, actor: &str) -> Sameness {
        let operation = RefusedOperation::RecordBuild;
        Sameness { operation, code, field: None, actor: Some(actor.to_owned()) }
    }

    const SAID: Admission = Admission::Said { repeated: 0 };

    #[test]
    fn an_answer_is_said_once_until_something_changes() {
        let (mut ledger, start) = (Ledger::default(), Instant::now());
        let (field, role) = (RefusalCode::InvalidField, RefusalCode::WrongRole);
        let unnamed = || Subject::RefusedWorkspace { workspace: "a".parse().unwrap() };
        let cases = [
            ("the first", 0, image("a", "i"), field, "ci", SAID),
            ("again", 1, image("a", "i"), field, "ci", Admission::Repeated),
            ("another image", 1, image("a", "j"), field, "ci", SAID),
            ("another workspace", 1, image("b", "i"), field, "ci", SAID),
            ("another asker", 2, image("a", "i"), field, "cd", SAID),
            ("another answer", 3, image("a", "i"), role, "cd", SAID),
            ("the answer before that, which is the present one again", 4, image("a", "i"), field, "cd", SAID),
            ("almost a period later", 600, image("a", "j"), field, "ci", Admission::Repeated),
            ("a period later", 601, image("a", "j"), field, "ci", Admission::Said { repeated: 1 }),
            ("and again", 602, image("a", "j"), field, "ci", Admission::Repeated),
            ("nothing named", 603, unnamed(), field, "ci", SAID),
            ("nothing named, with another answer", 603, unnamed(), role, "ci", SAID),
            ("nothing named, in turn", 604, unnamed(), field, "ci", Admission::Repeated),
        ];
        for (name, second, subject, code, actor, expected) in cases {
            let admitted = ledger.admit(&subject, answer(code, actor), start + Duration::from_secs(second));
            assert_eq!(admitted, expected, "{name}");
        }
        let now = start + Duration::from_secs(605);
        ledger.accept(&image("a", "j"));
        assert_eq!(ledger.admit(&image("a", "j"), answer(field, "ci"), now), SAID, "accepted in between");
        ledger.forget(&image("a", "j"), &answer(field, "ci"));
        assert_eq!(ledger.admit(&image("a", "j"), answer(field, "ci"), now), SAID, "the log did not take it");
    }

    #[test]
    fn a_budget_ends_and_comes_back() {
        let (mut ledger, start) = (Ledger::default(), Instant::now());
        let mut count = |workspace: Option<&str>, from: u64, second: u64| {
            let said = (from..from + 2_000).filter(|number| {
                let subject = match workspace {
                    Some(workspace) => image(workspace, &format!("i-{number}")),
                    None => Subject::RefusedUnowned,
                };
                let actor = format!("a-{number}");
                let admitted = ledger.admit(
                    &subject,
                    answer(RefusalCode::InvalidField, &actor),
                    start + Duration::from_secs(second),
                );
                admitted == SAID
            });
            said.count()
        };
        let cases = [
            ("a loop over many images", Some("a"), 0, 0, 60),
            ("goes on", Some("a"), 2_000, 59, 0),
            ("for an hour", Some("a"), 4_000, 3_600, 60),
            ("another workspace has its own", Some("b"), 0, 3_600, 60),
            ("strangers share a small one", None, 0, 3_600, 10),
            ("which comes back slowly", None, 2_000, 3_900, 1),
            ("and takes nothing from workspaces", Some("b"), 2_000, 3_960, 6),
        ];
        for (name, workspace, from, second, expected) in cases {
            assert_eq!(count(workspace, from, second), expected, "{name}");
        }
        assert!(ledger.said.len() <= MOST && ledger.used.len() <= MOST);
    }

    #[test]
    fn memory_is_bounded_whoever_asks() {
        let (mut ledger, now) = (Ledger::default(), Instant::now());
        for number in 0..MOST + 500 {
            ledger.admit(&image(&format!("w-{number}"), "i"), answer(RefusalCode::InvalidField, "operator"), now);
        }
        assert_eq!((ledger.said.len(), ledger.used.len()), (MOST, MOST));
        let later = now + PERIOD;
        assert_eq!(ledger.admit(&image("w", "i"), answer(RefusalCode::InvalidField, "operator"), later), SAID);
        assert_eq!((ledger.said.len(), ledger.used.len()), (1, 1), "what is over makes room");
    }
}
