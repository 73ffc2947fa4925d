//! Who connects to NATS, and the least that each needs.
//!
//! Every role has an account of its own and imports from the account that holds the stream exactly what it is granted.
//! One shared account would not do: the server does not check the reply subject of a request, so whoever may read one
//! message back could have it republished anywhere with the server's own authority.

use std::{collections::BTreeSet, fmt};

use waybill_schemas::{EventType, WorkerId, WorkspaceId};

/// Name of the stream.
pub(crate) const STREAM: &str = "WAYBILL";
/// Account that holds the stream and has no users.
pub(crate) const LOG_ACCOUNT: &str = "LOG";
/// JetStream API prefix of every other account.
pub(crate) const API_PREFIX: &str = "waybill.api";

/// One NATS user in one account.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Role {
    /// Publishes builds and requests.
    Gateway,
    /// Owns the stream, reads everything, publishes decisions.
    Scheduler,
    /// Reads everything, and says what becomes of quarantined messages: the command line.
    Operator,
    /// Reads its own subject, publishes outcomes.
    Worker(WorkerId),
    /// A foreign client of one workspace: publishes requests, reads what became of them.
    Orchestrator(WorkspaceId),
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Gateway => f.write_str("gateway"),
            Self::Scheduler => f.write_str("scheduler"),
            Self::Operator => f.write_str("operator"),
            Self::Worker(id) => write!(f, "worker-{id}"),
            Self::Orchestrator(workspace) => write!(f, "orchestrator-{workspace}"),
        }
    }
}

/// A subject that a role may publish to, in the account that holds the stream.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Grant {
    /// An event, or an acknowledgement: the same subject in both accounts.
    Plain(String),
    /// A JetStream API subject, given without its prefix.
    Api(String),
}

impl Grant {
    /// The subject in the account that holds the stream.
    pub(crate) fn exported(&self) -> String {
        match self {
            Self::Plain(subject) => subject.clone(),
            Self::Api(subject) => format!("$JS.API.{subject}"),
        }
    }

    /// The subject in the role's own account.
    pub(crate) fn local(&self) -> String {
        match self {
            Self::Plain(subject) => subject.clone(),
            Self::Api(subject) => format!("{API_PREFIX}.{subject}"),
        }
    }
}

impl Role {
    /// Prefix of the role's reply subjects; nobody else may subscribe below it.
    pub(crate) fn inbox(&self) -> String {
        format!("_INBOX_{self}")
    }

    /// Everything the role may publish to.
    pub(crate) fn grants(&self) -> Vec<Grant> {
        match self {
            Self::Gateway => gateway(),
            Self::Scheduler => scheduler(),
            Self::Operator => operator(),
            Self::Worker(id) => worker(id),
            Self::Orchestrator(workspace) => orchestrator(workspace),
        }
    }
}

fn plain(subject: impl Into<String>) -> Grant {
    Grant::Plain(subject.into())
}

fn api(subject: impl Into<String>) -> Grant {
    Grant::Api(subject.into())
}

/// Publish on a subject and read its last message back.
fn write_and_verify(subjects: impl IntoIterator<Item = String>) -> impl Iterator<Item = Grant> {
    subjects.into_iter().flat_map(|subject| [api(format!("DIRECT.GET.{STREAM}.{subject}")), plain(subject)])
}

/// Use of one consumer with a fixed name.
fn consume(name: &str) -> [Grant; 3] {
    ["INFO", "DELETE", "MSG.NEXT"].map(|verb| api(format!("CONSUMER.{verb}.{STREAM}.{name}")))
}

/// Creation of one consumer with a fixed name and one of these filters: the filter is part of the API subject.
fn create(name: &str, filters: &[String]) -> impl Iterator<Item = Grant> {
    filters.iter().map(move |filter| api(format!("CONSUMER.CREATE.{STREAM}.{name}.{filter}")))
}

/// The gateway looks up what the log holds of an image or a container, by requests that leave nothing behind.
fn gateway() -> Vec<Grant> {
    let published = EventType::OF_IMAGE.iter().map(|event| format!("waybill.events.image.*.*.{event}"));
    let of_containers = [EventType::ContainerRequested, EventType::ContainerEnded];
    let published = published.chain(of_containers.map(|event| format!("waybill.events.container.*.*.{event}")));
    let discarded = format!("waybill.events.quarantine.*.{}", EventType::QuarantineDiscarded);
    write_and_verify(published)
        .chain([api(format!("DIRECT.GET.{STREAM}")), api(format!("DIRECT.GET.{STREAM}.{discarded}"))])
        .chain(watch_readers())
        .collect()
}

/// Who reads the log, and how far each is.
fn watch_readers() -> [Grant; 2] {
    [api(format!("CONSUMER.NAMES.{STREAM}")), api(format!("CONSUMER.INFO.{STREAM}.*"))]
}

/// Reading of the whole log, by consumers with names of their own.
fn read_everything() -> Vec<Grant> {
    [
        format!("STREAM.INFO.{STREAM}"),
        format!("STREAM.MSG.GET.{STREAM}"),
        format!("DIRECT.GET.{STREAM}"),
        format!("DIRECT.GET.{STREAM}.>"),
        format!("CONSUMER.CREATE.{STREAM}"),
        format!("CONSUMER.CREATE.{STREAM}.>"),
        format!("CONSUMER.INFO.{STREAM}.*"),
        format!("CONSUMER.DELETE.{STREAM}.*"),
        format!("CONSUMER.MSG.NEXT.{STREAM}.*"),
    ]
    .map(api)
    .to_vec()
}

fn scheduler() -> Vec<Grant> {
    let decisions = EventType::DECISIONS.iter().map(|event| plain(format!("waybill.events.worker.*.*.*.{event}")));
    read_everything().into_iter().chain([api(format!("STREAM.CREATE.{STREAM}"))]).chain(decisions).collect()
}

fn operator() -> Vec<Grant> {
    let says = EventType::OF_QUARANTINE.iter().map(|event| format!("waybill.events.quarantine.*.{event}"));
    let grants = read_everything().into_iter().chain(watch_readers()).chain(write_and_verify(says));
    grants.collect::<BTreeSet<_>>().into_iter().collect()
}

/// A worker creates no consumer: whoever may, can have another's messages delivered elsewhere. The scheduler makes it.
fn worker(id: &WorkerId) -> Vec<Grant> {
    let consumer = format!("worker-{id}");
    let outcomes = EventType::OUTCOMES
        .iter()
        .chain(&[EventType::ContainerEnded])
        .map(|event| format!("waybill.events.container.*.*.{event}"));
    let registered = format!("waybill.events.worker.{id}.registered");
    let read_request =
        api(format!("DIRECT.GET.{STREAM}.waybill.events.container.*.*.{}", EventType::ContainerRequested));
    // After a restart a worker looks up what was attached to the containers that it served: its own decisions only.
    let read_decisions = EventType::DECISIONS
        .iter()
        .map(|event| api(format!("DIRECT.GET.{STREAM}.waybill.events.worker.{id}.*.*.{event}")));
    write_and_verify(outcomes.chain([registered]))
        .chain(read_decisions)
        .chain([
            read_request,
            api(format!("CONSUMER.INFO.{STREAM}.{consumer}")),
            api(format!("CONSUMER.MSG.NEXT.{STREAM}.{consumer}")),
            plain(format!("$JS.ACK.{STREAM}.{consumer}.>")),
        ])
        .collect()
}

fn orchestrator(workspace: &WorkspaceId) -> Vec<Grant> {
    let consumer = format!("orchestrator-{workspace}");
    let read = [format!("waybill.events.worker.*.{workspace}.>"), format!("waybill.events.container.{workspace}.>")];
    let published = [EventType::ContainerRequested, EventType::ContainerEnded]
        .map(|event| format!("waybill.events.container.{workspace}.*.{event}"));
    write_and_verify(published)
        .chain(create(&consumer, &read))
        .chain(consume(&consumer))
        .chain([plain(format!("$JS.ACK.{STREAM}.{consumer}.>"))])
        .collect()
}
