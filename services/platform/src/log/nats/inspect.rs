//! A short look at a server: one connection that gives up, and requests whose refusal is an answer too.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use async_nats::{Client, ConnectErrorKind, Event, HeaderMap, Request, RequestErrorKind, ServerError};
use futures_util::StreamExt as _;
use semver::Version;
use serde_json::Value;
use tokio::{sync::watch, time::timeout};
use waybill_schemas::Filter;

use super::{EventLog, NatsConfig, connect};
use crate::log::{API_PREFIX, ConsumerState, Log as _, LogError, RawMessage, STREAM};

/// The oldest nats-server on which every test of its rules passes; 2.12 brought atomic batches (ADR-50).
const OLDEST: Version = Version::new(2, 12, 8);
/// How long one request may take.
const ASK: Duration = Duration::from_secs(2);
/// How long the connection may take.
const CONNECT: Duration = Duration::from_secs(3);

/// No connection could be made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InspectError {
    /// The server does not take the user: its token has ended, was revoked, or is signed by nobody that it knows.
    #[error("the server refuses this user's credentials")]
    Refused,
    /// No server answers, or not in time.
    #[error("no server can be reached: {0}")]
    Unreachable(String),
    /// The settings do not work at all.
    #[error("the NATS settings cannot be used: {0}")]
    Settings(String),
}

/// What the server says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Server {
    /// Its version, such as `2.12.1`.
    pub version: String,
    /// Whether JetStream is on.
    pub jetstream: bool,
}

/// Whether a version of nats-server, such as `2.15.1`, is one that Waybill runs on.
///
/// # Errors
/// What to run instead.
pub fn supported(version: &str) -> Result<(), String> {
    let is_supported = Version::parse(version).is_ok_and(|version| version >= OLDEST);
    is_supported.then_some(()).ok_or_else(|| format!("run nats-server {OLDEST} or later"))
}

/// What came of a request.
#[derive(Debug, Clone, PartialEq)]
pub enum Reply {
    /// Somebody answered, be it with an error: JSON, or null for another body.
    Answer(Value),
    /// The server says that this user may not publish there.
    Forbidden,
    /// Nobody answered, and why.
    Silence(String),
}

impl Reply {
    /// JetStream's error code, where the answer is an error.
    pub fn error_code(&self) -> Option<u64> {
        match self {
            Self::Answer(answer) => answer.pointer("/error/err_code")?.as_u64(),
            _ => None,
        }
    }
}

/// One connection as one role, for looking only.
#[derive(Debug)]
pub struct Inspector {
    client: Client,
    log: EventLog,
    forbidden: watch::Receiver<BTreeSet<String>>,
}

impl Inspector {
    /// Connects once, within three seconds.
    ///
    /// # Errors
    /// [`InspectError`].
    pub async fn connect(config: &NatsConfig) -> Result<Self, InspectError> {
        let servers = connect::servers(&config.url).map_err(|error| InspectError::Settings(error.to_string()))?;
        let (subjects, forbidden) = watch::channel(BTreeSet::new());
        let subjects = Arc::new(subjects);
        let options = connect::login(config).request_timeout(Some(ASK)).connection_timeout(CONNECT).event_callback(
            move |event| {
                let subjects = subjects.clone();
                async move { note(&event, &subjects) }
            },
        );
        let connected = timeout(CONNECT, options.connect(servers)).await;
        let client = match connected {
            Ok(Ok(client)) => client,
            Ok(Err(error)) => return Err(refused(config, &error)),
            Err(_) => return Err(unreachable(config, &format!("no greeting within {} s", CONNECT.as_secs()))),
        };
        // Nobody follows this connection's state: it ends with the inspector.
        let log = EventLog::over(client.clone(), config, watch::channel(true).1);
        Ok(Self { client, log, forbidden })
    }

    /// What the server said when it was connected to.
    pub fn server(&self) -> Server {
        let info = self.client.server_info();
        Server { version: info.version, jetstream: info.jetstream }
    }

    /// The connection.
    pub(super) fn client(&self) -> &Client {
        &self.client
    }

    /// The log over this connection: each of its requests is given up after two seconds.
    pub fn log(&self) -> &EventLog {
        &self.log
    }

    /// Asks on an API subject, given without the prefix.
    pub async fn api(&self, subject: &str, payload: &Value) -> Reply {
        let payload = if payload.is_null() { Vec::new() } else { payload.to_string().into_bytes() };
        self.ask(format!("{API_PREFIX}.{subject}"), &[], payload).await
    }

    /// Asks on any subject.
    pub async fn ask(&self, subject: String, headers: &[(&str, &str)], payload: Vec<u8>) -> Reply {
        let mut map = HeaderMap::new();
        headers.iter().for_each(|(name, value)| map.insert(*name, *value));
        let request = Request::new().headers(map).payload(payload.into());
        let mut forbidden = self.forbidden.clone();
        tokio::select! {
            Ok(_) = forbidden.wait_for(|subjects| subjects.contains(&subject)) => Reply::Forbidden,
            answer = self.client.send_request(subject.clone(), request) => match answer {
                Ok(message) => Reply::Answer(serde_json::from_slice(&message.payload).unwrap_or(Value::Null)),
                Err(error) => Reply::Silence(match error.kind() {
                    RequestErrorKind::TimedOut => "no answer in time".to_owned(),
                    RequestErrorKind::NoResponders => "nobody answers there".to_owned(),
                    _ => error.to_string(),
                }),
            },
        }
    }

    /// Asks something that many may answer: their answers in JSON, until there are enough or the time is over.
    pub async fn gather(
        &self,
        subject: &str,
        payload: &Value,
        limit: Duration,
        is_enough: impl Fn(&[Value]) -> bool,
    ) -> Vec<Value> {
        let mut answers = Vec::new();
        let gathering = async {
            let inbox = self.client.new_inbox();
            let mut subscription = self.client.subscribe(inbox.clone()).await.ok()?;
            let asked = self.client.publish_with_reply(subject.to_owned(), inbox, payload.to_string().into());
            asked.await.ok()?;
            while let Some(message) = subscription.next().await {
                answers.extend(serde_json::from_slice::<Value>(&message.payload).ok());
                if is_enough(&answers) {
                    return Some(());
                }
            }
            None
        };
        // What has come by then is what there is.
        let _ = timeout(limit, gathering).await;
        answers
    }

    /// Reads the first events as histories are read: one request, many answers.
    pub async fn batch(&self) -> Reply {
        let subject = format!("{API_PREFIX}.DIRECT.GET.{STREAM}");
        let all = Filter::All.to_string();
        let mut forbidden = self.forbidden.clone();
        tokio::select! {
            Ok(_) = forbidden.wait_for(|subjects| subjects.contains(&subject)) => Reply::Forbidden,
            read = timeout(ASK, self.log.matching(STREAM, &all, 1, 2)) => match read {
                Ok(Ok(_)) => Reply::Answer(Value::Null),
                Ok(Err(error)) => Reply::Silence(error.to_string()),
                Err(_) => Reply::Silence("no answer in time, or not all of it".to_owned()),
            },
        }
    }

    /// The last message on a subject of the log, which may hold wildcards.
    ///
    /// # Errors
    /// [`LogError`] when the log does not answer in time.
    pub async fn last(&self, subject: &str) -> Result<Option<RawMessage>, LogError> {
        self.log.last_in(STREAM, subject).await
    }

    /// The scheduler's reader, wherever the scheduler runs; none if no scheduler reads.
    ///
    /// # Errors
    /// [`LogError`] when the log does not answer in time.
    pub async fn scheduler_reader(&self) -> Result<Option<ConsumerState>, LogError> {
        self.log.scheduler_reader().await
    }
}

fn unreachable(config: &NatsConfig, why: &str) -> InspectError {
    InspectError::Unreachable(format!("{} ({why})", config.hosts()))
}

fn refused(config: &NatsConfig, error: &async_nats::ConnectError) -> InspectError {
    match error.kind() {
        ConnectErrorKind::AuthorizationViolation => InspectError::Refused,
        ConnectErrorKind::Authentication => InspectError::Settings("the credentials cannot be used".to_owned()),
        _ => unreachable(config, &crate::chain(error)),
    }
}

fn note(event: &Event, subjects: &watch::Sender<BTreeSet<String>>) {
    if let Event::ServerError(ServerError::Other(text)) = event
        && let Some(subject) = forbidden_subject(text)
    {
        subjects.send_modify(|subjects| {
            subjects.insert(subject.to_owned());
        });
    }
}

/// The subject in the server's words: `Permissions Violation for Publish to "a.b"`.
fn forbidden_subject(text: &str) -> Option<&str> {
    let (_, rest) = text.split_once("Permissions Violation for Publish to \"")?;
    Some(rest.split_once('"')?.0)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_server_s_words_name_the_subject() {
        let cases = [
            ("Permissions Violation for Publish to \"a.b\"", Some("a.b")),
            ("'Permissions Violation for Publish to \"$JS.API.X\"'", Some("$JS.API.X")),
            ("Permissions Violation for Subscription to \"a.b\"", None),
            ("Maximum Payload Violation", None),
        ];
        for (text, expected) in cases {
            assert_eq!(forbidden_subject(text), expected, "{text}");
        }
    }

    #[test]
    fn versions() {
        let cases = [
            ("2.12.8", true),
            ("2.15.1", true),
            ("3.0.0-beta", true),
            ("2.12.7", false),
            ("2.12.8-RC.1", false),
            ("2.9.0", false),
            ("2.13", false),
            ("", false),
        ];
        for (version, expected) in cases {
            assert_eq!(supported(version).is_ok(), expected, "{version}");
        }
    }

    #[test]
    fn an_error_is_an_answer() {
        assert_eq!(Reply::Answer(json!({ "error": { "err_code": 10059 } })).error_code(), Some(10059));
        assert_eq!(Reply::Answer(json!({ "config": {} })).error_code(), None);
        assert_eq!(Reply::Forbidden.error_code(), None);
    }
}
