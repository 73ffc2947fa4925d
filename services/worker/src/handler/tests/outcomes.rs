//! What each decision comes to.

use waybill_schemas::v1::PullFailure;

use super::*;
use crate::testing::{Answer, FakeRegistry, Image, Lines, basic_header, envelope};

const EXTERNAL_ACCOUNT: &str = r#"{"type":"external_account","credential_source":{"environment_id":"aws1"}}"#;

#[tokio::test]
async fn attached_credentials_pull_the_image() {
    let (lines, _guard) = Lines::capture();
    let registry = FakeRegistry::basic(Image::new(), "ada", PASSWORD).await;
    let bench = Bench::new(registry.host());
    let said = bench.ada("c-1");
    bench.first(said.clone()).await;

    assert_eq!(bench.handler.log.names(), ["CredentialProviderAttached", "ImagePullSucceeded"]);
    assert_eq!(bench.field(0, "provider_name"), format!("creds-{}", registry.host()));
    assert_eq!((bench.field(0, "cred_type"), bench.field(0, "decided_by")), (json!("basic"), json!(DECIDED)));
    assert_eq!(bench.field(1, "digest"), Image::new().digest());
    let decision = decision(said);
    let stored = bench.handler.log.stored().clone();
    let expected = [(Derivation::Provider, REQUESTED), (Derivation::Pull, stored[0].sequence)];
    for (stored, (kind, after)) in stored.iter().zip(expected) {
        let envelope = &stored.event.envelope;
        assert_eq!((envelope.id, stored.expected), (outcome_id(&decision, kind), Expect::LastSibling(after)));
        assert_eq!((envelope.causation_id, envelope.correlation_id), (Some(decision.id), Some(CORRELATION)));
        assert_eq!(envelope.source, "/waybill/worker/w1");
    }
    let line = &lines.with("attached custom credential provider for OCI image")[0];
    let fields = ["level", "image_id", "container_id", "provider_name"].map(|name| line[name].clone());
    let provider = json!(format!("creds-{}", registry.host()));
    assert_eq!(fields, [json!("INFO"), json!("img"), json!("c-1"), provider]);
    assert_eq!(lines.with("decision received")[0]["has_image_credentials"], true);
}

#[tokio::test]
async fn without_credentials_the_pull_is_anonymous() {
    use AttachSkipReason as Why;
    let (lines, _guard) = Lines::capture();
    let registry = FakeRegistry::basic(Image::new(), "ada", PASSWORD).await;
    for reason in [Why::NoSecretForImage, Why::NoImageId, Why::BuildContainer] {
        let bench = Bench::new(registry.host());
        bench.first(bench.skipped(reason)).await;
        assert_eq!(bench.handler.log.names(), ["CredentialProviderAttached", "ImagePullFailed"]);
        assert_eq!(bench.field(0, "provider_name"), "default-chain");
        assert_eq!(bench.field(1, "reason"), "unauthorized");
    }
    let told = lines.with("no image credentials provided, using default provider chain");
    assert_eq!((told.len(), &told[0]["level"]), (3, &json!("INFO")));
    assert_eq!(lines.with("decision received")[0]["has_image_credentials"], false);
    for (image_ref, reason) in
        [(None, PullFailure::NoImageReference), (Some("a.b/UPPER"), PullFailure::InvalidReference)]
    {
        let bench = Bench::new(registry.host());
        let image_ref = image_ref.map(str::to_owned);
        bench.first(ContainerCredentialsSkipped { image_ref, ..bench.skipped(Why::NoImageId) }).await;
        assert_eq!(bench.field(1, "reason"), reason.as_str());
    }
}

#[tokio::test]
async fn without_a_provider_there_is_no_pull() {
    use AttachSkipReason as Why;
    let (lines, _guard) = Lines::capture();
    let registry = FakeRegistry::start(Image::new(), |_| None).await;
    let other = Bench::new(registry.host());
    let basic = |bench: &Bench, text: &str| bench.attached_text("c-1", CredType::Basic, text);
    let google = |bench: &Bench, file: &str| {
        let values = json!({ "GOOGLE_APPLICATION_CREDENTIALS": file });
        let text = json!({ "registry": "gcr.io", "type": "gcp", "credentials": values }).to_string();
        bench.attached_text("c-1", CredType::Gcp, &text)
    };
    let elsewhere =
        json!({ "registry": "a.b", "type": "basic", "credentials": { "USERNAME": "u", "PASSWORD": "p" } }).to_string();
    type Make<'t> = Box<dyn Fn(&Bench) -> Event + 't>;
    let cases: Vec<(&str, Make<'_>)> = vec![
        ("unseal_failed", Box::new(|_| other.ada("c-1").into())),
        (
            "unseal_failed",
            Box::new(|bench| {
                let of_another_container = bench.ada("c-2").credentials;
                ContainerCredentialsAttached { credentials: of_another_container, ..bench.ada("c-1") }.into()
            }),
        ),
        ("unparsable_credentials", Box::new(|bench| basic(bench, "{").into())),
        ("unparsable_credentials", Box::new(|bench| bench.attached("c-1", CredType::Basic, &json!({})).into())),
        ("unparsable_credentials", Box::new(|bench| google(bench, "/etc/key.json").into())),
        ("unsupported", Box::new(|bench| google(bench, EXTERNAL_ACCOUNT).into())),
        ("registry_mismatch", Box::new(|bench| basic(bench, &elsewhere).into())),
        ("credentials_withheld", Box::new(|bench| bench.skipped(Why::CredentialsUnusable).into())),
        ("credentials_withheld", Box::new(|bench| bench.skipped(Why::SecretExpired).into())),
        ("credentials_withheld", Box::new(|bench| bench.skipped(Why::UnknownWorker).into())),
        ("credentials_withheld", Box::new(|bench| bench.skipped(Why::UnsealFailed).into())),
    ];
    for (reason, make) in cases {
        let bench = Bench::new(registry.host());
        bench.first(make(&bench)).await;
        assert_eq!(bench.handler.log.names(), ["CredentialProviderFailed"], "{reason}");
        assert_eq!(bench.field(0, "reason"), reason);
    }
    assert!(registry.asked().is_empty(), "no pull as somebody else");
    let told = lines.with("failed to parse image credentials JSON");
    assert_eq!((told.len(), &told[0]["level"]), (3, &json!("WARN")));
}

#[tokio::test]
async fn an_exchange_that_fails_is_a_provider_that_fails() {
    let registry = FakeRegistry::start(Image::new(), |_| None).await;
    let ecr = FakeEcr::start().await;
    ecr.script().failures = vec![(400, "UnrecognizedClientException")];
    let bench = Bench::ecr(registry.host(), &ecr);
    bench.first(bench.aws("c-1")).await;
    assert_eq!(bench.handler.log.names(), ["CredentialProviderFailed"]);
    assert_eq!(bench.field(0, "reason"), "token_exchange_failed");
    assert!(bench.field(0, "detail").as_str().unwrap().contains("UnrecognizedClientException"));
    assert!(registry.asked().is_empty());
}

/// A registry that takes only the token with this number, and answers so to the others.
async fn taking_only(number: usize, refusal: Answer) -> FakeRegistry {
    let expected = basic_header("AWS", &FakeEcr::password(number));
    FakeRegistry::start(Image::new(), move |asked| match &asked.authorization {
        None => Some((401, vec![("www-authenticate", "Basic realm=\"ecr\"".to_owned())], Vec::new())),
        Some(header) => (*header != expected).then(|| refusal.clone()),
    })
    .await
}

#[tokio::test]
async fn a_token_from_before_that_is_refused_is_exchanged_once_more() {
    let expired = envelope(403, "DENIED", "Your authorization token has expired. Reauthenticate and try again.");
    for (refusal, reason) in [(envelope(401, "UNAUTHORIZED", "no"), "unauthorized"), (expired, "denied")] {
        let registry = taking_only(2, refusal).await;
        let ecr = FakeEcr::start().await;
        let bench = Bench::ecr(registry.host(), &ecr);
        // The first token is new: another one would fare no better.
        bench.first(bench.aws("c-1")).await;
        assert_eq!((bench.field(1, "reason"), ecr.calls()), (json!(reason), 1));
        // Now it is one from before.
        bench.first(bench.aws("c-2")).await;
        assert_eq!(bench.handler.log.names()[3], "ImagePullSucceeded");
        assert_eq!(ecr.calls(), 2);
        assert!(bench.field(2, "token_expires_at").is_string());
    }
}

#[tokio::test]
async fn a_refused_token_is_exchanged_exactly_once() {
    let ecr = FakeEcr::start().await;
    let expired = "Your authorization token has expired. Reauthenticate and try again.";
    // What is denied for another reason than its age is not tried again.
    for (refusal, reason, calls) in [
        (envelope(401, "UNAUTHORIZED", "no"), "unauthorized", 2),
        (envelope(403, "DENIED", expired), "denied", 2),
        (envelope(403, "DENIED", "not yours"), "denied", 1),
    ] {
        let registry = taking_only(99, refusal).await;
        let bench = Bench::ecr(registry.host(), &ecr);
        let before = ecr.calls();
        bench.first(bench.aws("c-1")).await;
        bench.first(bench.aws("c-2")).await;
        assert_eq!((bench.field(3, "reason"), ecr.calls() - before), (json!(reason), calls));
        let asked = registry.asked();
        let manifests = asked.iter().filter(|asked| asked.path.contains("/manifests/")).count();
        assert_eq!(manifests, 1 + calls, "c-1's, c-2's, and one more where there is a new token");
    }
}
