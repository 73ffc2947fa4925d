//! Credentials are in no event, log line or `Debug` form, whatever happens to them.

use base64::{Engine as _, engine::general_purpose::STANDARD};

use super::*;
use crate::{
    access::Access,
    testing::{FakeRegistry, Image, Lines, answer, assert_absent, envelope},
};

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

async fn credentials(bench: &Bench) -> Vec<Credential> {
    let token = json!({ "TOKEN": PASSWORD });
    let granted = [
        ("token", CredType::Token, token.clone()),
        ("gcp", CredType::Gcp, token),
        ("gcp-token", CredType::Gcp, json!({ "GCP_ACCESS_TOKEN": PASSWORD })),
        ("gcp-file", CredType::Gcp, json!({ "GOOGLE_APPLICATION_CREDENTIALS": PASSWORD })),
        ("half", CredType::Basic, json!({ "USERNAME": PASSWORD })),
        ("lines", CredType::Token, json!({ "TOKEN": format!("{PASSWORD}\n{PASSWORD}") })),
    ];
    let mut credentials = vec![bench.ada(1).await, bench.aws("aws", 1).await];
    for (name, cred_type, values) in granted {
        credentials.push(bench.grant(name, 1, cred_type, &values).await);
    }
    for (name, text) in [("text", PASSWORD.to_owned()), ("broken", format!("{{\"registry\": {PASSWORD}"))] {
        credentials.push(bench.grant_text(name, 1, CredType::Basic, &text).await);
    }
    credentials
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
        let bench = Bench::ecr(registry.host(), &ecr).await;
        for (number, credential) in (10..).zip(credentials(&bench).await) {
            let container = format!("c-{number}");
            let assignment = bench.attach(&container, number, credential).await;
            bench.work(&assignment).await;
            let access = bench.handler.access(&placed(&container, number)).await.unwrap();
            texts.push_str(&format!("{assignment:?} {access:?} {:?}", bench.handler.providers));
            if let Some(Ok(Access::Custom { provider, issued, .. })) = access {
                texts.push_str(&format!("{provider:?} {issued:?}"));
            }
        }
        for message in bench.log.messages() {
            texts.push_str(&format!("{:?} {}", message.headers, String::from_utf8_lossy(&message.payload)));
        }
        texts.push_str(&format!("{:?} {:?} {:?}", bench.own, bench.vault, bench.handler.view()));
        assert!(bench.outcomes().len() >= 10);
    }
    for secret in [PASSWORD, "ecr-token-1"] {
        assert_absent(secret, "events and Debug", &texts);
        assert_absent(secret, "the log", &lines.text());
    }
    assert!(
        texts.contains("(redacted)") && texts.contains("ODD") && lines.text().contains("TRACE"),
        "there was something to hide"
    );
}
