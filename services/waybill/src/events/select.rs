//! Which events are asked for: by subject where the log can look them up, by content where it cannot.

use waybill_platform::log::RawMessage;
use waybill_schemas::{EventType, Filter, Subject, TraceParent, WorkspaceId, header};

use crate::{Failure, cli::EventsArguments, init::role::covers};

/// What to read, and what of it to keep.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Selection {
    /// Filters that together match everything that is asked for; none of them stands for the whole log.
    pub(super) filters: Vec<Filter>,
    /// A NATS filter that the log's own filters cannot express.
    pattern: Option<String>,
    trace: Option<String>,
    types: Vec<EventType>,
}

impl Selection {
    /// From the arguments; `workspace` is asked for when an id needs one.
    pub(super) fn from_arguments(
        arguments: &EventsArguments,
        workspace: impl Fn() -> Result<WorkspaceId, Failure>,
    ) -> Result<Self, Failure> {
        let mut filters = filters(arguments, workspace)?;
        let subject = arguments.subject.as_deref();
        filters.extend(subject.and_then(|text| text.parse::<Subject>().ok()).map(Filter::Subject));
        let pattern = arguments.subject.clone();
        Ok(Self { filters, pattern, trace: arguments.trace.clone(), types: arguments.types.clone() })
    }

    /// True if a message is asked for.
    pub(super) fn keeps(&self, message: &RawMessage) -> bool {
        self.is_on(&message.subject) && self.is_of_type(message) && self.is_in_trace(message)
    }

    fn is_on(&self, subject: &str) -> bool {
        let is_found =
            self.filters.is_empty() || self.filters.iter().any(|filter| covers(&filter.to_string(), subject));
        is_found && self.pattern.as_ref().is_none_or(|pattern| covers(pattern, subject))
    }

    fn is_of_type(&self, message: &RawMessage) -> bool {
        let stated = message.headers.get(header::TYPE).map(|value| value.as_str());
        self.types.is_empty() || self.types.iter().any(|kind| Some(kind.ce_type().as_str()) == stated)
    }

    fn is_in_trace(&self, message: &RawMessage) -> bool {
        let Some(wanted) = &self.trace else { return true };
        let context = message.headers.get(header::TRACEPARENT).and_then(|value| TraceParent::parse(value.as_str()));
        context.is_some_and(|context| context.trace_id() == wanted)
    }
}

/// Filters for the ids that are given.
fn filters(
    arguments: &EventsArguments,
    workspace: impl Fn() -> Result<WorkspaceId, Failure>,
) -> Result<Vec<Filter>, Failure> {
    let mut filters = Vec::new();
    if let Some(image) = &arguments.image {
        filters.push(Filter::Image(Some(workspace()?), Some(image.clone())));
    }
    if let Some(container) = &arguments.container {
        let (workspace, container) = (Some(workspace()?), Some(container.clone()));
        filters.extend([
            Filter::Container(workspace.clone(), container.clone()),
            Filter::ContainerDecisions(None, workspace.clone(), container.clone()),
            Filter::ContainerOutcomes(None, workspace.clone(), container.clone()),
            Filter::ContainerQuestions(None, workspace, container),
        ]);
    }
    if let Some(secret) = &arguments.secret {
        let workspace = workspace()?;
        filters.extend([
            Filter::Subject(Subject::Secret { workspace: workspace.clone(), secret: secret.clone() }),
            Filter::SecretDecisions(None, Some(workspace.clone()), Some(secret.clone())),
            Filter::SecretOutcomes(None, Some(workspace), Some(secret.clone())),
        ]);
    }
    if let Some(worker) = &arguments.worker {
        let worker = Some(worker.clone());
        filters.extend([Filter::Workers(worker.clone()), Filter::Decisions(worker.clone()), Filter::Outcomes(worker)]);
    }
    if let (Some(workspace), true) = (&arguments.workspace, filters.is_empty()) {
        let workspace = || Some(workspace.clone());
        filters.extend([
            Filter::Secrets(workspace()),
            Filter::Image(workspace(), None),
            Filter::Container(workspace(), None),
            Filter::ContainerDecisions(None, workspace(), None),
            Filter::SecretDecisions(None, workspace(), None),
            Filter::ContainerOutcomes(None, workspace(), None),
            Filter::SecretOutcomes(None, workspace(), None),
            Filter::ContainerQuestions(None, workspace(), None),
        ]);
    }
    Ok(filters)
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;
    use waybill_schemas::Event;

    use super::*;
    use crate::cli::{Cli, Command};

    fn selection(arguments: &[&str]) -> Selection {
        let cli = Cli::try_parse_from([&["waybill", "events"], arguments].concat()).unwrap();
        let Command::Events(arguments) = cli.command else { panic!() };
        let workspace = arguments.workspace.clone().unwrap_or_else(|| "default".parse().unwrap());
        Selection::from_arguments(&arguments, || Ok(workspace.clone())).unwrap()
    }

    #[test]
    fn each_option_finds_what_concerns_it() {
        const SUBJECTS: [&str; 11] = [
            "waybill.events.secret.default.s=t",
            "waybill.events.image.default.i.b",
            "waybill.events.container.default.c.r",
            "waybill.events.decision.w.container.default.c.3",
            "waybill.events.decision.w.secret.default.s=t.2",
            "waybill.events.outcome.w.default.c.3",
            "waybill.events.outcome.w.secret.default.s=t.2",
            "waybill.events.worker.w",
            "waybill.events.scheduler.keys",
            "waybill.events.outcome.w.question.default.c.3",
            "waybill.events.outcome.w.question",
        ];
        let cases: [(&[&str], &[usize]); 9] = [
            (&[], &[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10]),
            (&["--image", "i"], &[1]),
            (&["--container", "c"], &[2, 3, 5, 9]),
            (&["--secret", "s.t"], &[0, 4, 6]),
            (&["--worker", "w"], &[3, 4, 5, 6, 7, 9, 10]),
            (&["--workspace", "default"], &[0, 1, 2, 3, 4, 5, 6, 9]),
            (&["--workspace", "other"], &[]),
            (&["--workspace", "other", "--container", "c"], &[]),
            (&["--subject", "waybill.events.*.keys"], &[8]),
        ];
        for (arguments, expected) in cases {
            let selection = selection(arguments);
            let found: Vec<usize> = (0..SUBJECTS.len()).filter(|at| selection.is_on(SUBJECTS[*at])).collect();
            assert_eq!(found, expected, "{arguments:?}");
        }
    }

    #[test]
    fn a_type_is_read_from_its_header() {
        let event = Event::from(waybill_schemas::v1::QuarantineRetried { sequence: 3 });
        let mut message = RawMessage {
            sequence: 1,
            at: "2026-01-01T00:00:00Z".parse().unwrap(),
            subject: "waybill.events.quarantine.3".to_owned(),
            headers: Default::default(),
            payload: Default::default(),
            pending: 0,
        };
        message.headers.insert(header::TYPE, event.event_type().ce_type().as_str());
        for (kind, kept) in [("QuarantineRetried", true), ("QuarantineDiscarded", false)] {
            assert_eq!(selection(&["--type", kind]).keeps(&message), kept, "{kind}");
        }
    }
}
