//! Events that the log does not lead to, for people.

use std::io::Write;

use waybill_domain::{
    decision::Decision,
    verify::{Divergence, Problem},
};

use crate::{Failure, text};

/// Each with its place, and the decisions where it is one.
pub(super) fn print(out: &mut impl Write, divergences: &[Divergence]) -> Result<(), Failure> {
    for divergence in divergences {
        let Divergence { sequence, problem, recorded, expected } = divergence;
        text::wrapped(out, "", "  ", &format!("sequence {sequence}: {}", describe(problem, recorded.as_ref())))?;
        for (name, decision) in [("recorded", recorded), ("decided again", expected)] {
            let Some(decision) = decision else { continue };
            writeln!(out, "  {name}")?;
            text::fields(out, 4, &text::flatten(&serde_json::to_value(decision)?))?;
        }
    }
    Ok(())
}

fn describe(problem: &Problem, recorded: Option<&Decision>) -> String {
    let about = recorded.map(|decision| format!(" about {}", subject(decision))).unwrap_or_default();
    match problem {
        Problem::Differs(fields) => format!("the decision{about} differs in {}", fields.join(", ")),
        Problem::Unexpected => {
            format!("the decision{about} answers nothing that is open: it was said before, or nothing led to it")
        }
        Problem::ForeignOutcome { placed_on } => {
            format!("the outcome is reported by another worker than {placed_on}, which the placement is on")
        }
        Problem::RepeatedOutcome => "the outcome was reported before".to_owned(),
    }
}

/// What a decision is about: a container or a secret of a workspace, on a worker.
fn subject(decision: &Decision) -> String {
    let name = match (decision.placement(), decision.credential()) {
        (Some(placement), _) => placement.container_id.to_string(),
        (None, credential) => credential.map(|credential| credential.secret_name.to_string()).unwrap_or_default(),
    };
    format!("{}/{name} on {}", decision.workspace, decision.worker_id)
}

#[cfg(test)]
mod tests {
    use waybill_domain::decision::{Outcome, Placement, SkippedImage};
    use waybill_schemas::v1::AttachSkipReason;

    use super::*;

    fn skipped(reason: AttachSkipReason) -> Decision {
        let placement = Placement { container_id: "c1".parse().unwrap(), number: 3 };
        Decision {
            worker_id: "w1".parse().unwrap(),
            workspace: "acme".parse().unwrap(),
            caused_by: 3,
            outcome: Outcome::Skipped { placement, image: SkippedImage::default(), reason },
        }
    }

    #[test]
    fn every_problem_is_said_in_words() {
        let recorded = skipped(AttachSkipReason::NoSecretForImage);
        let expected = skipped(AttachSkipReason::UnknownWorker);
        let cases = [
            (
                Problem::Differs(vec!["reason".to_owned()]),
                Some(expected),
                vec!["the decision about acme/c1 on w1 differs in reason", "no_secret_for_image", "unknown_worker"],
            ),
            (Problem::Unexpected, None, vec!["answers nothing that is open", "recorded"]),
            (Problem::ForeignOutcome { placed_on: "w2".parse().unwrap() }, None, vec!["another worker than w2"]),
            (Problem::RepeatedOutcome, None, vec!["was reported before"]),
        ];
        for (problem, expected, words) in cases {
            let is_decision = matches!(problem, Problem::Differs(_) | Problem::Unexpected);
            let recorded = is_decision.then(|| recorded.clone());
            let mut out = Vec::new();
            print(&mut out, &[Divergence { sequence: 9, problem, recorded, expected }]).unwrap();
            // Lines are wrapped.
            let text = String::from_utf8(out).unwrap().split_whitespace().collect::<Vec<_>>().join(" ");
            assert!(text.starts_with("sequence 9: "), "{text}");
            for word in words {
                assert!(text.contains(word), "{word}: {text}");
            }
        }
    }
}
