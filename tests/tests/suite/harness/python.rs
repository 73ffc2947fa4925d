//! A Python client and a Rust client talk over the same server.

use std::path::Path;

use waybill_tests::nats::NatsServer;
use waybill_tests::python::{Python, PythonError};
use waybill_tests::require;
use waybill_tests::scratch::Scratch;

use super::PATIENCE;

#[tokio::test]
async fn nats_py_is_answered_by_async_nats() {
    let python = require!(Python::with_modules(&["nats", "nkeys"]));
    let nats = require!(NatsServer::start().await);
    let client = async_nats::connect(nats.url()).await.unwrap();
    let mut asked = client.subscribe("greet").await.unwrap();
    client.flush().await.unwrap();

    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/suite/harness/ask.py");
    let url = nats.url();
    let answer = async {
        let message = futures_util::StreamExt::next(&mut asked).await.unwrap();
        let name = String::from_utf8(message.payload.to_vec()).unwrap();
        client.publish(message.reply.unwrap(), format!("hello {name}").into()).await.unwrap();
    };
    let (printed, ()) =
        tokio::join!(async { python.run(&script, &[&url], &[("GREETED", "Ada")], PATIENCE).await }, answer);
    assert_eq!(printed.unwrap(), "hello Ada\n");
}

#[tokio::test]
async fn a_failing_script_says_why() {
    let python = require!(Python::with_modules(&["json"]));
    let scratch = Scratch::new("script").unwrap();
    let script = scratch.file("fails.py", "raise SystemExit('no such workspace')").unwrap();
    let error = python.run(&script, &[], &[], PATIENCE).await.unwrap_err();
    assert!(matches!(&error, PythonError::Failed { stderr, .. } if stderr == "no such workspace\n"), "{error}");
}

#[test]
fn a_module_that_nobody_has_is_missing() {
    let error = Python::with_modules(&["json", "waybill_no_such_module"]).unwrap_err();
    assert!(error.to_string().starts_with("a Python with json, waybill_no_such_module is missing: run"), "{error}");
}
