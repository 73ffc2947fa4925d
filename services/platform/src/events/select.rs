//! Which events are asked for: by subject where the log can look them up, by content where it cannot.

use std::str::FromStr;

use waybill_schemas::{
    ContainerId, EventType, Filter, ImageId, SecretName, Subject, TraceParent, WorkerId, WorkspaceId, covers, header,
};

use crate::log::RawMessage;

/// The ids that events are asked for by. Several ask for what concerns any of them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ids {
    /// Owner of the other ids; alone, everything of that workspace.
    pub workspace: Option<WorkspaceId>,
    /// Builds of this image.
    pub image: Option<ImageId>,
    /// Requests, decisions, outcomes and ends of this container.
    pub container: Option<ContainerId>,
    /// Versions, withdrawals and renewals of this secret, and their outcomes.
    pub secret: Option<SecretName>,
    /// Decisions for this worker and what it reports; without a workspace, its registrations as well.
    pub worker: Option<WorkerId>,
}

impl Ids {
    /// Filters that together match everything that is asked for; none of them stands for the whole log.
    pub fn filters(&self) -> Vec<Filter> {
        let workspace = || self.workspace.clone();
        let mut filters = Vec::new();
        if let Some(image) = &self.image {
            filters.extend([
                Filter::Image(workspace(), Some(image.clone())),
                Filter::RefusedImage(workspace(), image.clone()),
            ]);
        }
        if let Some(container) = &self.container {
            filters.push(Filter::RefusedContainer(workspace(), container.clone()));
            let container = || Some(container.clone());
            filters.extend([
                Filter::Container(workspace(), container()),
                Filter::ContainerDecisions(None, workspace(), container()),
                Filter::ContainerOutcomes(None, workspace(), container()),
                Filter::ContainerQuestions(None, workspace(), container()),
            ]);
        }
        if let Some(secret) = &self.secret {
            let whose = self.workspace.clone().map(|workspace| Subject::Secret { workspace, secret: secret.clone() });
            filters.extend(whose.map(Filter::Subject));
            filters.extend([
                Filter::SecretDecisions(None, workspace(), Some(secret.clone())),
                Filter::SecretOutcomes(None, workspace(), Some(secret.clone())),
                Filter::RefusedSecret(workspace(), secret.clone()),
            ]);
        }
        match (&self.worker, &self.workspace) {
            (Some(worker), None) => {
                let worker = || Some(worker.clone());
                filters.extend([Filter::Workers(worker()), Filter::Decisions(worker()), Filter::Outcomes(worker())]);
            }
            (worker @ Some(_), workspace @ Some(_)) => filters.extend(for_and_by_workers(worker, workspace)),
            (None, workspace @ Some(owner)) if filters.is_empty() => {
                let builds = Filter::Image(workspace.clone(), None);
                let containers = Filter::Container(workspace.clone(), None);
                filters.extend([Filter::Secrets(workspace.clone()), builds, containers]);
                let unnamed = Subject::RefusedWorkspace { workspace: owner.clone() };
                filters.extend([Filter::Refusals(workspace.clone()), Filter::Subject(unnamed)]);
                filters.extend(for_and_by_workers(&None, workspace));
            }
            _ => {}
        }
        filters
    }
}

/// What is decided for a worker, or for all, in one workspace, what they report, and what their nodes' programs asked.
fn for_and_by_workers(worker: &Option<WorkerId>, workspace: &Option<WorkspaceId>) -> [Filter; 5] {
    let (w, s) = (|| worker.clone(), || workspace.clone());
    [
        Filter::ContainerDecisions(w(), s(), None),
        Filter::SecretDecisions(w(), s(), None),
        Filter::ContainerOutcomes(w(), s(), None),
        Filter::SecretOutcomes(w(), s(), None),
        Filter::ContainerQuestions(w(), s(), None),
    ]
}

/// The id of a trace (W3C Trace Context).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TraceId(String);

impl FromStr for TraceId {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, &'static str> {
        let fits = text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        if fits { Ok(Self(text.to_ascii_lowercase())) } else { Err("a trace id has 32 hexadecimal digits") }
    }
}

/// What to read, and what of it to keep.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Selection {
    /// Filters that together match everything that is asked for; none of them stands for the whole log.
    pub filters: Vec<Filter>,
    /// A NATS filter that the log's own filters cannot express.
    pub pattern: Option<String>,
    /// Only what was published in this trace.
    pub trace: Option<TraceId>,
    /// Only these types; none of them stands for all.
    pub types: Vec<EventType>,
}

impl Selection {
    /// True if a message is asked for.
    pub fn keeps(&self, message: &RawMessage) -> bool {
        self.is_on(&message.subject) && self.is_of_type(message) && self.is_in_trace(message)
    }

    /// True if everything that its filters match is kept.
    pub(super) fn keeps_all(&self) -> bool {
        self.pattern.is_none() && self.trace.is_none() && self.types.is_empty()
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
        context.is_some_and(|context| context.trace_id() == wanted.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn on(ids: Ids, pattern: Option<&str>) -> Selection {
        Selection { filters: ids.filters(), pattern: pattern.map(str::to_owned), ..Selection::default() }
    }

    #[test]
    fn each_id_finds_what_concerns_it() {
        const SUBJECTS: [&str; 16] = [
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
            "waybill.events.refused.container.default.c",
            "waybill.events.refused.image.default.i",
            "waybill.events.refused.secret.default.s=t",
            "waybill.events.refused.workspace.default",
            "waybill.events.refused.unowned",
        ];
        let workspace = |workspace: &str| Ids { workspace: workspace.parse().ok(), ..Ids::default() };
        let (ours, worker) = (|| workspace("default"), || "w".parse().ok());
        let cases: [(Ids, Option<&str>, &[usize]); 10] = [
            (Ids::default(), None, &[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15]),
            (Ids { image: "i".parse().ok(), ..ours() }, None, &[1, 12]),
            (Ids { container: "c".parse().ok(), ..ours() }, None, &[2, 3, 5, 9, 11]),
            (Ids { secret: "s.t".parse().ok(), ..ours() }, None, &[0, 4, 6, 13]),
            (Ids { worker: worker(), ..Ids::default() }, None, &[3, 4, 5, 6, 7, 9, 10]),
            (Ids { worker: worker(), ..ours() }, None, &[3, 4, 5, 6, 9]),
            (ours(), None, &[0, 1, 2, 3, 4, 5, 6, 9, 11, 12, 13, 14]),
            (workspace("other"), None, &[]),
            (Ids { container: "c".parse().ok(), worker: worker(), ..workspace("other") }, None, &[]),
            (Ids::default(), Some("waybill.events.*.keys"), &[8]),
        ];
        for (ids, pattern, expected) in cases {
            let selection = on(ids.clone(), pattern);
            let found: Vec<usize> = (0..SUBJECTS.len()).filter(|at| selection.is_on(SUBJECTS[*at])).collect();
            assert_eq!(found, expected, "{ids:?} {pattern:?}");
        }
    }

    #[test]
    fn a_type_is_read_from_its_header() {
        let event = waybill_schemas::Event::from(waybill_schemas::v1::QuarantineRetried { sequence: 3 });
        let mut message = RawMessage {
            sequence: 1,
            at: "2026-01-01T00:00:00Z".parse().unwrap(),
            subject: "waybill.events.quarantine.3".to_owned(),
            headers: Default::default(),
            payload: Default::default(),
            pending: 0,
        };
        message.headers.insert(header::TYPE, event.event_type().ce_type().as_str());
        for (kind, kept) in [(EventType::QuarantineRetried, true), (EventType::QuarantineDiscarded, false)] {
            assert_eq!(Selection { types: vec![kind], ..Selection::default() }.keeps(&message), kept, "{kind}");
        }
    }
}
