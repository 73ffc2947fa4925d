//! Gathers what an explanation is made from: by exact subjects and bounded, never by reading the whole log.

mod case;
mod gather;
mod groups;
mod redact;

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use waybill_domain::explain::{
    Asked, Case, Concern, Entry, Explanation, History, ReaderState, ReaderStatus, Readers, State,
};
use waybill_schemas::{ContainerId, Filter, ImageId, SecretName, Subject, Timestamp, WorkerId, WorkspaceId};

use crate::{
    events::Place,
    health,
    log::{ConsumerSpec, ConsumerState, Log, LogError},
    trace,
};
pub use case::{CaseError, LARGEST_CASE, ReadCase, Told, read_case, write_case};
use gather::{FEW, Gathering, NEWEST};
pub use groups::{Remedied, explain_group};

/// A reader that was given something this lately is at work, even if it asks for nothing right now.
const AT_WORK: Duration = Duration::from_secs(15);

/// The moment that is asked about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Moment {
    /// The present.
    Now,
    /// When the log ended at this sequence, at this time.
    Past {
        /// Sequence of the last event that counts.
        sequence: u64,
        /// The time then.
        at: Timestamp,
    },
}

/// Whose events an answer may speak of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// Those of every workspace: the operator's.
    Everything,
    /// Those of the workspace that is asked about.
    OneWorkspace,
}

/// Answers questions from a log.
#[derive(Debug, Clone)]
pub struct Explainer {
    /// The log.
    pub log: Arc<dyn Log>,
    /// Whose events answers may speak of.
    pub scope: Scope,
    /// The moment that is asked about.
    pub moment: Moment,
}

/// Everything that concerns a container.
struct Gathered {
    history: History,
    /// The worker of its newest request.
    worker: Option<WorkerId>,
    /// The sequence up to which it was read.
    end: u64,
}

impl Explainer {
    /// The same for a moment of the past; none where the log holds no event at that sequence.
    ///
    /// # Errors
    /// [`LogError`] when the log does not answer.
    pub async fn at(&self, place: Place) -> Result<Option<Self>, LogError> {
        let moment = match place {
            Place::Time(at) => Moment::Past { sequence: place.last(self.log.as_ref()).await?, at },
            Place::Sequence(sequence) => match self.log.message_at(sequence).await? {
                Some(message) => Moment::Past { sequence, at: message.at },
                None => return Ok(None),
            },
        };
        Ok(Some(Self { moment, ..self.clone() }))
    }

    /// What happened to an id.
    ///
    /// # Errors
    /// [`LogError`] when the log does not answer.
    pub async fn explain(&self, workspace: &WorkspaceId, asked: &Asked) -> Result<Explanation, LogError> {
        Ok(self.gather(workspace, asked).await?.explain())
    }

    /// Everything that an explanation rests on.
    ///
    /// # Errors
    /// [`LogError`] when the log does not answer.
    pub async fn gather(&self, workspace: &WorkspaceId, asked: &Asked) -> Result<Case, LogError> {
        let (history, readers, now) = match asked {
            Asked::Container(id) => return self.gather_case(workspace, id).await,
            Asked::Image(id) => (self.gather_image(workspace, id).await?, Readers::unknown(), self.now()),
            Asked::Secret(name) => (self.gather_secret(workspace, name).await?, Readers::unknown(), self.now()),
        };
        Ok(Case { workspace: workspace.clone(), asked: asked.clone(), history, readers, now })
    }

    async fn gather_case(&self, workspace: &WorkspaceId, id: &ContainerId) -> Result<Case, LogError> {
        let Gathered { history, worker, .. } = self.gather_container(workspace, id).await?;
        let asked = Asked::Container(id.clone());
        let case = Case { workspace: workspace.clone(), asked, history, readers: Readers::unknown(), now: self.now() };
        if self.moment != Moment::Now || case.explain().verdict.state != State::InFlight {
            return Ok(case);
        }
        // The readers are asked before the log is read again: whatever they were done with is in it then.
        let (readers, now) = self.readers(worker.as_ref()).await?;
        let Gathered { history, end, .. } = self.gather_container(workspace, id).await?;
        if end < position_of_readers(&readers) {
            return Err(LogError::behind(format!("explain container {id}")));
        }
        Ok(Case { history, readers, now, ..case })
    }

    async fn gather_image(&self, workspace: &WorkspaceId, image_id: &ImageId) -> Result<History, LogError> {
        let mut gathering = Gathering::new(self.log.as_ref(), self.end());
        gathering.read(vec![(Filter::Image(Some(workspace.clone()), Some(image_id.clone())), NEWEST)]).await?;
        let concern = Concern::from_image(&gathering.history(Vec::new()), workspace, image_id);
        gathering.read_secrets(&concern).await?;
        gathering.read_around(&concern, None, self.scope == Scope::Everything).await?;
        let elsewhere = self.elsewhere(&gathering, workspace, image_id).await?;
        Ok(gathering.history(elsewhere))
    }

    async fn gather_secret(&self, workspace: &WorkspaceId, secret_name: &SecretName) -> Result<History, LogError> {
        let mut gathering = Gathering::new(self.log.as_ref(), self.end());
        let decisions = Filter::SecretDecisions(None, Some(workspace.clone()), Some(secret_name.clone()));
        gathering.read(vec![(decisions, NEWEST)]).await?;
        let concern = Concern::from_secret(workspace, secret_name);
        gathering.read_secrets(&concern).await?;
        gathering.read_around(&concern, None, self.scope == Scope::Everything).await?;
        gathering.read_renewals().await?;
        Ok(gathering.history(Vec::new()))
    }

    fn now(&self) -> Timestamp {
        match self.moment {
            Moment::Now => trace::now(),
            Moment::Past { at, .. } => at,
        }
    }

    /// The last sequence that counts.
    fn end(&self) -> u64 {
        match self.moment {
            Moment::Now => u64::MAX,
            Moment::Past { sequence, .. } => sequence,
        }
    }

    async fn gather_container(&self, workspace: &WorkspaceId, id: &ContainerId) -> Result<Gathered, LogError> {
        let mut gathering = Gathering::new(self.log.as_ref(), self.end());
        let (owner, container) = (Some(workspace.clone()), Some(id.clone()));
        let filters = [
            Filter::Container(owner.clone(), container.clone()),
            Filter::ContainerDecisions(None, owner.clone(), container.clone()),
            Filter::ContainerOutcomes(None, owner.clone(), container),
        ];
        gathering.read(filters.map(|filter| (filter, NEWEST)).into()).await?;
        let concern = Concern::from_container(&gathering.history(Vec::new()), workspace, id);
        let images = concern.images.iter().map(|image| (Filter::Image(owner.clone(), Some(image.clone())), NEWEST));
        let workers = concern.workers.iter().flatten();
        let workers = workers.map(|worker_id| (Subject::Worker { worker_id: worker_id.clone() }.into(), FEW));
        gathering.read(images.chain(workers).collect()).await?;
        let concern = Concern::from_container(&gathering.history(Vec::new()), workspace, id);
        gathering.read_secrets(&concern).await?;
        let newest = gathering.newest_request();
        gathering.read_around(&concern, newest.as_ref(), self.scope == Scope::Everything).await?;
        let mut elsewhere = Vec::new();
        if let Some(newest) = &newest {
            gathering.read_before(newest, &concern).await?;
            gathering.read_renewals().await?;
            gathering.read_causes().await?;
            if let Some(image_id) = &newest.image_id {
                elsewhere = self.elsewhere(&gathering, workspace, image_id).await?;
            }
        }
        let (history, end) = (gathering.history(elsewhere), gathering.end());
        Ok(Gathered { history, worker: newest.map(|newest| newest.worker_id), end })
    }

    /// Other workspaces that built the image, where this one did not.
    async fn elsewhere(
        &self,
        gathering: &Gathering<'_>,
        workspace: &WorkspaceId,
        image_id: &ImageId,
    ) -> Result<Vec<WorkspaceId>, LogError> {
        let built = |entry: &Entry| matches!(entry.value.subject(), Some(Subject::Image { image_id: built, .. }) if built == *image_id);
        if gathering.entries().iter().any(built) || self.scope == Scope::OneWorkspace {
            return Ok(Vec::new());
        }
        let everywhere = Filter::Image(None, Some(image_id.clone()));
        let found = self.log.newest_on(&everywhere, NEWEST, gathering.end()).await?;
        let others = found.messages.iter().filter_map(|message| match message.decode().ok()?.subject {
            Subject::Image { workspace: other, .. } if other != *workspace => Some(other),
            _ => None,
        });
        Ok(others.collect::<BTreeSet<_>>().into_iter().collect())
    }

    /// The readers that are waited for, and the server's time: how long they have been quiet is not for the clock here to say.
    async fn readers(&self, worker: Option<&WorkerId>) -> Result<(Readers, Timestamp), LogError> {
        let scheduler = self.log.scheduler_reader().await?;
        let worker = match worker {
            Some(worker_id) => Some(self.log.consumer_state(&ConsumerSpec::for_worker(worker_id, 0).name).await?),
            None => None,
        };
        let told_at = |state: &Option<ConsumerState>| state.as_ref().and_then(|state| state.told_at);
        let now = told_at(&scheduler).max(worker.as_ref().and_then(told_at)).unwrap_or_else(trace::now);
        let log_full = health::no_room(self.log.as_ref());
        let worker = worker.map_or(ReaderStatus::Unknown, status);
        Ok((Readers { scheduler: status(scheduler), worker, log_full }, now))
    }
}

/// The last sequence that a reader was given.
fn position_of_readers(readers: &Readers) -> u64 {
    let position = |status: &ReaderStatus| match status {
        ReaderStatus::Present(state) => state.position,
        ReaderStatus::Absent | ReaderStatus::Unknown => 0,
    };
    position(&readers.scheduler).max(position(&readers.worker))
}

fn status(consumer: Option<ConsumerState>) -> ReaderStatus {
    let Some(state) = consumer else { return ReaderStatus::Absent };
    let now = state.told_at.unwrap_or_else(trace::now);
    let lately = state.last_active.is_some_and(|last| now.instant() - last.instant() < AT_WORK);
    ReaderStatus::Present(ReaderState {
        behind: state.pending,
        position: state.delivered,
        acknowledged: state.acknowledged,
        reading: state.waiting > 0 || lately,
        last_active: state.last_active,
        since: state.created,
    })
}

#[cfg(test)]
mod tests;
