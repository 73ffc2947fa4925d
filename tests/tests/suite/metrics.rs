//! Metrics: what each service counts, over OTLP and at `/metrics`, and that nothing in them tells who or what.

use std::time::Duration;

use serde_json::{Value, json};
use waybill_tests::{
    canary::{Canary, Search},
    ecr::{ECR_HOST, Ecr, as_ecr},
    image::TinyImage,
    login::Login,
    otlp::{Collector, Point},
    registry::{Registry, Scheme},
    require,
    stack::{Plan, Service, Stack},
    wait::eventually,
};

use super::forge::publish;

const PATIENCE: Duration = Duration::from_secs(30);

/// A service, a metric with some of its attributes, its value, and the line of it at `/metrics`.
type Expected = (&'static str, &'static str, Value, f64, &'static str);

fn expected() -> Vec<Expected> {
    let worker = "waybill-worker";
    let scheduler = "waybill-scheduler";
    vec![
        (
            "waybill-gateway",
            "waybill.saves",
            json!({ "outcome": "saved" }),
            2.0,
            r#"waybill_saves_total{outcome="saved"} 2"#,
        ),
        (
            "waybill-gateway",
            "waybill.saves",
            json!({ "outcome": "skipped", "reason": "no_credentials_provided" }),
            1.0,
            r#"waybill_saves_total{outcome="skipped",reason="no_credentials_provided"} 1"#,
        ),
        (
            "waybill-gateway",
            "messaging.client.sent.messages",
            json!({
                "messaging.system": "nats", "messaging.operation.name": "publish",
                "messaging.destination.template": "waybill.events.container.{workspace}.{container_id}.{request}",
            }),
            3.0,
            "messaging_client_sent_messages_total{",
        ),
        (
            scheduler,
            "waybill.decisions",
            json!({ "outcome": "attached" }),
            2.0,
            r#"waybill_decisions_total{outcome="attached"} 2"#,
        ),
        (
            scheduler,
            "waybill.decisions",
            json!({ "outcome": "skipped", "reason": "no_secret_for_image" }),
            1.0,
            r#"waybill_decisions_total{outcome="skipped",reason="no_secret_for_image"} 1"#,
        ),
        (scheduler, "waybill.grants.sealed", json!({}), 2.0, "waybill_grants_sealed_total 2"),
        (
            scheduler,
            "waybill.outbox.depth",
            json!({ "lane": "requests" }),
            0.0,
            r#"waybill_outbox_depth{lane="requests"} 0"#,
        ),
        (
            scheduler,
            "waybill.outbox.age",
            json!({ "lane": "withdrawals" }),
            0.0,
            r#"waybill_outbox_age_seconds{lane="withdrawals"} 0"#,
        ),
        (scheduler, "waybill.projection.lag", json!({}), 0.0, "waybill_projection_lag 0"),
        (scheduler, "waybill.projection.lag.time", json!({}), 0.0, "waybill_projection_lag_time_seconds 0"),
        (scheduler, "waybill.quarantine.events", json!({}), 1.0, "waybill_quarantine_events 1"),
        (
            scheduler,
            "messaging.client.consumed.messages",
            json!({ "messaging.operation.name": "process" }),
            1.0,
            "messaging_client_consumed_messages_total{",
        ),
        (
            worker,
            "waybill.providers",
            json!({ "outcome": "custom" }),
            2.0,
            r#"waybill_providers_total{outcome="custom"} 2"#,
        ),
        (
            worker,
            "waybill.providers",
            json!({ "outcome": "default_chain" }),
            1.0,
            r#"waybill_providers_total{outcome="default_chain"} 1"#,
        ),
        (
            worker,
            "waybill.pulls",
            json!({ "outcome": "succeeded" }),
            2.0,
            r#"waybill_pulls_total{outcome="succeeded"} 2"#,
        ),
        (
            worker,
            "waybill.pulls",
            json!({ "outcome": "failed", "reason": "unauthorized" }),
            1.0,
            r#"waybill_pulls_total{outcome="failed",reason="unauthorized"} 1"#,
        ),
        (
            worker,
            "waybill.token.exchanges",
            json!({ "cred_type": "aws", "outcome": "succeeded" }),
            1.0,
            r#"waybill_token_exchanges_total{cred_type="aws",outcome="succeeded"} 1"#,
        ),
        (
            worker,
            "waybill.token.expiry",
            json!({ "cred_type": "aws" }),
            f64::NAN,
            r#"waybill_token_expiry_seconds{cred_type="aws"}"#,
        ),
    ]
}

fn is(point: &Point, (service, name, attributes, value, _): &Expected) -> bool {
    let same = attributes.as_object().unwrap().iter().all(|(key, value)| point.attributes.get(key) == Some(value));
    let right = value.is_nan() || (point.value - value).abs() < f64::EPSILON;
    point.service == *service && point.name == *name && same && right && !point.unit.is_empty()
}

fn service(name: &str) -> Service {
    match name {
        "waybill-gateway" => Service::Gateway,
        "waybill-scheduler" => Service::Scheduler,
        _ => Service::Worker("w1".to_owned()),
    }
}

async fn shown(stack: &Stack, service: &Service) -> String {
    let url = stack.health_url(service).replace("/readyz", "/metrics");
    let answer = reqwest::get(url).await.unwrap();
    assert!(answer.headers()["content-type"].to_str().unwrap().starts_with("text/plain; version=0.0.4"));
    answer.text().await.unwrap()
}

/// The last number would say that all is well.
#[tokio::test]
async fn no_lag_is_shown_while_the_log_is_away() {
    let mut stack = require!(Plan::default().start().await);
    let shows = async |stack: &Stack, wanted: bool| {
        let what = format!("lag shown: {wanted}");
        let seen = eventually(PATIENCE, &what, async || {
            let text = shown(stack, &Service::Scheduler).await;
            let names = ["waybill_projection_lag", "waybill_projection_lag_time_seconds"];
            let lines =
                names.map(|name| text.contains(&format!("\n{name} 0")) || text.contains(&format!("\n{name}{{")));
            (lines == [wanted, wanted]).then_some(())
        });
        seen.await.unwrap();
    };
    shows(&stack, true).await;
    stack.nats().stop().await.unwrap();
    shows(&stack, false).await;
    stack.nats().restart().await.unwrap();
    shows(&stack, true).await;
}

#[tokio::test]
async fn every_hop_is_counted() {
    let canary = Canary::new("metrics");
    let collector = Collector::start().unwrap();
    let registry = Registry::start(Scheme::Basic).unwrap();
    registry.accounts().allow(&Login::new("u", canary.value()));
    let ecr = Ecr::start("AKIAEXAMPLE", registry.accounts()).unwrap();
    let reference = registry.serve("team/app", "1", &TinyImage::new("metrics").unwrap());
    let plan =
        Plan::default().workspaces(&["acme-workspace"]).played_by(&[(ECR_HOST, &registry.host())]).otlp(&collector);
    let plan = plan.setting("OTEL_METRIC_EXPORT_INTERVAL", "200");
    let stack = require!(plan.setting("WAYBILL_AWS_ECR_ENDPOINT", ecr.endpoint()).start().await);
    let keys = json!({ "AWS_ACCESS_KEY_ID": "AKIAEXAMPLE", "AWS_SECRET_ACCESS_KEY": canary.value(), "AWS_REGION": "eu-west-1" });
    for (number, credentials) in [Value::Null, json!(format!("u:{}", canary.value())), keys].into_iter().enumerate() {
        let (image, container) = (format!("image-{number}-id"), format!("container-{number}-id"));
        let reference = if number == 2 { as_ecr(&reference) } else { reference.clone() };
        stack.build("acme-workspace", &image, &reference, credentials).await;
        stack.container("acme-workspace", &container, &image, "w1").await;
        stack.wait_for_outcome(&container).await;
    }
    let subject = "waybill.events.image.acme-workspace.image-9-id.b-1";
    publish(&stack, "gateway", subject, "ImageSecretNamed", canary.value()).await;

    for expected in expected() {
        let mut last = Vec::new();
        let over_otlp = eventually(PATIENCE, expected.1, async || {
            last = collector.metrics();
            last.iter().any(|point| is(point, &expected)).then_some(())
        });
        if let Err(error) = over_otlp.await {
            panic!("{error}: {expected:?} in {last:#?}");
        }
        let text = shown(&stack, &service(expected.0)).await;
        assert!(text.contains(expected.4), "{} in:\n{text}", expected.4);
        assert!(text.contains(&format!("service_name=\"{}\"", expected.0)), "{text}");
    }
    let names = ["acme-workspace", "image-1-id", "container-1-id", "w1\"", registry.host().as_str()].map(str::to_owned);
    for name in ["waybill-gateway", "waybill-scheduler", "waybill-worker"] {
        let text = shown(&stack, &service(name)).await;
        Search::new([&canary]).assert_absent_in_bytes("/metrics", text.as_bytes());
        // Whose series they are: the instance of a worker is its id.
        for line in text.lines().filter(|line| !line.starts_with("target_info{")) {
            assert!(names.iter().all(|about| !line.contains(about.as_str())), "{line}");
        }
    }
    for point in collector.metrics() {
        let said = format!("{:?}", point.attributes);
        assert!(names.iter().all(|about| !said.contains(about.as_str())), "{said}");
    }
    Search::new([&canary]).assert_absent_in_bytes("OTLP", &collector.raw().concat());
}
