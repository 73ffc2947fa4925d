//! The connection: nkey authentication, a private inbox, reconnecting for ever.

use std::{path::PathBuf, sync::Arc, time::Duration};

use async_nats::{ConnectOptions, Event, jetstream};
use tokio::sync::watch;
use waybill_domain::credentials::Secret;

use super::{API_PREFIX, EventLog, LogError};
use crate::config::Reader;

const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);
const LONGEST_RECONNECT_DELAY: Duration = Duration::from_secs(2);

/// How a role may look up what the log holds for an image, a container or a decision.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HistoryAccess {
    /// Every message: gateway, scheduler and operator.
    Everything,
    /// The last message of each subject: workers read nothing else.
    LastPerSubject,
}

/// How to reach the log.
#[derive(Debug, Clone)]
pub struct NatsConfig {
    /// Server addresses, comma separated (`WAYBILL_NATS_URL`).
    pub url: String,
    /// Seed of the role's user key (file `WAYBILL_NATS_SEED_FILE`); none for a server without authentication.
    pub seed: Option<Secret>,
    /// Prefix of reply subjects, as the permissions have it (`WAYBILL_NATS_INBOX_PREFIX`).
    pub inbox_prefix: String,
    /// Certificate authority of the server (`WAYBILL_NATS_CA_FILE`).
    pub ca_file: Option<PathBuf>,
    /// JetStream API prefix (`WAYBILL_NATS_API_PREFIX`).
    pub api_prefix: String,
    /// Name of the connection, as the server lists it.
    pub name: String,
    /// How history is read.
    pub history: HistoryAccess,
}

impl NatsConfig {
    /// Reads the settings of a role, such as `gateway` or `worker-w1`.
    pub fn read(reader: &mut Reader<'_>, role: &str) -> Self {
        let history = match role {
            "gateway" | "scheduler" | "operator" => HistoryAccess::Everything,
            _ => HistoryAccess::LastPerSubject,
        };
        Self {
            url: reader.required("WAYBILL_NATS_URL", text),
            seed: Some(reader.secret_file("WAYBILL_NATS_SEED_FILE")),
            inbox_prefix: reader.or("WAYBILL_NATS_INBOX_PREFIX", text, || format!("_INBOX_{role}")),
            ca_file: reader.optional("WAYBILL_NATS_CA_FILE", path),
            api_prefix: reader.or("WAYBILL_NATS_API_PREFIX", text, || API_PREFIX.to_owned()),
            name: format!("waybill-{role}"),
            history,
        }
    }
}

fn text(value: &str) -> Result<String, &'static str> {
    Ok(value.to_owned())
}

fn path(value: &str) -> Result<PathBuf, &'static str> {
    Ok(PathBuf::from(value))
}

impl EventLog {
    /// Connects, in the background and for ever: the log may come up later, go away and come back.
    ///
    /// # Errors
    /// [`LogError::Settings`] when no connection can be made with these settings at all.
    pub async fn connect(config: NatsConfig) -> Result<Self, LogError> {
        let settings = |reason: String| LogError::Settings { url: config.url.clone(), reason };
        let (state, connected) = watch::channel(false);
        let servers = servers(&config).map_err(|error| settings(error.to_string()))?;
        let options = options(&config, state);
        let client = options.connect(servers).await.map_err(|error| settings(error.to_string()))?;
        Ok(Self::over(client, &config, connected))
    }

    /// The log over a connection that stands.
    pub(super) fn over(client: async_nats::Client, config: &NatsConfig, connected: watch::Receiver<bool>) -> Self {
        Self {
            jetstream: jetstream::with_prefix(client.clone(), &config.api_prefix),
            client,
            api_prefix: config.api_prefix.as_str().into(),
            history: config.history,
            name: config.name.as_str().into(),
            connected,
        }
    }

    /// Whether the connection stands, now and as it changes.
    pub fn connected(&self) -> watch::Receiver<bool> {
        self.connected.clone()
    }
}

/// The servers that the settings name.
pub(super) fn servers(config: &NatsConfig) -> std::io::Result<Vec<async_nats::ServerAddr>> {
    config.url.split(',').map(|url| url.trim().parse()).collect()
}

/// Who connects, and where replies go.
pub(super) fn login(config: &NatsConfig) -> ConnectOptions {
    let mut options = match &config.seed {
        Some(seed) => ConnectOptions::with_nkey(seed.expose().trim().to_owned()),
        None => ConnectOptions::new(),
    };
    if let Some(file) = &config.ca_file {
        options = options.add_root_certificates(file.clone());
    }
    options.name(&config.name).custom_inbox_prefix(&config.inbox_prefix)
}

fn options(config: &NatsConfig, state: watch::Sender<bool>) -> ConnectOptions {
    let state = Arc::new(state);
    login(config)
        .request_timeout(Some(REQUEST_TIMEOUT))
        .retry_on_initial_connect()
        .max_reconnects(None)
        .reconnect_delay_callback(delay)
        .event_callback(move |event| {
            let state = state.clone();
            async move { note(&event, &state) }
        })
}

fn delay(attempts: usize) -> Duration {
    let doubled = Duration::from_millis(20).saturating_mul(1_u32 << attempts.min(10));
    doubled.min(LONGEST_RECONNECT_DELAY)
}

fn note(event: &Event, connected: &watch::Sender<bool>) {
    match event {
        Event::Connected => {
            connected.send_replace(true);
            tracing::info!("connected to NATS");
        }
        Event::Disconnected => {
            connected.send_replace(false);
            tracing::warn!("disconnected from NATS, reconnecting");
        }
        Event::Closed => {
            connected.send_replace(false);
        }
        other => tracing::warn!(event = %other, "NATS"),
    }
}
