//! Credentials are in no event, log line or `Debug` form, whatever happens to them.

use base64::{Engine as _, engine::general_purpose::STANDARD};

use super::*;
use crate::testing::{FakeRegistry, Image, Lines, answer, assert_absent, envelope};

/// A registry that repeats what it was sent, as it came and decoded.
async fn echo(status: u16) -> FakeRegistry {
    FakeRegistry::start(Image::new(), move |asked| match &asked.authorization {
        None => Some((401, vec![("www-authenticate", "Basic realm=\"r\"".to_owned())], Vec::new())),
        Some(header) => {
            let decoded = header.strip_prefix("Basic ").and_then(|pair| STANDARD.decode(pair).ok()).unwrap_or_default();
            Some(envelope(status, "ODD", &format!("{header} {}", String::from_utf8(decoded).unwrap())))
        }
    })
    .await
}

fn saids(bench: &Bench) -> Vec<ContainerCredentialsAttached> {
    let token = json!({ "TOKEN": PASSWORD });
    vec![
        bench.ada("c-1"),
        bench.aws("c-2"),
        bench.attached("c-3", CredType::Token, &token),
        bench.attached("c-4", CredType::Gcp, &token),
        bench.attached("c-9", CredType::Gcp, &json!({ "GCP_ACCESS_TOKEN": PASSWORD })),
        bench.attached("c-10", CredType::Gcp, &json!({ "GOOGLE_APPLICATION_CREDENTIALS": PASSWORD })),
        bench.attached("c-5", CredType::Basic, &json!({ "USERNAME": PASSWORD })),
        bench.attached_text("c-6", CredType::Basic, PASSWORD),
        bench.attached_text("c-7", CredType::Basic, &format!("{{\"registry\": {PASSWORD}")),
        bench.attached("c-8", CredType::Token, &json!({ "TOKEN": format!("{PASSWORD}\n{PASSWORD}") })),
    ]
}

#[tokio::test]
async fn no_outcome_tells_a_credential() {
    let (lines, _guard) = Lines::capture();
    let mut texts = String::new();
    let welcoming = FakeRegistry::basic(Image::new(), "ada", PASSWORD).await;
    let broken = FakeRegistry::start(Image::new(), |_| Some(answer(500, "oops"))).await;
    for registry in [welcoming, broken, echo(400).await, echo(403).await, echo(500).await] {
        // A new one each time, so that its first token is the one that is repeated.
        let ecr = FakeEcr::start().await;
        let bench = Bench::ecr(registry.host(), &ecr);
        for said in saids(&bench) {
            let decided = decision(said.clone());
            texts.push_str(&format!("{decided:?} {:?}", bench.handler.keys.own));
            if let Ok(Access::Custom { provider, issued }) = bench.handler.keys.access(&decided).await {
                texts.push_str(&format!("{provider:?} {issued:?}"));
            }
            bench.first(said).await;
        }
        for stored in bench.handler.log.stored().iter() {
            texts.push_str(&String::from_utf8(stored.event.event.to_json().unwrap()).unwrap());
            texts.push_str(&format!("{:?}", stored.event));
        }
        assert!(bench.handler.log.names().len() >= 8);
    }
    for secret in [PASSWORD, "ecr-token-1"] {
        assert_absent(secret, "events and Debug", &texts);
        assert_absent(secret, "the log", &lines.text());
    }
    assert!(texts.contains("[redacted]") && lines.text().contains("TRACE"), "there was something to hide");
}
