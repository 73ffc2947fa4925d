//! Publishing over NATS: one message, or an atomic batch.

use async_nats::{HeaderMap, Request};
use uuid::Uuid;

use super::{BATCH, EventLog, request::parse_answer};
use crate::log::{
    Expect, LogError, RawMessage, STREAM,
    publish::{Outgoing, PubAck, Wire},
};

impl Wire for EventLog {
    async fn publish(&self, message: &Outgoing, expect: Expect, with_id: bool) -> Result<PubAck, LogError> {
        let request = Request::new().headers(message.headers(expect, with_id)).payload(message.body.clone());
        let answer = self.ask(message.subject.clone(), request).await?;
        parse_answer(&message.subject, &answer.payload)
    }

    async fn publish_batch(&self, messages: &[(&Outgoing, Expect)]) -> Result<PubAck, LogError> {
        let unavailable = |reason: String| LogError::Unavailable { what: "publish a batch".to_owned(), reason };
        let Some(((commit, expect), before)) = messages.split_last() else {
            return Err(unavailable("it is empty".to_owned()));
        };
        // A random id: nobody else can add to this batch, or commit it.
        let id = Uuid::new_v4().simple().to_string();
        for (index, (message, expect)) in before.iter().enumerate() {
            let headers = batch_headers(message.headers(*expect, true), &id, index, false);
            let sent = self.client.publish_with_headers(message.subject.clone(), headers, message.body.clone()).await;
            sent.map_err(|error| unavailable(error.to_string()))?;
        }
        let headers = batch_headers(commit.headers(*expect, true), &id, before.len(), true);
        let request = Request::new().headers(headers).payload(commit.body.clone());
        let answer = self.ask(commit.subject.clone(), request).await?;
        parse_answer("publish a batch", &answer.payload)
    }

    async fn last_on(&self, subject: &str) -> Result<Option<RawMessage>, LogError> {
        self.last_in(STREAM, subject).await
    }

    async fn messages_after(&self, subject: &str, sequence: u64) -> Result<Vec<RawMessage>, LogError> {
        Ok(self.matching(STREAM, subject, sequence.saturating_add(1), BATCH).await?.messages)
    }
}

fn batch_headers(mut headers: HeaderMap, id: &str, index: usize, commit: bool) -> HeaderMap {
    headers.insert("Nats-Batch-Id", id);
    headers.insert("Nats-Batch-Sequence", index.saturating_add(1).to_string().as_str());
    if commit {
        headers.insert("Nats-Batch-Commit", "1");
    }
    headers
}
