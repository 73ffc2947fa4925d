//! Credentials stay in memory: no log, span, event, projection, store, argument or environment holds one in the clear.

use serde_json::json;
use waybill_tests::{
    canary::{Canary, Search},
    ecr::{ECR_HOST, Ecr, as_ecr},
    image::TinyImage,
    login::Login,
    otlp::Collector,
    registry::{Fault, Registry, Scheme},
    require,
    stack::{Plan, Service},
};

#[tokio::test]
async fn no_artefact_holds_a_credential() {
    let canaries = [
        "good password",
        "bad password",
        "token",
        "aws secret",
        "aws session",
        "malformed",
        "in a path",
        "rotated password",
        "rotated to nothing",
    ]
    .map(Canary::new);
    let [good, bad, token, secret, session, malformed, path, rotated, refused] = &canaries;
    let collector = Collector::start().unwrap();
    let registry = Registry::start(Scheme::Basic).unwrap();
    registry.accounts().allow(&Login::new("puller", good.value()));
    let ecr = Ecr::start("ASIA", registry.accounts()).unwrap();
    let reference = registry.serve("team/app", "1", &TinyImage::new("canary").unwrap());
    let plan = Plan::default()
        .played_by(&[(ECR_HOST, &registry.host())])
        .otlp(&collector)
        .setting("WAYBILL_LOG", "trace,hyper=trace,aws_smithy_runtime=trace,oci_client=trace");
    let mut stack = require!(plan.setting("WAYBILL_AWS_ECR_ENDPOINT", ecr.endpoint()).start().await);
    let search = Search::new(&canaries);

    let builds = [
        ("good", json!({ "USERNAME": "puller", "PASSWORD": good.value() })),
        ("token", json!({ "TOKEN": token.value() })),
        (
            "aws",
            json!({ "AWS_ACCESS_KEY_ID": "ASIA", "AWS_SECRET_ACCESS_KEY": secret.value(), "AWS_SESSION_TOKEN": session.value(), "AWS_REGION": "eu-west-1" }),
        ),
        ("half", json!({ "AWS_SECRET_ACCESS_KEY": secret.value() })),
        ("malformed", json!(malformed.value())),
        ("broken", json!(format!("{{\"registry\": {}", malformed.value()))),
        ("unknown", json!({ malformed.value(): malformed.value() })),
    ];
    // Under a name of its own, so that it does not take the place of the same account's good password.
    let apart = json!({
        "workspace": "acme", "image_id": "bad", "existing_image_uri": reference, "existing_image_secret": "bad",
        "existing_image_creds": format!("puller:{}", bad.value()),
    });
    let answer = stack.post("/v1/builds", &apart).await;
    search.assert_absent_in_bytes("an answer", answer.body.to_string().as_bytes());
    stack.container("acme", "c-bad", "bad", "w1").await;
    for (image_id, credentials) in builds {
        let reference = if image_id == "aws" { as_ecr(&reference) } else { reference.clone() };
        let answer = stack.build("acme", image_id, &reference, credentials).await;
        search.assert_absent_in_bytes("an answer", answer.body.to_string().as_bytes());
        stack.container("acme", &format!("c-{image_id}"), image_id, "w1").await;
    }
    let with_user = format!("user:{}@{}/team/app", path.value(), registry.host());
    let answer = stack.build("acme", "path", &with_user, json!(format!("u:{}", good.value()))).await;
    search.assert_absent_in_bytes("an answer", answer.body.to_string().as_bytes());
    assert_eq!(answer.status, 422);
    for container in ["c-good", "c-bad", "c-token", "c-aws", "c-half"] {
        stack.wait_for_outcome(container).await;
    }
    for (credentials, status) in [(format!("puller:{}", rotated.value()), 201_u16), (refused.value().to_owned(), 422)] {
        let answer = stack.change_secret("acme", "bad", "rotate", &json!({ "credentials": credentials })).await;
        assert_eq!(answer.status, status, "{answer:?}");
        search.assert_absent_in_bytes("an answer", answer.body.to_string().as_bytes());
    }
    stack
        .wait_for("the rotation's use", |events| {
            events.iter().any(|event| event.name == "SecretRenewalApplied").then_some(())
        })
        .await;
    registry.inject(Fault::status(500));
    stack.container("acme", "c-500", "good", "w1").await;
    stack.wait_for_outcome("c-500").await;

    for pid in stack.pids() {
        search.assert_absent_in_process(pid);
    }
    for service in [Service::Gateway, Service::Scheduler, Service::Worker("w1".to_owned())] {
        let limits = std::fs::read_to_string(format!("/proc/{}/limits", stack.process(&service).pid())).unwrap();
        let core = limits.lines().find(|line| line.starts_with("Max core file size")).unwrap();
        assert_eq!(core.split_whitespace().nth(4), Some("0"), "{service:?} leaves no core dump: {core}");
    }
    let events = stack.run(&["events", "--json"]).await.stdout;
    assert!(events.contains("ImagePullSucceeded") && events.contains("ImagePullFailed"), "{events}");
    search.assert_absent_in_bytes("events", events.as_bytes());
    for service in [Service::Gateway, Service::Scheduler, Service::Worker("w1".to_owned())] {
        stack.stop(&service).await;
    }
    let spans = stack.dir().join("spans");
    collector.save_raw(&spans).unwrap();
    assert!(std::fs::metadata(&spans).unwrap().len() > 1000);
    let nats = stack.nats().dir().to_owned();
    let searched = search.assert_absent_in_dir(stack.dir());
    let issued: Vec<Canary> = ecr.issued().iter().map(|login| Canary::of("ECR token", login.password())).collect();
    assert!(!issued.is_empty(), "ECR was asked");
    Search::new(&issued).assert_absent_in_dir(stack.dir());
    assert!(searched.files > 20, "{searched:?}");
    search.assert_absent_in_dir(&nats);
    let stored = stack.home().join("data");
    for part in ["scheduler/projection.redb", "nats"] {
        assert!(stored.join(part).exists(), "{part} was searched");
    }
    assert!(stack.logs().contains("\"level\":\"TRACE\"") || stack.logs().contains("\"level\":\"DEBUG\""));
}

/// A search that finds nothing proves something only if it finds what is there.
#[tokio::test]
async fn the_search_finds_what_is_there() {
    let canary = Canary::new("planted");
    let stack = require!(Plan::default().start().await);
    std::fs::write(stack.home().join("planted"), format!("password={}", canary.value())).unwrap();
    let (findings, _) = Search::new([&canary]).in_dir(stack.dir()).unwrap();
    assert!(!findings.is_empty());
}
