//! A builder and an orchestrator in one that never gives up, and remembers what it was told.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use super::{
    WORKERS, WORKSPACE, World,
    fault::{Active, Kind},
    random::Random,
};
use crate::stack::Service;

const ANSWER_LIMIT: Duration = Duration::from_secs(5);
const PAUSE: Duration = Duration::from_millis(50);
/// Images that all containers share.
const IMAGES: u64 = 4;

/// An answer that said that the log has an event.
#[derive(Debug, Clone)]
pub(super) struct Acknowledged {
    pub(super) sequence: u64,
    /// Name of the event at that place.
    pub(super) event: &'static str,
    /// A field of it, and its value.
    pub(super) field: (&'static str, String),
}

/// A container that was requested.
#[derive(Debug, Clone)]
pub(super) struct Container {
    pub(super) worker: &'static str,
    pub(super) placement: u64,
    /// Its login was taken away: it ended, or its secret was revoked.
    pub(super) withdrawn: bool,
}

/// The client, and all that it knows.
#[derive(Debug)]
pub(super) struct Client {
    http: reqwest::Client,
    gateways: [String; 2],
    token: String,
    reference: String,
    registry: String,
    credentials: Value,
    random: Random,
    active: Active,
    next: u64,
    images: BTreeSet<u64>,
    pub(super) acknowledged: Vec<Acknowledged>,
    pub(super) containers: BTreeMap<String, Container>,
    /// Requests for each container, the one that was under way at the end included.
    pub(super) requests: BTreeMap<String, usize>,
    /// The longest time that one write took, by the fault that was under way.
    pub(super) waits: BTreeMap<Option<Kind>, Duration>,
    pub(super) refusals: Vec<String>,
}

impl Client {
    pub(super) fn new(world: &World, seed: u64) -> Self {
        let credentials = json!({ "USERNAME": world.login.user(), "PASSWORD": world.login.password() });
        Self {
            http: reqwest::Client::builder().no_proxy().timeout(ANSWER_LIMIT).build().expect("an HTTP client"),
            gateways: [Service::Gateway, Service::SecondGateway].map(|service| world.stack.url_of(&service)),
            token: world.stack.token(WORKSPACE),
            reference: world.serve(),
            registry: world.registry.host(),
            credentials,
            random: Random::new(seed ^ 0xc11e),
            active: world.active.clone(),
            next: 0,
            images: BTreeSet::new(),
            acknowledged: Vec::new(),
            containers: BTreeMap::new(),
            requests: BTreeMap::new(),
            waits: BTreeMap::new(),
            refusals: Vec::new(),
        }
    }

    /// Works until it is told to stop; the operation under way is finished first.
    pub(super) async fn work(mut self, stop: Arc<AtomicBool>) -> Self {
        while !stop.load(Ordering::SeqCst) {
            match self.random.below(10) {
                0 => self.rotate().await,
                1 => self.end_one().await,
                2 => self.revoke_story().await,
                3 => self.move_one().await,
                _ => {
                    let image = self.random.below(IMAGES);
                    let container = self.new_name("c");
                    self.request(&container, image).await;
                }
            }
            sleep(PAUSE).await;
        }
        self
    }

    fn new_name(&mut self, kind: &str) -> String {
        self.next += 1;
        format!("{kind}-{}", self.next)
    }

    /// A secret and an image that uses it, once.
    async fn image(&mut self, number: u64) -> String {
        let (image, secret) = (format!("img-{number}"), format!("s-{number}"));
        if self.images.insert(number) {
            self.save(&secret, &image).await;
        }
        image
    }

    async fn save(&mut self, secret: &str, image: &str) {
        let body = json!({ "registry": self.registry, "credentials": self.credentials });
        self.write(Method::PUT, &format!("/v1/secrets/{WORKSPACE}/{secret}"), body).await;
        let body = json!({
            "workspace": WORKSPACE, "image_id": image, "existing_image_uri": self.reference,
            "existing_image_secret": secret,
        });
        let built = self.write(Method::POST, "/v1/builds", body).await;
        self.remember(&built, "ImageSecretNamed", ("image_id", image));
    }

    async fn request(&mut self, container: &str, image: u64) {
        let image = self.image(image).await;
        self.place(container, &image).await;
    }

    async fn place(&mut self, container: &str, image: &str) {
        let worker = *self.random.choose(&WORKERS);
        *self.requests.entry(container.to_owned()).or_default() += 1;
        let body = json!({
            "workspace": WORKSPACE, "container_id": container, "image_id": image, "worker_id": worker,
        });
        let answer = self.write(Method::POST, "/v1/containers", body).await;
        self.remember(&answer, "ContainerRequested", ("container_id", container));
        let placement = answer["placement"].as_u64().unwrap_or_default();
        let known = Container { worker, placement, withdrawn: false };
        self.containers.insert(container.to_owned(), known);
    }

    /// Another worker gets a container that runs.
    async fn move_one(&mut self) {
        let Some(container) = self.pick_running() else { return };
        let image = self.random.below(IMAGES);
        self.request(&container, image).await;
    }

    async fn end_one(&mut self) {
        let Some(container) = self.pick_running() else { return };
        let placement = self.containers[&container].placement;
        let body = json!({ "workspace": WORKSPACE, "container_id": container, "placement": placement });
        let answer = self.write(Method::POST, "/v1/containers/ended", body).await;
        self.remember(&answer, "ContainerEnded", ("container_id", &container));
        self.withdraw(&container);
    }

    async fn rotate(&mut self) {
        let number = self.random.below(IMAGES);
        self.image(number).await;
        let mut credentials = self.credentials.clone();
        // Another account each time; the registry knows one of them only, which changes no decision.
        credentials["USERNAME"] = self.new_name("user").into();
        for credentials in [credentials, self.credentials.clone()] {
            let path = format!("/v1/secrets/{WORKSPACE}/s-{number}");
            let body = json!({ "registry": self.registry, "credentials": credentials });
            let answer = self.write(Method::PUT, &path, body).await;
            if answer["sequence"].is_null() {
                self.refusals.push(format!("{path} was not replaced: {answer}"));
            }
        }
    }

    /// A secret of its own, a container that uses it, and the end of the secret.
    async fn revoke_story(&mut self) {
        let secret = self.new_name("r");
        let (image, container) = (format!("img-{secret}"), format!("c-{secret}"));
        self.save(&secret, &image).await;
        self.place(&container, &image).await;
        let path = format!("/v1/secrets/{WORKSPACE}/{secret}/revoke");
        let answer = self.write(Method::POST, &path, json!({})).await;
        self.remember(&answer, "CredentialSecretRevoked", ("secret_name", &secret));
        self.withdraw(&container);
    }

    fn pick_running(&mut self) -> Option<String> {
        // What was revoked is not moved: it would be decided anew.
        let running: Vec<&String> = self
            .containers
            .iter()
            .filter(|(name, known)| !known.withdrawn && !name.starts_with("c-r-"))
            .map(|(name, _)| name)
            .collect();
        if running.is_empty() {
            return None;
        }
        Some((*self.random.choose(&running)).clone())
    }

    fn withdraw(&mut self, container: &str) {
        if let Some(known) = self.containers.get_mut(container) {
            known.withdrawn = true;
        }
    }

    fn remember(&mut self, answer: &Value, event: &'static str, (field, value): (&'static str, &str)) {
        if let Some(sequence) = answer["sequence"].as_u64() {
            self.acknowledged.push(Acknowledged { sequence, event, field: (field, value.to_owned()) });
        }
    }

    /// Sends the same again, to one gateway and the other, until it is answered for good.
    async fn write(&mut self, method: Method, path: &str, body: Value) -> Value {
        let key = self.new_name("key");
        let began = Instant::now();
        let mut gateway = usize::try_from(self.random.below(2)).unwrap_or_default();
        let mut tries = 0_u32;
        loop {
            let url = format!("{}{path}", self.gateways[gateway]);
            let request = self.http.request(method.clone(), url).bearer_auth(&self.token).json(&body);
            let sent = request.header("Idempotency-Key", &key).send().await;
            tries += 1;
            if let Ok(answer) = sent {
                let status = answer.status();
                let body: Value = answer.json().await.unwrap_or(Value::Null);
                let is_final = status.is_client_error() && status != StatusCode::TOO_MANY_REQUESTS;
                if is_final {
                    self.refusals.push(format!("{method} {path}, try {tries}: {status} {body}"));
                }
                if status.is_success() || is_final {
                    self.note_wait(began);
                    return if status.is_success() { body } else { Value::Null };
                }
            }
            gateway = 1 - gateway;
            sleep(PAUSE).await;
        }
    }

    fn note_wait(&mut self, began: Instant) {
        let kind = *self.active.lock().expect("nobody panics");
        let longest = self.waits.entry(kind).or_default();
        *longest = began.elapsed().max(*longest);
    }
}
