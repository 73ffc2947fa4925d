//! Reading what concerns an id: each filter's newest messages, and what the newest placement rests on by exact subjects.

use std::collections::BTreeSet;

use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use waybill_domain::explain::{Concern, Entry, History, Seen};
use waybill_schemas::{ContainerId, Event, Filter, ImageId, Recorded, SecretName, Subject, WorkerId, WorkspaceId};

use crate::log::{Log, LogError, Newest, RawMessage};

/// Most messages that are looked at for each filter, the newest: an id can be used as often as somebody likes.
pub(super) const NEWEST: usize = 256;
/// Most messages about one placement, one renewal or one worker.
pub(super) const FEW: usize = 16;
/// Most refused requests about one thing.
const REFUSALS: usize = 4;
/// Most questions to the log at once.
const AT_ONCE: usize = 16;
/// Most messages that are told of although they cannot be read; the newest ones.
const UNREADABLE: usize = 20;

/// The newest request of a container.
pub(super) struct Request {
    number: u64,
    pub(super) worker_id: WorkerId,
    pub(super) image_id: Option<ImageId>,
}

/// Messages that were read so far, and up to which sequence: what is read next is read up to there, too, so that an
/// explanation is of one moment.
pub(super) struct Gathering<'l> {
    log: &'l dyn Log,
    end: u64,
    entries: Vec<Entry>,
    /// From here on everything was read.
    complete_from: u64,
}

impl<'l> Gathering<'l> {
    pub(super) fn new(log: &'l dyn Log, end: u64) -> Self {
        Self { log, end, entries: Vec::new(), complete_from: 0 }
    }

    /// What was read.
    pub(super) fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// Up to which sequence.
    pub(super) fn end(&self) -> u64 {
        self.end
    }

    pub(super) fn history(&self, elsewhere: Vec<WorkspaceId>) -> History {
        History::new(self.entries.clone(), elsewhere).complete_from(self.complete_from)
    }

    /// Reads the newest messages on each filter, and without what was given up in quarantine. Where there are more of them, what
    /// is known is complete only from the first one on.
    pub(super) async fn read(&mut self, filters: Vec<(Filter, usize)>) -> Result<(), LogError> {
        let complete_from = self.read_beside(filters).await?;
        self.complete_from = self.complete_from.max(complete_from);
        Ok(())
    }

    /// Likewise, and says from where on it is complete: what else is known is no less complete for it.
    async fn read_beside(&mut self, filters: Vec<(Filter, usize)>) -> Result<u64, LogError> {
        let (log, end) = (self.log, self.end);
        let reading = stream::iter(filters).map(|(filter, most)| async move {
            let newest = log.newest_on(&filter, most, end).await?;
            let first = newest.messages.first().filter(|_| newest.messages.len() >= most);
            let complete_from = first.map_or(0, |first| first.sequence);
            Ok::<_, LogError>((newest, complete_from))
        });
        let read: Vec<(Newest, u64)> = reading.buffered(AT_ONCE).try_collect().await?;
        // Answers of one moment: what one of them has beyond the end of another is not counted.
        self.end = read.iter().map(|(newest, _)| newest.end).fold(self.end, u64::min);
        let messages = read.iter().flat_map(|(newest, _)| &newest.messages);
        self.take(messages.filter(|message| message.sequence <= self.end).map(entry).collect()).await?;
        Ok(read.into_iter().map(|(_, complete_from)| complete_from).max().unwrap_or(0))
    }

    async fn take(&mut self, mut entries: Vec<Entry>) -> Result<(), LogError> {
        let unreadable = entries.iter().rev().filter(|entry| matches!(entry.value, Seen::Unreadable { .. }));
        let unreadable: Vec<u64> = unreadable.map(|entry| entry.sequence).take(UNREADABLE).collect();
        let mut told = BTreeSet::new();
        for sequence in unreadable {
            if !self.is_given_up(sequence).await? {
                told.insert(sequence);
            }
        }
        entries.retain(|entry| matches!(entry.value, Seen::Event(_)) || told.contains(&entry.sequence));
        self.entries.append(&mut entries);
        Ok(())
    }

    /// True if the operator gave up a message that cannot be read.
    async fn is_given_up(&self, sequence: u64) -> Result<bool, LogError> {
        let last = self.log.last(&Subject::Quarantine { sequence }).await?.filter(|last| last.sequence <= self.end);
        let event = last.and_then(|last| last.decode().ok()).map(|recorded| recorded.event);
        Ok(matches!(event, Some(Event::QuarantineDiscarded(_))))
    }

    pub(super) async fn read_secrets(&mut self, concern: &Concern) -> Result<(), LogError> {
        let secrets = concern.secrets.iter().map(|secret| (secret_subject(concern, secret).into(), NEWEST));
        self.read(secrets.collect()).await
    }

    pub(super) fn newest_request(&self) -> Option<Request> {
        let requests = self.entries.iter().filter_map(|entry| match &entry.value {
            Seen::Event(recorded) => match &recorded.event {
                Event::ContainerRequested(request) => Some((entry.sequence, request)),
                _ => None,
            },
            Seen::Unreadable { .. } => None,
        });
        let (number, request) = requests.max_by_key(|(number, _)| *number)?;
        Some(Request { number, worker_id: request.worker_id.clone(), image_id: request.image_id.clone() })
    }

    /// What does not count towards how far back everything is known: the newest refused requests about what is asked about, those
    /// that name nothing, of the workspace and of `anybody`, and what belongs to the newest placement.
    pub(super) async fn read_around(
        &mut self,
        concern: &Concern,
        newest: Option<&Request>,
        anybody: bool,
    ) -> Result<(), LogError> {
        let mut filters: Vec<(Filter, usize)> =
            refusals(concern, anybody).map(|subject| (subject.into(), REFUSALS)).collect();
        if let (Some(newest), Some(container)) = (newest, &concern.container) {
            filters.extend(newest.subjects(&concern.workspace, container).map(|subject| (subject.into(), FEW)));
            filters.push((Subject::NodeQuestion { worker_id: newest.worker_id.clone() }.into(), NEWEST));
            // New versions that the newest placement's worker was sent.
            filters.extend(concern.secrets.iter().map(|secret| {
                let (worker, workspace) = (newest.worker_id.clone(), concern.workspace.clone());
                (Filter::SecretDecisions(Some(worker), Some(workspace), Some(secret.clone())), FEW)
            }));
        }
        self.read_beside(filters).await?;
        // What others asked the worker is for those who speak for their workspace.
        self.entries.retain(|entry| match &entry.value {
            Seen::Event(recorded) => match &recorded.event {
                Event::NodeLoginAsked(asked) => anybody || asked.workspace.as_ref() == Some(&concern.workspace),
                _ => true,
            },
            Seen::Unreadable { subject, .. } => anybody || !matches!(subject.parse(), Ok(Subject::NodeQuestion { .. })),
        });
        Ok(())
    }

    /// What the newest placement's decision rests on, where more was said since than is looked at.
    pub(super) async fn read_before(&mut self, newest: &Request, concern: &Concern) -> Result<(), LogError> {
        let before = newest.number.saturating_sub(1).min(self.end);
        if self.complete_from <= newest.number {
            return Ok(());
        }
        let image = newest.image_id.clone().map(|image| Filter::Image(Some(concern.workspace.clone()), Some(image)));
        let secrets = concern.secrets.iter().map(|secret| Filter::from(secret_subject(concern, secret)));
        let worker = Filter::from(Subject::Worker { worker_id: newest.worker_id.clone() });
        for filter in image.into_iter().chain(secrets).chain([worker]) {
            let found = self.log.newest_on(&filter, 1, before).await?;
            self.take(found.messages.iter().map(entry).collect()).await?;
        }
        Ok(())
    }

    /// What workers made of the renewals that were read, the newest of them.
    pub(super) async fn read_renewals(&mut self) -> Result<(), LogError> {
        let mut renewals: Vec<(u64, Subject)> = Vec::new();
        for entry in &self.entries {
            if let Some(Subject::SecretDecision { worker_id, workspace, secret, version }) = entry.value.subject() {
                renewals.push((entry.sequence, Subject::SecretOutcome { worker_id, workspace, secret, version }));
            }
        }
        renewals.sort_by_key(|(sequence, _)| *sequence);
        let subjects: BTreeSet<Subject> = renewals.into_iter().rev().take(FEW).map(|(_, subject)| subject).collect();
        self.read_beside(subjects.into_iter().map(|subject| (subject.into(), FEW)).collect()).await?;
        Ok(())
    }

    /// What withdrawals follow from, where it is none of what was read.
    pub(super) async fn read_causes(&mut self) -> Result<(), LogError> {
        let known: BTreeSet<u64> = self.entries.iter().map(|entry| entry.sequence).collect();
        let causes: BTreeSet<u64> =
            self.entries.iter().filter_map(withdrawn_by).filter(|by| !known.contains(by)).collect();
        for cause in causes.into_iter().rev().take(FEW) {
            let found = self.log.message_at(cause).await?.filter(|found| found.sequence <= self.end);
            self.take(found.iter().map(entry).collect()).await?;
        }
        Ok(())
    }
}

impl Request {
    /// The decisions about the placement and its own worker's outcomes, by exact subjects: others cannot crowd them out.
    fn subjects(&self, workspace: &WorkspaceId, container: &ContainerId) -> [Subject; 3] {
        let named = || (self.worker_id.clone(), workspace.clone(), container.clone(), self.number);
        let (worker_id, workspace, container_id, placement) = named();
        let decisions = Subject::ContainerDecision { worker_id, workspace, container_id, placement };
        let (worker_id, workspace, container_id, placement) = named();
        let outcomes = Subject::ContainerOutcome { worker_id, workspace, container_id, placement };
        let (worker_id, workspace, container_id, placement) = named();
        [decisions, outcomes, Subject::ContainerQuestion { worker_id, workspace, container_id, placement }]
    }
}

fn refusals(concern: &Concern, anybody: bool) -> impl Iterator<Item = Subject> {
    let workspace = || concern.workspace.clone();
    let container = concern.container.clone();
    let container = container.map(|container_id| Subject::RefusedContainer { workspace: workspace(), container_id });
    let images = concern.images.iter().cloned();
    let images = images.map(move |image_id| Subject::RefusedImage { workspace: workspace(), image_id });
    let secrets = concern.secrets.iter().cloned();
    let secrets = secrets.map(move |secret| Subject::RefusedSecret { workspace: workspace(), secret });
    let unnamed = [Subject::RefusedWorkspace { workspace: workspace() }];
    container.into_iter().chain(images).chain(secrets).chain(unnamed).chain(anybody.then_some(Subject::RefusedUnowned))
}

fn withdrawn_by(entry: &Entry) -> Option<u64> {
    match &entry.value {
        Seen::Event(recorded) => match &recorded.event {
            Event::ContainerCredentialsWithdrawn(withdrawn) => Some(withdrawn.caused_by),
            _ => None,
        },
        Seen::Unreadable { .. } => None,
    }
}

fn secret_subject(concern: &Concern, secret: &SecretName) -> Subject {
    Subject::Secret { workspace: concern.workspace.clone(), secret: secret.clone() }
}

fn entry(message: &RawMessage) -> Entry {
    let value = match message.decode() {
        Ok(event) => Seen::Event(Box::new(event)),
        Err(error) => Seen::Unreadable { subject: message.subject.clone(), error: error.to_string() },
    };
    Recorded { sequence: message.sequence, at: message.at, value }
}
