//! One trace from the HTTP request to the pull, and a link from the attached credentials to the build that saved them.

use std::time::Duration;

use serde_json::Value;
use waybill_tests::{
    image::TinyImage,
    jaeger::Jaeger,
    otlp::{Collector, Kind, Span},
    registry::{Fault, Registry, Scheme},
    require,
    stack::{Plan, Service},
    wait::eventually,
};

const PATIENCE: Duration = Duration::from_secs(60);

const REQUESTED: &str = "waybill.events.container.{workspace}.{container_id}.{request}";
const SAVED: &str = "waybill.events.secret.{workspace}.{secret}";
const NAMED: &str = "waybill.events.image.{workspace}.{image_id}.{build}";
const DECIDED: &str = "waybill.events.decision.{worker_id}.container.{workspace}.{container_id}.{placement}";
const OUTCOME: &str = "waybill.events.outcome.{worker_id}.{workspace}.{container_id}.{placement}";

fn publish(template: &str) -> String {
    format!("publish {template}")
}

fn process(template: &str) -> String {
    format!("process {template}")
}

fn find<'s>(spans: &'s [Span], trace_id: &str, service: &str, name: &str) -> Option<&'s Span> {
    spans.iter().find(|span| span.trace_id == trace_id && span.service == service && span.name == name)
}

#[tokio::test]
async fn one_trace_to_the_pull_and_a_link_to_the_build_across_restarts() {
    let collector = Collector::start().unwrap();
    let registry = Registry::start(Scheme::Open).unwrap();
    let reference = registry.serve("team/app", "1", &TinyImage::new("traced").unwrap());
    let plan = Plan::default().plain_http(&[&registry.host()]).otlp(&collector);
    let mut stack = require!(plan.start().await);
    let build = stack.build("acme", "img", &reference, Value::String("user:password".to_owned())).await;

    for service in [Service::Gateway, Service::Scheduler, Service::Worker("w1".to_owned())] {
        stack.stop(&service).await;
    }
    stack.start_all().await.unwrap();
    let container = stack.container("acme", "c-1", "img", "w1").await;
    stack.wait_for_event("ImagePullSucceeded", "c-1").await;

    let (built, ran) = (build.text("trace_id").to_owned(), container.text("trace_id").to_owned());
    assert_ne!(built, ran);
    let server = "POST /v1/containers".to_owned();
    let chain = [
        ("waybill-gateway", server.clone(), Kind::Server, None),
        ("waybill-gateway", publish(REQUESTED), Kind::Producer, Some(server)),
        ("waybill-scheduler", process(REQUESTED), Kind::Consumer, Some(publish(REQUESTED))),
        ("waybill-scheduler", publish(DECIDED), Kind::Producer, Some(process(REQUESTED))),
        ("waybill-worker", process(DECIDED), Kind::Consumer, Some(publish(DECIDED))),
        ("waybill-worker", "unseal credentials".to_owned(), Kind::Internal, Some(process(DECIDED))),
        ("waybill-worker", publish(OUTCOME), Kind::Producer, Some(process(DECIDED))),
        ("waybill-worker", "pull image".to_owned(), Kind::Client, Some(process(DECIDED))),
    ];
    let spans = collector
        .wait_for(PATIENCE, "the whole trace", |spans| {
            // Each process sends its spans when it likes.
            let ended = chain.iter().all(|(service, name, ..)| find(spans, &ran, service, name).is_some());
            let folded = [SAVED, NAMED]
                .iter()
                .all(|template| find(spans, &built, "waybill-scheduler", &process(template)).is_some());
            // The provider and the pull, on one subject.
            let outcomes = spans.iter().filter(|span| span.trace_id == ran && span.name == publish(OUTCOME)).count();
            (ended && folded && outcomes == 2).then(|| spans.to_vec())
        })
        .await
        .unwrap();
    let trace: Vec<&Span> = spans.iter().filter(|span| span.trace_id == ran).collect();
    for (service, name, kind, parent) in &chain {
        let span = find(&spans, &ran, service, name).unwrap_or_else(|| panic!("no {service} {name} in {trace:#?}"));
        assert_eq!(span.kind, *kind, "{name}");
        match parent {
            None => assert_eq!(span.parent_id, None, "{name}"),
            Some(parent) => {
                let parent = trace.iter().find(|span| span.name == *parent).unwrap();
                assert!(span.is_child_of(parent), "{name} is no child of {}", parent.name);
                let linked = span.link_to(parent).is_some();
                assert_eq!(linked, *kind == Kind::Consumer, "{name}: consumers link to their producers");
            }
        }
        // People search for the container, and a part that does not name it cannot be found.
        assert_eq!(span.attribute("container.id").as_deref(), Some("c-1"), "{name}");
        assert_eq!(span.attribute("waybill.workspace").as_deref(), Some("acme"), "{name}");
        if matches!(kind, Kind::Producer | Kind::Consumer) {
            assert_eq!(span.attribute("server.address").as_deref(), Some("127.0.0.1"), "{name}");
            assert!(span.attribute("messaging.message.conversation_id").is_some(), "{name}");
            assert_eq!(span.attribute("messaging.system").as_deref(), Some("nats"), "{name}");
            assert!(span.attribute("messaging.destination.name").unwrap().starts_with("waybill.events."), "{name}");
        }
    }

    let instance = |service: &str| {
        trace.iter().find(|span| span.service == service).unwrap().resource["service.instance.id"].clone()
    };
    assert_eq!(instance("waybill-worker"), "w1");
    assert!(instance("waybill-gateway").as_str().is_some_and(|instance| instance.contains(':')));
    let pull = find(&spans, &ran, "waybill-worker", "pull image").unwrap();
    assert_eq!(pull.attribute("container.image.name"), reference.strip_suffix(":1").map(str::to_owned));
    assert_eq!(pull.attributes["container.image.tags"], serde_json::json!(["1"]));
    assert!(pull.attribute("oci.manifest.digest").unwrap().starts_with("sha256:"));

    let saving = find(&spans, &built, "waybill-gateway", &publish(SAVED)).unwrap();
    let naming = find(&spans, &built, "waybill-gateway", &publish(NAMED)).unwrap();
    let attaching = find(&spans, &ran, "waybill-scheduler", &process(REQUESTED)).unwrap();
    let link = attaching.link_to(saving).unwrap_or_else(|| panic!("no link to the build in {attaching:#?}"));
    let attached = stack.wait_for_event("ContainerCredentialsAttached", "c-1").await;
    let sequence = attached.data["saved_by"].to_string();
    assert_eq!(attaching.attribute("linked.trace_id").as_deref(), Some(built.as_str()));
    assert_eq!(attaching.attribute("waybill.placement").as_deref(), Some(container.placement().to_string().as_str()));
    assert_eq!(attaching.attribute("waybill.saved_sequence").as_deref(), Some(sequence.as_str()));
    assert!(link.attributes.contains_key("waybill.saved_sequence"));
    // The way forward: what a later span says of the build stands in the build's own span as well.
    for (before, name) in [(saving, "waybill.saved_sequence"), (naming, "waybill.build_sequence")] {
        assert!(before.attribute(name).is_some(), "{name}");
        assert_eq!(attaching.attribute(name), before.attribute(name), "{name}");
    }
}

#[tokio::test]
async fn a_redelivery_is_a_trace_of_its_own_that_links() {
    let collector = Collector::start().unwrap();
    let registry = Registry::start(Scheme::Open).unwrap();
    let reference = registry.serve("team/app", "1", &TinyImage::new("again").unwrap());
    let plan = Plan::default().plain_http(&[&registry.host()]).otlp(&collector);
    let mut stack = require!(plan.start().await);
    stack.build("acme", "img", &reference, Value::String("user:password".to_owned())).await;
    registry.inject(Fault::slow(Duration::from_secs(600)));
    let container = stack.container("acme", "c-1", "img", "w1").await;
    stack.wait_for_event("CredentialProviderAttached", "c-1").await;
    let worker = Service::Worker("w1".to_owned());
    stack.sigkill(&worker);
    registry.heal();
    stack.spawn(&worker).unwrap();
    stack.wait_for_event("ImagePullSucceeded", "c-1").await;

    let first = container.text("trace_id").to_owned();
    let (again, producer) = collector
        .wait_for(PATIENCE, "the redelivery's span", |spans| {
            let producer = find(spans, &first, "waybill-scheduler", &publish(DECIDED))?;
            let again = spans.iter().find(|span| span.service == "waybill-worker" && span.name == process(DECIDED))?;
            Some((again.clone(), producer.clone()))
        })
        .await
        .unwrap();
    assert_ne!(again.trace_id, first);
    assert_eq!(again.parent_id, None);
    assert!(again.link_to(&producer).is_some(), "{again:#?}");
}

#[tokio::test]
async fn a_caller_s_trace_goes_on_and_a_missing_collector_costs_nothing() {
    let plan = Plan::default().setting("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9");
    let mut stack = require!(plan.start().await);
    let parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let body = r#"{"workspace":"acme","container_id":"c-1","worker_id":"w1"}"#;
    let answer =
        stack.post_raw("/v1/containers", &stack.token("acme"), &[("traceparent", parent)], body).await.unwrap();
    assert_eq!(answer.text("trace_id"), "0af7651916cd43dd8448eb211c80319c");
    let decided = stack.wait_for_event("ContainerCredentialsSkipped", "c-1").await;
    assert_eq!(decided.text("reason"), "no_image_id");
    assert!(decided.line["traceparent"].as_str().unwrap().contains("0af7651916cd43dd8448eb211c80319c"));
    for service in [Service::Gateway, Service::Scheduler, Service::Worker("w1".to_owned())] {
        stack.stop(&service).await;
    }
    assert!(stack.logs().contains("the last spans could not be delivered"), "the failed flush is told");
}

/// The same, where people look.
#[tokio::test]
async fn jaeger_shows_the_trace_and_the_link() {
    if Jaeger::given().is_none() {
        return println!("JAEGER_BIN is not set: the trace was checked in the test's own collector only");
    }
    let jaeger = Jaeger::start().await.unwrap();
    let registry = Registry::start(Scheme::Open).unwrap();
    let reference = registry.serve("team/app", "1", &TinyImage::new("jaeger").unwrap());
    let plan = Plan::default().plain_http(&[&registry.host()]);
    let plan = plan.setting("OTEL_EXPORTER_OTLP_ENDPOINT", jaeger.endpoint()).setting("OTEL_BSP_SCHEDULE_DELAY", "200");
    let stack = require!(plan.start().await);
    let build = stack.build("acme", "img", &reference, Value::String("user:password".to_owned())).await;
    let container = stack.container("acme", "c-1", "img", "w1").await;
    stack.wait_for_event("ImagePullSucceeded", "c-1").await;

    let wanted = ["POST /v1/containers".to_owned(), process(REQUESTED), process(DECIDED), publish(OUTCOME)];
    let spans = eventually(PATIENCE, "the trace in Jaeger", async || {
        let spans = jaeger.spans(container.text("trace_id")).await;
        wanted.iter().all(|name| spans.iter().any(|span| span["name"] == *name)).then_some(spans)
    });
    let spans = spans.await.unwrap();
    let attaching = spans.iter().find(|span| span["name"] == process(REQUESTED)).unwrap();
    let links = attaching["links"].as_array().unwrap();
    assert!(links.iter().any(|link| link["traceId"] == build.text("trace_id")), "{attaching}");
}
