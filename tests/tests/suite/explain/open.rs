//! Hops that have not reported: whose turn it is, how far behind that reader is, and what is lost.

use std::time::Duration;

use async_nats::jetstream::{
    self,
    consumer::{AckPolicy, pull},
};
use futures_util::StreamExt as _;
use serde_json::{Value, json};
use waybill_tests::{
    image::TinyImage,
    login::Login,
    process::Signal,
    registry::{Endpoint, Fault, Registry, Scheme},
    require,
    stack::{Plan, Service, Stack},
    wait::eventually,
};

use super::{asked, expect, expect_without_gateway};

const PATIENCE: Duration = Duration::from_secs(60);

/// Asks until the sentence has the words.
async fn until(stack: &Stack, container: &str, words: &str) -> (i32, Value) {
    let mut last = Value::Null;
    let found = eventually(PATIENCE, words, async || {
        let (status, answer) = asked(stack, &["container", container]).await;
        last = answer;
        let sentence = last["verdict"]["sentence"].as_str().unwrap();
        sentence.contains(words).then_some(status)
    });
    match found.await {
        Ok(status) => (status, last),
        Err(error) => panic!("{error}: {last:#}"),
    }
}

#[tokio::test]
async fn a_scheduler_that_is_away_behind_or_stuck() {
    let mut stack = require!(Plan::default().start().await);
    stack.stop(&Service::Scheduler).await;
    stack.container("acme", "c-1", "img", "w1").await;
    let (status, answer) = until(&stack, "c-1", "no scheduler is reading the log").await;
    assert_eq!((status, &answer["verdict"]["code"]), (3, &json!("awaiting_decision")), "{answer:#}");
    expect(&stack, ["container", "c-1"], (3, "attached", "awaiting_decision", "the scheduler's turn")).await;
    assert!(answer["verdict"]["remedy"].as_str().unwrap().contains("waybill scheduler"), "{answer:#}");
    stack.start_all().await.unwrap();
    stack.wait_for_event("ContainerCredentialsSkipped", "c-1").await;

    // Standing still, the process keeps its connection: the server still hands it what comes, until it asks no more.
    stack.process(&Service::Scheduler).signal(Signal::Pause).unwrap();
    stack.container("acme", "c-2", "img", "w1").await;
    until(&stack, "c-2", "is not reading any more").await;
    expect(&stack, ["container", "c-2"], (3, "attached", "awaiting_decision", "is not reading any more")).await;
    stack.process(&Service::Scheduler).signal(Signal::Resume).unwrap();
    stack.wait_for_event("ContainerCredentialsSkipped", "c-2").await;

    stack.sigkill(&Service::Scheduler);
    for number in 0..30 {
        stack.container("acme", &format!("more-{number}"), "img", "w1").await;
    }
    let (_, answer) = until(&stack, "more-29", "events behind and is not reading").await;
    expect(&stack, ["container", "more-29"], (3, "attached", "awaiting_decision", "events behind and is not reading"))
        .await;
    let sentence = answer["verdict"]["sentence"].as_str().unwrap();
    let behind: u64 = sentence.split_whitespace().find_map(|word| word.parse().ok()).unwrap();
    assert!((20..=60).contains(&behind), "{sentence}");
}

/// Something reads the log in the scheduler's name, and decides nothing.
#[tokio::test]
async fn a_scheduler_that_reads_and_never_decides() {
    let mut stack = require!(Plan::default().start().await);
    stack.sigkill(&Service::Scheduler);
    let jetstream = jetstream::new(stack.user("scheduler").await.client);
    let config = pull::Config {
        name: Some("waybill-scheduler-mute".to_owned()),
        filter_subject: "waybill.events.>".to_owned(),
        ack_policy: AckPolicy::None,
        memory_storage: true,
        ..Default::default()
    };
    let consumer = jetstream.create_consumer_on_stream(config, "WAYBILL").await.unwrap();
    let mut messages = consumer.messages().await.unwrap();
    let reading = tokio::spawn(async move { while messages.next().await.is_some() {} });
    stack.container("acme", "c-1", "img", "w1").await;
    until(&stack, "c-1", "has not decided about the request").await;
    expect(&stack, ["container", "c-1"], (1, "attached", "lost_by_scheduler", "has not decided about the request"))
        .await;
    reading.abort();
}

#[tokio::test]
async fn a_worker_that_is_away_slow_or_silent() {
    let registry = Registry::start(Scheme::Basic).unwrap();
    registry.accounts().allow(&Login::new("u", "p"));
    let reference = registry.serve("team/app", "1", &TinyImage::new("open").unwrap());
    let plan = Plan::default().workers(&["w1", "w2"]).plain_http(&[&registry.host()]);
    let mut stack = require!(plan.start().await);
    stack.build("acme", "img", &reference, json!("u:p")).await;

    // The pull is under way for as long as the registry takes.
    registry.inject(Fault::slow(Duration::from_secs(600)).on(Endpoint::Manifest));
    stack.container("acme", "c-slow", "img", "w1").await;
    stack.wait_for_event("CredentialProviderAttached", "c-slow").await;
    expect(&stack, ["container", "c-slow"], (3, "pull", "awaiting_pull", "worker w1's turn")).await;

    // It has been seen: it had a container before.
    let w2 = Service::Worker("w2".to_owned());
    stack.container("acme", "c-before", "unknown", "w2").await;
    stack.wait_for_outcome("c-before").await;
    stack.stop(&w2).await;
    stack.container("acme", "c-away", "img", "w2").await;
    stack.wait_for_event("ContainerCredentialsAttached", "c-away").await;
    let (status, answer) = until(&stack, "c-away", "it is not asking for work, and has not been seen for").await;
    assert_eq!((status, &answer["verdict"]["code"]), (3, &json!("awaiting_provider")), "{answer:#}");
    expect(&stack, ["container", "c-away"], (3, "provider", "awaiting_provider", "has not been seen for")).await;
    assert!(answer["verdict"]["remedy"].as_str().unwrap().contains("waybill worker --id w2"), "{answer:#}");

    // Somebody with the worker's key takes the decision, says it is done, and does nothing.
    let thief = stack.user("worker-w2").await.client;
    let inbox = thief.new_inbox();
    let mut taken = thief.subscribe(inbox.clone()).await.unwrap();
    eventually(PATIENCE, "the decision", async || {
        let next = "$JS.API.CONSUMER.MSG.NEXT.WAYBILL.worker-w2";
        thief.publish_with_reply(next, inbox.clone(), r#"{"batch":1,"expires":500000000}"#.into()).await.ok()?;
        let message = taken.next().await?;
        thief.publish(message.reply?, "+ACK".into()).await.ok()?;
        thief.flush().await.ok()?;
        message.subject.contains("c-away").then_some(())
    })
    .await
    .unwrap();
    let (status, answer) = until(&stack, "c-away", "never reported a provider").await;
    assert_eq!((status, &answer["verdict"]["code"]), (1, &json!("lost_by_worker")), "{answer:#}");
    expect(&stack, ["container", "c-away"], (1, "provider", "lost_by_worker", "never reported a provider")).await;

    // With every service down, the log still answers.
    for service in [Service::Gateway, Service::Scheduler, Service::Worker("w1".to_owned())] {
        stack.sigkill(&service);
    }
    expect_without_gateway(&stack, ["image", "img"], (0, "saved", "saved", "version 1 (basic)")).await;
    let expected = (1, "provider", "lost_by_worker", "never reported");
    expect_without_gateway(&stack, ["container", "c-away"], expected).await;
    stack.nats().stop().await.unwrap();
    let finished = stack.run(&["explain", "image", "img"]).await;
    assert_eq!(finished.status.code(), Some(2), "{}", finished.stdout);
    assert!(finished.stderr.contains("does not answer"), "{}", finished.stderr);
}
