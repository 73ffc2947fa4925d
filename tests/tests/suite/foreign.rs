//! A client in another language that knows only `schemas/asyncapi.yaml`.

use std::{path::Path, time::Duration};

use waybill_tests::{python::Python, require, stack::Plan};

/// What a Python programmer would write after reading the AsyncAPI document.
const ORCHESTRATOR: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/clients/orchestrator.py");

#[tokio::test]
async fn python_publishes_a_request_and_reads_the_decision() {
    let python = require!(Python::with_modules(&["nats", "nkeys"]));
    let mut stack = require!(Plan::default().start().await);
    stack.build("acme", "img", "a.b/team/app:1", serde_json::json!("user:password")).await;
    let credentials = stack.home().join("keys/orchestrator-acme.creds");
    let url = stack.nats().url();
    let arguments = [url.as_str(), credentials.to_str().unwrap(), "acme"];
    let output = python.run(Path::new(ORCHESTRATOR), &arguments, &[], Duration::from_secs(60)).await.unwrap();
    let said: serde_json::Value = serde_json::from_str(output.trim()).unwrap_or_else(|_| panic!("{output}"));
    assert_eq!(said["type"], "waybill.v1.ContainerCredentialsAttached");
    assert_eq!(said["body"]["placement"], said["placement"]);
    assert_eq!(said["repeated"], 10071, "the log has it, and says so");
    assert_eq!(said["body"]["container_id"], "py-1");
    assert_eq!(said["body"]["registry"], "a.b");
}
