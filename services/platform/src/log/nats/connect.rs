//! The connection: a user's credentials, a private inbox, reconnecting for ever.

use std::{path::PathBuf, sync::Arc, time::Duration};

use async_nats::{ConnectOptions, Event, ReconnectToServer, jetstream};
use tokio::sync::watch;
use tokio_util::task::TaskTracker;

use super::{EventLog, patience::Patience};
use crate::{
    config::{Reader, is_loopback},
    identity::{self, CredentialsFile},
    log::{LogError, room::Room},
    trace,
};

const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);
/// A server that hangs is left after three of these without an answer.
const PING_INTERVAL: Duration = Duration::from_secs(2);
/// How long one server may take to let the client in, before the next one is tried.
const CONNECT_LIMIT: Duration = Duration::from_secs(2);
const LONGEST_RECONNECT_DELAY: Duration = Duration::from_secs(2);

/// How to reach the log.
#[derive(Debug, Clone)]
pub struct NatsConfig {
    /// Server addresses without any login, comma separated (`WAYBILL_NATS_URL`).
    pub url: String,
    /// The role's user (`WAYBILL_NATS_CREDS_FILE`); none for a server without authentication.
    pub credentials: Option<CredentialsFile>,
    /// Prefix of reply subjects, as the permissions have it (`WAYBILL_NATS_INBOX_PREFIX`).
    pub inbox_prefix: String,
    /// Certificate authority of the server (`WAYBILL_NATS_CA_FILE`).
    pub ca_file: Option<PathBuf>,
    /// Whether the client insists on TLS: where a server is beyond loopback, unless `WAYBILL_NATS_TLS` is `off`. A server, or
    /// somebody between, that offers none is not spoken to.
    pub require_tls: bool,
    /// Name of the connection, as the server lists it.
    pub name: String,
    /// Whose credentials are renewed while the connection lives, as `<kind>.<name>`; none where somebody else does.
    pub renews: Option<String>,
}

impl NatsConfig {
    /// Reads the settings of a role, such as `gateway` or `worker-w1`.
    pub fn read(reader: &mut Reader<'_>, role: &str) -> Self {
        let url: String = reader.required("WAYBILL_NATS_URL", |url| hosts(url).map(|_| url.to_owned()));
        let wanted = reader.or("WAYBILL_NATS_TLS", on_or_off, || true);
        let file = reader.required_path("WAYBILL_NATS_CREDS_FILE");
        let opened = CredentialsFile::open(file);
        let note = |problem| reader.problem(format!("WAYBILL_NATS_CREDS_FILE: {problem}"));
        let credentials = opened.map_err(note).ok();
        Self {
            require_tls: wanted && is_beyond_loopback(&url),
            url,
            credentials,
            inbox_prefix: reader.or("WAYBILL_NATS_INBOX_PREFIX", text, || format!("_INBOX_{role}")),
            ca_file: reader.readable_path("WAYBILL_NATS_CA_FILE"),
            name: format!("waybill-{role}"),
            renews: Some(
                role.split_once('-').map_or_else(|| format!("{role}.{role}"), |(kind, id)| format!("{kind}.{id}")),
            ),
        }
    }

    /// The servers, as errors may show them.
    pub(super) fn hosts(&self) -> String {
        hosts(&self.url).unwrap_or_else(|_| "WAYBILL_NATS_URL".to_owned())
    }
}

fn on_or_off(text: &str) -> Result<bool, &'static str> {
    match text {
        "on" => Ok(true),
        "off" => Ok(false),
        _ => Err("on or off"),
    }
}

/// True if any of the servers is on another machine, as far as its name says.
fn is_beyond_loopback(url: &str) -> bool {
    servers(url).is_ok_and(|servers| !servers.iter().all(|server| is_loopback(server.host())))
}

fn text(value: &str) -> Result<String, &'static str> {
    Ok(value.to_owned())
}

/// `host:port` of each server that a `WAYBILL_NATS_URL` names, comma separated.
///
/// # Errors
/// What the setting must be: above all without a login, since addresses are shown.
pub fn hosts(url: &str) -> Result<String, &'static str> {
    let servers = servers(url).map_err(|_| "addresses such as nats://127.0.0.1:4222, with commas between them")?;
    if servers.iter().any(|server| server.username().is_some() || server.password().is_some()) {
        return Err("addresses without a login; use WAYBILL_NATS_CREDS_FILE");
    }
    let host = |server: &async_nats::ServerAddr| match server.host() {
        host if host.contains(':') => format!("[{host}]:{}", server.port()),
        host => format!("{host}:{}", server.port()),
    };
    Ok(servers.iter().map(host).collect::<Vec<_>>().join(","))
}

impl EventLog {
    /// Connects, in the background and for ever: the log may come up later, go away and come back.
    ///
    /// # Errors
    /// [`LogError::Settings`] when no connection can be made with these settings at all.
    pub async fn connect(config: NatsConfig) -> Result<Self, LogError> {
        let settings = |reason: String| LogError::Settings { hosts: config.hosts(), reason };
        let (state, connected) = watch::channel(false);
        let servers = servers(&config.url).map_err(|error| settings(error.to_string()))?;
        if let Some(server) = servers.first() {
            trace::set_server(server.host(), server.port());
        }
        let patience = Patience::default();
        let options = options(&config, state, patience.clone());
        let client = options.connect(servers).await.map_err(|error| settings(error.to_string()))?;
        if let (Some(file), Some(who)) = (config.credentials.clone(), config.renews.clone()) {
            tokio::spawn(identity::keep_renewed(client.clone(), file, who));
        }
        Ok(Self { patience, ..Self::over(client, &config, connected) })
    }

    /// The connection, for what is no matter of the log: questions between processes.
    pub fn client(&self) -> &async_nats::Client {
        &self.client
    }

    /// The log over a connection that stands.
    pub(super) fn over(client: async_nats::Client, config: &NatsConfig, connected: watch::Receiver<bool>) -> Self {
        Self {
            jetstream: jetstream::new(client.clone()),
            client,
            name: config.name.as_str().into(),
            connected,
            readings: TaskTracker::new(),
            room: Room::default(),
            patience: Patience::default(),
            has_many_servers: config.url.contains(','),
            gathering: None,
        }
    }
}

/// The servers that a setting names.
pub(super) fn servers(url: &str) -> std::io::Result<Vec<async_nats::ServerAddr>> {
    url.split(',').map(|url| url.trim().parse()).collect()
}

/// Who connects, and where replies go.
pub(super) fn login(config: &NatsConfig) -> ConnectOptions {
    let mut options = match config.credentials.clone() {
        // Asked at each connect, so that a token that was renewed meanwhile is the one that is shown.
        Some(file) => ConnectOptions::with_auth_callback(move |nonce| std::future::ready(file.answer(&nonce))),
        None => ConnectOptions::new(),
    };
    if let Some(file) = &config.ca_file {
        options = options.add_root_certificates(file.clone());
    }
    options.require_tls(config.require_tls).name(&config.name).custom_inbox_prefix(&config.inbox_prefix)
}

fn options(config: &NatsConfig, state: watch::Sender<bool>, patience: Patience) -> ConnectOptions {
    let state = Arc::new(state);
    login(config)
        .request_timeout(Some(REQUEST_TIMEOUT))
        .ping_interval(PING_INTERVAL)
        .connection_timeout(CONNECT_LIMIT)
        .retry_on_initial_connect()
        .max_reconnects(None)
        .reconnect_delay_callback(delay)
        .reconnect_to_server_callback(move |servers, _| {
            let chosen = patience.choose(servers, |server| server.addr.as_url_str().to_owned());
            let next =
                |server: async_nats::Server| ReconnectToServer { addr: server.addr, delay: Some(Duration::ZERO) };
            std::future::ready(chosen.map(next))
        })
        .event_callback(move |event| {
            let state = state.clone();
            async move { note(&event, &state) }
        })
}

/// Before an attempt. The first, also after a connection that stood, waits for nothing.
fn delay(attempt: usize) -> Duration {
    let Some(failed @ 1..) = attempt.checked_sub(1) else { return Duration::ZERO };
    let doubled = Duration::from_millis(20).saturating_mul(1_u32 << failed.min(10));
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

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::Settings;

    #[test]
    fn servers_are_shown_by_host_and_port() {
        let cases = [
            ("nats://127.0.0.1:4222", Ok("127.0.0.1:4222")),
            ("a.b, tls://c.d:1", Ok("a.b:4222,c.d:1")),
            ("nats://[::1]:4222", Ok("[::1]:4222")),
            ("http://a.b", Err("such as")),
            ("nats://user:canary@a.b:4222", Err("WAYBILL_NATS_CREDS_FILE")),
            ("nats://a.b,canary@c.d", Err("WAYBILL_NATS_CREDS_FILE")),
            ("nats://:canary@c.d", Err("WAYBILL_NATS_CREDS_FILE")),
        ];
        for (url, expected) in cases {
            match (hosts(url), expected) {
                (Ok(hosts), Ok(expected)) => assert_eq!(hosts, expected),
                (Err(says), Err(expected)) => assert!(says.contains(expected), "{url}: {says}"),
                (found, _) => panic!("{url}: {found:?}"),
            }
        }
    }

    #[test]
    fn tls_is_demanded_beyond_loopback() {
        let cases = [
            ("nats://127.0.0.1:4222,nats://[::1]:4223,nats://localhost:4224", None, false),
            ("nats://10.0.0.1:4222", None, true),
            ("nats://127.0.0.1:4222,nats://nats-2.example:4222", None, true),
            ("nats://nats:4222", Some("off"), false),
            ("nats://nats:4222", Some("on"), true),
        ];
        for (url, tls, expected) in cases {
            let pairs = [("WAYBILL_NATS_URL", url), ("WAYBILL_NATS_TLS", tls.unwrap_or_default())];
            let settings = Settings::from_pairs(Path::new("."), pairs);
            assert_eq!(NatsConfig::read(&mut settings.reader(), "operator").require_tls, expected, "{url} {tls:?}");
        }
    }

    #[test]
    fn nothing_is_waited_for_before_the_first_attempt() {
        for (attempt, milliseconds) in [(0, 0), (1, 0), (2, 40), (3, 80), (7, 1280), (9, 2000), (usize::MAX, 2000)] {
            assert_eq!(delay(attempt), Duration::from_millis(milliseconds), "attempt {attempt}");
        }
    }

    #[test]
    fn a_login_in_the_address_is_refused_without_being_shown() {
        let pairs = [("WAYBILL_NATS_URL", "nats://user:canary@127.0.0.1:4222")];
        let settings = Settings::from_pairs(Path::new("."), pairs);
        let mut reader = settings.reader();
        let config = NatsConfig::read(&mut reader, "operator");
        let error = reader.finish().unwrap_err().to_string();
        assert!(error.contains("WAYBILL_NATS_URL (from the caller) must be addresses without a login"), "{error}");
        assert!(!error.contains("canary") && !format!("{config:?}").contains("canary"), "{error}");
    }

    #[test]
    fn the_authority_is_a_readable_file_of_the_home_folder() {
        let home = tempfile::tempdir().unwrap();
        let pairs = [("WAYBILL_NATS_CA_FILE", "ca.pem")];
        let settings = Settings::from_pairs(home.path(), pairs);
        let mut reader = settings.reader();
        NatsConfig::read(&mut reader, "operator");
        let file = home.path().join("ca.pem");
        let named = format!("WAYBILL_NATS_CA_FILE: {} cannot be read", file.display());
        let error = reader.finish().unwrap_err().to_string();
        assert!(error.contains(&named) && error.contains("WAYBILL_NATS_URL is missing"), "{error}");

        std::fs::write(&file, "").unwrap();
        let mut reader = settings.reader();
        assert_eq!(NatsConfig::read(&mut reader, "operator").ca_file, Some(file));
        assert!(!reader.finish().unwrap_err().to_string().contains("WAYBILL_NATS_CA_FILE"));
    }
}
