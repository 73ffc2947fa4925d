//! The benchmark in small: it runs, measures every figure that the documents quote, and counts its goals. Whether they are met
//! is not a matter for a test, nor for a build without optimisation.

use std::time::Duration;

use serde_json::Value;
use waybill_tests::{
    find,
    nats::NatsServer,
    process::{Process, command},
    require,
    scratch::Scratch,
};

const LIMIT: Duration = Duration::from_secs(300);

#[tokio::test]
async fn every_figure_is_measured_beside_its_limit() {
    drop(require!(NatsServer::start().await));
    let scratch = Scratch::new("bench").unwrap();
    let binary = require!(find::workspace_binary("bench"));
    let mut child = command(&binary);
    child.arg("smoke");
    let finished = Process::run("bench", child, scratch.path(), LIMIT).await.unwrap();
    let printed = format!("{}{}", finished.stdout, finished.stderr);
    assert!(finished.status.success(), "{printed}");
    assert!(finished.stdout.trim_end().ends_with("goals met"), "{printed}");

    let json = std::fs::read_to_string(binary.with_file_name("bench.json")).unwrap();
    let report: Value = serde_json::from_str(&json).unwrap();
    let figures = report["figures"].as_array().unwrap();
    for (name, limit) in [
        ("decisions, one scheduler", Some("batches")),
        ("decisions, two schedulers", Some("one")),
        ("request to provider at 1/s, p50", Some("two hops")),
        ("request to provider at 50/s, p99", Some("two hops")),
        ("replay of", Some("a bare read")),
        ("replay --verify", Some("replay")),
        ("explain in", None),
        ("builds that name a secret", Some("single publishes")),
        ("scheduler, memory", None),
        ("projection, an image", None),
        ("projection, a running placement", None),
        ("projection, an ended placement", None),
        ("worker, memory", None),
        ("worker, processor", None),
        ("idle scheduler", None),
        ("a decision at", Some("at 10 images")),
        ("restart of the scheduler", None),
    ] {
        let figure = figures.iter().find(|figure| figure["name"].as_str().unwrap().starts_with(name));
        let figure = figure.unwrap_or_else(|| panic!("{name} is not measured: {printed}"));
        assert_eq!(figure["limit"]["name"].as_str(), limit, "{figure}");
        assert!(figure["measured"]["median"].is_number() && figure["met"].is_boolean(), "{figure}");
    }
}
