//! The debugging guide: every command in it works, and every line, metric and word that it names exists.

use std::{collections::BTreeSet, fs, path::Path};

use serde_json::{Value, json};
use waybill_domain::explain::Code;
use waybill_tests::{
    image::TinyImage,
    registry::{Registry, Scheme},
    require,
    stack::{Plan, Service, Stack},
};

use super::{
    documents::{commands, words},
    explain::readable,
    forge::publish_torn,
};

const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");

fn guide() -> String {
    fs::read_to_string(Path::new(ROOT).join("DEBUGGING.md")).unwrap()
}

/// The situation of the guide: workspace acme has a secret team-pull; its container c-1 asked for img-1, which was built without
/// credentials; and the twelfth message cannot be read.
async fn situation(registry: &Registry) -> Result<Stack, waybill_tests::error::StartError> {
    let reference = registry.serve("team/app", "1", &TinyImage::new("guide").unwrap());
    let plan = Plan::default().workers(&["node-1"]).plain_http(&[&registry.host()]).setting("WAYBILL_LOG", "warn");
    let stack = plan.start().await?;
    let login = json!({ "registry": registry.host(), "credentials": "puller:password" });
    assert_eq!(
        stack.put_secret("acme", "team-pull", &login).await.sequence(),
        6,
        "the log began with a key, a worker, and who may do what"
    );
    stack.build("acme", "img-1", &reference, Value::Null).await;
    stack.container("acme", "c-1", "img-1", "node-1").await;
    stack.wait_for_outcome("c-1").await;
    assert_eq!(publish_torn(&stack).await, 12, "the guide speaks of sequence 12");
    Ok(stack)
}

#[tokio::test]
async fn every_command_works() {
    let registry = Registry::start(Scheme::Basic).unwrap();
    let stack = require!(situation(&registry).await);
    let commands = commands(&guide());
    assert!(commands.len() >= 20, "{commands:?}");
    for command in commands {
        let words = words(&command);
        let arguments: Vec<&str> = words.iter().skip(1).map(String::as_str).collect();
        let finished = stack.run(&arguments).await;
        let said = format!("{}{}", finished.stdout, finished.stderr);
        // The container is broken, the message cannot be read again, and the doctor has something to say of it.
        let expected: &[i32] = match arguments.as_slice() {
            ["explain", "container", "c-1"]
            | ["explain", "container", "c-1", "--diff" | "--prove" | "--short", ..]
            | ["explain", "image" | "--since" | "--case", ..]
            | ["quarantine", "retry", ..]
            | ["forecast", ..]
            | ["doctor"] => &[1],
            ["explain", "container", "c-1", "--at", ..] => &[3],
            _ => &[0],
        };
        assert!(expected.contains(&finished.status.code().unwrap()), "{command}: {said}");
        // Nothing was refused here.
        let is_empty = arguments.last() == Some(&"RequestRefused");
        assert!(is_empty || !finished.stdout.trim().is_empty(), "{command} says nothing: {said}");
        readable(&finished);
    }
}

#[tokio::test]
async fn every_metric_is_shown() {
    let registry = Registry::start(Scheme::Basic).unwrap();
    let stack = require!(situation(&registry).await);
    let mut shown = String::new();
    for service in [Service::Gateway, Service::Scheduler, Service::Worker("node-1".to_owned())] {
        let url = stack.health_url(&service).replace("/readyz", "/metrics");
        shown += &reqwest::get(url).await.unwrap().text().await.unwrap();
    }
    let guide = guide();
    let services = [Service::Gateway, Service::Scheduler, Service::Worker("node-1".to_owned())];
    let addresses = guide.lines().filter_map(|line| line.strip_prefix("    curl -s http://")?.split(" #").next());
    let mut asked = 0;
    for (address, service) in addresses.zip(&services) {
        // As it is printed, but for the port, which is another in each test.
        let path = address.trim().split_once('/').unwrap().1;
        let here = stack.health_url(service).replace("readyz", path);
        let said = reqwest::get(&here).await.unwrap().error_for_status().unwrap().text().await.unwrap();
        assert!(said.starts_with("# "), "{address}: {said}");
        asked += 1;
    }
    assert_eq!(asked, 3, "one address for each kind of service");
    let metrics: BTreeSet<&str> = guide.split('`').filter(|word| word.starts_with("waybill_")).collect();
    assert!(metrics.len() >= 6, "{metrics:?}");
    // Nothing was exchanged for a token here, and nothing refused; other tests do that.
    let elsewhere = ["waybill_token_exchanges_total", "waybill_requests_refused_total", "waybill_refusals_total"];
    for metric in metrics.iter().filter(|metric| !elsewhere.contains(metric)) {
        assert!(shown.contains(&format!("\n{metric}")), "{metric} is not shown:\n{shown}");
    }
}

#[test]
fn every_log_line_and_every_code_exists() {
    let guide = guide();
    let mut sources = String::new();
    for service in ["gateway", "scheduler", "worker"] {
        super::documents::visit(&Path::new(ROOT).join("services").join(service), &mut |_, text| sources += text);
    }
    let lines: Vec<&str> = guide
        .split('`')
        .skip(1)
        .step_by(2)
        .filter(|word| word.contains(' ') && !word.starts_with("waybill "))
        .collect();
    let lines: Vec<&&str> =
        lines.iter().filter(|line| !line.starts_with("GET ") && !line.starts_with("POST ")).collect();
    assert!(lines.len() >= 7, "{lines:?}");
    for line in lines {
        assert!(sources.contains(&format!("\"{line}\"")), "no service logs {line:?}");
    }
    let table = guide.split("## Symptoms").nth(1).unwrap();
    let first_column = table.lines().filter_map(|row| row.strip_prefix("| `")?.split(" |").next());
    let told: BTreeSet<&str> =
        first_column.flat_map(|cell| cell.split(['`', ',', ' '])).filter(|word| !word.is_empty()).collect();
    let well = [Code::Saved, Code::Pulled, Code::Superseded, Code::Ended];
    let codes: BTreeSet<&str> =
        Code::ALL.iter().filter(|code| !well.contains(code)).map(|code| code.as_str()).collect();
    assert_eq!(told, codes, "the table names every code that is not good news, and nothing else");
}
