//! Details of the contract that these tests cannot do without. A change of the contract changes this file, not the tests.

use std::path::PathBuf;

use serde_json::{Value, json};
use waybill_tests::{
    login::Login,
    stack::{Answer, Recorded, Stack},
};

/// The workspace of all containers and images in these tests.
pub(super) const WORKSPACE: &str = "acme";
/// Name of the event stream.
pub(super) const STREAM: &str = "WAYBILL";
/// Prefix of the JetStream API for every role.
pub(super) const API: &str = "waybill.api";
/// A subject of the stream that belongs to nothing.
pub(super) const PROBE_SUBJECT: &str = "waybill.events.probe";
/// Event that records a successful pull.
pub(super) const PULLED: &str = "ImagePullSucceeded";
/// Events that a worker records about one decision.
const OUTCOMES: [&str; 4] = ["CredentialProviderAttached", "CredentialProviderFailed", "ImagePullFailed", PULLED];
/// Events that give or take a container's credentials.
const DECISIONS: [&str; 3] =
    ["ContainerCredentialsAttached", "ContainerCredentialsSkipped", "ContainerCredentialsWithdrawn"];

/// Credentials as a builder gives them.
pub(super) fn credentials(login: &Login) -> Value {
    json!({ "USERNAME": login.user(), "PASSWORD": login.password() })
}

/// Path and body of the request that replaces the credentials that an image uses.
pub(super) fn rotation(image: &str, login: &Login) -> (&'static str, Value) {
    let body = json!({ "workspace": WORKSPACE, "image_id": image, "credentials": credentials(login) });
    ("/v1/secrets/rotate", body)
}

/// Path and body of the request that revokes the credentials that an image uses.
pub(super) fn revocation(image: &str) -> (&'static str, Value) {
    ("/v1/secrets/revoke", json!({ "workspace": WORKSPACE, "image_id": image }))
}

/// Replaces the credentials that an image uses.
pub(super) async fn rotate(stack: &Stack, image: &str, login: &Login) -> Answer {
    let (path, body) = rotation(image, login);
    stack.post(path, &body).await
}

/// Revokes the credentials that an image uses.
pub(super) async fn revoke(stack: &Stack, image: &str) -> Answer {
    let (path, body) = revocation(image);
    stack.post(path, &body).await
}

/// Destroys the credentials that an image uses. The first edition has revocation only.
pub(super) async fn shred(stack: &Stack, image: &str) -> Answer {
    revoke(stack, image).await
}

/// Ends a container, as its orchestrator does.
pub(super) async fn end(stack: &Stack, container: &str) -> Answer {
    stack.post("/v1/containers/ended", &json!({ "workspace": WORKSPACE, "container_id": container })).await
}

/// Decisions about a container on a worker, by the names of their events.
pub(super) fn decisions(events: &[Recorded], worker: &str, container: &str) -> Vec<String> {
    let addressed = |event: &&Recorded| {
        DECISIONS.contains(&event.name.as_str())
            && event.text("worker_id") == worker
            && event.text("container_id") == container
    };
    events.iter().filter(addressed).map(|event| event.name.clone()).collect()
}

/// The decisions about a request, by its stream sequence.
pub(super) fn decisions_of_request(events: &[Recorded], sequence: u64) -> Vec<&Recorded> {
    let answers = |event: &&Recorded| {
        DECISIONS.contains(&event.name.as_str()) && event.data["requested_by"].as_u64() == Some(sequence)
    };
    events.iter().filter(answers).collect()
}

/// What workers recorded about a container's decisions.
pub(super) fn outcomes<'e>(events: &'e [Recorded], container: &str) -> Vec<&'e Recorded> {
    let about = |event: &&Recorded| OUTCOMES.contains(&event.name.as_str()) && event.text("container_id") == container;
    events.iter().filter(about).collect()
}

/// Names of the consumers that deliver a worker's decisions.
pub(super) fn worker_consumers(worker: &str) -> Vec<String> {
    vec![format!("worker-{worker}")]
}

/// Prefix of the subjects on which a worker speaks for itself only.
pub(super) fn own_subjects(worker: &str) -> String {
    format!("waybill.events.worker.{worker}.")
}

/// Subject of requests of a workspace's container.
pub(super) fn request_subject(workspace: &str, container: &str) -> String {
    format!("waybill.events.container.{workspace}.{container}.ContainerRequested")
}

/// Consumer creations that an orchestrator's key might be allowed: API subject and filter.
pub(super) fn orchestrator_consumer(workspace: &str) -> (String, String) {
    let (name, filter) = (format!("orchestrator-{workspace}"), format!("waybill.events.container.{workspace}.>"));
    (format!("{API}.CONSUMER.CREATE.{STREAM}.{name}.{filter}"), filter)
}

/// Stream sequence of the newest decision about a container on a worker, looked up by subject.
pub(super) async fn last_decision(stack: &Stack, worker: &str, container: &str) -> Option<u64> {
    let operator = stack.user("operator").await;
    let subject = format!("waybill.events.worker.{worker}.{WORKSPACE}.{container}.ContainerCredentialsAttached");
    let request = json!({ "last_by_subj": subject }).to_string();
    let found = operator.ask(&format!("{API}.STREAM.MSG.GET.{STREAM}"), async_nats::HeaderMap::new(), request).await?;
    found["message"]["seq"].as_u64()
}

/// True once a rotation at a sequence has reached the worker of these containers.
pub(super) async fn is_renewed(stack: &Stack, worker: &str, containers: &[String], rotation: u64) -> bool {
    let Some(last) = containers.last() else { return true };
    last_decision(stack, worker, last).await.is_some_and(|sequence| sequence > rotation)
}

/// True if a readiness answer, or the doctor, says that the log has no room.
pub(super) fn says_full(text: &str) -> bool {
    let text = text.to_lowercase();
    ["full", "no room", "storage limit", "no space"].iter().any(|words| text.contains(words))
}

/// True if a readiness answer, or the doctor, says that the log takes no events. On a full disk nats-server gives no reason:
/// it does not answer.
pub(super) fn says_unwritable(text: &str) -> bool {
    says_full(text) || ["acknowledge", "takes no"].iter().any(|words| text.contains(words))
}

/// True if the scheduler says that its projection does not fit the log, and what to do.
pub(super) fn says_rebuild(text: &str) -> bool {
    text.contains("--rebuild")
}

/// True if a worker's process says that a newer one has its id.
pub(super) fn says_replaced(text: &str, worker: &str) -> bool {
    text.contains(worker) && text.contains("instance")
}

/// File of the scheduler's projection.
pub(super) fn projection(stack: &Stack) -> PathBuf {
    stack.home().join("data/scheduler/projection.redb")
}

/// File of a worker's sealing key.
pub(super) fn sealing_key(stack: &Stack, worker: &str) -> PathBuf {
    stack.home().join(format!("keys/worker-{worker}.xkey"))
}

/// Settings file of a worker.
pub(super) fn worker_settings(stack: &Stack, worker: &str) -> PathBuf {
    stack.home().join(format!("worker-{worker}.env"))
}

/// Folder of the log's messages in the store of nats-server.
pub(super) fn log_store(stack: &Stack) -> PathBuf {
    stack.home().join("data/nats/jetstream/LOG/streams").join(STREAM)
}
