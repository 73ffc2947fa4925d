//! What the gateway is told at start.

use std::{fmt::Display, net::SocketAddr, time::Duration};

use waybill_domain::credentials::Secret;
use waybill_platform::{
    config::{ConfigError, Reader, Settings, is_loopback},
    log::NatsConfig,
    sealing::HashKey,
};

use crate::{tls::TlsFiles, tokens::Tokens};

/// The gateway's configuration.
#[derive(Debug)]
pub struct GatewayConfig {
    /// The log.
    pub nats: NatsConfig,
    /// Where HTTP is served (`WAYBILL_GATEWAY_LISTEN`), `host:port`: an address of this machine, or a name of it.
    pub listen: String,
    /// Certificate and key of the address (`WAYBILL_GATEWAY_TLS_CERT`, `WAYBILL_GATEWAY_TLS_KEY`), read again when they change.
    /// None on loopback, and with `WAYBILL_GATEWAY_TLS=off` for whoever ends TLS before the gateway.
    pub tls: Option<TlsFiles>,
    /// Whose bearer tokens are accepted (file `WAYBILL_GATEWAY_TOKENS_FILE`).
    pub tokens: Tokens,
    /// Key of account hashes and of the vault's MACs (file `WAYBILL_GATEWAY_HASH_KEY_FILE`). All gateways of a log share it.
    pub hash_key: HashKey,
    /// Whether builds may have their credentials tried at the registry (`WAYBILL_GATEWAY_VERIFY`): the gateway then speaks to
    /// hosts that its clients choose.
    pub verify: bool,
    /// Where traces can be looked at, for the console's links (`WAYBILL_JAEGER_URL`).
    pub traces: Option<String>,
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
        let listen = reader.or("WAYBILL_GATEWAY_LISTEN", address, || "127.0.0.1:8484".to_owned());
        let tokens = reader.secret_file("WAYBILL_GATEWAY_TOKENS_FILE");
        let hash_key = reader.secret_file("WAYBILL_GATEWAY_HASH_KEY_FILE");
        let tls = tls_files(&mut reader, &listen);
        let verify = reader.or("WAYBILL_GATEWAY_VERIFY", on_or_off, || false);
        let traces = reader.optional("WAYBILL_JAEGER_URL", trace_pages);
        let limits = limits(&mut reader);
        let tokens = in_file(&mut reader, "WAYBILL_GATEWAY_TOKENS_FILE", &tokens, |text| text.expose().parse());
        let hash_key = in_file(&mut reader, "WAYBILL_GATEWAY_HASH_KEY_FILE", &hash_key, HashKey::from_hex);
        reader.finish()?;
        match (tokens, hash_key) {
            (Some(tokens), Some(hash_key)) => Ok(Self { nats, listen, tls, tokens, hash_key, verify, traces, limits }),
            _ => Err(ConfigError { problems: vec![EMPTY_FILE.to_owned()] }),
        }
    }
}

/// What is in a file that was read, or a problem. An empty text stands for a file that could not be read, which was noted.
fn in_file<T, E: Display>(
    reader: &mut Reader<'_>,
    key: &str,
    text: &Secret,
    parse: impl FnOnce(&Secret) -> Result<T, E>,
) -> Option<T> {
    if text.is_empty() {
        return None;
    }
    parse(text).map_err(|error| reader.problem(format!("{key}: {error}"))).ok()
}

const EMPTY_FILE: &str = "WAYBILL_GATEWAY_TOKENS_FILE or WAYBILL_GATEWAY_HASH_KEY_FILE is an empty file; \
                          `waybill init` writes both";

/// Tokens and credentials go in the clear nowhere but where somebody said so.
fn tls_files(reader: &mut Reader<'_>, listen: &str) -> Option<TlsFiles> {
    let wanted = reader.or("WAYBILL_GATEWAY_TLS", on_or_off, || true);
    let files = (reader.path("WAYBILL_GATEWAY_TLS_CERT"), reader.path("WAYBILL_GATEWAY_TLS_KEY"));
    match files {
        (Some(certificate), Some(key)) if wanted => {
            let files = TlsFiles { certificate, key };
            if let Err(problem) = files.read() {
                reader.problem(problem);
            }
            Some(files)
        }
        (None, None) if wanted && !listen.rsplit_once(':').is_some_and(|(host, _)| is_loopback(host)) => {
            reader.problem(
                "WAYBILL_GATEWAY_TLS_CERT is missing: beyond loopback the gateway speaks TLS; set it and \
                 WAYBILL_GATEWAY_TLS_KEY, or WAYBILL_GATEWAY_TLS=off where something before the gateway ends TLS"
                    .to_owned(),
            );
            None
        }
        (Some(_), None) => {
            reader.problem("WAYBILL_GATEWAY_TLS_KEY is missing beside WAYBILL_GATEWAY_TLS_CERT".to_owned());
            None
        }
        (None, Some(_)) => {
            reader.problem("WAYBILL_GATEWAY_TLS_CERT is missing beside WAYBILL_GATEWAY_TLS_KEY".to_owned());
            None
        }
        _ => None,
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

/// Address of Jaeger's pages, without a slash at its end.
///
/// # Errors
/// What it should be.
pub fn trace_pages(text: &str) -> Result<String, &'static str> {
    let valid = text.starts_with("http://") || text.starts_with("https://");
    if valid { Ok(text.trim_end_matches('/').to_owned()) } else { Err("an http:// or https:// address") }
}

fn on_or_off(text: &str) -> Result<bool, &'static str> {
    match text {
        "on" => Ok(true),
        "off" => Ok(false),
        _ => Err("on or off"),
    }
}

/// A name is looked up when the gateway begins to listen.
fn address(text: &str) -> Result<String, &'static str> {
    let is_name = |name: &str| {
        let is_label =
            |label: &str| !label.is_empty() && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
        // Digits alone would be a broken address.
        name.split('.').all(is_label) && name.bytes().any(|byte| byte.is_ascii_alphabetic())
    };
    let named = text.rsplit_once(':').is_some_and(|(name, port)| is_name(name) && port.parse::<u16>().is_ok());
    let is_good = named || text.parse::<SocketAddr>().is_ok();
    is_good.then(|| text.to_owned()).ok_or("an address or host name, and a port, such as 127.0.0.1:8484")
}

fn bytes(text: &str) -> Result<usize, &'static str> {
    text.parse().ok().filter(|bytes| (1024..=1 << 20).contains(bytes)).ok_or("a number of bytes from 1024 to 1048576")
}

fn seconds(text: &str) -> Result<Duration, &'static str> {
    let seconds: Option<u64> = text.parse().ok().filter(|seconds| (1..=600).contains(seconds));
    seconds.map(Duration::from_secs).ok_or("a number of seconds from 1 to 600")
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt as _, path::Path};

    use super::*;
    use crate::tokens;

    fn write(home: &Path, name: &str, text: &str) {
        let path = home.join(name);
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    }

    fn files(home: &Path) {
        write(home, "tokens", &format!("acme {}\n", tokens::hash("t")));
        write(home, "hash", HashKey::generate().unwrap().expose());
        write(home, "creds", &waybill_platform::testing::credentials_text());
    }

    fn pairs() -> Vec<(&'static str, String)> {
        let pairs = [
            ("WAYBILL_NATS_URL", "nats://127.0.0.1:4222"),
            ("WAYBILL_NATS_CREDS_FILE", "creds"),
            ("WAYBILL_GATEWAY_TOKENS_FILE", "tokens"),
            ("WAYBILL_GATEWAY_HASH_KEY_FILE", "hash"),
        ];
        pairs.map(|(key, value)| (key, value.to_owned())).to_vec()
    }

    fn read(home: &Path, pairs: &[(&'static str, String)]) -> Result<GatewayConfig, ConfigError> {
        GatewayConfig::read(&Settings::from_pairs(home, pairs.iter().map(|(key, value)| (*key, value.as_str()))))
    }

    #[test]
    fn what_is_not_told_has_a_default() {
        let home = tempfile::tempdir().unwrap();
        files(home.path());
        let config = read(home.path(), &pairs()).unwrap();
        assert_eq!(config.listen, "127.0.0.1:8484");
        assert_eq!((config.limits.body_bytes, config.limits.append), (256 * 1024, Duration::from_secs(5)));
        assert_eq!(config.tokens.holder("t").unwrap().actor(), "token/acme");
    }

    #[test]
    fn each_problem_is_told_once() {
        let home = tempfile::tempdir().unwrap();
        files(home.path());
        let good = pairs();
        write(home.path(), "bad", "canary-not-a-key");
        write(home.path(), "empty", "\n");
        let cases = [
            ("WAYBILL_GATEWAY_TOKENS_FILE", "", "WAYBILL_GATEWAY_TOKENS_FILE is missing"),
            ("WAYBILL_GATEWAY_TOKENS_FILE", "bad", "line 1 is not"),
            ("WAYBILL_GATEWAY_TOKENS_FILE", "empty", "is an empty file"),
            ("WAYBILL_GATEWAY_HASH_KEY_FILE", "gone", "cannot be read"),
            ("WAYBILL_GATEWAY_HASH_KEY_FILE", "bad", "not a key for hashes"),
            ("WAYBILL_GATEWAY_LISTEN", "8484", "an address or host name, and a port"),
            ("WAYBILL_GATEWAY_LISTEN", "256.0.0.1:8484", "an address or host name, and a port"),
            ("WAYBILL_GATEWAY_LISTEN", "gateway.example.com", "an address or host name, and a port"),
            ("WAYBILL_GATEWAY_LISTEN", "a gateway:8484", "an address or host name, and a port"),
            ("WAYBILL_GATEWAY_LISTEN", "0.0.0.0:8484", "WAYBILL_GATEWAY_TLS=off"),
            ("WAYBILL_GATEWAY_LISTEN", "gateway.example.com:8484", "WAYBILL_GATEWAY_TLS=off"),
            ("WAYBILL_GATEWAY_TLS_CERT", "bad", "WAYBILL_GATEWAY_TLS_KEY is missing"),
            ("WAYBILL_GATEWAY_TLS_KEY", "bad", "WAYBILL_GATEWAY_TLS_CERT is missing"),
            ("WAYBILL_GATEWAY_BODY_LIMIT", "1", "a number of bytes"),
            ("WAYBILL_GATEWAY_APPEND_SECONDS", "0", "a number of seconds"),
            ("WAYBILL_JAEGER_URL", "jaeger:16686", "an http:// or https:// address"),
        ];
        for (key, value, expected) in cases {
            let mut pairs = good.clone();
            pairs.retain(|(known, _)| *known != key);
            pairs.push((key, value.to_owned()));
            let problems = read(home.path(), &pairs).unwrap_err().problems;
            assert_eq!(problems.len(), 1, "{key}={value}: {problems:?}");
            assert!(problems[0].contains(expected) && !problems[0].contains("canary"), "{key}={value}: {problems:?}");
        }
    }
}
