//! Everything that the services count, as `/metrics` shows it, and that the alerts and the dashboard ask for nothing else.

// Tests fail by panicking.
#![allow(clippy::expect_used, clippy::indexing_slicing, clippy::panic, clippy::unwrap_used)]

use std::{collections::BTreeSet, path::Path, time::Duration};

use axum::{body::Body, http::Request};
use tower::ServiceExt as _;
use waybill_platform::{
    config::Settings,
    health::HealthState,
    metrics,
    telemetry::{self, TelemetryConfig},
};
use waybill_schemas::{Subject, v1::CredType};

/// Counts everything once.
fn count_all() {
    let subject = Subject::SchedulerKeys;
    metrics::appended(&subject);
    metrics::consumed(&subject);
    metrics::save("saved", None);
    metrics::decision("skipped", Some("no_image_id"));
    metrics::credential_provider("custom", None);
    metrics::pull("succeeded", None);
    metrics::token_exchange(CredType::Aws, Some("2026-01-01T00:00:00Z".parse().unwrap()));
    metrics::lag(Some((1, 2.0)));
    metrics::quarantined(1);
    metrics::decision_refused();
    metrics::request_refused("forbidden");
    metrics::renewal("applied", None);
    metrics::grant_sealed();
    metrics::log_full(false);
    metrics::outbox("requests", 1, 0.5);
    metrics::published(&subject, Duration::from_millis(3), Some("full"));
    metrics::processed(&subject, Duration::from_millis(3), None);
    metrics::answered("GET", "/v1/builds".to_owned(), 503, Duration::from_millis(3));
    metrics::decided_after(time::Duration::milliseconds(-3));
    metrics::refusal("recorded");
    metrics::pull_lasted(Duration::from_secs(2), Some("denied"));
}

async fn shown() -> String {
    let request = Request::get("/metrics").body(Body::empty()).unwrap();
    let answer = HealthState::default().routes().oneshot(request).await.unwrap();
    let body = axum::body::to_bytes(answer.into_body(), usize::MAX).await.unwrap();
    String::from_utf8(body.to_vec()).unwrap()
}

/// Names of metrics in a query: words that one of our prefixes begins.
fn names_in(text: &str) -> BTreeSet<String> {
    let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    let prefixes = ["waybill_", "messaging_client_", "messaging_process_", "http_server_"];
    words.filter(|word| prefixes.iter().any(|prefix| word.starts_with(prefix))).map(str::to_owned).collect()
}

fn infra(name: &str) -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../infra").join(name)).unwrap()
}

#[tokio::test]
async fn alerts_and_dashboard_ask_for_what_is_there() {
    let settings = Settings::from_pairs(Path::new("."), []);
    let guard = telemetry::init("test", "one", &TelemetryConfig::read(&settings, "warn").unwrap()).unwrap();
    count_all();
    let text = shown().await;
    let there: BTreeSet<&str> =
        text.lines().filter(|line| !line.starts_with('#')).filter_map(|line| line.split(['{', ' ']).next()).collect();
    for line in [
        r#"http_server_request_duration_seconds_bucket{error_type="503",http_request_method="GET""#,
        r#"waybill_pull_duration_seconds_count{outcome="failed",reason="denied"} 1"#,
        "waybill_decision_delay_seconds_sum 0",
        r#"service_instance_id="one""#,
    ] {
        assert!(text.contains(line), "{line} is not in\n{text}");
    }
    for file in ["prometheus-rules.yaml", "prometheus-rules-test.yaml", "grafana-dashboard.json"] {
        let asked = names_in(&infra(file));
        assert!(asked.len() > 10, "{file} names {asked:?}");
        let unknown: Vec<_> = asked.iter().filter(|name| !there.contains(name.as_str())).collect();
        assert!(unknown.is_empty(), "{file} asks for {unknown:?}; there are {there:?}");
    }
    drop(guard);
}
