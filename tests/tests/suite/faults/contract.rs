//! Details of the contract that these tests cannot do without. A change of the contract changes this file, not the tests.

use std::path::PathBuf;

use async_nats::HeaderMap;
use serde_json::{Value, json};
use waybill_tests::{
    login::Login,
    stack::{Answer, Recorded, Stack},
    wait::eventually,
};

use super::PATIENCE;

/// The workspace of all containers and images in these tests.
pub(super) const WORKSPACE: &str = "acme";
/// Name of the event stream.
pub(super) const STREAM: &str = "WAYBILL";
/// Name of the stream of the vault, where sealed credentials are.
const VAULT_STREAM: &str = "KV_WAYBILL_VAULT";
/// Prefix of the JetStream API for every role.
pub(super) const API: &str = "$JS.API";
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

/// Path and body of the request that replaces a secret's credentials.
pub(super) fn rotation(secret: &str, login: &Login) -> (String, Value) {
    (format!("/v1/secrets/{WORKSPACE}/{secret}/rotate"), json!({ "credentials": credentials(login) }))
}

/// Path and body of the request that revokes a secret.
pub(super) fn revocation(secret: &str) -> (String, Value) {
    (format!("/v1/secrets/{WORKSPACE}/{secret}/revoke"), json!({}))
}

/// Replaces the credentials that an image uses.
pub(super) async fn rotate(stack: &Stack, image: &str, login: &Login) -> Answer {
    let body = json!({ "credentials": credentials(login) });
    stack.change_secret(WORKSPACE, &secret_of(stack, image).await, "rotate", &body).await
}

/// Revokes the credentials that an image uses.
pub(super) async fn revoke(stack: &Stack, image: &str) -> Answer {
    stack.change_secret(WORKSPACE, &secret_of(stack, image).await, "revoke", &json!({})).await
}

/// Destroys the credentials that an image uses, and waits until the vault has nothing of them.
pub(super) async fn shred(stack: &Stack, image: &str) -> Answer {
    let secret = secret_of(stack, image).await;
    let answer = stack.change_secret(WORKSPACE, &secret, "shred", &json!({})).await;
    let keys = [format!("secret.{WORKSPACE}.{secret}.*"), format!("grant.*.{WORKSPACE}.{secret}.*")];
    let erased = eventually(PATIENCE, "an erased secret", async || {
        let found = vault_entry(stack, &keys[0]).await.or(vault_entry(stack, &keys[1]).await);
        found.is_none().then_some(())
    });
    if answer.status.is_success() {
        erased.await.unwrap_or_else(|error| panic!("{error}\n{}", stack.logs()));
    }
    answer
}

/// Name of the secret that the newest build of an image names.
pub(super) async fn secret_of(stack: &Stack, image: &str) -> String {
    let subject = format!("waybill.events.image.{WORKSPACE}.{image}.*");
    let operator = stack.user("operator").await;
    let named = operator.ask(&format!("{API}.DIRECT.GET.{STREAM}.{subject}"), HeaderMap::new(), "").await;
    let named = named.unwrap_or_else(|| panic!("no build of {image}"));
    named["secret_name"].as_str().unwrap_or_else(|| panic!("{image} names no secret: {named}")).to_owned()
}

/// The newest entry of the vault whose key matches, if there is one.
async fn vault_entry(stack: &Stack, key: &str) -> Option<Value> {
    let operator = stack.user("operator").await;
    let subject = format!("{API}.DIRECT.GET.{VAULT_STREAM}.$KV.WAYBILL_VAULT.{key}");
    let found = operator.ask(&subject, HeaderMap::new(), "").await.expect("the vault answers");
    found.is_object().then_some(found)
}

/// Ends the newest placement of a container, as its orchestrator does.
pub(super) async fn end(stack: &Stack, container: &str) -> Answer {
    let requests = format!("waybill.events.container.{WORKSPACE}.{container}.*");
    let placement = last_sequence(stack, &requests).await.expect("a request");
    stack.end(WORKSPACE, container, placement).await
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

/// The decisions about a request, by its stream sequence, which is the number of its placement.
pub(super) fn decisions_of_request(events: &[Recorded], sequence: u64) -> Vec<&Recorded> {
    let answers = |event: &&Recorded| {
        DECISIONS.contains(&event.name.as_str()) && event.data["placement"].as_u64() == Some(sequence)
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

/// True if a subject is one on which a worker speaks for itself only.
pub(super) fn is_own_subject(worker: &str, subject: &str) -> bool {
    subject.starts_with(&format!("waybill.events.outcome.{worker}."))
        || subject == format!("waybill.events.worker.{worker}")
}

/// Subject of a request of a workspace's container.
pub(super) fn request_subject(workspace: &str, container: &str) -> String {
    format!("waybill.events.container.{workspace}.{container}.request")
}

/// A consumer that an orchestrator's key might be allowed to create.
pub(super) struct ConsumerCreation {
    /// Subject of the API request.
    pub(super) subject: String,
    pub(super) name: String,
    pub(super) filter: String,
}

/// Every way to create, or to change, the consumers that the scheduler makes for a workspace's orchestrators.
pub(super) fn orchestrator_consumers(workspace: &str) -> Vec<ConsumerCreation> {
    let filters = [
        ("decisions", format!("waybill.events.decision.*.container.{workspace}.*.*")),
        ("outcomes", format!("waybill.events.outcome.*.{workspace}.*.*")),
        ("decisions", format!("waybill.events.container.{workspace}.>")),
    ];
    let creations = filters.into_iter().flat_map(|(kind, filter)| {
        let name = format!("orchestrator-{workspace}-{kind}");
        let verbs = [
            format!("CONSUMER.CREATE.{STREAM}.{name}.{filter}"),
            format!("CONSUMER.CREATE.{STREAM}.{name}"),
            format!("CONSUMER.DURABLE.CREATE.{STREAM}.{name}"),
            format!("CONSUMER.CREATE.{STREAM}"),
        ];
        verbs.map(|verb| ConsumerCreation {
            subject: format!("{API}.{verb}"),
            name: name.clone(),
            filter: filter.clone(),
        })
    });
    creations.collect()
}

/// Stream sequence of the newest message on a subject, or on one that matches.
async fn last_sequence(stack: &Stack, subject: &str) -> Option<u64> {
    let operator = stack.user("operator").await;
    let request = json!({ "last_by_subj": subject }).to_string();
    let found = operator.ask(&format!("{API}.STREAM.MSG.GET.{STREAM}"), HeaderMap::new(), request).await?;
    found["message"]["seq"].as_u64()
}

/// Stream sequence of the newest decision about a container on a worker.
pub(super) async fn last_decision(stack: &Stack, worker: &str, container: &str) -> Option<u64> {
    last_sequence(stack, &format!("waybill.events.decision.{worker}.container.{WORKSPACE}.{container}.*")).await
}

/// True once a rotation at a sequence has reached the worker: one renewal, whatever number of containers it has.
pub(super) async fn is_renewed(stack: &Stack, worker: &str, rotation: u64) -> bool {
    let renewals = format!("waybill.events.decision.{worker}.secret.{WORKSPACE}.*.*");
    last_sequence(stack, &renewals).await.is_some_and(|sequence| sequence > rotation)
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

/// Folder of the scheduler's sealing keys.
pub(super) fn scheduler_keys(stack: &Stack) -> PathBuf {
    stack.home().join("keys/scheduler")
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
    store_of(stack, STREAM)
}

/// Folder of the vault's messages in the store of nats-server.
pub(super) fn vault_store(stack: &Stack) -> PathBuf {
    store_of(stack, VAULT_STREAM)
}

/// Folder of a stream: the server names its account's folder by the account's key.
fn store_of(stack: &Stack, stream: &str) -> PathBuf {
    let accounts = std::fs::read_dir(stack.home().join("data/nats/jetstream")).unwrap();
    let folders = accounts.map(|account| account.unwrap().path().join("streams").join(stream));
    let found: Vec<PathBuf> = folders.filter(|folder| folder.is_dir()).collect();
    assert_eq!(found.len(), 1, "{found:?}");
    found[0].clone()
}
