//! The users that `waybill init` makes can do what they must, and nothing else.

use std::{collections::BTreeMap, path::Path, time::Duration};

use async_nats::{ConnectOptions, RequestErrorKind};
use nkeys::KeyPair;
use serde_json::{Value, json};
use uuid::Uuid;
use waybill_platform::identity::Claims;
use waybill_tests::{
    find,
    nats::NatsServer,
    port::Port,
    process::{self, Process},
    require,
    scratch::Scratch,
    stack::{Plan, Stack, User, event_headers},
    wait::eventually,
};

const API: &str = "$JS.API";
const PATIENCE: Duration = Duration::from_secs(60);

async fn stack() -> Result<Stack, waybill_tests::error::StartError> {
    let stack = Plan::default().workspaces(&["acme", "umbrella"]).workers(&["w1", "w2"]).start().await?;
    stack.build("acme", "img", "a.b/app:1", json!("user:password")).await;
    for worker in ["w1", "w2"] {
        stack.container("acme", &format!("c-{worker}"), "img", worker).await;
        stack.wait_for_event("CredentialProviderAttached", &format!("c-{worker}")).await;
    }
    stack.wait_for_outcome("c-w1").await;
    stack.wait_for_outcome("c-w2").await;
    Ok(stack)
}

fn no_headers() -> async_nats::HeaderMap {
    async_nats::HeaderMap::new()
}

/// A request gets no answer, or an error and nothing else.
async fn refused(user: &User, what: &str, subject: &str, body: &Value) {
    let body = if body.is_null() { Vec::new() } else { body.to_string().into_bytes() };
    let answer = user.ask(subject, no_headers(), body).await;
    let harmless = answer.as_ref().is_none_or(|answer| !answer["error"].is_null());
    assert!(harmless, "{what}: {subject} answered {answer:?}");
}

async fn publishes(user: &User, subject: &str) -> Option<u64> {
    let id = Uuid::new_v4().to_string();
    user.publish(subject, &event_headers(&id, "waybill.v1.Forged"), "{}").await
}

#[tokio::test]
async fn each_user_publishes_its_own_events_only() {
    let stack = require!(stack().await);
    let secret = "waybill.events.secret.acme.forged";
    let image = "waybill.events.image.acme.forged.b";
    let request = "waybill.events.container.acme.forged.r";
    let elsewhere = "waybill.events.container.umbrella.forged.r";
    let decision = "waybill.events.decision.w1.container.acme.forged.1";
    let renewal = "waybill.events.decision.w1.secret.acme.forged.1";
    let outcome = "waybill.events.outcome.w1.acme.forged.1";
    let applied = "waybill.events.outcome.w1.secret.acme.forged.1";
    let other_outcome = "waybill.events.outcome.w2.acme.forged.1";
    let (own, other) = ("waybill.events.worker.w1", "waybill.events.worker.w2");
    let keys = "waybill.events.scheduler.keys";
    let quarantine = "waybill.events.quarantine.1";
    let version = "$KV.WAYBILL_VAULT.secret.acme.forged.1";
    let grant = "$KV.WAYBILL_VAULT.grant.w1.acme.forged.1";
    let all = [
        secret,
        image,
        request,
        elsewhere,
        decision,
        renewal,
        outcome,
        applied,
        other_outcome,
        own,
        other,
        keys,
        quarantine,
        version,
        grant,
    ];
    let table: [(&str, &[&str]); 5] = [
        ("gateway", &[secret, image, request, elsewhere, quarantine, version]),
        ("scheduler", &[decision, renewal, keys, version, grant]),
        ("worker-w1", &[outcome, applied, own]),
        ("orchestrator-acme", &[request]),
        ("operator", &[quarantine]),
    ];
    for (role, allowed) in table {
        let user = stack.user(role).await;
        let stored = futures_util::future::join_all(all.map(|subject| publishes(&user, subject))).await;
        for (subject, stored) in all.iter().zip(stored) {
            assert_eq!(stored.is_some(), allowed.contains(subject), "{role} on {subject}");
        }
    }
}

#[tokio::test]
async fn nobody_reads_what_is_another_s() {
    let stack = require!(stack().await);
    let own = stack.user("worker-w1").await;
    let found = own.ask("$JS.API.CONSUMER.INFO.WAYBILL.worker-w1", no_headers(), "").await;
    assert_eq!(found.unwrap()["name"], "worker-w1", "its own consumer answers");
    let gateway = stack.user("gateway").await;
    let built = gateway.ask("$JS.API.DIRECT.GET.WAYBILL.waybill.events.image.acme.img.*", no_headers(), "").await;
    assert_eq!(built.unwrap()["image_id"], "img", "the gateway looks up what is there");

    let w2 = "waybill.events.decision.w2.container.acme.c-w2.*";
    let secret = "$KV.WAYBILL_VAULT.secret.acme.oci-registry-a=b.1";
    let grant = "$KV.WAYBILL_VAULT.grant.w2.acme.*.*";
    let consumer = |filter: &str| json!({ "stream_name": "WAYBILL", "config": { "name": "spy", "filter_subject": filter, "ack_policy": "none" } });
    let pushed = json!({ "stream_name": "WAYBILL", "config": { "name": "spy", "deliver_subject": "spy.here", "ack_policy": "none" } });
    for role in ["gateway", "worker-w1", "orchestrator-umbrella"] {
        let user = stack.user(role).await;
        let attempts = [
            (format!("{API}.DIRECT.GET.WAYBILL.{w2}"), Value::Null),
            (format!("{API}.DIRECT.GET.WAYBILL"), json!({ "last_by_subj": w2 })),
            (format!("{API}.DIRECT.GET.WAYBILL"), json!({ "seq": 1 })),
            (format!("{API}.DIRECT.GET.KV_WAYBILL_VAULT.{grant}"), Value::Null),
            (format!("{API}.DIRECT.GET.KV_WAYBILL_VAULT"), json!({ "last_by_subj": secret })),
            (format!("{API}.DIRECT.GET.KV_WAYBILL_VAULT"), json!({ "multi_last": ["$KV.WAYBILL_VAULT.>"] })),
            (format!("{API}.STREAM.MSG.GET.KV_WAYBILL_VAULT"), json!({ "seq": 1 })),
            (format!("{API}.STREAM.MSG.DELETE.KV_WAYBILL_VAULT"), json!({ "seq": 1 })),
            (format!("{API}.STREAM.INFO.KV_WAYBILL_VAULT"), json!({ "subjects_filter": ">" })),
            (format!("{API}.STREAM.MSG.GET.WAYBILL"), json!({ "last_by_subj": w2 })),
            (format!("{API}.STREAM.INFO.WAYBILL"), json!({ "subjects_filter": ">" })),
            (format!("{API}.CONSUMER.MSG.NEXT.WAYBILL.worker-w2"), json!({ "batch": 1, "no_wait": true })),
            (
                format!("{API}.CONSUMER.CREATE.WAYBILL.spy.waybill.events.decision.w2.>"),
                consumer("waybill.events.decision.w2.>"),
            ),
            (
                format!("{API}.CONSUMER.CREATE.WAYBILL.gateway-explain.waybill.events.decision.>"),
                consumer("waybill.events.decision.>"),
            ),
            (format!("{API}.CONSUMER.CREATE.WAYBILL"), consumer("waybill.events.>")),
            (format!("{API}.CONSUMER.CREATE.WAYBILL.worker-w2"), pushed.clone()),
            (format!("{API}.CONSUMER.DELETE.WAYBILL.worker-w2"), Value::Null),
            (format!("{API}.STREAM.CREATE.SPY"), json!({ "name": "SPY", "sources": [{ "name": "WAYBILL" }] })),
        ];
        // The gateway looks up anything in the log, and makes no consumer, whatever its name.
        let lookups = ["$JS.API.DIRECT.GET.WAYBILL", "$JS.API.STREAM.MSG.GET.WAYBILL"];
        let looks_up = |subject: &str| role == "gateway" && lookups.iter().any(|lookup| subject.starts_with(lookup));
        let attempts = attempts.iter().filter(|(subject, _)| !looks_up(subject));
        // All at once: most are answered by silence.
        let all = attempts.map(|(subject, body)| refused(&user, role, subject, body));
        futures_util::future::join_all(all).await;
    }
}

#[tokio::test]
async fn nobody_changes_the_log() {
    let mut stack = require!(stack().await);
    let before = stack.events().await.len();
    for role in ["gateway", "scheduler", "operator", "worker-w1", "orchestrator-acme"] {
        let user = stack.user(role).await;
        let attempts = [
            ("STREAM.UPDATE", json!({ "name": "WAYBILL", "subjects": ["waybill.events.>"], "max_msgs": 1 })),
            ("STREAM.PURGE", json!({})),
            ("STREAM.DELETE", Value::Null),
            ("STREAM.MSG.DELETE", json!({ "seq": 1 })),
        ]
        .map(|(verb, body)| (format!("{API}.{verb}.WAYBILL"), body));
        let all = attempts.iter().map(|(subject, body)| refused(&user, role, subject, body));
        futures_util::future::join_all(all).await;
    }
    assert_eq!(stack.events().await.len(), before);
    // The server's own word: the settings that keep the log are those that were asked for.
    let info = stack.user("operator").await.ask("$JS.API.STREAM.INFO.WAYBILL", no_headers(), "").await;
    let config = &info.unwrap()["config"];
    for (key, value) in [("deny_purge", true), ("allow_direct", true), ("allow_atomic", true)] {
        assert_eq!(config[key], value, "{key}");
    }
    assert_eq!((&config["storage"], &config["discard"]), (&json!("file"), &json!("new")));
    assert!(config["duplicate_window"].as_u64().unwrap() >= 600_000_000_000);
    stack.nats().stop().await.unwrap();
}

/// The server answers with its own authority on whatever reply subject a request names; accounts keep that at home.
#[tokio::test]
async fn a_reply_subject_is_no_way_around() {
    let stack = require!(stack().await);
    let before = stack.events().await.len();
    let worker = stack.user("worker-w1").await;
    let own = "$JS.API.DIRECT.GET.WAYBILL.waybill.events.worker.w1";
    // Who reads many messages with one request sends many.
    let gateway = stack.user("gateway").await;
    let any = "$JS.API.DIRECT.GET.WAYBILL";
    let batch = json!({ "seq": 1, "next_by_subj": "waybill.events.>", "batch": 9 }).to_string();
    for reply in [
        "waybill.events.worker.w2",
        "waybill.events.decision.w1.container.acme.c-w1.1",
        "$JS.API.STREAM.UPDATE.WAYBILL",
        "$JS.API.CONSUMER.CREATE.WAYBILL.spy.waybill.events.decision.>",
    ] {
        worker.client.publish_with_reply(own, reply, "".into()).await.unwrap();
        gateway.client.publish_with_reply(any, reply, batch.clone().into()).await.unwrap();
    }
    worker.client.publish_with_reply(own, "waybill.events.secret.acme.oci-registry-a=b", "".into()).await.unwrap();
    let answered = worker.ask(own, no_headers(), "").await;
    assert_eq!(answered.unwrap()["worker_id"], "w1", "what was sent before has been handled");
    let answered = gateway.ask(any, no_headers(), r#"{"seq":1}"#).await;
    assert!(answered.is_some(), "what was sent before has been handled");
    assert_eq!(stack.events().await.len(), before);
    let spy = stack.user("operator").await;
    refused(&spy, "no such consumer", "$JS.API.CONSUMER.INFO.WAYBILL.spy", &Value::Null).await;
}

/// The public key of each account, from the configuration, which has its name before it.
fn account_keys(config: &Path) -> BTreeMap<String, String> {
    let text = std::fs::read_to_string(config).unwrap();
    let mut lines = text.lines().skip_while(|line| !line.starts_with("resolver_preload"));
    let mut keys = BTreeMap::new();
    while let Some(name) = lines.find_map(|line| line.strip_prefix("  # ")) {
        let (key, _) = lines.next().unwrap().trim().split_once(':').unwrap();
        keys.insert(name.to_owned(), key.to_owned());
    }
    keys
}

fn signing_key(home: &Path) -> KeyPair {
    let seed = std::fs::read_to_string(home.join("keys/signing/accounts.nk")).unwrap();
    KeyPair::from_seed(seed.trim()).unwrap()
}

fn account_token(home: &Path, name: &str) -> String {
    std::fs::read_to_string(home.join(format!("nats/{name}.jwt"))).unwrap().trim().to_owned()
}

/// The account of the streams without an export that workers need, twice, with different tokens, and as it is to be.
fn log_claims(home: &Path) -> [String; 3] {
    let whole = account_token(home, "LOG");
    let mut claims = Claims::read(&whole).unwrap();
    let exports = claims.nats["exports"].as_array_mut().unwrap();
    exports.retain(|export| export["subject"] != "$JS.API.CONSUMER.INFO.WAYBILL.*");
    let lacking = ["a", "b"].map(|note| {
        claims.nats["description"] = json!(note);
        claims.clone().sign(&signing_key(home)).unwrap()
    });
    let [first, second] = lacking;
    [first, second, whole]
}

/// Names of the accounts of which the server says that imports are missing.
async fn incomplete_accounts(system: &async_nats::Client, keys: &BTreeMap<String, String>) -> Vec<String> {
    let mut names = Vec::new();
    for (name, key) in keys {
        let answer = system.request(format!("$SYS.REQ.ACCOUNT.{key}.INFO"), "".into()).await.unwrap();
        let answer: Value = serde_json::from_slice(&answer.payload).unwrap();
        if answer["data"]["complete"] == false {
            names.push(name.clone());
        }
    }
    names
}

/// What the server has of an account.
async fn look_up_claims(claims: &async_nats::Client, key: &str) -> Claims {
    let answer = claims.request(format!("$SYS.REQ.ACCOUNT.{key}.CLAIMS.LOOKUP"), "".into()).await.unwrap();
    Claims::read(&String::from_utf8_lossy(&answer.payload)).unwrap()
}

/// A server builds an account when its first user connects. Of two accounts that it builds at once, one can find the third, from
/// which both import, half built: its imports are missing then for as long as the server runs, and whoever uses them is told that
/// nobody answers. The issuer has such an account built again.
///
/// Here the third account gets its export by a change that the server does not follow up, since it did so for the one before.
#[tokio::test]
async fn an_account_that_was_built_without_imports_is_built_again() {
    let scratch = Scratch::new("accounts").unwrap();
    let home = scratch.path().join("home");
    let waybill = |arguments: &[&str]| {
        let mut child = process::command(find::workspace_binary("waybill").unwrap());
        child.arg("--home").arg(&home).args(arguments);
        child
    };
    let init = waybill(&["init", "--workspace", "acme", "--worker", "w1"]);
    let finished = Process::run("init", init, scratch.path(), PATIENCE).await.unwrap();
    assert!(finished.status.success(), "{}", finished.stderr);
    let config = home.join("nats-server.conf");
    let keys = account_keys(&config);
    let [first, second, whole] = log_claims(&home);
    std::fs::write(&config, std::fs::read_to_string(&config).unwrap().replace(&whole, &first)).unwrap();
    let server = require!(NatsServer::with_config(&config, &home.join("data/nats")).await);

    let connect = async |user: &str| {
        let options = ConnectOptions::with_credentials_file(home.join(format!("keys/{user}.creds"))).await.unwrap();
        options.custom_inbox_prefix(format!("_INBOX_{user}")).connect(server.url()).await.unwrap()
    };
    let (worker, system, claims) = (connect("worker-w1").await, connect("system").await, connect("claims").await);
    // Somebody was revoked, which the log that would say so cannot tell the issuer.
    let mut workers = Claims::read(&account_token(&home, "WORKERS")).unwrap();
    let revoked = json!({ (KeyPair::new_user().public_key()): 1_700_000_000 });
    workers.nats["revocations"] = revoked.clone();
    for token in [workers.clone().sign(&signing_key(&home)).unwrap(), second, whole] {
        let answer = claims.request("$SYS.REQ.CLAIMS.UPDATE", token.into()).await.unwrap();
        assert!(String::from_utf8_lossy(&answer.payload).contains("\"code\":200"), "{answer:?}");
    }
    let ask = async || worker.request("$JS.API.CONSUMER.INFO.WAYBILL.worker-w1", "".into()).await;
    assert_eq!(incomplete_accounts(&system, &keys).await, ["ISSUER", "WORKERS"]);
    assert_eq!(ask().await.unwrap_err().kind(), RequestErrorKind::NoResponders);

    let mut issuer = waybill(&["issuer"]);
    let health = Port::reserve().unwrap();
    issuer.env("WAYBILL_NATS_URL", server.url()).env("WAYBILL_ISSUER_HEALTH_LISTEN", health.host());
    let issuer = Process::spawn("issuer", issuer, scratch.path()).unwrap();
    let healed = eventually(PATIENCE, "accounts with all their imports", async || {
        incomplete_accounts(&system, &keys).await.is_empty().then_some(())
    });
    healed.await.unwrap_or_else(|error| panic!("{error}\n{}", issuer.output().last_lines()));
    let present = look_up_claims(&claims, &keys["WORKERS"]).await;
    assert_eq!(present.nats["revocations"], revoked, "whoever was revoked stays so");
    // There is no stream yet, which is an answer.
    let answer = ask().await.unwrap();
    assert!(String::from_utf8_lossy(&answer.payload).contains("stream not found"), "{answer:?}");
}
