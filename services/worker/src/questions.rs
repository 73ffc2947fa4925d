//! Keeps what programs of the node asked and got as events: at most one a minute for each asker, program and answer, behind a
//! bounded queue, so that no answer ever waits for the log.

use std::{
    collections::{HashMap, hash_map::Entry},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use waybill_domain::fold::ContainerKey;
use waybill_platform::{
    log::{ErrorKind, Expect, Log, NewEvent},
    trace,
};
use waybill_schemas::{
    Envelope, Event, Subject, Uuid, WorkerId, WorkspaceId,
    v1::{AskedWith, ContainerLoginAsked, LoginRefusal, NodeLoginAsked, PodIdentity, Question},
};

use crate::{node::Asked, source, view::Placed};

/// Least time between two events that say the same.
const MINUTE: Duration = Duration::from_secs(60);
/// Most different questions that are told apart. More of them within a minute are not recorded.
const MOST: usize = 1024;
/// Most questions that wait for the log.
const WAITING: usize = 256;
/// How long the log may take for one.
const LIMIT: Duration = Duration::from_secs(5);
/// Pause before an event is tried again that the log could not take.
const PAUSE: Duration = Duration::from_secs(2);

/// What makes two questions the same.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Sameness {
    placed: Option<Placed>,
    workspace: Option<WorkspaceId>,
    identity: Option<PodIdentity>,
    program: String,
    question: Question,
    reason: Option<LoginRefusal>,
}

impl Sameness {
    fn of(Asked { workspace, placed, asked }: &Asked) -> Self {
        // Who has nothing to show could call itself anything: all of these count as one, so that they crowd nobody out.
        let is_known = asked.asked_with != AskedWith::Nothing;
        Self {
            placed: placed.clone(),
            workspace: workspace.clone(),
            identity: asked.identity.clone(),
            program: if is_known { asked.program.clone() } else { String::new() },
            question: asked.question,
            reason: asked.reason,
        }
    }
}

/// Which questions are recorded.
#[derive(Debug)]
struct Limiter {
    seen: HashMap<Sameness, Seen>,
    most: usize,
}

#[derive(Debug)]
struct Seen {
    recorded: Instant,
    /// Asked since then, and not recorded.
    since: u64,
}

impl Limiter {
    fn new(most: usize) -> Self {
        Self { seen: HashMap::new(), most }
    }

    /// How many of the same were passed over before this one, if it is to be recorded.
    fn admit(&mut self, question: Sameness, now: Instant) -> Option<u64> {
        let is_over = |seen: &Seen| now.saturating_duration_since(seen.recorded) >= MINUTE;
        if self.seen.len() >= self.most && !self.seen.contains_key(&question) {
            self.seen.retain(|_, seen| !is_over(seen));
            // Forgetting one that is not over would record it twice a minute: the bound goes before the newcomer.
            if self.seen.len() >= self.most {
                return None;
            }
        }
        match self.seen.entry(question) {
            Entry::Vacant(free) => {
                free.insert(Seen { recorded: now, since: 0 });
                Some(0)
            }
            Entry::Occupied(mut seen) if is_over(seen.get()) => {
                Some(seen.insert(Seen { recorded: now, since: 0 }).since)
            }
            Entry::Occupied(mut seen) => {
                let since = &mut seen.get_mut().since;
                *since = since.saturating_add(1);
                None
            }
        }
    }
}

/// Takes questions, and has them written.
#[derive(Debug)]
pub(crate) struct Questions {
    worker_id: WorkerId,
    limiter: Mutex<Limiter>,
    waiting: mpsc::Sender<NewEvent>,
}

impl Questions {
    /// Writes to the log until the worker stops. Needs a Tokio runtime.
    pub(crate) fn start(worker_id: WorkerId, log: Arc<dyn Log>, stop: CancellationToken) -> Self {
        let (waiting, queue) = mpsc::channel(WAITING);
        tokio::spawn(async move { stop.run_until_cancelled(write_events(log, queue)).await });
        Self { worker_id, limiter: Mutex::new(Limiter::new(MOST)), waiting }
    }

    /// Takes a question. Returns at once: where too many wait for the log, it is not recorded.
    pub(crate) fn take(&self, asked: Asked) {
        // The place first: a question that finds none may be recorded when it is asked again.
        let Ok(place) = self.waiting.try_reserve() else {
            return tracing::warn!(
                program = asked.asked.program,
                "the log is slow, a program's question is not recorded"
            );
        };
        let mut limiter = self.limiter.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(repeated) = limiter.admit(Sameness::of(&asked), Instant::now()) {
            place.send(event(&self.worker_id, asked, repeated));
        }
    }
}

fn event(worker_id: &WorkerId, asked: Asked, repeated: u64) -> NewEvent {
    let worker_id = worker_id.clone();
    let envelope = Envelope { time: Some(trace::now()), ..Envelope::new(Uuid::new_v4(), source(&worker_id)) };
    let Asked { workspace, placed, mut asked } = asked;
    asked.repeated = Some(repeated).filter(|repeated| *repeated > 0);
    let (subject, event): (Subject, Event) = match placed {
        Some(Placed { container: ContainerKey { workspace, container_id }, number: placement }) => {
            let subject = Subject::ContainerQuestion {
                worker_id: worker_id.clone(),
                workspace: workspace.clone(),
                container_id: container_id.clone(),
                placement,
            };
            (subject, ContainerLoginAsked { workspace, container_id, placement, worker_id, asked }.into())
        }
        None => {
            let subject = Subject::NodeQuestion { worker_id: worker_id.clone() };
            (subject, NodeLoginAsked { worker_id, workspace, asked }.into())
        }
    };
    NewEvent { subject, envelope, event }
}

/// Writes one event after the other. A log that is away or full is waited for; what it refuses for good is given up.
async fn write_events(log: Arc<dyn Log>, mut queue: mpsc::Receiver<NewEvent>) {
    while let Some(event) = queue.recv().await {
        while let Err(error) = log.append(&event, Expect::Anything, Some(LIMIT)).await {
            let kind = error.kind();
            let error = waybill_platform::chain(&error);
            if kind == ErrorKind::Never {
                tracing::warn!(error, "a program's question is not recorded");
                break;
            }
            tracing::debug!(error, "a program's question is not recorded yet, trying again");
            tokio::time::sleep(PAUSE).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use waybill_platform::testing::MemoryLog;
    use waybill_registry::node::Code;
    use waybill_schemas::v1::LoginQuestion;

    use super::*;

    fn asked(container: Option<&str>, program: &str, reason: Option<LoginRefusal>) -> Asked {
        let workspace: WorkspaceId = "acme".parse().unwrap();
        let placed = container.map(|container| Placed {
            container: ContainerKey { workspace: workspace.clone(), container_id: container.parse().unwrap() },
            number: 7,
        });
        let asked_with = if container.is_some() { AskedWith::ContainerKey } else { AskedWith::Nothing };
        let asked = LoginQuestion {
            question: Question::Login,
            asked_with,
            program: program.to_owned(),
            pid: Some(1),
            run_by: None,
            identity: None,
            registry: None,
            image: None,
            reason,
            detail: None,
            repeated: None,
        };
        Asked { workspace: placed.is_some().then_some(workspace), placed, asked }
    }

    #[test]
    fn one_a_minute_of_the_same_is_recorded() {
        let (mut limiter, start) = (Limiter::new(5), Instant::now());
        let refused = Some(Code::Expired);
        let cases = [
            (0, Some("c1"), "skopeo", None, Some(0)),
            (0, Some("c1"), "skopeo", None, None),
            (0, Some("c1"), "skopeo", refused, Some(0)),
            (0, Some("c1"), "podman", None, Some(0)),
            (0, Some("c2"), "skopeo", None, Some(0)),
            (59, Some("c1"), "skopeo", None, None),
            (60, Some("c1"), "skopeo", None, Some(2)),
            (61, Some("c1"), "skopeo", None, None),
            // Those without anything to show are one, whatever they call themselves.
            (61, None, "a", Some(Code::NoAccess), Some(0)),
            (61, None, "b", Some(Code::NoAccess), None),
            // The table is full, but four of its rows are over.
            (62, Some("c3"), "skopeo", None, Some(0)),
            (62, Some("c4"), "skopeo", None, Some(0)),
            (62, Some("c5"), "skopeo", None, Some(0)),
            // Now none is: nobody new is recorded, and those that are known are limited as before.
            (63, Some("c6"), "skopeo", None, None),
            (63, Some("c1"), "skopeo", None, None),
            (120, Some("c1"), "skopeo", None, Some(2)),
            (122, Some("c6"), "skopeo", None, Some(0)),
        ];
        for (at, (second, container, program, reason, expected)) in cases.into_iter().enumerate() {
            let question = Sameness::of(&asked(container, program, reason));
            let admitted = limiter.admit(question, start + Duration::from_secs(second));
            assert_eq!(admitted, expected, "case {at}: {second} s, {container:?} {program} {reason:?}");
            assert!(limiter.seen.len() <= 5);
        }
    }

    /// The queue is longer than the log is quick: whoever asks goes on, and what found no place is not there.
    #[tokio::test]
    async fn what_is_taken_is_written_and_nobody_waits() {
        let log = MemoryLog::new();
        let questions = Questions::start("w1".parse().unwrap(), Arc::new(log.clone()), CancellationToken::new());
        questions.take(asked(Some("c1"), "skopeo", None));
        questions.take(asked(Some("c1"), "skopeo", None));
        questions.take(asked(None, "stranger", Some(Code::NoAccess)));
        for number in 0..WAITING + 10 {
            questions.take(asked(Some(&format!("many-{number}")), "skopeo", None));
        }
        while log.events().len() < WAITING {
            tokio::task::yield_now().await;
        }
        let subjects: Vec<String> = log.events().iter().map(|(_, recorded)| recorded.subject.to_string()).collect();
        assert_eq!(subjects[0], "waybill.events.outcome.w1.question.acme.c1.7");
        assert_eq!(subjects[1], "waybill.events.outcome.w1.question");
        assert_eq!(subjects.last().unwrap(), "waybill.events.outcome.w1.question.acme.many-253.7");
        assert_eq!(subjects.len(), WAITING);
    }
}
