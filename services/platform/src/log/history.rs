//! What the log holds for one image, container or decision.

use std::collections::VecDeque;

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
            HistoryAccess::AnyConsumer => self.events_on(&subject.siblings()).await,
            HistoryAccess::Consumers { settling, .. } => {
                let _one_reader = self.settling.lock().await;
                self.read_to_end(&subject.siblings(), Some(settling), usize::MAX).await
            }
            HistoryAccess::LastPerSubject => self.last_of_each(subject).await,
        }
    }

    /// Every message that matches the filter now, in order. Only for roles that may create consumers.
    ///
    /// # Errors
    /// [`LogError`] when the log does not answer.
    pub async fn events_on(&self, filter: &str) -> Result<Vec<RawMessage>, LogError> {
        self.newest_on(filter, usize::MAX).await
    }

    /// As [`events_on`](Self::events_on), of those only as many as `most`, from the end.
    ///
    /// # Errors
    /// [`LogError`] when the log does not answer.
    pub async fn newest_on(&self, filter: &str, most: usize) -> Result<Vec<RawMessage>, LogError> {
        match &self.history {
            HistoryAccess::Consumers { asking, .. } => {
                let _one_reader = self.asking.lock().await;
                self.read_to_end(filter, Some(asking), most).await
            }
            HistoryAccess::AnyConsumer | HistoryAccess::LastPerSubject => self.read_to_end(filter, None, most).await,
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

    async fn read_to_end(&self, filter: &str, name: Option<&str>, most: usize) -> Result<Vec<RawMessage>, LogError> {
        if let Some(name) = name {
            // A reading that was given up in the middle leaves its consumer, and a new one would go on where that stood.
            self.delete_consumer(name).await;
        }
        let (consumer, waiting) = self.create_reader(filter, 1, name).await?;
        let mut reading = Reading::new(most);
        if waiting > 0 {
            let mut stream = std::pin::pin!(Self::messages_of(&consumer).await?);
            while let Some(message) = stream.try_next().await? {
                let last = message.pending == 0;
                reading.take(filter, message);
                if last {
                    break;
                }
            }
        }
        self.delete_reader(&consumer).await;
        reading.finish(waiting).ok_or_else(|| LogError::Unavailable {
            what: format!("read {filter}"),
            reason: "another process reads under the same name; try again".to_owned(),
        })
    }
}

/// The messages of one reading. Two processes with one consumer name can take messages from each other: what is told is
/// everything, or nothing.
struct Reading {
    most: usize,
    kept: VecDeque<RawMessage>,
    count: u64,
    last: u64,
    intact: bool,
}

impl Reading {
    fn new(most: usize) -> Self {
        Self { most, kept: VecDeque::new(), count: 0, last: 0, intact: true }
    }

    fn take(&mut self, filter: &str, message: RawMessage) {
        self.intact &= message.sequence > self.last && matches(filter, &message.subject);
        self.last = message.sequence;
        self.count = self.count.saturating_add(1);
        self.kept.push_back(message);
        if self.kept.len() > self.most {
            self.kept.pop_front();
        }
    }

    /// The messages, if they are in order, match, and are as many as were there at the start.
    fn finish(self, waiting: u64) -> Option<Vec<RawMessage>> {
        (self.intact && self.count >= waiting).then(|| self.kept.into())
    }
}

/// Whether a subject matches a filter, whose tokens may be `*`, and the last one `>`.
fn matches(filter: &str, subject: &str) -> bool {
    let mut tokens = subject.split('.');
    for wanted in filter.split('.') {
        match (wanted, tokens.next()) {
            (">", token) => return token.is_some(),
            ("*", Some(_)) => {}
            (wanted, Some(token)) if wanted == token => {}
            _ => return false,
        }
    }
    tokens.next().is_none()
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

#[cfg(test)]
mod tests {
    use super::*;

    fn message(sequence: u64, subject: &str) -> RawMessage {
        let at = time::OffsetDateTime::UNIX_EPOCH.into();
        let headers = async_nats::HeaderMap::new();
        RawMessage { sequence, at, subject: subject.to_owned(), headers, payload: bytes::Bytes::new(), pending: 0 }
    }

    #[test]
    fn a_reading_is_whole_or_nothing() {
        type Case = (&'static str, &'static [(u64, &'static str)], u64, usize, Option<&'static [u64]>);
        let cases: &[Case] = &[
            ("nothing there", &[], 0, 9, Some(&[])),
            ("all there", &[(3, "a.x"), (7, "a.y")], 2, 9, Some(&[3, 7])),
            ("more came meanwhile", &[(3, "a.x"), (7, "a.y"), (8, "a.x")], 2, 9, Some(&[3, 7, 8])),
            ("the newest of them", &[(3, "a.x"), (7, "a.y"), (8, "a.x")], 3, 2, Some(&[7, 8])),
            ("somebody took one", &[(7, "a.y")], 2, 9, None),
            ("began anew", &[(3, "a.x"), (3, "a.x"), (7, "a.y")], 2, 9, None),
            ("another's filter", &[(3, "b.x"), (7, "b.y")], 2, 9, None),
        ];
        for (name, read, waiting, most, expected) in cases {
            let mut reading = Reading::new(*most);
            read.iter().for_each(|(sequence, subject)| reading.take("a.>", message(*sequence, subject)));
            let kept = reading.finish(*waiting).map(|kept| kept.iter().map(|one| one.sequence).collect::<Vec<_>>());
            assert_eq!(kept.as_deref(), *expected, "{name}");
        }
    }

    #[test]
    fn what_a_filter_matches() {
        let cases = [
            ("a.b", "a.b", true),
            ("a.b", "a.b.c", false),
            ("a.b.c", "a.b", false),
            ("a.*.c", "a.b.c", true),
            ("a.*.c", "a.b.d", false),
            ("a.>", "a.b.c", true),
            ("a.>", "a", false),
            ("a.*", "a.b.c", false),
        ];
        for (filter, subject, expected) in cases {
            assert_eq!(matches(filter, subject), expected, "{filter} {subject}");
        }
    }
}
