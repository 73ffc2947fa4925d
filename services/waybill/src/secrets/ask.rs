//! One question to the gateway, with the workspace's token.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use reqwest::{Method, StatusCode, Url, redirect::Policy};
use serde_json::Value;
use waybill_domain::credentials::Secret;
use waybill_platform::{
    chain,
    config::{Settings, read_private},
};
use waybill_schemas::{SecretName, WorkspaceId};

use crate::Failure;

/// How long the gateway may take. It answers when the log has the event, which may wait for room there.
const LIMIT: Duration = Duration::from_secs(30);

/// Where the gateway is asked, and for whom.
#[derive(Debug)]
pub(super) struct Gateway {
    base: Url,
    workspace: WorkspaceId,
    token: Secret,
    /// Who vouches for the gateway's certificate, where it is no public authority (`WAYBILL_GATEWAY_CA_FILE`).
    authority: Option<PathBuf>,
}

/// What is asked of it.
#[derive(Debug)]
pub(super) struct Request {
    pub(super) method: Method,
    /// The secret; none for all of the workspace.
    pub(super) name: Option<SecretName>,
    /// What is done to it, below its address.
    pub(super) verb: Option<&'static str>,
    pub(super) body: Option<Value>,
}

/// What it answered.
#[derive(Debug)]
pub(super) struct Answer {
    /// False where it refused.
    pub(super) is_good: bool,
    pub(super) body: Value,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
enum AskError {
    #[error(
        "no token of workspace {workspace} can be used: {problem}; make one (`waybill init --workspace {workspace}`), or \
         name its file in WAYBILL_GATEWAY_TOKEN_FILE"
    )]
    Token { workspace: WorkspaceId, problem: String },
    #[error(
        "the gateway at {base} does not answer: {reason}; start it (`waybill gateway`), or correct WAYBILL_GATEWAY_URL in \
         operator.env. Whether it did what was asked is unknown: look (`waybill secrets show`), and ask again with \
         --if-version"
    )]
    Silent { base: Url, reason: String },
    #[error("what answers at {base} is no gateway (status {status}); correct WAYBILL_GATEWAY_URL in operator.env")]
    Foreign { base: Url, status: StatusCode },
}

impl Gateway {
    /// Reads the operator's settings and the workspace's token.
    pub(super) fn read(home: &Path, settings: &Settings, workspace: WorkspaceId) -> Result<Self, Failure> {
        let mut reader = settings.reader();
        let base: Option<Url> = reader.needed("WAYBILL_GATEWAY_URL", |text| {
            let url: Option<Url> = text.parse().ok();
            url.filter(|url| !url.cannot_be_a_base()).ok_or("the gateway's address, such as http://127.0.0.1:8484")
        });
        let file = reader.path("WAYBILL_GATEWAY_TOKEN_FILE");
        let authority = reader.readable_path("WAYBILL_GATEWAY_CA_FILE");
        reader.finish()?;
        let Some(base) = base else { return Err("WAYBILL_GATEWAY_URL is missing".into()) };
        let file = file.unwrap_or_else(|| home.join(format!("tokens/{workspace}.token")));
        let token = read_private(&file).map_err(|problem| AskError::Token { workspace: workspace.clone(), problem })?;
        Ok(Self { base, workspace, token, authority })
    }

    /// Asks, and waits for the answer.
    pub(super) fn ask(&self, request: &Request) -> Result<Answer, Failure> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(async {
            let mut client = reqwest::Client::builder().redirect(Policy::none()).timeout(LIMIT);
            if let Some(file) = &self.authority {
                client = client.tls_certs_only([reqwest::Certificate::from_pem(&std::fs::read(file)?)?]);
            }
            let client = client.build()?;
            let mut asked =
                client.request(request.method.clone(), self.address(request)).bearer_auth(self.token.expose());
            if let Some(body) = &request.body {
                asked = asked.json(body);
            }
            let answer = asked.send().await.map_err(|error| self.silent(error))?;
            let status = answer.status();
            let text = answer.bytes().await.map_err(|error| self.silent(error))?;
            let body: Option<Value> = serde_json::from_slice(&text).ok();
            let body = body.filter(|body| body.is_object() || body.is_array());
            let body = body.ok_or_else(|| AskError::Foreign { base: self.base.clone(), status })?;
            Ok(Answer { is_good: status.is_success(), body })
        })
    }

    fn address(&self, Request { name, verb, .. }: &Request) -> Url {
        let mut address = self.base.clone();
        if let Ok(mut path) = address.path_segments_mut() {
            path.pop_if_empty().extend(["v1", "secrets", self.workspace.as_str()]);
            path.extend(name.as_ref().map(SecretName::as_str)).extend(*verb);
        }
        address
    }

    fn silent(&self, error: reqwest::Error) -> AskError {
        let reason = if error.is_timeout() { "no answer in time".to_owned() } else { chain(&error.without_url()) };
        AskError::Silent { base: self.base.clone(), reason }
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt as _};

    use super::*;

    const CANARY: &str = "wb_canary-5up3r-s3cr3t";

    fn gateway(base: &str) -> Gateway {
        let (base, workspace) = (base.parse().unwrap(), "acme".parse().unwrap());
        Gateway { base, workspace, token: Secret::from(CANARY.to_owned()), authority: None }
    }

    fn request(name: Option<&str>, verb: Option<&'static str>) -> Request {
        Request { method: Method::GET, name: name.map(|name| name.parse().unwrap()), verb, body: None }
    }

    #[test]
    fn a_secret_has_an_address() {
        let cases = [
            ("http://h:1", None, None, "http://h:1/v1/secrets/acme"),
            ("http://h:1/", Some("a.b"), None, "http://h:1/v1/secrets/acme/a.b"),
            ("https://h/waybill/", Some("s"), Some("rotate"), "https://h/waybill/v1/secrets/acme/s/rotate"),
        ];
        for (base, name, verb, expected) in cases {
            assert_eq!(gateway(base).address(&request(name, verb)).as_str(), expected);
        }
    }

    #[test]
    fn a_gateway_that_is_away_is_named_with_a_remedy() {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let error = gateway(&format!("http://{free}")).ask(&request(None, None)).unwrap_err().to_string();
        assert!(error.contains(&free.to_string()) && error.contains("waybill gateway"), "{error}");
        assert!(!error.contains(CANARY), "{error}");
    }

    #[test]
    fn a_token_that_others_read_is_refused() {
        let home = tempfile::tempdir().unwrap();
        let settings = Settings::from_pairs(home.path(), [("WAYBILL_GATEWAY_URL", "http://h")]);
        let file = home.path().join("tokens/acme.token");
        fs::create_dir(home.path().join("tokens")).unwrap();
        fs::write(&file, CANARY).unwrap();
        for (mode, is_good) in [(0o600, true), (0o644, false)] {
            fs::set_permissions(&file, fs::Permissions::from_mode(mode)).unwrap();
            let read = Gateway::read(home.path(), &settings, "acme".parse().unwrap());
            assert_eq!(read.is_ok(), is_good);
            let text = read.map_or_else(|error| error.to_string(), |gateway| format!("{gateway:?}"));
            assert!(!text.contains(CANARY), "{text}");
            assert_eq!(text.contains("waybill init --workspace acme"), !is_good, "{text}");
        }
    }
}
