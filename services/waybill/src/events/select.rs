//! Which events are asked for: by subject where the log can look them up, by content where it cannot.

use waybill_platform::log::{EventLog, RawMessage};
use waybill_schemas::{ALL_SUBJECTS, EventType, Subject, TraceParent, WorkspaceId, header};

use crate::{Failure, cli::EventsArguments, place::Place};

/// What to read, and what of it to keep.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Selection {
    subjects: Vec<String>,
    trace: Option<String>,
    types: Vec<EventType>,
}

impl Selection {
    /// From the arguments; `workspace` is asked for when an id needs one.
    pub(super) fn of(
        arguments: &EventsArguments,
        workspace: impl Fn() -> Result<WorkspaceId, Failure>,
    ) -> Result<Self, Failure> {
        let mut subjects = Vec::new();
        if let Some(image) = &arguments.image {
            subjects.push(format!("waybill.events.image.{}.{image}.>", workspace()?));
        }
        if let Some(container) = &arguments.container {
            let workspace = workspace()?;
            subjects.push(format!("waybill.events.container.{workspace}.{container}.>"));
            subjects.push(format!("waybill.events.worker.*.{workspace}.{container}.>"));
        }
        if let Some(worker) = &arguments.worker {
            subjects.push(Subject::of_worker(worker));
        }
        if let (Some(workspace), true) = (&arguments.workspace, subjects.is_empty()) {
            subjects
                .extend(["image", "container", "worker.*"].map(|kind| format!("waybill.events.{kind}.{workspace}.>")));
        }
        if subjects.is_empty() {
            subjects.push(arguments.subject.clone());
        }
        Ok(Self { subjects, trace: arguments.trace.clone(), types: arguments.types.clone() })
    }

    /// NATS filters that together match everything that is asked for.
    pub(super) fn subjects(&self) -> &[String] {
        &self.subjects
    }

    /// The last sequence that counts.
    pub(super) async fn last(&self, log: &EventLog, until: Option<Place>) -> Result<u64, Failure> {
        match until {
            None => Ok(u64::MAX),
            Some(place) => place.last(log).await,
        }
    }

    /// Whether a message is asked for.
    pub(super) fn keeps(&self, message: &RawMessage) -> bool {
        let on = |filter: &String| filter == ALL_SUBJECTS || matches(filter, &message.subject);
        self.subjects.iter().any(on) && self.of_type(message) && self.in_trace(message)
    }

    fn of_type(&self, message: &RawMessage) -> bool {
        let name = message.subject.rsplit('.').next().unwrap_or_default();
        let registered = |kind: &EventType| *kind == EventType::WorkerRegistered && name == "registered";
        self.types.is_empty() || self.types.iter().any(|kind| kind.as_str() == name || registered(kind))
    }

    fn in_trace(&self, message: &RawMessage) -> bool {
        let Some(wanted) = &self.trace else { return true };
        let context = message.headers.get(header::TRACEPARENT).and_then(|value| TraceParent::parse(value.as_str()));
        context.is_some_and(|context| context.trace_id() == wanted)
    }
}

/// NATS's rules: `*` is one token, `>` is all that follow.
fn matches(filter: &str, subject: &str) -> bool {
    let mut tokens = subject.split('.');
    for wanted in filter.split('.') {
        match (wanted, tokens.next()) {
            (">", Some(_)) => return true,
            ("*", Some(_)) => {}
            (wanted, Some(token)) if wanted == token => {}
            _ => return false,
        }
    }
    tokens.next().is_none()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_match_as_nats_does() {
        let subject = "waybill.events.worker.w1.acme.c1.X";
        for (filter, expected) in [
            ("waybill.events.>", true),
            ("waybill.events.worker.*.acme.c1.>", true),
            ("waybill.events.worker.*.acme.c1.X", true),
            ("waybill.events.worker.*.acme.c1", false),
            ("waybill.events.worker.w1.acme.c1.X.>", false),
            ("waybill.events.worker.*.other.c1.>", false),
        ] {
            assert_eq!(matches(filter, subject), expected, "{filter}");
        }
    }
}
