//! Refused requests as facts: who asked for what, which answer, which field. Never a value of the request, never more than a
//! budget, and never in the way of an answer: what the log does not take in time is dropped and counted.

mod ledger;
pub(crate) mod witness;

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tracing::{Instrument as _, Span};
use waybill_platform::{
    chain,
    log::{Expect, Log, NewEvent},
    metrics, trace,
};
use waybill_schemas::{
    Envelope, Subject, Uuid,
    v1::{RefusalCode, RefusedOperation, RequestRefused},
};

use crate::SOURCE;
use ledger::{Admission, Ledger, Sameness};
use witness::{Named, Witnessed};

/// Most refusals that wait for the log.
const WAITING: usize = 64;
/// How long the log may take for one.
const LIMIT: Duration = Duration::from_secs(5);
/// Actor of requests without a valid token.
const NO_TOKEN: &str = "no-token";

/// What a refused request was answered with, in words of the gateway alone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) code: RefusalCode,
    pub(crate) field: Option<Box<str>>,
    pub(crate) detail: Option<Box<str>>,
    pub(crate) remedy: Option<&'static str>,
}

/// Where a request about what was named is told of, and the thing's id. Nothing trusts a workspace that a request claims: a
/// workspace's token has its refusals in its own, and one without a token has them where nobody's things are.
fn find_subject(operation: RefusedOperation, known: &Witnessed) -> (Subject, Named) {
    let Witnessed { holder, named } = known;
    let own = holder.as_ref().and_then(|holder| holder.workspace_of(named.workspace.as_ref()));
    let Some(workspace) = own else { return (Subject::RefusedUnowned, Named::default()) };
    let about = Named { workspace: Some(workspace.clone()), ..Named::default() };
    let Named { container_id, image_id, secret_name, .. } = named.clone();
    match operation {
        RefusedOperation::RecordBuild => match image_id {
            Some(image_id) => {
                let subject = Subject::RefusedImage { workspace, image_id: image_id.clone() };
                (subject, Named { image_id: Some(image_id), ..about })
            }
            None => (Subject::RefusedWorkspace { workspace }, about),
        },
        RefusedOperation::RequestContainer | RefusedOperation::EndContainer => match container_id {
            Some(container_id) => {
                let subject = Subject::RefusedContainer { workspace, container_id: container_id.clone() };
                (subject, Named { container_id: Some(container_id), ..about })
            }
            None => (Subject::RefusedWorkspace { workspace }, about),
        },
        RefusedOperation::PutSecret
        | RefusedOperation::RotateSecret
        | RefusedOperation::RevokeSecret
        | RefusedOperation::ShredSecret => match secret_name {
            Some(secret) => {
                let subject = Subject::RefusedSecret { workspace, secret: secret.clone() };
                (subject, Named { secret_name: Some(secret), ..about })
            }
            None => (Subject::RefusedWorkspace { workspace }, about),
        },
    }
}

/// What is said of a refused request, and what makes another one the same.
fn describe(operation: RefusedOperation, known: &Witnessed, answer: Answer) -> (Subject, RequestRefused, Sameness) {
    let (subject, named) = find_subject(operation, known);
    let Answer { status, code, field, detail, remedy } = answer;
    let actor = known.holder.as_ref().map_or_else(|| NO_TOKEN.to_owned(), |holder| holder.actor());
    let sameness = Sameness { operation, code, field: field.clone(), actor: Some(actor) };
    let Named { workspace, container_id, image_id, secret_name } = named;
    let refused = RequestRefused {
        operation,
        workspace,
        container_id,
        image_id,
        secret_name,
        status,
        code,
        field: field.map(Into::into),
        detail: detail.map(Into::into),
        remedy: remedy.map(str::to_owned),
        repeated: None,
    };
    (subject, refused, sameness)
}

/// A refusal on its way to the log.
struct Waiting {
    event: NewEvent,
    sameness: Sameness,
    /// Continues the request's trace, and ends apart from its span.
    span: Span,
}

/// Takes refusals, and has them written.
#[derive(Debug)]
pub(crate) struct Refusals {
    ledger: Arc<Mutex<Ledger>>,
    waiting: mpsc::Sender<Waiting>,
}

impl Refusals {
    /// Writes to the log until the gateway stops. Needs a Tokio runtime.
    pub(crate) fn start(log: Arc<dyn Log>, stop: CancellationToken) -> Self {
        let (waiting, queue) = mpsc::channel(WAITING);
        let ledger = Arc::default();
        tokio::spawn(stop.run_until_cancelled_owned(write_events(log, Arc::clone(&ledger), queue)));
        Self { ledger, waiting }
    }

    /// Takes a refusal. Returns at once: where too many wait for the log, it is not recorded.
    pub(crate) fn refuse(&self, operation: RefusedOperation, known: &Witnessed, answer: Answer) {
        let (subject, mut refused, sameness) = describe(operation, known, answer);
        // The place first: a refusal that finds none may be said when it comes again.
        let Ok(place) = self.waiting.try_reserve() else { return metrics::refusal("dropped") };
        let admitted = lock(&self.ledger).admit(&subject, sameness.clone(), Instant::now());
        match admitted {
            Admission::Said { repeated } => refused.repeated = Some(repeated).filter(|repeated| *repeated > 0),
            Admission::Repeated => return metrics::refusal("repeated"),
            Admission::OverBudget => return metrics::refusal("over_budget"),
        }
        let mut envelope = Envelope::new(Uuid::new_v4(), SOURCE);
        (envelope.time, envelope.actor) = (Some(trace::now()), sameness.actor.clone());
        let span = tracing::info_span!(parent: None, "record refusal", otel.kind = "internal");
        if let Some((context, state)) = trace::current() {
            trace::continue_from(&span, Some(context.as_str()), state.as_deref());
        }
        place.send(Waiting { event: NewEvent { subject, envelope, event: refused.into() }, sameness, span });
    }

    /// Takes that a request was accepted.
    pub(crate) fn accept(&self, operation: RefusedOperation, known: &Witnessed) {
        let (subject, _) = find_subject(operation, known);
        lock(&self.ledger).accept(&subject);
    }
}

fn lock(ledger: &Mutex<Ledger>) -> MutexGuard<'_, Ledger> {
    ledger.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Writes one refusal after the other. What the log does not take is given up: there is nothing in it that anybody waits for.
async fn write_events(log: Arc<dyn Log>, ledger: Arc<Mutex<Ledger>>, mut queue: mpsc::Receiver<Waiting>) {
    while let Some(Waiting { event, sameness, span }) = queue.recv().await {
        match log.append(&event, Expect::Anything, Some(LIMIT)).instrument(span).await {
            Ok(_) => metrics::refusal("recorded"),
            Err(error) => {
                tracing::debug!(error = chain(&error), "a refused request is not recorded");
                lock(&ledger).forget(&event.subject, &sameness);
                metrics::refusal("dropped");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use waybill_platform::testing::MemoryLog;

    use super::*;
    use crate::tokens::{self, Tokens};

    fn known(token: Option<&str>, named: Named) -> Witnessed {
        let file = format!("acme {} ci\n* {}\n", tokens::hash("of-acme"), tokens::hash("of-all"));
        let tokens: Tokens = file.parse().unwrap();
        Witnessed { holder: token.map(|token| tokens.holder(token).unwrap()), named }
    }

    fn named(workspace: &str, container: &str, image: &str, secret: &str) -> Named {
        Named {
            workspace: workspace.parse().ok(),
            container_id: container.parse().ok(),
            image_id: image.parse().ok(),
            secret_name: secret.parse().ok(),
        }
    }

    /// Who asked, for what, and where it is told of.
    #[test]
    fn a_refusal_stands_where_only_its_asker_may_say_something() {
        use RefusedOperation as Operation;
        let (own, all) = (Some("of-acme"), Some("of-all"));
        let cases = [
            (own, Operation::RecordBuild, named("acme", "", "i", ""), "image.acme.i"),
            (own, Operation::RecordBuild, named("acme", "", "", ""), "workspace.acme"),
            (own, Operation::RecordBuild, named("", "", "i", ""), "image.acme.i"),
            // Another workspace's image stays untouched.
            (own, Operation::RecordBuild, named("other", "", "i", ""), "image.acme.i"),
            (own, Operation::RequestContainer, named("acme", "c", "i", ""), "container.acme.c"),
            (own, Operation::RequestContainer, named("acme", "", "i", ""), "workspace.acme"),
            (own, Operation::EndContainer, named("acme", "c", "", ""), "container.acme.c"),
            (own, Operation::RotateSecret, named("acme", "c", "i", "a.b"), "secret.acme.a=b"),
            (own, Operation::ShredSecret, named("other", "", "", "s"), "secret.acme.s"),
            (all, Operation::RecordBuild, named("other", "", "i", ""), "image.other.i"),
            (all, Operation::RecordBuild, named("", "", "i", ""), "unowned"),
            (None, Operation::RecordBuild, named("acme", "c", "i", "s"), "unowned"),
            (None, Operation::RotateSecret, named("acme", "", "", "s"), "unowned"),
        ];
        for (token, operation, named, expected) in cases {
            let answer =
                Answer { status: 422, code: RefusalCode::InvalidField, field: None, detail: None, remedy: None };
            let (subject, refused, sameness) = describe(operation, &known(token, named.clone()), answer);
            assert_eq!(subject.to_string(), format!("waybill.events.refused.{expected}"), "{operation} {named:?}");
            let actor = match token {
                None => NO_TOKEN,
                Some("of-all") => "operator",
                Some(_) => "token/acme/ci",
            };
            assert_eq!(sameness.actor.as_deref(), Some(actor));
            let event = waybill_schemas::Event::from(refused);
            assert!(event.belongs_on(&subject), "{event:?}");
        }
    }

    fn refuse(refusals: &Refusals, image: &str) {
        let answer = Answer { status: 422, code: RefusalCode::InvalidField, field: None, detail: None, remedy: None };
        refusals.refuse(RefusedOperation::RecordBuild, &known(Some("of-acme"), named("acme", "", image, "")), answer);
    }

    #[tokio::test]
    async fn what_is_refused_is_written_once_and_a_full_log_holds_up_nobody() {
        let log = MemoryLog::new();
        let refusals = Refusals::start(Arc::new(log.clone()), CancellationToken::new());
        for _ in 0..2_000 {
            refuse(&refusals, "i");
        }
        while log.events().is_empty() {
            tokio::task::yield_now().await;
        }
        refusals.accept(RefusedOperation::RecordBuild, &known(Some("of-acme"), named("acme", "", "i", "")));
        refuse(&refusals, "i");
        let written = async |count| {
            while log.events().len() < count {
                tokio::task::yield_now().await;
            }
            assert_eq!(log.events().len(), count);
        };
        written(2).await;
        // Nobody takes from the queue now: whoever refuses goes on all the same, and what finds no place can be said again.
        let refuse_in = |number: usize| {
            let answer =
                Answer { status: 422, code: RefusalCode::InvalidField, field: None, detail: None, remedy: None };
            let named = named(&format!("w-{number}"), "", "i", "");
            refusals.refuse(RefusedOperation::RecordBuild, &known(Some("of-all"), named), answer);
        };
        (0..WAITING + 10).for_each(refuse_in);
        written(2 + WAITING).await;
        refuse_in(WAITING + 9);
        written(3 + WAITING).await;
    }
}
