//! What each decision comes to.

use waybill_schemas::{Derivation, derived_id, v1::PullFailure};

use super::*;
use crate::testing::{Answer, FakeRegistry, Image, Lines, basic_header, envelope};

const EXTERNAL_ACCOUNT: &str = r#"{"type":"external_account","credential_source":{"environment_id":"aws1"}}"#;

#[tokio::test]
async fn attached_credentials_pull_the_image() {
    let (lines, _guard) = Lines::capture();
    let registry = FakeRegistry::basic(Image::new(), "ada", PASSWORD).await;
    let bench = Bench::new(registry.host()).await;
    let credential = bench.ada(3).await;
    let assignment = bench.attach("c-1", 10, credential).await;
    bench.work(&assignment).await;

    assert_eq!(bench.outcomes(), ["CredentialProviderAttached", "ImagePullSucceeded"]);
    assert_eq!(bench.field(0, "provider_name"), format!("creds-{}", registry.host()));
    assert_eq!((bench.field(0, "cred_type"), bench.field(0, "version")), (json!("basic"), json!(3)));
    assert_eq!((bench.field(0, "secret_name"), bench.field(0, "placement")), (json!("s"), json!(10)));
    assert_eq!(bench.field(1, "digest"), Image::new().digest());
    let decided = bench.log.message_at(assignment.decided.sequence).await.unwrap().unwrap().decode().unwrap().envelope;
    for ((_, recorded), kind) in bench.reported().iter().zip([Derivation::Provider, Derivation::Pull]) {
        let stored = &recorded.envelope;
        assert_eq!(recorded.subject.to_string(), "waybill.events.outcome.w1.acme.c-1.10");
        assert_eq!((stored.id, stored.causation_id), (derived_id(decided.id, &kind), Some(decided.id)));
        assert_eq!((stored.correlation_id, stored.source.as_str()), (decided.correlation_id, "/waybill/worker/w1"));
    }
    assert_eq!(bench.field(1, "decided_by"), json!(assignment.decided.sequence));
    let line = &lines.with("attached custom credential provider for OCI image")[0];
    let fields = ["level", "image_id", "container_id", "provider_name"].map(|name| line[name].clone());
    let provider = json!(format!("creds-{}", registry.host()));
    assert_eq!(fields, [json!("INFO"), json!("img"), json!("c-1"), provider]);
}

#[tokio::test]
async fn without_credentials_the_pull_is_anonymous() {
    use AttachSkipReason as Why;
    let (lines, _guard) = Lines::capture();
    let registry = FakeRegistry::basic(Image::new(), "ada", PASSWORD).await;
    for reason in [Why::NoSecretForImage, Why::NoImageId, Why::BuildContainer] {
        let bench = Bench::new(registry.host()).await;
        bench.work(&bench.skip("c-1", 10, reason).await).await;
        assert_eq!(bench.outcomes(), ["CredentialProviderAttached", "ImagePullFailed"]);
        assert_eq!(bench.field(0, "provider_name"), "default-chain");
        assert_eq!(bench.field(1, "reason"), "unauthorized");
    }
    let told = lines.with("no image credentials provided, using default provider chain");
    assert_eq!((told.len(), &told[0]["level"]), (3, &json!("INFO")));
    for (image_ref, reason) in
        [(None, PullFailure::NoImageReference), (Some("a.b/UPPER"), PullFailure::InvalidReference)]
    {
        let bench = Bench::new(registry.host()).await;
        let image = SkippedImage { image_ref: image_ref.map(str::to_owned), ..SkippedImage::default() };
        let (placement, why) = (placement("c-1", 10), Why::NoImageId);
        let assignment = bench.decide(Outcome::Skipped { placement, image, reason: why }).await;
        bench.work(&assignment).await;
        assert_eq!(bench.field(1, "reason"), reason.as_str());
    }
}

#[tokio::test]
async fn without_a_provider_there_is_no_pull() {
    use AttachSkipReason as Why;
    let (lines, _guard) = Lines::capture();
    let registry = FakeRegistry::start(Image::new(), |_| None).await;
    let elsewhere =
        json!({ "registry": "a.b", "type": "basic", "credentials": { "USERNAME": "u", "PASSWORD": "p" } }).to_string();
    let google = |file: &str| json!({ "GOOGLE_APPLICATION_CREDENTIALS": file });
    let granted = |host: &str, values: Value, kind: CredType| {
        json!({ "registry": host, "type": kind.as_str(), "credentials": values }).to_string()
    };
    let (here, gcr) = (registry.host(), "gcr.io");
    let cases = [
        ("unparsable_credentials", here, CredType::Basic, "{".to_owned()),
        ("unparsable_credentials", here, CredType::Basic, granted(here, json!({}), CredType::Basic)),
        ("unparsable_credentials", gcr, CredType::Gcp, granted(gcr, google("/etc/key.json"), CredType::Gcp)),
        ("unsupported", gcr, CredType::Gcp, granted(gcr, google(EXTERNAL_ACCOUNT), CredType::Gcp)),
        ("registry_mismatch", here, CredType::Gcp, granted(here, google(EXTERNAL_ACCOUNT), CredType::Gcp)),
        ("registry_mismatch", here, CredType::Basic, elsewhere),
    ];
    for (reason, host, cred_type, text) in &cases {
        let bench = Bench::new(host).await;
        let credential = bench.grant_text("s", 1, *cred_type, text).await;
        bench.work(&bench.attach("c-1", 10, credential).await).await;
        assert_eq!(bench.outcomes(), ["CredentialProviderFailed"], "{reason}");
        assert_eq!(bench.field(0, "reason"), *reason);
    }
    for why in [Why::CredentialsUnusable, Why::SecretExpired, Why::UnknownWorker, Why::SecretShredded] {
        let bench = Bench::new(registry.host()).await;
        bench.work(&bench.skip("c-1", 10, why).await).await;
        assert_eq!(bench.outcomes(), ["CredentialProviderFailed"], "{why}");
        assert_eq!(bench.field(0, "reason"), "credentials_withheld");
    }
    assert!(registry.asked().is_empty(), "no pull as somebody else");
    let told = lines.with("failed to parse image credentials JSON");
    assert_eq!((told.len(), &told[0]["level"]), (3, &json!("WARN")));
}

/// Invariant 7: the image's host is compared with the secret's.
#[tokio::test]
async fn an_image_on_another_host_gets_no_login() {
    let registry = FakeRegistry::basic(Image::new(), "ada", PASSWORD).await;
    let bench = Bench::new(registry.host()).await;
    let credential = bench.ada(1).await;
    let image = AttachedImage { image_id: "img".parse().unwrap(), image_ref: "c.d/app:1".to_owned(), image_event: 1 };
    let assignment = bench.decide(Outcome::Attached { placement: placement("c-1", 10), image, credential }).await;
    bench.work(&assignment).await;
    assert_eq!(
        (bench.outcomes(), bench.field(0, "reason")),
        (vec!["CredentialProviderFailed"], json!("registry_mismatch"))
    );
}

#[tokio::test]
async fn an_exchange_that_fails_is_a_provider_that_fails() {
    let registry = FakeRegistry::start(Image::new(), |_| None).await;
    let ecr = FakeEcr::start().await;
    ecr.script().failures = vec![(400, "UnrecognizedClientException")];
    let bench = Bench::ecr(registry.host(), &ecr).await;
    let credential = bench.aws("s", 1).await;
    bench.work(&bench.attach("c-1", 10, credential).await).await;
    assert_eq!(bench.outcomes(), ["CredentialProviderFailed"]);
    assert_eq!(bench.field(0, "reason"), "token_exchange_failed");
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
        let bench = Bench::ecr(registry.host(), &ecr).await;
        let credential = bench.aws("s", 1).await;
        // The first token is new: another one would fare no better.
        bench.work(&bench.attach("c-1", 10, credential.clone()).await).await;
        assert_eq!((bench.field(1, "reason"), ecr.calls()), (json!(reason), 1));
        // Now it is one from before.
        bench.work(&bench.attach("c-2", 11, credential).await).await;
        assert_eq!(bench.outcomes()[3], "ImagePullSucceeded");
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
        let bench = Bench::ecr(registry.host(), &ecr).await;
        let before = ecr.calls();
        let credential = bench.aws("s", 1).await;
        bench.work(&bench.attach("c-1", 10, credential.clone()).await).await;
        bench.work(&bench.attach("c-2", 11, credential).await).await;
        assert_eq!((bench.field(3, "reason"), ecr.calls() - before), (json!(reason), calls));
        let asked = registry.asked();
        let manifests = asked.iter().filter(|asked| asked.path.contains("/manifests/")).count();
        assert_eq!(manifests, 1 + calls, "c-1's, c-2's, and one more where there is a new token");
    }
}
