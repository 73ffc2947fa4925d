//! A worker's key speaks for its own placements only, and reads nobody's requests.

use async_nats::HeaderMap;
use serde_json::{Value, json};
use uuid::Uuid;
use waybill_tests::{
    login::Login,
    require,
    stack::{Plan, Recorded, Stack, User, event_headers},
};

use super::{
    contract::{self, API, STREAM},
    fleet::Fleet,
    private_registry,
};

/// Subject, type and body of a message that somebody might send.
struct Forgery {
    subject: String,
    ce_type: String,
    body: String,
}

/// What a worker said of its own container, said of another worker's.
fn forge(own: &Recorded, replaced: &[(&str, &str)]) -> Forgery {
    let text = |value: &Value| {
        let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        replaced.iter().fold(text, |text, (from, to)| text.replace(from, to))
    };
    Forgery { subject: text(&own.line["natssubject"]), ce_type: text(&own.line["type"]), body: text(&own.data) }
}

async fn send(user: &User, forgery: &Forgery) -> Option<u64> {
    let id = Uuid::new_v4().to_string();
    user.publish(&forgery.subject, &event_headers(&id, &forgery.ce_type), forgery.body.clone()).await
}

/// What a container's explanation comes to.
async fn verdict(stack: &Stack, container: &str) -> Value {
    let said = stack.run(&["explain", "container", container, "--json"]).await;
    let answer: Value = serde_json::from_str(&said.stdout).unwrap();
    json!([answer["verdict"]["state"], answer["verdict"]["code"]])
}

#[tokio::test]
async fn a_worker_says_nothing_of_containers_placed_elsewhere() {
    let login = Login::new("puller", "pass");
    let (registry, reference) = private_registry("forged outcomes", &[&login]);
    let host = registry.host();
    let plan = Plan::default().plain_http(&[&host]);
    let fleet = require!(Fleet::start(plan, &["node-1", "node-2"]).await);
    fleet.build("img", &reference, &login).await;
    let placed = fleet.run_container("c-1", "img", "node-1").await;
    let victim = fleet.program("node-1", "c-1", &host).await;
    victim.until_given(&login).await;
    // Every event that a worker writes of a placement: provider, pull and end.
    let own_placed = fleet.run_container("c-own", "img", "node-2").await;
    let hook = fleet.run_stop_hook("node-2", "c-own");
    assert_eq!(hook.code, 0, "{}{}", hook.stdout, hook.stderr);
    fleet.stack.wait_for_event("ContainerEnded", "c-own").await;
    let events = fleet.stack.events().await;
    let before = verdict(&fleet.stack, "c-1").await;

    let own = contract::outcomes(&events, "c-own");
    let ended = events.iter().find(|event| event.is("ContainerEnded", "c-own"));
    let thief = fleet.stack.user("worker-node-2").await;
    let [in_subject, in_body] = [".", "\"placement\":"].map(|before| {
        let [from, to] = [own_placed, placed].map(|number| format!("{before}{number}"));
        (from, to)
    });
    let of_container = [("c-own", "c-1")];
    let of_worker = [("c-own", "c-1"), ("node-2", "node-1")];
    let of_placement = [("c-own", "c-1"), (&*in_subject.0, &*in_subject.1), (&*in_body.0, &*in_body.1)];
    let of_all = [of_placement[0], of_placement[1], of_placement[2], of_worker[1]];
    let (mut taken, mut forged) = (Vec::new(), Vec::new());
    for event in own.into_iter().chain(ended) {
        for replaced in [&of_container[..], &of_worker[..], &of_placement[..], &of_all[..]] {
            let forgery = forge(event, replaced);
            let stored = send(&thief, &forgery).await;
            forged.extend(stored);
            if stored.is_some() && !contract::is_own_subject("node-2", &forgery.subject) {
                taken.push(format!("{} {}", forgery.ce_type, forgery.subject));
            }
        }
    }
    fleet.run_container("c-marker", "img", "node-1").await;
    assert!(taken.is_empty(), "the log took from node-2's key:\n{}", taken.join("\n"));
    let decided = contract::decisions(&fleet.stack.events().await, "node-1", "c-1");
    assert_eq!(decided, ["ContainerCredentialsAttached"], "nothing is decided anew");
    assert_eq!(verdict(&fleet.stack, "c-1").await, before);
    assert_eq!(victim.login(), Some(login));
    // What node-2 said on its own subjects of a placement that is node-1's is found, and nothing else is.
    let verified = fleet.stack.run(&["replay", "--verify", "--json"]).await;
    let summary: Value = serde_json::from_str(&verified.stdout).unwrap();
    let found = summary["verified"]["divergences"].as_array().unwrap();
    let found: Vec<u64> = found.iter().map(|one| one["sequence"].as_u64().unwrap()).collect();
    assert!(
        !found.is_empty() && found.iter().all(|sequence| forged.contains(sequence)),
        "{summary}; forged {forged:?}"
    );
}

#[tokio::test]
async fn a_worker_reads_no_requests_of_others() {
    let login = Login::new("puller", "pass");
    let (registry, reference) = private_registry("read requests", &[&login]);
    let plan = Plan::default().plain_http(&[&registry.host()]);
    let fleet = require!(Fleet::start(plan, &["node-1", "node-2"]).await);
    fleet.build("img", &reference, &login).await;
    let requested = fleet.request("c-1", "img", "node-1").await;
    fleet.stack.wait_for_outcome("c-1").await;
    let events = fleet.stack.events().await;
    let of_others = events.iter().filter(|event| {
        event.sequence == requested || event.text("container_id") == "c-1" || event.text("image_id") == "img"
    });
    let thief = fleet.stack.user("worker-node-2").await;
    let mut read = Vec::new();
    for event in of_others {
        let subject = event.line["natssubject"].as_str().unwrap();
        let attempts = [
            (format!("{API}.DIRECT.GET.{STREAM}.{subject}"), Value::Null),
            (format!("{API}.DIRECT.GET.{STREAM}"), json!({ "last_by_subj": subject })),
            (format!("{API}.STREAM.MSG.GET.{STREAM}"), json!({ "seq": event.sequence })),
        ];
        let asked = attempts.iter().map(async |(api, body)| {
            let body = if body.is_null() { String::new() } else { body.to_string() };
            let answer = thief.ask(api, HeaderMap::new(), body).await?;
            // A refusal is an error, or words without the event.
            let is_event = answer["error"].is_null() && answer.is_object();
            is_event.then(|| format!("{api}: {answer}"))
        });
        read.extend(futures_util::future::join_all(asked).await.into_iter().flatten());
    }
    assert!(read.is_empty(), "node-2's key reads:\n{}", read.join("\n"));
}
