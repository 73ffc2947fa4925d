//! The stack's HTTP client: a builder and an orchestrator in one.

use reqwest::{
    Method, StatusCode,
    header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue},
};
use serde_json::{Value, json};

use super::{Service, Stack};

/// What the gateway answered.
#[derive(Debug, Clone)]
pub struct Answer {
    /// HTTP status.
    pub status: StatusCode,
    /// Headers.
    pub headers: HeaderMap,
    /// The JSON body; null when it was none.
    pub body: Value,
}

impl Answer {
    /// A text field of the body; empty when there is none.
    pub fn text(&self, field: &str) -> &str {
        self.body[field].as_str().unwrap_or_default()
    }

    /// Number of the placement that a request made.
    pub fn placement(&self) -> u64 {
        self.body["placement"].as_u64().unwrap_or_else(|| panic!("no placement in {self:?}"))
    }

    /// The event's sequence.
    pub fn sequence(&self) -> u64 {
        self.body["sequence"].as_u64().unwrap_or_else(|| panic!("no sequence in {self:?}"))
    }
}

impl Stack {
    /// `http://127.0.0.1:<port>` of the gateway.
    pub fn gateway_url(&self) -> String {
        self.url_of(&Service::Gateway)
    }

    /// `http://127.0.0.1:<port>` of a service.
    pub fn url_of(&self, service: &Service) -> String {
        format!("http://{}", self.ports[service].host())
    }

    /// The bearer token of a workspace.
    pub fn token(&self, workspace: &str) -> String {
        let file = self.home.join(format!("tokens/{workspace}.token"));
        std::fs::read_to_string(file).expect("a token that init wrote")
    }

    /// Posts a body as it is, with the workspace's token and further headers; none if the gateway does not answer.
    pub async fn post_raw(
        &self,
        path: &str,
        token: &str,
        headers: &[(&str, &str)],
        body: impl Into<reqwest::Body>,
    ) -> Option<Answer> {
        let mut map = HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static("application/json"))]);
        for (name, value) in headers {
            let name = name.parse::<HeaderName>().expect("a header's name");
            map.insert(name, HeaderValue::from_str(value).expect("a header's value"));
        }
        let request = self.client.post(format!("{}{path}", self.gateway_url())).bearer_auth(token).headers(map);
        let answer = request.body(body).send().await.ok()?;
        let (status, headers) = (answer.status(), answer.headers().clone());
        let body = answer.json().await.unwrap_or(Value::Null);
        Some(Answer { status, headers, body })
    }

    /// What a service says of its readiness.
    pub async fn readiness(&self, service: &Service) -> Option<Answer> {
        let answer = self.client.get(self.health_url(service)).send().await.ok()?;
        let (status, headers) = (answer.status(), answer.headers().clone());
        Some(Answer { status, headers, body: answer.json().await.unwrap_or(Value::Null) })
    }

    /// Posts JSON for the workspace that it names.
    pub async fn post(&self, path: &str, body: &Value) -> Answer {
        let token = self.token(body["workspace"].as_str().expect("a workspace"));
        self.post_raw(path, &token, &[], body.to_string()).await.expect("the gateway answers")
    }

    /// Reports a build of an existing image.
    pub async fn build(&self, workspace: &str, image_id: &str, reference: &str, credentials: Value) -> Answer {
        let mut body = json!({ "workspace": workspace, "image_id": image_id, "existing_image_uri": reference });
        if !credentials.is_null() {
            body["existing_image_creds"] = credentials;
        }
        self.post("/v1/builds", &body).await
    }

    /// Sends a request without a body, or with one, in the name of a workspace.
    pub async fn send(&self, method: Method, workspace: &str, path: &str, body: Option<&Value>) -> Answer {
        let url = format!("{}{path}", self.gateway_url());
        let request = self.client.request(method, url).bearer_auth(self.token(workspace));
        let request = match body {
            Some(body) => request.json(body),
            None => request,
        };
        let answer = request.send().await.expect("the gateway answers");
        let (status, headers) = (answer.status(), answer.headers().clone());
        Answer { status, headers, body: answer.json().await.unwrap_or(Value::Null) }
    }

    /// Makes or replaces a secret.
    pub async fn put_secret(&self, workspace: &str, name: &str, body: &Value) -> Answer {
        self.send(Method::PUT, workspace, &format!("/v1/secrets/{workspace}/{name}"), Some(body)).await
    }

    /// `rotate`, `revoke` or `shred` of a secret.
    pub async fn change_secret(&self, workspace: &str, name: &str, verb: &str, body: &Value) -> Answer {
        self.send(Method::POST, workspace, &format!("/v1/secrets/{workspace}/{name}/{verb}"), Some(body)).await
    }

    /// Says that a placement has ended.
    pub async fn end(&self, workspace: &str, container_id: &str, placement: u64) -> Answer {
        let body = json!({ "workspace": workspace, "container_id": container_id, "placement": placement });
        self.post("/v1/containers/ended", &body).await
    }

    /// Requests a container.
    pub async fn container(&self, workspace: &str, container_id: &str, image_id: &str, worker_id: &str) -> Answer {
        let body = json!({
            "workspace": workspace, "container_id": container_id, "image_id": image_id, "worker_id": worker_id,
        });
        self.post("/v1/containers", &body).await
    }
}
