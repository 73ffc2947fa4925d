//! An event stands on a subject of its type's forms, with the subject's ids, and nowhere else.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests fail by panicking")]

mod support;

use std::collections::BTreeSet;

use support::Golden;
use waybill_schemas::{DecodeError, EventType, Subject};

/// A subject of each form with the ids of the golden events, and the types that it takes.
const FORMS: [(&str, &[&str]); 21] = [
    (
        "waybill.events.secret.acme.team=registry",
        &["CredentialSecretSaved", "CredentialSecretRotated", "CredentialSecretRevoked", "CredentialSecretShredded"],
    ),
    ("waybill.events.image.acme.img-1.b-1", &["ImageSecretNamed", "CredentialSecretSkipped"]),
    ("waybill.events.container.acme.c-1.r-1", &["ContainerRequested", "ContainerEnded"]),
    (
        "waybill.events.decision.w1.container.acme.c-1.17",
        &["ContainerCredentialsAttached", "ContainerCredentialsSkipped", "ContainerCredentialsWithdrawn"],
    ),
    ("waybill.events.decision.w1.secret.acme.team=registry.2", &["WorkerCredentialsRenewed"]),
    (
        "waybill.events.outcome.w1.acme.c-1.17",
        &[
            "CredentialProviderAttached",
            "CredentialProviderFailed",
            "ImagePullSucceeded",
            "ImagePullFailed",
            "ContainerEnded",
        ],
    ),
    ("waybill.events.outcome.w1.secret.acme.team=registry.2", &["SecretRenewalApplied", "SecretRenewalFailed"]),
    ("waybill.events.outcome.w1.question.acme.c-1.17", &["ContainerLoginAsked"]),
    ("waybill.events.outcome.w1.question", &["NodeLoginAsked"]),
    ("waybill.events.worker.w1", &["WorkerRegistered"]),
    ("waybill.events.identity.worker.w1", &["WorkerJoined", "WorkerRetired"]),
    ("waybill.events.identity.workspace.acme", &["WorkspaceAdded"]),
    ("waybill.events.identity.token.ci", &["TokenCreated", "TokenRevoked"]),
    ("waybill.events.refused.container.acme.c-1", &["RequestRefused"]),
    ("waybill.events.refused.image.acme.img-1", &["RequestRefused"]),
    ("waybill.events.refused.secret.acme.team=registry", &["RequestRefused"]),
    ("waybill.events.refused.workspace.acme", &["RequestRefused"]),
    ("waybill.events.refused.unowned", &["RequestRefused"]),
    ("waybill.events.scheduler.keys", &["SchedulerKeyPublished"]),
    ("waybill.events.quarantine.40", &["QuarantineRetried", "QuarantineDiscarded"]),
    ("waybill.events.archive.2", &["PlacementsArchived"]),
];

/// Types whose body says on which of their forms the event stands.
const OF_ONE_FORM: [&str; 1] = ["RequestRefused"];

/// Parameters of a subject that the body does not repeat.
const FREE: [(&str, &[&str]); 3] = [
    ("{build}", &["ImageSecretNamed", "CredentialSecretSkipped"]),
    ("{request}", &["ContainerRequested", "ContainerEnded"]),
    // An end names no worker: on an outcome subject, the worker that may write there is the one that reports it.
    ("{worker_id}", &["ContainerEnded"]),
];

fn event_type(golden: &Golden) -> EventType {
    golden.headers["ce-type"].strip_prefix("waybill.v1.").unwrap().parse().unwrap()
}

#[test]
fn every_type_stands_on_its_forms_only() {
    for golden in Golden::read() {
        let event_type = event_type(&golden);
        for (text, taken) in FORMS {
            let decoded = golden.decode_on(text);
            let template = |subject: &str| subject.parse::<Subject>().unwrap().template();
            if taken.contains(&event_type.as_str())
                && OF_ONE_FORM.contains(&event_type.as_str())
                && template(text) != template(&golden.subject)
            {
                assert_eq!(decoded.unwrap_err(), DecodeError::IdMismatch, "{} on {text}", golden.name);
            } else if taken.contains(&event_type.as_str()) {
                let recorded = decoded.unwrap_or_else(|error| panic!("{} on {text}: {error}", golden.name));
                assert!(recorded.event.belongs_on(&recorded.subject), "{} on {text}", golden.name);
            } else {
                let subject: Subject = text.parse().unwrap();
                let refused = DecodeError::TypeMismatch { ce_type: event_type, template: subject.template() };
                assert_eq!(decoded.unwrap_err(), refused, "{} on {text}", golden.name);
                let event = golden.decode_on(&golden.subject).unwrap().event;
                assert!(!event.belongs_on(&subject), "{} on {text}", golden.name);
            }
        }
    }
}

#[test]
fn the_table_is_what_subjects_say() {
    let mut types = BTreeSet::new();
    for (text, taken) in FORMS {
        let said: Vec<_> = text.parse::<Subject>().unwrap().event_types().iter().map(|event| event.as_str()).collect();
        assert_eq!(said, taken, "{text}");
        types.extend(said);
    }
    let all: BTreeSet<_> = EventType::ALL.iter().map(|event| event.as_str()).collect();
    assert_eq!(types, all, "each type stands somewhere");
}

#[test]
fn an_id_that_differs_is_refused() {
    let mut refused = 0;
    for golden in Golden::read() {
        let event_type = event_type(&golden);
        let allowed = FORMS.iter().filter(|(_, taken)| taken.contains(&event_type.as_str()));
        for (subject, parameter) in allowed.flat_map(|(text, _)| differing(text)) {
            let is_free = |(name, types): &(&str, &[&str])| *name == parameter && types.contains(&event_type.as_str());
            let decoded = golden.decode_on(&subject);
            if FREE.iter().any(is_free) {
                assert!(decoded.is_ok(), "{} on {subject}", golden.name);
                continue;
            }
            assert_eq!(decoded.unwrap_err(), DecodeError::IdMismatch, "{} on {subject}", golden.name);
            refused += 1;
        }
    }
    assert!(refused > 100, "{refused}");
}

/// The subject once for each of its parameters, which then differs, with that parameter's name.
fn differing(text: &str) -> Vec<(String, String)> {
    let template = text.parse::<Subject>().unwrap().template();
    let parameters = template.split('.').enumerate().filter(|(_, token)| token.starts_with('{'));
    let change = |(at, parameter): (usize, &str)| {
        let mut tokens: Vec<_> = text.split('.').collect();
        // An id and a number at once.
        tokens[at] = "99";
        (tokens.join("."), parameter.to_owned())
    };
    parameters.map(change).collect()
}
