//! For each role, each subject that it may publish to, and each field that names a subject: refused or harmless.

use async_nats::HeaderMap;
use serde_json::{Value, json};
use waybill::init::role::Role;
use waybill_schemas::covers;
use waybill_tests::{
    require,
    stack::{Plan, Stack},
};

/// Reply subjects that are somebody else's: the server sends answers there with its own authority.
const REPLIES: [&str; 15] = [
    "_INBOX_worker-w2.known",
    "_INBOX_scheduler.known",
    "_INBOX_issuer.known",
    "waybill.events.worker.w2",
    "waybill.events.decision.w2.container.acme.c-w1.9",
    "waybill.events.identity.worker.evil",
    "waybill.events.scheduler.keys",
    "$KV.WAYBILL_VAULT.grant.w2.acme.s.1",
    "$JS.ACK.WAYBILL.worker-w2.1.1.1.1.0",
    "$JS.API.CONSUMER.MSG.NEXT.WAYBILL.worker-w2",
    "$JS.API.CONSUMER.DELETE.WAYBILL.worker-w2",
    "$JS.API.STREAM.PURGE.KV_WAYBILL_VAULT",
    "$JS.API.STREAM.DELETE.WAYBILL",
    "waybill.issuer.renew.worker.w2",
    "$SYS.REQ.CLAIMS.UPDATE",
];

/// Headers with which a publisher asks the server for more than a message, or names a subject or a sequence.
const HEADERS: [(&str, &str); 12] = [
    ("Nats-Trace-Dest", "waybill.events.worker.w2"),
    ("Nats-Rollup", "all"),
    ("Nats-Rollup", "sub"),
    ("Nats-TTL", "1s"),
    ("Nats-Schedule", "@at 2020-01-01T00:00:00Z"),
    ("Nats-Schedule-Target", "waybill.events.worker.w2"),
    ("Nats-Incr", "1"),
    ("Nats-Marker-Reason", "Purge"),
    ("KV-Operation", "PURGE"),
    ("Nats-Expected-Last-Subject-Sequence-Subject", "waybill.events.>"),
    ("Nats-Subject", "waybill.events.worker.w2"),
    ("Nats-Stream-Source", "WAYBILL 1 > >"),
];

async fn stack() -> Result<Stack, waybill_tests::error::StartError> {
    let stack = Plan::default().workspaces(&["acme", "umbrella"]).workers(&["w1", "w2"]).start().await?;
    stack.build("acme", "img", "a.b/app:1", json!("user:password")).await;
    for worker in ["w1", "w2"] {
        stack.container("acme", &format!("c-{worker}"), "img", worker).await;
        stack.wait_for_outcome(&format!("c-{worker}")).await;
    }
    Ok(stack)
}

/// What the account of the streams holds: both streams' ends and settings, and every consumer's progress.
async fn state(stack: &Stack) -> Value {
    let operator = stack.user("operator").await;
    let mut state = json!({});
    for stream in ["WAYBILL", "KV_WAYBILL_VAULT"] {
        let info = operator.ask(&format!("$JS.API.STREAM.INFO.{stream}"), HeaderMap::new(), "").await.unwrap();
        let (config, kept) = (&info["config"], &info["state"]);
        state[stream] = json!([config, kept["last_seq"], kept["messages"], kept["num_subjects"]]);
    }
    for worker in ["worker-w1", "worker-w2"] {
        let info =
            operator.ask(&format!("$JS.API.CONSUMER.INFO.WAYBILL.{worker}"), HeaderMap::new(), "").await.unwrap();
        state[worker] = json!([info["config"], info["delivered"]["stream_seq"], info["ack_floor"]["stream_seq"]]);
    }
    state
}

fn roles() -> Vec<Role> {
    let names = ["gateway", "scheduler", "operator", "issuer", "worker-w1", "orchestrator-acme"];
    names.iter().map(|name| Role::from_name(name).unwrap()).collect()
}

/// A subject of the role's own, with an id that nobody has for each wildcard.
fn concrete(grant: &str) -> String {
    let tokens = grant.split('.').map(|token| if matches!(token, "*" | ">") { "nobody" } else { token });
    tokens.collect::<Vec<_>>().join(".")
}

/// A body with which the request does nothing itself: what is looked for is where its answer goes.
fn harmless(subject: &str) -> &'static str {
    match subject {
        _ if subject.contains("STREAM.CREATE") || subject.contains("CONSUMER.CREATE") => {
            r#"{"name":"nobody","stream_name":"nobody"}"#
        }
        _ if subject.contains("MSG.NEXT") => r#"{"batch":1,"no_wait":true}"#,
        _ if subject.contains("MSG.DELETE") => r#"{"seq":"none"}"#,
        _ if subject.contains("DIRECT.GET") && subject.split('.').count() == 5 => r#"{"seq":1}"#,
        _ if subject.contains("MSG.GET") => r#"{"seq":1}"#,
        _ => "",
    }
}

#[tokio::test]
async fn an_answer_goes_nowhere_but_to_who_asked() {
    let stack = require!(stack().await);
    let before = state(&stack).await;
    let never = [("Nats-Expected-Stream", "nobody"), ("Nats-Expected-Last-Sequence", "9007199254740991")];
    for role in roles() {
        let user = stack.user(&role.to_string()).await;
        for subject in role.grants().iter().map(|grant| concrete(grant)) {
            // Where a role may write itself, it needs nobody to write for it.
            for reply in REPLIES.into_iter().filter(|reply| !role.grants().iter().any(|grant| covers(grant, reply))) {
                let mut headers = HeaderMap::new();
                never.iter().for_each(|(name, value)| headers.insert(*name, *value));
                let body = harmless(&subject).into();
                user.client.publish_with_reply_and_headers(subject.clone(), reply, headers, body).await.unwrap();
            }
        }
        user.client.flush().await.unwrap();
    }
    // A round trip of each afterwards: what they sent before has been handled.
    for role in roles() {
        let user = stack.user(&role.to_string()).await;
        user.client.flush().await.unwrap();
    }
    let after = state(&stack).await;
    assert_eq!(before, after);
    let again = stack.container("acme", "c-after", "img", "w2").await;
    assert_eq!(again.status, 202);
    assert_eq!(stack.wait_for_event("CredentialProviderAttached", "c-after").await.text("worker_id"), "w2");
}

#[tokio::test]
async fn headers_ask_for_nothing_that_a_message_may_not() {
    let stack = require!(stack().await);
    let operator = stack.user("operator").await;
    let last = async |subject: &str| {
        operator.ask(&format!("$JS.API.DIRECT.GET.WAYBILL.{subject}"), HeaderMap::new(), "").await.unwrap()
    };
    let (other, log) = (last("waybill.events.worker.w2").await, state(&stack).await);
    for (role, own) in [
        ("worker-w1", "waybill.events.outcome.w1.acme.forged.1"),
        ("orchestrator-acme", "waybill.events.container.acme.forged.r1"),
        ("gateway", "waybill.events.image.acme.forged.b1"),
    ] {
        let user = stack.user(role).await;
        for (name, value) in HEADERS {
            let mut headers = HeaderMap::new();
            headers.insert(name, value);
            headers.insert("Nats-Expected-Last-Subject-Sequence", "0");
            // Refused, or stored as the message of its own subject that it is.
            user.ask(own, headers, "{}").await;
        }
    }
    assert_eq!(last("waybill.events.worker.w2").await, other, "nothing stands where another writes");
    let now = state(&stack).await;
    assert_eq!(now["WAYBILL"][0], log["WAYBILL"][0], "the settings are what they were");
    assert_eq!(now["KV_WAYBILL_VAULT"], log["KV_WAYBILL_VAULT"]);
    let kept = |state: &Value| state["WAYBILL"][2].as_u64().unwrap();
    assert!(kept(&now) >= kept(&log), "nothing was taken away");
    // Whoever reads takes the server's word for where a message stands, not the publisher's.
    let events = stack.events().await;
    let mut sequences: Vec<u64> = events.iter().map(|event| event.sequence).collect();
    let all = sequences.len();
    sequences.dedup();
    assert_eq!(sequences.len(), all);
    assert!(sequences.is_sorted());
}

/// Users of one kind share an account: what stands between them is the template alone.
#[tokio::test]
async fn nobody_hears_what_is_another_s() {
    let stack = require!(stack().await);
    for role in roles() {
        let user = stack.user(&role.to_string()).await;
        for subject in [
            ">",
            "*",
            "_INBOX_worker-w2.>",
            "_INBOX_*.>",
            "_R_.>",
            "$JS.ACK.>",
            "waybill.>",
            "$SYS.>",
            "waybill.issuer.>",
        ] {
            let mut heard = user.client.subscribe(subject).await.unwrap();
            user.client.flush().await.unwrap();
            // The server ends a subscription that it does not allow; nothing comes from one that is left.
            stack
                .user("worker-w2")
                .await
                .ask("$JS.API.CONSUMER.INFO.WAYBILL.worker-w2", HeaderMap::new(), "")
                .await
                .unwrap();
            user.client.flush().await.unwrap();
            let message = futures_util::FutureExt::now_or_never(futures_util::StreamExt::next(&mut heard)).flatten();
            assert!(message.is_none(), "{role} hears {message:?} on {subject}");
        }
    }
}
