//! Gateways without a network, and what their tests ask of them.

use std::{iter, sync::Arc, time::Duration};

use axum::{
    Router,
    body::{Body, to_bytes},
    http::{HeaderMap, Request, StatusCode, header, request::Builder},
};
use serde_json::{Value, json};
use tokio::sync::Semaphore;
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tower::ServiceExt as _;
use waybill_domain::credentials::Secret;
use waybill_platform::{
    explain::{Explainer, Moment, Scope},
    health::HealthState,
    log::{Expect, Log as _, NewEvent},
    sealing::{HashKey, PrivateKey},
    testing::{Failure, MemoryLog, MemoryVault},
    vault::{Kept, Vault as _},
};
use waybill_schemas::{Envelope, EventType, RecordedEvent, Subject, Uuid, VaultFilter, v1::SchedulerKeyPublished};

use crate::{
    config::Limits,
    feed::{Advance, Feed, Reading},
    http::{App, router},
    port::Verifies,
    record::Recorder,
    refusals::Refusals,
    tokens::{self, Tokens},
};

/// Token of the workspace `acme`.
pub(super) const TOKEN: &str = "wb_acme_token";
/// Token of the workspace `other`.
pub(super) const OTHER_TOKEN: &str = "wb_other_token";

pub(super) struct Gateway {
    pub(super) log: MemoryLog,
    pub(super) vault: MemoryVault,
    pub(super) health: HealthState,
    pub(super) scheduler: Arc<PrivateKey>,
    pub(super) recorder: Recorder,
    pub(super) recordings: TaskTracker,
    pub(super) tokens: Tokens,
    pub(super) router: Router,
    feed: Arc<Feed>,
    reading: tokio::sync::Mutex<Reading>,
}

/// An answer, read to its end.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) text: String,
}

impl Answer {
    pub(super) fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error}: {}", self.text))
    }

    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }

    pub(super) fn replayed(&self) -> bool {
        self.header("idempotent-replayed") == Some("true")
    }

    /// Fails unless the answer is a problem with this status and code.
    pub(super) fn expect_problem(&self, status: u16, code: &str) -> Value {
        assert_eq!(self.status.as_u16(), status, "{}", self.text);
        assert_eq!(self.header("content-type"), Some("application/problem+json"), "{}", self.text);
        let problem = self.json();
        assert_eq!(problem["code"], code, "{problem}");
        assert_eq!(problem["type"], format!("urn:waybill:problem:{code}"));
        problem
    }
}

/// Long enough for a busy machine, short enough to wait for.
const SHORT: Duration = Duration::from_millis(300);
const LIMITS: Limits = Limits { body_bytes: 256 * 1024, body: SHORT, append: SHORT, drain: SHORT };

impl Gateway {
    /// One whose scheduler has published its key, at sequence 1.
    pub(super) async fn new() -> Self {
        Self::with(LIMITS, None).await
    }

    /// One that may ask registries.
    pub(super) async fn verifying(verifies: Arc<dyn Verifies>) -> Self {
        Self::with(LIMITS, Some(verifies)).await
    }

    pub(super) async fn with(limits: Limits, verifies: Option<Arc<dyn Verifies>>) -> Self {
        let gateway = Self::without_scheduler(limits, verifies);
        gateway.publish_scheduler_key().await;
        gateway
    }

    pub(super) fn without_scheduler(limits: Limits, verifies: Option<Arc<dyn Verifies>>) -> Self {
        let hash_key = HashKey::from_hex(&HashKey::generate().unwrap()).unwrap();
        let (log, vault) = (MemoryLog::new(), MemoryVault::default());
        let scheduler = Arc::new(PrivateKey::generate());
        Self::made(log, vault, Arc::new(hash_key), scheduler, limits, verifies)
    }

    /// Another gateway at the same log and vault.
    pub(super) fn sibling(&self) -> Self {
        let (hash_key, scheduler) = (self.recorder.hash_key.clone(), self.scheduler.clone());
        Self::made(self.log.clone(), self.vault.clone(), hash_key, scheduler, LIMITS, None)
    }

    fn made(
        log: MemoryLog,
        vault: MemoryVault,
        hash_key: Arc<HashKey>,
        scheduler: Arc<PrivateKey>,
        limits: Limits,
        verifies: Option<Arc<dyn Verifies>>,
    ) -> Self {
        let (recordings, health) = (TaskTracker::new(), HealthState::default());
        let recorder =
            Recorder { log: Arc::new(log.clone()), vault: Arc::new(vault.clone()), hash_key, limit: limits.append };
        let file = format!("acme {} ci\nother {}\n", tokens::hash(TOKEN), tokens::hash(OTHER_TOKEN));
        let tokens: Tokens = file.parse().unwrap();
        let feed = Arc::new(Feed::new(Arc::new(log.clone()), CancellationToken::new()));
        let app = App {
            feed: feed.clone(),
            streams: Arc::new(Semaphore::new(1)),
            recorder: recorder.clone(),
            explainer: Explainer { log: Arc::new(log.clone()), scope: Scope::OneWorkspace, moment: Moment::Now },
            verifies,
            tokens: tokens.clone(),
            issuer: None,
            limits,
            console: crate::console::Console::default(),
            refusals: Refusals::start(Arc::new(log.clone()), CancellationToken::new()),
            recordings: recordings.clone(),
        };
        let router = router(Arc::new(app), &health);
        Self { log, vault, health, scheduler, recorder, recordings, tokens, router, feed, reading: Default::default() }
    }

    /// Has the gateway read the log to its end.
    pub(super) async fn catch_up(&self) {
        let mut reading = self.reading.lock().await;
        while self.feed.advance(&mut reading).await.unwrap() == Advance::More {}
    }

    /// Number of streams that listen.
    pub(super) fn listeners(&self) -> usize {
        self.feed.listeners()
    }

    /// Messages that a listener has not taken yet.
    pub(super) fn unheard(&self) -> usize {
        self.feed.unheard()
    }

    /// Ends what would not end by itself.
    pub(super) fn stop(&self) {
        self.feed.stopping.cancel();
    }

    pub(super) async fn publish_scheduler_key(&self) {
        let sealing_key = self.scheduler.public().unwrap().text().clone();
        let event = SchedulerKeyPublished { sealing_key, earlier_keys: Vec::new() }.into();
        let envelope = Envelope::new(Uuid::new_v4(), "/waybill/scheduler");
        let new = NewEvent { subject: Subject::SchedulerKeys, envelope, event };
        self.log.append(&new, Expect::Anything, None).await.unwrap();
    }

    pub(super) async fn send(&self, request: Request<Body>) -> Answer {
        let response = self.router.clone().oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        let text = String::from_utf8(to_bytes(body, usize::MAX).await.unwrap().to_vec()).unwrap();
        Answer { status: parts.status, headers: parts.headers, text }
    }

    /// Asks as nobody.
    pub(super) async fn get(&self, path: &str) -> Answer {
        self.send(Request::get(path).body(Body::empty()).unwrap()).await
    }

    /// Asks as `acme`, with a body unless it is null.
    pub(super) async fn ask(&self, method: &str, path: &str, body: &Value) -> Answer {
        self.send(request(method, path).body(text(body)).unwrap()).await
    }

    /// As [`Self::ask`], with an idempotency key.
    pub(super) async fn ask_once(&self, method: &str, path: &str, key: &str, body: &Value) -> Answer {
        self.send(request(method, path).header("Idempotency-Key", key).body(text(body)).unwrap()).await
    }

    /// Posts a body as `acme`.
    pub(super) async fn post(&self, path: &str, body: &Value) -> Answer {
        self.ask("POST", path, body).await
    }

    /// Posts a body as `acme`, with an idempotency key.
    pub(super) async fn post_once(&self, path: &str, key: &str, body: &Value) -> Answer {
        self.ask_once("POST", path, key, body).await
    }

    /// Saves `user:password` for an image, and returns the answer.
    pub(super) async fn build(&self, image_id: &str, image: &str, credentials: Value) -> Value {
        let body =
            json!({"workspace": "acme", "image_id": image_id, "base_image": image, "base_image_creds": credentials});
        let answer = self.post("/v1/builds", &body).await;
        assert!(answer.status.is_success(), "{}", answer.text);
        answer.json()
    }

    /// Lets every publish fail in a way until the log recovers.
    pub(super) fn fail(&self, failure: &Failure) {
        self.log.fail(iter::repeat_n(failure.clone(), 10_000));
    }

    /// Events after the scheduler's key, in order, with their subjects.
    pub(super) fn events(&self) -> Vec<RecordedEvent> {
        let events = self.log.events().into_iter().map(|(_, event)| event);
        let recorded = |event: &RecordedEvent| event.event.event_type() != EventType::RequestRefused;
        events.filter(|event| event.subject != Subject::SchedulerKeys && recorded(event)).collect()
    }

    /// What was told of refused requests, once so many are.
    pub(super) async fn refusals(&self, least: usize) -> Vec<RecordedEvent> {
        loop {
            let events = self.log.events().into_iter().map(|(_, event)| event);
            let refused = events.filter(|event| event.event.event_type() == EventType::RequestRefused);
            let refused: Vec<_> = refused.collect();
            if refused.len() >= least {
                return refused;
            }
            tokio::task::yield_now().await;
        }
    }

    /// Names of the events' types, in order.
    pub(super) fn types(&self) -> Vec<&'static str> {
        self.events().iter().map(|event| event.event.event_type().as_str()).collect()
    }

    /// Everything in the vault.
    pub(super) async fn kept(&self) -> Vec<Kept> {
        let mut kept = Vec::new();
        for key in self.vault.keys(&VaultFilter::All).await.unwrap() {
            kept.extend(self.vault.get(&key).await.unwrap());
        }
        kept
    }
}

fn text(body: &Value) -> Body {
    if body.is_null() { Body::empty() } else { body.to_string().into() }
}

/// A request by `acme`, still without a body.
pub(super) fn request(method: &str, path: &str) -> Builder {
    let request = Request::builder().method(method).uri(path).header(header::CONTENT_TYPE, "application/json");
    request.header(header::AUTHORIZATION, format!("Bearer {TOKEN}"))
}

/// A request by `acme`, still without a body.
pub(super) fn post(path: &str) -> Builder {
    request("POST", path)
}

/// A request by nobody, still without a body.
pub(super) fn bare(path: &str) -> Builder {
    Request::post(path).header(header::CONTENT_TYPE, "application/json")
}

/// Opens a vault entry as the scheduler does.
pub(super) fn open(gateway: &Gateway, kept: &Kept, registry: &str) -> Secret {
    use waybill_platform::sealing::{Binding, open};
    let waybill_schemas::VaultKey::Secret { workspace, secret, version } = kept.key.clone() else {
        panic!("{}", kept.key)
    };
    let binding = Binding::Secret { workspace, secret, version, registry: registry.to_owned() };
    let sealed = kept.entry.sealed().unwrap();
    open(&gateway.scheduler, waybill_platform::sealing::Senders::Any, &binding, sealed).unwrap()
}
