//! Looking messages up in an archive: each segment is unpacked when something of it is asked for.

use std::{
    collections::{BTreeMap, HashSet, VecDeque},
    sync::Arc,
};

use tokio::sync::Mutex;
use waybill_domain::retention::{Archives, Part, Run, hash_container};
use waybill_schemas::{Filter, Subject, covers};

use super::{Store, read_segment, segment_name};
use crate::{
    chain,
    events::merge_pages,
    log::{LogError, Page, RawMessage},
};

/// Segments that stay unpacked: as many as runs may overlap at one place, and a few.
const MOST_UNPACKED: usize = 8;

/// Number of a run, and place of a part in it.
type Place = (u64, usize);
type Messages = Arc<Vec<RawMessage>>;

/// The segments of complete runs.
#[derive(Debug)]
pub(super) struct Segments {
    store: Store,
    archives: Archives,
    cache: Mutex<Cache>,
}

#[derive(Debug, Default)]
struct Cache {
    unpacked: VecDeque<(Place, Messages)>,
    /// Hashes of the containers that each segment names, once it was unpacked.
    containers: BTreeMap<Place, HashSet<u64>>,
}

/// What a look-up wants.
struct Wanted {
    filter: String,
    /// The one container that it is about.
    container: Option<u64>,
}

impl Wanted {
    /// None where nothing that matches ever leaves the log.
    fn from_filter(filter: &Filter) -> Option<Self> {
        let container = match filter {
            Filter::All | Filter::Decisions(_) | Filter::Outcomes(_) => None,
            Filter::SecretDecisions(..) | Filter::SecretOutcomes(..) => None,
            Filter::Container(workspace, container)
            | Filter::ContainerDecisions(_, workspace, container)
            | Filter::ContainerOutcomes(_, workspace, container)
            | Filter::ContainerQuestions(_, workspace, container) => workspace
                .as_ref()
                .zip(container.as_ref())
                .map(|(workspace, container)| hash_container(workspace, container)),
            Filter::Subject(subject) => match container_of(subject) {
                Some(container) => Some(container),
                None if matches!(subject, Subject::SecretDecision { .. } | Subject::SecretOutcome { .. }) => None,
                None => return None,
            },
            Filter::Secrets(_)
            | Filter::Image(..)
            | Filter::Workers(_)
            | Filter::Identities
            | Filter::WorkerIdentities
            | Filter::Workspaces
            | Filter::Tokens
            | Filter::Quarantine
            | Filter::Refusals(_)
            | Filter::RefusedContainer(..)
            | Filter::RefusedImage(..)
            | Filter::RefusedSecret(..)
            | Filter::AllRefusals
            | Filter::Archives => return None,
        };
        Some(Self { filter: filter.to_string(), container })
    }

    fn takes(&self, message: &RawMessage) -> bool {
        covers(&self.filter, &message.subject)
    }
}

impl Segments {
    pub(super) fn new(store: Store, archives: Archives) -> Self {
        Self { store, archives, cache: Mutex::default() }
    }

    /// The message at a sequence.
    pub(super) async fn message_at(&self, sequence: u64) -> Result<Option<RawMessage>, LogError> {
        for (run, place, part) in self.archives.runs.iter().flat_map(parts) {
            if part.removed.contains(sequence) {
                let messages = self.unpack((run.number, place), part).await?;
                return Ok(messages.iter().find(|message| message.sequence == sequence).cloned());
            }
        }
        Ok(None)
    }

    /// The first messages that match a filter from a sequence on, in the log's order.
    pub(super) async fn page(&self, filter: &Filter, from: u64, most: usize) -> Result<Page, LogError> {
        let Some(wanted) = Wanted::from_filter(filter) else { return Ok(Page::default()) };
        let mut pages = Vec::new();
        for run in &self.archives.runs {
            pages.push(self.page_of_run(run, &wanted, from, most).await?);
        }
        let (mut messages, next) = merge_pages(pages);
        let more = next.is_some() || messages.len() > most;
        messages.truncate(most);
        Ok(Page { messages, more })
    }

    async fn page_of_run(&self, run: &Run, wanted: &Wanted, from: u64, most: usize) -> Result<Page, LogError> {
        let mut page = Page::default();
        for (run, place, part) in parts(run).filter(|(_, _, part)| part.removed.last() >= from) {
            for message in self.matching((run.number, place), part, wanted).await? {
                if message.sequence < from {
                    continue;
                }
                if page.messages.len() == most {
                    page.more = true;
                    return Ok(page);
                }
                page.messages.push(message);
            }
        }
        Ok(page)
    }

    /// The newest messages that match a filter, none after `end`, in the log's order.
    pub(super) async fn newest(&self, filter: &Filter, most: usize, end: u64) -> Result<Vec<RawMessage>, LogError> {
        let Some(wanted) = Wanted::from_filter(filter) else { return Ok(Vec::new()) };
        let mut found = Vec::new();
        for run in &self.archives.runs {
            let mut of_run = 0_usize;
            for (run, place, part) in parts(run).rev() {
                if of_run >= most {
                    break;
                }
                let matching = self.matching((run.number, place), part, &wanted).await?;
                let matching = matching.into_iter().filter(|message| message.sequence <= end);
                let before = found.len();
                found.extend(matching);
                of_run = of_run.saturating_add(found.len().saturating_sub(before));
            }
        }
        found.sort_by_key(|message| message.sequence);
        Ok(found.split_off(found.len().saturating_sub(most)))
    }

    async fn matching(&self, place: Place, part: &Part, wanted: &Wanted) -> Result<Vec<RawMessage>, LogError> {
        if let Some(container) = wanted.container
            && self.cache.lock().await.containers.get(&place).is_some_and(|known| !known.contains(&container))
        {
            return Ok(Vec::new());
        }
        let messages = self.unpack(place, part).await?;
        Ok(messages.iter().filter(|message| wanted.takes(message)).cloned().collect())
    }

    async fn unpack(&self, place: Place, part: &Part) -> Result<Messages, LogError> {
        let mut cache = self.cache.lock().await;
        if let Some((_, messages)) = cache.unpacked.iter().find(|(known, _)| *known == place) {
            return Ok(messages.clone());
        }
        let name = segment_name(place.0, u64::try_from(place.1).unwrap_or(u64::MAX).saturating_add(1), &part.digest);
        let unusable = |reason: String| LogError::Archive { segment: name.clone(), reason };
        let bytes = self.store.get(&name).await.map_err(|error| unusable(chain(&error)))?;
        let messages = read_segment(&bytes, &part.digest, &part.removed).map_err(|error| unusable(chain(&error)))?;
        let subjects = messages.iter().filter_map(|message| message.subject.parse().ok());
        let containers = subjects.filter_map(|subject| container_of(&subject)).collect();
        cache.containers.insert(place, containers);
        let messages = Arc::new(messages);
        cache.unpacked.push_back((place, messages.clone()));
        if cache.unpacked.len() > MOST_UNPACKED {
            cache.unpacked.pop_front();
        }
        Ok(messages)
    }
}

fn parts(run: &Run) -> impl DoubleEndedIterator<Item = (&Run, usize, &Part)> {
    run.parts.iter().enumerate().map(move |(place, part)| (run, place, part))
}

fn container_of(subject: &Subject) -> Option<u64> {
    match subject {
        Subject::Container { workspace, container_id, .. }
        | Subject::ContainerDecision { workspace, container_id, .. }
        | Subject::ContainerOutcome { workspace, container_id, .. }
        | Subject::ContainerQuestion { workspace, container_id, .. } => Some(hash_container(workspace, container_id)),
        _ => None,
    }
}
