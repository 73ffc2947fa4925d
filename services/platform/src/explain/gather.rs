//! Reading what concerns an id: each filter's newest messages, and what the newest placement rests on by exact subjects.

use std::collections::BTreeSet;

use waybill_domain::explain::{Concern, Entry, History, Seen};
use waybill_schemas::{ContainerId, Event, Filter, ImageId, Recorded, SecretName, Subject, WorkerId, WorkspaceId};

use crate::log::{Log, LogError, RawMessage};

/// Most messages that are looked at for each filter, the newest: an id can be used as often as somebody likes.
pub(super) const NEWEST: usize = 256;
/// Most messages about one placement, one renewal or one worker.
pub(super) const FEW: usize = 16;
/// Most refused requests about one thing.
const REFUSALS: usize = 4;
/// Most messages that are told of although they cannot be read; the newest ones.
const UNREADABLE: usize = 20;

/// The newest request of a container.
pub(super) struct Newest {
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

    /// Reads the newest messages on a filter, and without what was given up in quarantine. False if there may be more.
    pub(super) async fn read(&mut self, filter: Filter, most: usize) -> Result<bool, LogError> {
        let newest = self.log.newest_on(&filter, most, self.end).await?;
        self.end = self.end.min(newest.end);
        let whole = newest.messages.len() < most;
        if let Some(first) = newest.messages.first().filter(|_| !whole) {
            self.complete_from = self.complete_from.max(first.sequence);
        }
        self.take(newest.messages.iter().map(entry).collect()).await?;
        Ok(whole)
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
        for secret in &concern.secrets {
            self.read(secret_subject(concern, secret).into(), NEWEST).await?;
        }
        Ok(())
    }

    pub(super) fn newest_request(&self) -> Option<Newest> {
        let requests = self.entries.iter().filter_map(|entry| match &entry.value {
            Seen::Event(recorded) => match &recorded.event {
                Event::ContainerRequested(request) => Some((entry.sequence, request)),
                _ => None,
            },
            Seen::Unreadable { .. } => None,
        });
        let (number, request) = requests.max_by_key(|(number, _)| *number)?;
        Some(Newest { number, worker_id: request.worker_id.clone(), image_id: request.image_id.clone() })
    }

    /// The newest refused requests about what is asked about; and those that name nothing, of the workspace and of `anybody`.
    pub(super) async fn read_refusals(&mut self, concern: &Concern, anybody: bool) -> Result<(), LogError> {
        let workspace = || concern.workspace.clone();
        let container = concern
            .container
            .clone()
            .map(|container_id| Subject::RefusedContainer { workspace: workspace(), container_id });
        let images = concern.images.iter().cloned();
        let images = images.map(|image_id| Subject::RefusedImage { workspace: workspace(), image_id });
        let secrets = concern.secrets.iter().cloned();
        let secrets = secrets.map(|secret| Subject::RefusedSecret { workspace: workspace(), secret });
        let unnamed = [Subject::RefusedWorkspace { workspace: workspace() }];
        let unowned = anybody.then_some(Subject::RefusedUnowned);
        let complete_from = self.complete_from;
        for subject in container.into_iter().chain(images).chain(secrets).chain(unnamed).chain(unowned) {
            self.read(subject.into(), REFUSALS).await?;
        }
        self.complete_from = complete_from;
        Ok(())
    }

    /// The decisions about the newest placement and its own worker's outcomes: others cannot crowd them out.
    pub(super) async fn read_placement(
        &mut self,
        newest: &Newest,
        workspace: &WorkspaceId,
        id: &ContainerId,
    ) -> Result<(), LogError> {
        let (worker_id, workspace, container_id) = (newest.worker_id.clone(), workspace.clone(), id.clone());
        let placement = newest.number;
        let outcomes = Subject::ContainerOutcome {
            worker_id: worker_id.clone(),
            workspace: workspace.clone(),
            container_id: container_id.clone(),
            placement,
        };
        let asked = Subject::ContainerQuestion {
            worker_id: worker_id.clone(),
            workspace: workspace.clone(),
            container_id: container_id.clone(),
            placement,
        };
        let decisions = Subject::ContainerDecision { worker_id, workspace, container_id, placement };
        let complete_from = self.complete_from;
        for subject in [decisions, outcomes, asked] {
            self.read(subject.into(), FEW).await?;
        }
        self.complete_from = complete_from;
        Ok(())
    }

    /// What others asked the newest placement's worker: those who speak for this workspace, or for `anybody`.
    pub(super) async fn read_questions(
        &mut self,
        newest: &Newest,
        workspace: &WorkspaceId,
        anybody: bool,
    ) -> Result<(), LogError> {
        let complete_from = self.complete_from;
        self.read(Subject::NodeQuestion { worker_id: newest.worker_id.clone() }.into(), NEWEST).await?;
        self.complete_from = complete_from;
        self.entries.retain(|entry| match &entry.value {
            Seen::Event(recorded) => match &recorded.event {
                Event::NodeLoginAsked(asked) => anybody || asked.workspace.as_ref() == Some(workspace),
                _ => true,
            },
            Seen::Unreadable { subject, .. } => anybody || !matches!(subject.parse(), Ok(Subject::NodeQuestion { .. })),
        });
        Ok(())
    }

    /// What the newest placement's decision rests on, where more was said since than is looked at.
    pub(super) async fn read_before(&mut self, newest: &Newest, concern: &Concern) -> Result<(), LogError> {
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

    /// New versions that the newest placement's worker was sent, and what it made of them.
    pub(super) async fn read_new_versions(&mut self, newest: &Newest, concern: &Concern) -> Result<(), LogError> {
        let complete_from = self.complete_from;
        for secret in &concern.secrets {
            let (worker, workspace) = (newest.worker_id.clone(), concern.workspace.clone());
            let renewals = Filter::SecretDecisions(Some(worker), Some(workspace), Some(secret.clone()));
            self.read(renewals, FEW).await?;
        }
        self.read_renewals().await?;
        self.complete_from = complete_from;
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
        for subject in subjects {
            self.read(subject.into(), FEW).await?;
        }
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
