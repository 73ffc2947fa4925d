//! Recorded decisions that are not what the log leads to, for people.

use std::io::Write;

use waybill_domain::{
    credentials::Secret,
    verify::{Decided, Divergence, Problem},
};
use waybill_platform::{
    log::EventLog,
    sealing::{Binding, PrivateKey, PublicKey, seal},
};
use waybill_schemas::PublicSealingKey;

use crate::{Failure, text};

/// Whether something can be sealed to a worker's key, which takes trying.
pub(super) fn usable(key: &PublicSealingKey) -> bool {
    let (Ok(workspace), Ok(container_id)) = ("w".parse(), "c".parse()) else { return false };
    let binding = Binding::Container { workspace, container_id, registry: String::new() };
    let nothing = Secret::new(String::new());
    let key = key.as_str().parse::<PublicKey>();
    key.is_ok_and(|key| seal(&PrivateKey::generate(), &key, &binding, &nothing).is_ok())
}

/// Adds the first decision to those that are second ones.
pub(super) async fn complete(log: &EventLog, divergences: &mut [Divergence]) -> Result<(), Failure> {
    for divergence in divergences {
        if let Problem::Second(first) = divergence.problem
            && let Some(message) = log.message_at(first).await?
        {
            divergence.expected = message.decode().ok().as_ref().and_then(Decided::recorded);
        }
    }
    Ok(())
}

/// Each with its place and both decisions.
pub(super) fn print(out: &mut impl Write, divergences: &[Divergence]) -> Result<(), Failure> {
    for Divergence { sequence, problem, recorded, expected } in divergences {
        let about = recorded.as_ref().or(expected.as_ref());
        let about = about.map(|about| format!("{}/{}", about.workspace, about.container_id)).unwrap_or_default();
        text::wrapped(out, "", "  ", &format!("sequence {sequence}: the decision about {about} {}", says(problem)))?;
        if let Some(recorded) = recorded {
            decision(out, "recorded", recorded)?;
        }
        if let Some(expected) = expected {
            let name = if matches!(problem, Problem::Second(_)) { "the first one" } else { "decided again" };
            decision(out, name, expected)?;
        }
    }
    Ok(())
}

fn decision(out: &mut impl Write, name: &str, decided: &Decided) -> Result<(), Failure> {
    writeln!(out, "  {name}")?;
    text::fields(out, 4, &text::flatten(&serde_json::to_value(decided)?))
}

fn says(problem: &Problem) -> String {
    match problem {
        Problem::Differs(fields) => format!("differs in {}", fields.join(", ")),
        Problem::Second(first) => format!("is the second one, the first is at {first}"),
        Problem::BeforeRequest(request) => format!("was recorded before its request, which is at {request}"),
        Problem::NoRequest => "answers no request, rotation or revocation that is open".to_owned(),
        Problem::Missing(later) => format!("is missing, although a later one was recorded, at {later}"),
    }
}
