//! Questions about the past, and how questions are asked.

use std::time::Duration;

use serde_json::json;
use waybill_schemas::Timestamp;
use waybill_tests::{
    image::TinyImage,
    login::Login,
    registry::{Registry, Scheme},
    require,
    stack::Plan,
};

use super::{asked, readable};

#[tokio::test]
async fn what_was_known_then() {
    let registry = Registry::start(Scheme::Basic).unwrap();
    registry.accounts().allow(&Login::new("u", "p"));
    let reference = registry.serve("team/app", "1", &TinyImage::new("past").unwrap());
    let stack = require!(Plan::default().plain_http(&[&registry.host()]).start().await);
    stack.build("acme", "img", &reference, json!("u:p")).await;
    stack.container("acme", "c-1", "img", "w1").await;
    stack.wait_for_event("ImagePullSucceeded", "c-1").await;
    let events = stack.events().await;
    let place = |name: &str| events.iter().find(|event| event.name == name).unwrap().clone();
    for (name, code, status) in [
        ("CredentialSecretSaved", "not_requested", 1),
        ("ContainerRequested", "awaiting_decision", 3),
        ("ContainerCredentialsAttached", "awaiting_provider", 3),
        ("CredentialProviderAttached", "awaiting_pull", 3),
        ("ImagePullSucceeded", "pulled", 0),
    ] {
        let at = place(name).sequence.to_string();
        let (found, answer) = asked(&stack, &["container", "c-1", "--at", &at]).await;
        assert_eq!((found, answer["verdict"]["code"].as_str()), (status, Some(code)), "{answer:#}");
    }
    // What was recorded at that very time counts.
    let then = place("ContainerCredentialsAttached");
    let time: Timestamp = then.line["recordedtime"].as_str().unwrap().parse().unwrap();
    let just_before = Timestamp::from(time.instant() - Duration::from_nanos(1));
    for (time, code) in [(time, "awaiting_provider"), (just_before, "awaiting_decision")] {
        let (_, answer) = asked(&stack, &["container", "c-1", "--at", &time.to_string()]).await;
        assert_eq!(answer["verdict"]["code"], code, "{answer:#}");
    }
    let before = asked(&stack, &["image", "img", "--at", "2020-01-01T00:00:00Z"]).await.1;
    assert_eq!(before["verdict"]["code"], "nothing_built", "{before:#}");
}

#[tokio::test]
async fn how_questions_are_asked() {
    let stack = require!(Plan::default().workspaces(&["acme", "umbrella"]).start().await);
    stack.build("umbrella", "img", "a.b/app:1", json!("u:p")).await;
    let ask = async |arguments: &[&str]| stack.run(&[&["explain"], arguments].concat()).await;
    for (arguments, status, words) in [
        (&["image", "img"][..], 1, "was built in workspace"),
        (&["image", "img", "--workspace", "umbrella"], 0, "HEALTHY at saved"),
        (&["image", "a.b"], 2, "image"),
        (&["pod", "x"], 2, "unrecognized subcommand"),
        (&["image", "img", "--at", "yesterday"], 2, "neither a sequence"),
        (&["image", "img", "--at", "9999"], 2, "no event at this sequence"),
    ] {
        let finished = ask(arguments).await;
        let said = format!("{}{}", finished.stdout, finished.stderr);
        assert_eq!(finished.status.code(), Some(status), "{arguments:?}: {said}");
        assert!(said.contains(words), "{arguments:?}: {said}");
        readable(&finished);
    }
    let settings = stack.home().join("operator.env");
    let text = std::fs::read_to_string(&settings).unwrap();
    let jaeger = "WAYBILL_JAEGER_URL=http://127.0.0.1:16686/";
    std::fs::write(&settings, text.replace("WAYBILL_WORKSPACE=acme\n", &format!("{jaeger}\n"))).unwrap();
    let finished = ask(&["image", "img"]).await;
    assert_eq!(finished.status.code(), Some(2));
    assert!(
        finished.stderr.contains("--workspace") && finished.stderr.contains("WAYBILL_WORKSPACE"),
        "{}",
        finished.stderr
    );
    let linked = ask(&["image", "img", "--workspace", "umbrella", "--json"]).await.stdout;
    assert!(linked.contains("http://127.0.0.1:16686/trace/"), "{linked}");
    let linked = ask(&["image", "img", "--workspace", "umbrella"]).await;
    assert!(linked.stdout.contains("trace http://127.0.0.1:16686/trace/"), "{}", linked.stdout);
    readable(&linked);
}
