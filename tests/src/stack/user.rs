//! A NATS connection as one of the users that `waybill init` made.

use std::time::Duration;

use async_nats::{Client, ConnectOptions, HeaderMap, Request, ServerAddr};
use serde_json::Value;

use super::Stack;

/// How long a request may wait for an answer that never comes.
const LIMIT: Duration = Duration::from_secs(1);

/// A connected user.
#[derive(Debug, Clone)]
pub struct User {
    /// The connection.
    pub client: Client,
}

impl Stack {
    /// Connects as a role, such as `gateway`, `worker-w1` or `orchestrator-acme`.
    pub async fn user(&self, role: &str) -> User {
        let file = self.home.join(format!("keys/{role}.creds"));
        let options = ConnectOptions::with_credentials_file(file).await.expect("credentials that init wrote");
        let options = options.custom_inbox_prefix(format!("_INBOX_{role}")).request_timeout(Some(LIMIT));
        User { client: options.connect(self.nats_addresses()).await.expect("the user may connect") }
    }
}

impl Stack {
    /// All servers of the log, as a client takes them.
    pub fn nats_addresses(&self) -> Vec<ServerAddr> {
        self.nats_url().split(',').map(|url| url.parse().expect("an address")).collect()
    }
}

impl User {
    /// Asks, and returns the JSON answer; none where nobody answers this user.
    pub async fn ask(&self, subject: &str, headers: HeaderMap, body: impl Into<Vec<u8>>) -> Option<Value> {
        let request = Request::new().headers(headers).payload(body.into().into());
        let answer = self.client.send_request(subject.to_owned(), request).await.ok()?;
        let text = serde_json::from_slice(&answer.payload).unwrap_or(Value::Null);
        let description = answer.description.map(Value::from);
        Some(description.filter(|_| answer.payload.is_empty()).unwrap_or(text))
    }

    /// Publishes an event as it is given, and returns its sequence if the log took it.
    pub async fn publish(&self, subject: &str, headers: &[(&str, &str)], body: impl Into<Vec<u8>>) -> Option<u64> {
        let mut map = HeaderMap::new();
        headers.iter().for_each(|(name, value)| map.insert(*name, *value));
        self.ask(subject, map, body).await?["seq"].as_u64()
    }
}

/// The headers of an event that a foreign client writes.
pub fn event_headers<'h>(id: &'h str, ce_type: &'h str) -> [(&'h str, &'h str); 5] {
    [("Nats-Msg-Id", id), ("ce-id", id), ("ce-source", "/test"), ("ce-specversion", "1.0"), ("ce-type", ce_type)]
}
