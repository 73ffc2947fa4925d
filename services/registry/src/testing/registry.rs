//! A tiny registry whose every answer a test can choose, and which remembers what it was asked.

use std::sync::{Arc, Mutex};

use axum::{
    Router,
    body::Body,
    extract::{Request, State},
    response::Response,
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::json;

use super::{Image, PrivateCa, Server, digest_of};

/// A request, as the registry saw it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Asked {
    pub(crate) method: String,
    pub(crate) host: String,
    pub(crate) path: String,
    pub(crate) query: String,
    pub(crate) authorization: Option<String>,
    pub(crate) body: String,
}

/// Status, headers, body.
pub(crate) type Answer = (u16, Vec<(&'static str, String)>, Vec<u8>);

pub(crate) fn answer(status: u16, body: impl Into<Vec<u8>>) -> Answer {
    (status, Vec::new(), body.into())
}

/// An error as the OCI distribution specification has it.
pub(crate) fn envelope(status: u16, code: &str, message: &str) -> Answer {
    answer(status, json!({ "errors": [{ "code": code, "message": message }] }).to_string())
}

pub(crate) fn basic_header(user: &str, password: &str) -> String {
    format!("Basic {}", STANDARD.encode(format!("{user}:{password}")))
}

type Choose = dyn Fn(&Asked) -> Option<Answer> + Send + Sync;

struct Shared {
    image: Image,
    choose: Box<Choose>,
    asked: Mutex<Vec<Asked>>,
}

pub(crate) struct FakeRegistry {
    server: Server,
    shared: Arc<Shared>,
}

impl FakeRegistry {
    /// Serves the image as `team/app:1`, but for the requests that `choose` answers. A 599 is never answered.
    pub(crate) async fn start(image: Image, choose: impl Fn(&Asked) -> Option<Answer> + Send + Sync + 'static) -> Self {
        let shared = Arc::new(Shared { image, choose: Box::new(choose), asked: Mutex::default() });
        let server = Server::start(routes(&shared)).await;
        Self { server, shared }
    }

    /// The same over TLS.
    pub(crate) async fn start_tls(
        ca: &PrivateCa,
        choose: impl Fn(&Asked) -> Option<Answer> + Send + Sync + 'static,
    ) -> Self {
        let shared = Arc::new(Shared { image: Image::new(), choose: Box::new(choose), asked: Mutex::default() });
        let server = Server::start_tls(ca, routes(&shared)).await;
        Self { server, shared }
    }

    /// One that wants a user and a password.
    pub(crate) async fn basic(image: Image, user: &str, password: &str) -> Self {
        let expected = basic_header(user, password);
        Self::start(image, move |asked| {
            let challenge = vec![("www-authenticate", "Basic realm=\"here\"".to_owned())];
            (asked.authorization.as_ref() != Some(&expected)).then(|| (401, challenge, Vec::new()))
        })
        .await
    }

    pub(crate) fn host(&self) -> &str {
        self.server.host()
    }

    pub(crate) fn url(&self) -> String {
        self.server.url()
    }

    /// `host/team/app:1`.
    pub(crate) fn reference(&self) -> String {
        format!("{}/team/app:1", self.host())
    }

    pub(crate) fn asked(&self) -> Vec<Asked> {
        self.shared.asked.lock().unwrap().clone()
    }
}

fn routes(shared: &Arc<Shared>) -> Router {
    Router::new().fallback(handle).with_state(shared.clone())
}

async fn handle(State(shared): State<Arc<Shared>>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let header = parts.headers.get("authorization");
    let body = axum::body::to_bytes(body, usize::MAX).await.unwrap();
    let asked = Asked {
        method: parts.method.to_string(),
        host: parts.headers["host"].to_str().unwrap().to_owned(),
        path: parts.uri.path().to_owned(),
        query: parts.uri.query().unwrap_or_default().to_owned(),
        authorization: header.map(|value| value.to_str().unwrap().to_owned()),
        body: String::from_utf8(body.to_vec()).unwrap(),
    };
    shared.asked.lock().unwrap().push(asked.clone());
    let (status, headers, body) = (shared.choose)(&asked).unwrap_or_else(|| shared.image.answer(&asked.path));
    if status == 599 {
        std::future::pending::<()>().await;
    }
    let mut response = Response::builder().status(status);
    for (name, value) in headers {
        response = response.header(name, value);
    }
    response.body(Body::from(body)).unwrap()
}

impl Image {
    /// What it serves at a path.
    pub(crate) fn answer(&self, path: &str) -> Answer {
        let manifest = |body: &[u8]| (200, vec![("docker-content-digest", digest_of(body))], body.to_vec());
        let below = |kind: &str| path.strip_prefix("/v2/team/app/")?.strip_prefix(kind);
        if path == "/v2/" {
            return answer(200, "{}");
        }
        match (below("manifests/"), below("blobs/")) {
            (Some(name), _) if name == "1" || name == self.digest() => manifest(self.top()),
            (Some(name), _) if name == digest_of(&self.manifest) => manifest(&self.manifest),
            (_, Some(digest)) if self.blobs.contains_key(digest) => answer(200, self.blobs[digest].clone()),
            _ => envelope(404, "MANIFEST_UNKNOWN", "no such thing"),
        }
    }
}
