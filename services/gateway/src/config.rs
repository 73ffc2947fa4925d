//! What the gateway is told at start.

use std::{net::SocketAddr, time::Duration};

use waybill_platform::{
    config::{ConfigError, Reader, Settings},
    log::NatsConfig,
    sealing::{PrivateKey, PublicKey},
};

use crate::tokens::Tokens;

/// The gateway's configuration.
#[derive(Debug)]
pub struct GatewayConfig {
    /// The log.
    pub nats: NatsConfig,
    /// Where HTTP is served (`WAYBILL_GATEWAY_LISTEN`).
    pub listen: SocketAddr,
    /// Whose bearer tokens are accepted (file `WAYBILL_GATEWAY_TOKENS_FILE`).
    pub tokens: Tokens,
    /// The gateway's sealing key (file `WAYBILL_GATEWAY_SEALING_KEY_FILE`).
    pub sealing_key: PrivateKey,
    /// Who may open what is saved (`WAYBILL_SCHEDULER_SEALING_KEY`).
    pub scheduler_key: PublicKey,
    /// Limits of one request.
    pub limits: Limits,
}

/// Limits of one request.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Largest body, in bytes (`WAYBILL_GATEWAY_BODY_LIMIT`).
    pub body_bytes: usize,
    /// How long a client may take to send it (`WAYBILL_GATEWAY_BODY_SECONDS`).
    pub body: Duration,
    /// How long the log may take to acknowledge (`WAYBILL_GATEWAY_APPEND_SECONDS`).
    pub append: Duration,
    /// How long requests under way may take once the gateway is stopping (`WAYBILL_GATEWAY_DRAIN_SECONDS`).
    pub drain: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            body_bytes: 256 * 1024,
            body: Duration::from_secs(10),
            append: Duration::from_secs(5),
            drain: Duration::from_secs(10),
        }
    }
}

impl GatewayConfig {
    /// Reads the gateway's settings.
    ///
    /// # Errors
    /// [`ConfigError`] with everything that is wrong.
    pub fn read(settings: &Settings) -> Result<Self, ConfigError> {
        let mut reader = settings.reader();
        let nats = NatsConfig::read(&mut reader, "gateway");
        let listen = reader.or("WAYBILL_GATEWAY_LISTEN", address, || SocketAddr::from(([127, 0, 0, 1], 8484)));
        let tokens = reader.secret_file("WAYBILL_GATEWAY_TOKENS_FILE").expose().parse::<Tokens>();
        let sealing_key = PrivateKey::from_seed(&reader.secret_file("WAYBILL_GATEWAY_SEALING_KEY_FILE"));
        let scheduler_key = reader.needed("WAYBILL_SCHEDULER_SEALING_KEY", |text| {
            text.parse().map_err(|_| "the scheduler's public sealing key (X…), as `waybill init` writes it")
        });
        let limits = limits(&mut reader);
        if let Err(error) = &tokens {
            reader.problem(format!("WAYBILL_GATEWAY_TOKENS_FILE: {error}"));
        }
        if let Err(error) = &sealing_key {
            reader.problem(format!("WAYBILL_GATEWAY_SEALING_KEY_FILE: {error}"));
        }
        reader.finish()?;
        match (tokens, sealing_key, scheduler_key) {
            (Ok(tokens), Ok(sealing_key), Some(scheduler_key)) => {
                Ok(Self { nats, listen, tokens, sealing_key, scheduler_key, limits })
            }
            _ => Err(ConfigError { problems: vec!["WAYBILL_SCHEDULER_SEALING_KEY is missing".to_owned()] }),
        }
    }
}

fn limits(reader: &mut Reader<'_>) -> Limits {
    let default = Limits::default();
    Limits {
        body_bytes: reader.or("WAYBILL_GATEWAY_BODY_LIMIT", bytes, || default.body_bytes),
        body: reader.or("WAYBILL_GATEWAY_BODY_SECONDS", seconds, || default.body),
        append: reader.or("WAYBILL_GATEWAY_APPEND_SECONDS", seconds, || default.append),
        drain: reader.or("WAYBILL_GATEWAY_DRAIN_SECONDS", seconds, || default.drain),
    }
}

fn address(text: &str) -> Result<SocketAddr, &'static str> {
    text.parse().map_err(|_| "an address and port, such as 127.0.0.1:8484")
}

fn bytes(text: &str) -> Result<usize, &'static str> {
    text.parse().ok().filter(|bytes| *bytes >= 1024).ok_or("a number of bytes, at least 1024")
}

fn seconds(text: &str) -> Result<Duration, &'static str> {
    let seconds: Option<u64> = text.parse().ok().filter(|seconds| (1..=600).contains(seconds));
    seconds.map(Duration::from_secs).ok_or("a number of seconds from 1 to 600")
}
