//! What the log holds for one image, container or decision.

use futures_util::TryStreamExt as _;
use waybill_schemas::{EventType, Subject};

use super::{EventLog, HistoryAccess, LogError, RawMessage};

impl EventLog {
    /// The siblings of a subject, in order: all of them, or the last on each subject for a role that creates no consumers.
    ///
    /// # Errors
    /// [`LogError`] when the log does not answer.
    pub async fn history(&self, subject: &Subject) -> Result<Vec<RawMessage>, LogError> {
        match &self.history {
            HistoryAccess::AnyConsumer | HistoryAccess::Consumer(_) => self.events_on(&subject.siblings()).await,
            HistoryAccess::LastPerSubject => self.last_of_each(subject).await,
        }
    }

    /// Every message that matches the filter now, in order. Only for roles that may create consumers.
    ///
    /// # Errors
    /// [`LogError`] when the log does not answer.
    pub async fn events_on(&self, filter: &str) -> Result<Vec<RawMessage>, LogError> {
        match &self.history {
            HistoryAccess::Consumer(name) => {
                let _one_reader = self.reading_history.lock().await;
                self.read_to_end(filter, Some(name)).await
            }
            HistoryAccess::AnyConsumer | HistoryAccess::LastPerSubject => self.read_to_end(filter, None).await,
        }
    }

    /// Whether [`history`](Self::history) gives every sibling.
    pub(super) fn sees_all_siblings(&self) -> bool {
        self.history != HistoryAccess::LastPerSubject
    }

    async fn last_of_each(&self, subject: &Subject) -> Result<Vec<RawMessage>, LogError> {
        let mut messages = Vec::new();
        for sibling in siblings(subject) {
            messages.extend(self.last(&sibling.to_string()).await?);
        }
        messages.sort_by_key(|message| message.sequence);
        Ok(messages)
    }

    async fn read_to_end(&self, filter: &str, name: Option<&str>) -> Result<Vec<RawMessage>, LogError> {
        let (consumer, waiting) = match (self.create_reader(filter, 1, name).await, name) {
            // A reading that was given up in the middle leaves its consumer, for another filter, until the server removes it.
            (Err(_), Some(name)) => {
                self.delete_consumer(name).await;
                self.create_reader(filter, 1, Some(name)).await?
            }
            (created, _) => created?,
        };
        let mut messages = Vec::new();
        if waiting > 0 {
            let mut stream = std::pin::pin!(Self::messages_of(&consumer).await?);
            while let Some(message) = stream.try_next().await? {
                let last = message.pending == 0;
                messages.push(message);
                if last {
                    break;
                }
            }
        }
        self.delete_reader(&consumer).await;
        Ok(messages)
    }
}

fn siblings(subject: &Subject) -> Vec<Subject> {
    match subject {
        Subject::Image { workspace, image_id, .. } => EventType::OF_IMAGE
            .iter()
            .map(|event| Subject::Image { workspace: workspace.clone(), image_id: image_id.clone(), event: *event })
            .collect(),
        Subject::Container { workspace, container_id, .. } => EventType::OF_CONTAINER
            .iter()
            .map(|event| Subject::Container {
                workspace: workspace.clone(),
                container_id: container_id.clone(),
                event: *event,
            })
            .collect(),
        Subject::Decision { worker_id, workspace, container_id, .. } => EventType::DECISIONS
            .iter()
            .map(|event| Subject::Decision {
                worker_id: worker_id.clone(),
                workspace: workspace.clone(),
                container_id: container_id.clone(),
                event: *event,
            })
            .collect(),
        Subject::Registered { .. } => vec![subject.clone()],
        Subject::Quarantine { sequence, .. } => EventType::OF_QUARANTINE
            .iter()
            .map(|event| Subject::Quarantine { sequence: *sequence, event: *event })
            .collect(),
    }
}
