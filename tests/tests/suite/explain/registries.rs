//! Registries that answer otherwise than the specification has it, over the whole path: each row is an answer, and what people
//! are told of it and to do about it.

use std::time::Duration;

use serde_json::json;
use waybill_tests::{
    image::TinyImage,
    login::Login,
    registry::{Endpoint, Fault, Registry, Scheme},
    require,
    stack::{Plan, Stack},
};

use super::{Expected, build_and_run, expect_remedy};

/// What one registry does to one repository of the row's name.
type Row<'r> = (&'r str, Fault, Expected<'r>, &'r str);

const PULL_ACCESS: &str = "Give the account of the secret pull access to the repository";
const CHECK_NAME: &str = "Check the repository, tag and digest of the image";
const LOOK: &str = "Look at the registry for the answer that is named";
const WAIT: &str = "Wait as long as the registry asks for";
const ANOTHER_LOGIN: &str = "Give the secret a new version, with a login that this registry takes";
const NAME_THE_REGISTRY: &str = "names the registry itself and not a web server or proxy in front of it";

fn answer(code: u16, words: &str) -> Fault {
    Fault::answer(code, &[], json!({ "errors": [{ "code": words, "message": "no" }] }).to_string())
}

fn page(code: u16) -> Fault {
    Fault::answer(code, &[("content-type", "text/html; charset=utf-8")], "<html>Sign in</html>")
}

/// Pulls `ROW/app:1` of this registry in a container of the row's name, while it misbehaves, and compares.
async fn pull(stack: &Stack, registry: &Registry, rows: Vec<Row<'_>>) {
    for (name, fault, expected, remedy) in rows {
        let reference = registry.serve(&format!("{name}/app"), "1", &TinyImage::new(name).unwrap());
        registry.inject(fault);
        build_and_run(stack, name, &reference, json!("u:p")).await;
        registry.heal();
        expect_remedy(stack, name, expected, remedy).await;
    }
}

#[tokio::test]
async fn each_answer_for_a_manifest_or_a_layer_has_its_cause_and_remedy() {
    let registry = Registry::start(Scheme::Basic).unwrap();
    registry.accounts().allow(&Login::new("u", "p"));
    let plan = Plan::default().plain_http(&[&registry.host()]).setting("WAYBILL_WORKER_PULL_SECONDS", "3");
    let stack = require!(plan.start().await);
    let manifest = |fault: Fault| fault.on(Endpoint::Manifest);
    let blob = |fault: Fault| fault.on(Endpoint::Blob);
    let elsewhere = Registry::start(Scheme::Basic).unwrap();
    let wrong_digest =
        ("docker-content-digest", "sha256:0000000000000000000000000000000000000000000000000000000000000000");
    let rows = vec![
        ("odd-denial", manifest(answer(403, "UNKNOWN")), (1, "pull", "denied", "answered 403 UNKNOWN"), PULL_ACCESS),
        ("legal", manifest(Fault::answer(451, &[], "")), (1, "pull", "denied", "answered 451"), PULL_ACCESS),
        ("hidden", manifest(answer(404, "DENIED")), (1, "pull", "denied", "answered 404 DENIED"), PULL_ACCESS),
        ("gone", manifest(Fault::answer(410, &[], "")), (1, "pull", "not_found", "answered 410"), CHECK_NAME),
        ("tag-expired", manifest(answer(404, "TAG_EXPIRED")), (1, "pull", "not_found", "404 TAG_EXPIRED"), CHECK_NAME),
        ("unnamed", manifest(answer(404, "NAME_UNKNOWN")), (1, "pull", "not_found", "404 NAME_UNKNOWN"), CHECK_NAME),
        ("quota", manifest(answer(429, "QUOTA_EXCEEDED")), (1, "pull", "rate_limited", "429 QUOTA_EXCEEDED"), WAIT),
        (
            "patience",
            manifest(Fault::answer(429, &[("retry-after", "30")], "")),
            (1, "pull", "rate_limited", "it asks to come back in 30 s"),
            WAIT,
        ),
        (
            "policy",
            manifest(answer(412, "PROJECTPOLICYVIOLATION")),
            (1, "pull", "registry_error", "answered 412 PROJECTPOLICYVIOLATION"),
            LOOK,
        ),
        ("gateway-502", manifest(Fault::answer(502, &[], "")), (1, "pull", "registry_error", "answered 502"), LOOK),
        ("closed-503", manifest(Fault::status(503)), (1, "pull", "registry_error", "come back in 1 s"), LOOK),
        ("late-504", manifest(Fault::answer(504, &[], "")), (1, "pull", "registry_error", "answered 504"), LOOK),
        ("sign-in", manifest(page(400)), (1, "pull", "registry_error", "is this the address of a registry?"), LOOK),
        ("welcome", manifest(page(200)), (1, "pull", "registry_error", "web page"), LOOK),
        ("bytes", manifest(Fault::answer(200, &[], vec![0xff; 10])), (1, "pull", "registry_error", "manifest"), LOOK),
        (
            "encoded",
            manifest(Fault::answer(200, &[("content-encoding", "br")], "x")),
            (1, "pull", "registry_error", "encoded as br, which nobody asked for"),
            LOOK,
        ),
        (
            "swapped",
            manifest(Fault::answer(200, &[wrong_digest], "{}")),
            (1, "pull", "digest_mismatch", "not what its digest says"),
            "something changed the content",
        ),
        (
            "negotiate",
            Fault::answer(401, &[("www-authenticate", "Negotiate, Digest realm=\"r\",nonce=\"n\"")], ""),
            (1, "pull", "unsupported_challenge", "by Negotiate or Digest, which cannot be given: none were sent"),
            NAME_THE_REGISTRY,
        ),
        (
            "sent-on",
            manifest(Fault::redirect(elsewhere.url().replace("127.0.0.1", "localhost"))),
            (1, "pull", "registry_error", "sent us on to"),
            LOOK,
        ),
        ("layer-refused", blob(answer(403, "DENIED")), (1, "pull", "denied", "answered 403 DENIED"), PULL_ACCESS),
        ("layer-gone", blob(answer(404, "BLOB_UNKNOWN")), (1, "pull", "not_found", "404 BLOB_UNKNOWN"), CHECK_NAME),
        ("layer-fails", blob(Fault::status(500)), (1, "pull", "registry_error", "answered 500"), LOOK),
        (
            "hangs",
            manifest(Fault::slow(Duration::from_secs(60))),
            (1, "pull", "unreachable", "did not answer a pull"),
            "WAYBILL_WORKER_PULL_SECONDS",
        ),
    ];
    pull(&stack, &registry, rows).await;
}

#[tokio::test]
async fn each_answer_of_a_token_service_has_its_cause_and_remedy() {
    let registry = Registry::start(Scheme::Bearer(Duration::from_secs(300))).unwrap();
    registry.accounts().allow(&Login::new("u", "p"));
    let stack = require!(Plan::default().plain_http(&[&registry.host()]).start().await);
    let token = |fault: Fault| fault.on(Endpoint::Token);
    let rows = vec![
        (
            "refused",
            token(answer(401, "UNAUTHORIZED")),
            (1, "pull", "unauthorized", "its token service"),
            ANOTHER_LOGIN,
        ),
        (
            "forbidden",
            token(answer(403, "DENIED")),
            (1, "pull", "denied", "its token service answered 403"),
            PULL_ACCESS,
        ),
        ("busy", token(Fault::status(429)), (1, "pull", "rate_limited", "its token service answered 429"), WAIT),
        ("down", token(Fault::status(503)), (1, "pull", "registry_error", "its token service answered 503"), LOOK),
        ("a-page", token(page(200)), (1, "pull", "registry_error", "its token service"), LOOK),
        ("empty", token(Fault::answer(200, &[], "{}")), (1, "pull", "registry_error", "its token service"), LOOK),
    ];
    pull(&stack, &registry, rows).await;
    registry.send_for_tokens_to("http://registry.example.com/token");
    let unsafe_service = ("unsafe", token(Fault::status(500)), (1, "pull", "registry_error", "without TLS"), LOOK);
    pull(&stack, &registry, vec![unsafe_service]).await;
}
