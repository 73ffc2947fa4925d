//! One question to the gateway, with the workspace's token or the operator's.

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
use waybill_schemas::WorkspaceId;

use crate::Failure;

/// How long the gateway may take. It answers when the log has the event, which may wait for room there.
const LIMIT: Duration = Duration::from_secs(30);

/// Most of one page, as the gateway has it.
const PAGE: usize = 1000;

/// Where the gateway is asked, and for whom.
#[derive(Debug)]
pub(crate) struct Gateway {
    base: Url,
    token: Secret,
    /// Who vouches for the gateway's certificate, where it is no public authority (`WAYBILL_GATEWAY_CA_FILE`).
    authority: Option<PathBuf>,
}

/// What is asked of it.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    pub(crate) method: Method,
    /// Path below `/v1`.
    pub(crate) path: Vec<String>,
    pub(crate) query: Vec<(&'static str, String)>,
    pub(crate) body: Option<Value>,
}

/// What it answered.
#[derive(Debug)]
pub(crate) struct Answer {
    /// False where it refused.
    pub(crate) is_good: bool,
    pub(crate) body: Value,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
enum AskError {
    #[error(
        "no token of workspace {workspace} can be used: {problem}; make one (`waybill init --workspace {workspace}`), or \
         name its file in WAYBILL_GATEWAY_TOKEN_FILE"
    )]
    Token { workspace: WorkspaceId, problem: String },
    #[error("the operator's token cannot be used: {0}; `waybill init` writes it to operator.token")]
    OperatorToken(String),
    #[error(
        "the gateway at {base} does not answer: {reason}; start it (`waybill gateway`), or correct WAYBILL_GATEWAY_URL in \
         operator.env. Whether it did what was asked is unknown: look \
         (`waybill secrets show`) before you ask again"
    )]
    Silent { base: Url, reason: String },
    #[error("what answers at {base} is no gateway (status {status}); correct WAYBILL_GATEWAY_URL in operator.env")]
    Foreign { base: Url, status: StatusCode },
}

impl Gateway {
    /// Reads the operator's settings and the workspace's token.
    pub(crate) fn read(home: &Path, settings: &Settings, workspace: WorkspaceId) -> Result<Self, Failure> {
        let token = home.join(format!("tokens/{workspace}.token"));
        Self::read_with(settings, &token, Some(workspace))
    }

    /// Reads the operator's settings and token, which opens every workspace.
    pub(crate) fn read_as_operator(home: &Path, settings: &Settings) -> Result<Self, Failure> {
        Self::read_with(settings, &home.join("operator.token"), None)
    }

    fn read_with(settings: &Settings, token: &Path, workspace: Option<WorkspaceId>) -> Result<Self, Failure> {
        let mut reader = settings.reader();
        let base: Option<Url> = reader.needed("WAYBILL_GATEWAY_URL", |text| {
            let url: Option<Url> = text.parse().ok();
            url.filter(|url| !url.cannot_be_a_base()).ok_or("the gateway's address, such as http://127.0.0.1:8484")
        });
        let file = reader.path("WAYBILL_GATEWAY_TOKEN_FILE");
        let authority = reader.readable_path("WAYBILL_GATEWAY_CA_FILE");
        reader.finish()?;
        let Some(base) = base else { return Err("WAYBILL_GATEWAY_URL is missing".into()) };
        let file = file.unwrap_or_else(|| token.to_owned());
        let token = read_private(&file).map_err(|problem| match workspace {
            Some(workspace) => AskError::Token { workspace, problem },
            None => AskError::OperatorToken(problem),
        })?;
        Ok(Self { base, token, authority })
    }

    /// Asks, and waits for the answer.
    pub(crate) fn ask(&self, request: &Request) -> Result<Answer, Failure> {
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

    fn address(&self, Request { path, query, .. }: &Request) -> Url {
        let mut address = self.base.clone();
        if let Ok(mut segments) = address.path_segments_mut() {
            segments.pop_if_empty().push("v1").extend(path);
        }
        if !query.is_empty() {
            address.query_pairs_mut().extend_pairs(query);
        }
        address
    }

    /// Asks for a list page by page, until it has no more or `most` are read. The last answer has all of them, and `next` where
    /// there are more.
    pub(crate) fn ask_all(
        &self,
        request: &Request,
        list: &str,
        cursor: &'static str,
        most: usize,
    ) -> Result<Answer, Failure> {
        let (mut listed, mut next) = (Vec::new(), None);
        loop {
            let left = most.saturating_sub(listed.len()).clamp(1, PAGE);
            let mut page = request.clone();
            page.query.push(("limit", left.to_string()));
            page.query.extend(next.take().map(|next| (cursor, next)));
            let mut answer = self.ask(&page)?;
            let Some(found) = answer.body.get_mut(list).and_then(Value::as_array_mut) else { return Ok(answer) };
            listed.append(found);
            next = answer.body.get("next").map(crate::text::plain);
            if next.is_none() || listed.len() >= most {
                if let Some(all) = answer.body.get_mut(list) {
                    *all = Value::Array(listed);
                }
                return Ok(answer);
            }
        }
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
        Gateway { base: base.parse().unwrap(), token: Secret::from(CANARY.to_owned()), authority: None }
    }

    fn request(path: &[&str], query: &[(&'static str, &str)]) -> Request {
        let path = path.iter().map(ToString::to_string).collect();
        let query = query.iter().map(|(name, value)| (*name, value.to_string())).collect();
        Request { method: Method::GET, path, query, body: None }
    }

    #[test]
    fn a_question_has_an_address() {
        type Row = (&'static str, &'static [&'static str], &'static [(&'static str, &'static str)], &'static str);
        let cases: [Row; 3] = [
            ("http://h:1", &["secrets", "acme"], &[], "http://h:1/v1/secrets/acme"),
            ("http://h:1/", &["secrets", "acme", "a.b"], &[], "http://h:1/v1/secrets/acme/a.b"),
            ("https://h/waybill/", &["containers"], &[("state", "a b")], "https://h/waybill/v1/containers?state=a+b"),
        ];
        for (base, path, query, expected) in cases {
            assert_eq!(gateway(base).address(&request(path, query)).as_str(), expected);
        }
    }

    #[test]
    fn a_gateway_that_is_away_is_named_with_a_remedy() {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let error =
            gateway(&format!("http://{free}")).ask(&request(&["secrets", "acme"], &[])).unwrap_err().to_string();
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
