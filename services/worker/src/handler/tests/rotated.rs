//! Keys that were replaced, and disabled at the cloud, before the worker came to exchange them.

use super::*;
use crate::testing::{FakeRegistry, Image, basic_header};

/// What a newer decision gives for the container.
fn renewed(bench: &Bench) -> ContainerCredentialsAttached {
    let keys = json!({ "AWS_ACCESS_KEY_ID": "AKIB", "AWS_SECRET_ACCESS_KEY": PASSWORD, "AWS_REGION": "eu-west-1" });
    let renewed = bench.attached("c-1", CredType::Aws, &keys);
    ContainerCredentialsAttached { saved_by: REQUESTED + 1, ..renewed }
}

#[tokio::test]
async fn an_exchange_that_is_refused_is_tried_with_the_keys_of_a_rotation() {
    // The first call is refused, the second one gives the token.
    let expected = basic_header("AWS", &FakeEcr::password(2));
    let registry = FakeRegistry::start(Image::new(), move |asked| match &asked.authorization {
        None => Some((401, vec![("www-authenticate", "Basic realm=\"ecr\"".to_owned())], Vec::new())),
        Some(header) => (*header != expected).then(|| (401, Vec::new(), Vec::new())),
    })
    .await;
    // A worker that died after it had recorded the provider is no worse off.
    for provided in [false, true] {
        let ecr = FakeEcr::start().await;
        ecr.script().failures = vec![(400, "UnrecognizedClientException")];
        let bench = Bench::ecr(registry.host(), &ecr);
        bench.record(DECIDED + 5, renewed(&bench));
        let decided = decision(bench.aws("c-1"));
        if provided {
            let event = decided.provider_attached("creds-then".to_owned(), None);
            let new = NewEvent { envelope: decided.envelope(Derivation::Provider, trace::now()), event };
            bench.handler.log.append(&new, Expect::Nothing).await.unwrap();
        }
        bench.handler.work(&decided, provided).await.unwrap();
        assert_eq!(bench.handler.log.names()[1..], ["CredentialProviderAttached", "ImagePullSucceeded"], "{provided}");
        assert_eq!(bench.field(1, "decided_by"), json!(DECIDED));
    }
}

#[tokio::test]
async fn without_a_rotation_the_refusal_stands() {
    let registry = FakeRegistry::start(Image::new(), |_| None).await;
    let ecr = FakeEcr::start().await;
    type Newer = fn(&Bench) -> Option<Event>;
    let cases: [(&str, Newer); 2] =
        [("nothing newer", |_| None), ("revoked", |bench| Some(bench.skipped(AttachSkipReason::SecretRevoked).into()))];
    for (name, newer) in cases {
        let bench = Bench::ecr(registry.host(), &ecr);
        let before = newer(&bench).map(|said| bench.record(DECIDED + 5, said));
        ecr.script().failures = vec![(400, "UnrecognizedClientException")];
        bench.first(bench.aws("c-1")).await;
        let names = bench.handler.log.names();
        assert_eq!(names[usize::from(before.is_some())..], ["CredentialProviderFailed"], "{name}");
    }
    assert!(registry.asked().is_empty());
}
