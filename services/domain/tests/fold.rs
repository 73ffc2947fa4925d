//! The fold as a specification: given these events, when this one comes, then these decisions.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "tests fail by panicking")]

use uuid::Uuid;
use waybill_domain::fold::{Anomaly, Decision, Folded, ImageKey, MemoryFacts, Outcome, PendingKey, fold};
use waybill_schemas::{
    Derivation, Envelope, Event, Recorded, RecordedEvent, Sealed, Timestamp, TraceParent, derived_id,
    v1::{self, AttachSkipReason as Skip, CredType, CredentialSource, SaveSkipReason},
};

const TRACE: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
const WORKER_KEY: &str = "XAB3NANV3M6N7AHSQP2U5FRWKKUT7EG2ZXXABV4XVXYQRJGM4S2CZGHT";

/// A log that is folded as it is written. The event at sequence n has the UUID n.
#[derive(Default)]
struct Log {
    facts: MemoryFacts,
    sequence: u64,
}

impl Log {
    fn append(&mut self, event: impl Into<Event>) -> Folded {
        let id = Uuid::from_u128(u128::from(self.sequence + 1));
        self.append_as(id, None, event)
    }

    fn append_as(&mut self, id: Uuid, causation_id: Option<Uuid>, event: impl Into<Event>) -> Folded {
        self.sequence += 1;
        let envelope = Envelope {
            id,
            source: "/test".to_owned(),
            source_version: None,
            time: None,
            causation_id,
            correlation_id: None,
            traceparent: TraceParent::parse(TRACE),
            tracestate: None,
        };
        let value = RecordedEvent { envelope, event: event.into() };
        let recorded = Recorded { sequence: self.sequence, at: second(self.sequence), value };
        let folded = fold(&self.facts, &recorded).unwrap();
        folded.changes.iter().cloned().for_each(|change| self.facts.apply(change));
        folded
    }

    fn decision(&self, requested_by: u64) -> &Decision {
        &self.facts.pending[&PendingKey::first(requested_by)].decision
    }

    fn outcome(&self, request: u64) -> Outcome {
        self.facts.requests[&Uuid::from_u128(u128::from(request))].outcome
    }
}

/// The stream's time of the message at a sequence.
fn second(sequence: u64) -> Timestamp {
    format!("2026-01-01T00:00:{sequence:02}Z").parse().unwrap()
}

fn sealed(ciphertext: &str) -> Sealed {
    Sealed {
        sender: WORKER_KEY.parse().unwrap(),
        recipient: WORKER_KEY.parse().unwrap(),
        ciphertext: ciphertext.to_owned(),
    }
}

fn saved(workspace: &str, image: &str, ciphertext: &str) -> v1::CredentialSecretSaved {
    v1::CredentialSecretSaved {
        workspace: workspace.parse().unwrap(),
        image_id: image.parse().unwrap(),
        image_ref: "a.b/team/app:1".to_owned(),
        registry: "a.b".to_owned(),
        secret_name: "oci-registry-a-b".to_owned(),
        cred_type: CredType::Basic,
        source: CredentialSource::FromRegistry,
        expires_at: None,
        credentials: sealed(ciphertext),
    }
}

fn skipped(workspace: &str, image: &str) -> v1::CredentialSecretSkipped {
    v1::CredentialSecretSkipped {
        workspace: workspace.parse().unwrap(),
        image_id: image.parse().unwrap(),
        image_ref: Some("a.b/team/app:2".to_owned()),
        registry: Some("a.b".to_owned()),
        secret_name: None,
        cred_type: None,
        source: None,
        reason: SaveSkipReason::NoCredentialsProvided,
        missing_key: None,
    }
}

fn revoked(revokes: u64) -> v1::CredentialSecretRevoked {
    v1::CredentialSecretRevoked {
        workspace: "ws".parse().unwrap(),
        image_id: "i".parse().unwrap(),
        image_ref: "a.b/team/app:1".to_owned(),
        registry: "a.b".to_owned(),
        secret_name: "oci-registry-a-b".to_owned(),
        revokes,
        reason: None,
    }
}

fn registered(worker: &str) -> v1::WorkerRegistered {
    v1::WorkerRegistered { worker_id: worker.parse().unwrap(), sealing_key: WORKER_KEY.parse().unwrap() }
}

fn requested(workspace: &str, image: Option<&str>, worker: &str) -> v1::ContainerRequested {
    v1::ContainerRequested {
        workspace: workspace.parse().unwrap(),
        container_id: "c1".parse().unwrap(),
        image_id: image.map(|image| image.parse().unwrap()),
        worker_id: worker.parse().unwrap(),
        build_container: false,
    }
}

fn answer(requested_by: u64, reason: Skip) -> v1::ContainerCredentialsSkipped {
    v1::ContainerCredentialsSkipped {
        workspace: "ws".parse().unwrap(),
        container_id: "c1".parse().unwrap(),
        image_id: None,
        worker_id: "w1".parse().unwrap(),
        image_ref: None,
        registry: None,
        reason,
        image_event: None,
        requested_by,
    }
}

/// Given events, when a container of workspace `ws` with image `i` asks on worker `w1`, then this outcome.
#[test]
fn what_a_request_gets() {
    let expired = v1::CredentialSecretSaved { expires_at: Some(second(2)), ..saved("ws", "i", "x") };
    let request = requested("ws", Some("i"), "w1");
    let building = v1::ContainerRequested { build_container: true, ..request.clone() };
    let at_expiry = v1::CredentialSecretSaved { expires_at: Some(second(3)), ..saved("ws", "i", "x") };
    let after_expiry = v1::CredentialSecretSaved { expires_at: Some(second(4)), ..saved("ws", "i", "x") };
    let attached = |saved_by| Outcome::Attached { saved_by };
    let skip = |reason| Outcome::Skipped { reason };
    let cases: Vec<(&str, Vec<Event>, &v1::ContainerRequested, Outcome)> = vec![
        ("saved", vec![registered("w1").into(), saved("ws", "i", "x").into()], &request, attached(2)),
        (
            "saved twice: the newest",
            vec![registered("w1").into(), saved("ws", "i", "x").into(), saved("ws", "i", "y").into()],
            &request,
            attached(3),
        ),
        (
            "a later build without credentials takes nothing back",
            vec![registered("w1").into(), saved("ws", "i", "x").into(), skipped("ws", "i").into()],
            &request,
            attached(2),
        ),
        ("nothing at all", vec![], &request, skip(Skip::NoSecretForImage)),
        (
            "another workspace's",
            vec![registered("w1").into(), saved("other", "i", "x").into()],
            &request,
            skip(Skip::NoSecretForImage),
        ),
        (
            "another image's",
            vec![registered("w1").into(), saved("ws", "j", "x").into()],
            &request,
            skip(Skip::NoSecretForImage),
        ),
        (
            "build without credentials",
            vec![registered("w1").into(), skipped("ws", "i").into()],
            &request,
            skip(Skip::NoSecretForImage),
        ),
        ("worker not registered", vec![saved("ws", "i", "x").into()], &request, skip(Skip::UnknownWorker)),
        (
            "another worker registered",
            vec![registered("w2").into(), saved("ws", "i", "x").into()],
            &request,
            skip(Skip::UnknownWorker),
        ),
        ("expired before", vec![registered("w1").into(), expired.into()], &request, skip(Skip::SecretExpired)),
        (
            "expires at that moment",
            vec![registered("w1").into(), at_expiry.into()],
            &request,
            skip(Skip::SecretExpired),
        ),
        ("expires later", vec![registered("w1").into(), after_expiry.into()], &request, attached(2)),
        (
            "a build container",
            vec![registered("w1").into(), saved("ws", "i", "x").into()],
            &building,
            skip(Skip::BuildContainer),
        ),
    ];
    for (name, given, when, then) in cases {
        let mut log = Log::default();
        given.into_iter().for_each(|event| drop(log.append(event)));
        log.append(when.clone());
        assert_eq!(log.outcome(log.sequence), then, "{name}");
        assert_eq!(log.decision(log.sequence).outcome(), then, "{name}");
    }
}

/// Given builds by why they saved nothing (or `saved`, `revoked`), when a container asks, then this outcome.
#[test]
fn supplied_credentials_that_cannot_be_used_are_withheld() {
    let cases = [
        ("incomplete_credentials", Skip::CredentialsUnusable),
        ("expired_credentials", Skip::CredentialsUnusable),
        ("unrecognized_credentials", Skip::CredentialsUnusable),
        ("registry_mismatch", Skip::CredentialsUnusable),
        ("no_credentials_provided", Skip::NoSecretForImage),
        ("public_registry", Skip::NoSecretForImage),
        ("image_modified", Skip::NoSecretForImage),
        ("no_image_reference", Skip::NoSecretForImage),
        ("no_credentials_provided expired_credentials", Skip::CredentialsUnusable),
        ("expired_credentials no_credentials_provided", Skip::NoSecretForImage),
        ("saved revoked expired_credentials", Skip::SecretRevoked),
    ];
    for (builds, reason) in cases {
        let mut log = Log::default();
        log.append(registered("w1"));
        for word in builds.split(' ') {
            match SaveSkipReason::ALL.iter().find(|reason| reason.as_str() == word) {
                Some(reason) => drop(log.append(v1::CredentialSecretSkipped { reason: *reason, ..skipped("ws", "i") })),
                None if word == "saved" => drop(log.append(saved("ws", "i", "x"))),
                None => drop(log.append(revoked(log.sequence))),
            }
        }
        log.append(requested("ws", Some("i"), "w1"));
        assert_eq!(log.outcome(log.sequence), Outcome::Skipped { reason }, "{builds}");
        let Decision::Skip(plan) = log.decision(log.sequence) else { panic!("{builds}") };
        assert_eq!(plan.registry.as_deref(), Some("a.b"), "{builds}");
    }
}

#[test]
fn a_request_without_an_image_gets_nothing() {
    let mut log = Log::default();
    log.append(requested("ws", None, "w1"));
    assert_eq!(log.outcome(1), Outcome::Skipped { reason: Skip::NoImageId });
}

#[test]
fn a_save_after_the_request_does_not_change_the_decision() {
    let mut log = Log::default();
    log.append(registered("w1"));
    log.append(requested("ws", Some("i"), "w1"));
    log.append(saved("ws", "i", "x"));
    assert_eq!(log.outcome(2), Outcome::Skipped { reason: Skip::NoSecretForImage });
    let Decision::Skip(_) = log.decision(2) else { panic!("decided again") };
}

#[test]
fn the_outbox_keeps_the_credentials_of_the_moment() {
    let mut log = Log::default();
    log.append(registered("w1"));
    log.append(saved("ws", "i", "old"));
    log.append(requested("ws", Some("i"), "w1"));
    log.append(saved("ws", "i", "new"));
    let Decision::Attach(plan) = log.decision(3) else { panic!("not attached") };
    assert_eq!(plan.saved.credentials, sealed("old"));
    assert_eq!(plan.saved.trace.as_ref().unwrap().traceparent, TRACE, "the attach span links to the save");
}

#[test]
fn a_skip_tells_what_to_pull_where_a_build_said_so() {
    let mut log = Log::default();
    log.append(skipped("ws", "i"));
    log.append(requested("ws", Some("i"), "w1"));
    let Decision::Skip(plan) = log.decision(2) else { panic!("attached") };
    assert_eq!((plan.image_ref.as_deref(), plan.image_event), (Some("a.b/team/app:2"), Some(1)));
}

#[test]
fn the_recorded_decision_empties_the_outbox() {
    let mut log = Log::default();
    log.append(requested("ws", None, "w1"));
    let request = Uuid::from_u128(1);
    log.append_as(derived_id(request, Derivation::Decision), Some(request), answer(1, Skip::NoImageId));
    assert!(log.facts.pending.is_empty());
    assert_eq!(log.facts.requests[&request].decided_by, Some(2));
}

#[test]
fn a_request_published_twice_is_decided_once() {
    let mut log = Log::default();
    log.append(requested("ws", None, "w1"));
    let again = log.append_as(Uuid::from_u128(1), None, requested("ws", None, "w1"));
    assert_eq!(again.anomaly, Some(Anomaly::DuplicateRequest { first: 1 }));
    assert_eq!(log.facts.pending.len(), 1);
}

#[test]
fn a_decision_that_answers_nothing_is_passed_over() {
    let request = Uuid::from_u128(1);
    let right = derived_id(request, Derivation::Decision);
    let cases = [
        ("no cause", right, None, 1),
        ("unknown cause", right, Some(Uuid::from_u128(7)), 1),
        ("not the derived id", Uuid::from_u128(9), Some(request), 1),
        ("another sequence", right, Some(request), 5),
    ];
    for (name, id, cause, requested_by) in cases {
        let mut log = Log::default();
        log.append(requested("ws", None, "w1"));
        let folded = log.append_as(id, cause, answer(requested_by, Skip::NoImageId));
        assert_eq!(folded.anomaly, Some(Anomaly::UnexpectedDecision), "{name}");
        assert_eq!(log.facts.pending.len(), 1, "{name}");
    }
}

#[test]
fn facts_survive_their_json_form() {
    let mut log = Log::default();
    log.append(registered("w1"));
    log.append(saved("ws", "i", "x"));
    log.append(skipped("ws", "i"));
    log.append(requested("ws", Some("i"), "w1"));
    let key = ImageKey { workspace: "ws".parse().unwrap(), image_id: "i".parse().unwrap() };
    let image = log.facts.images[&key].clone();
    assert_eq!(
        serde_json::from_slice::<waybill_domain::fold::ImageFact>(&serde_json::to_vec(&image).unwrap()).unwrap(),
        image
    );
    let pending = log.facts.pending[&PendingKey::first(4)].clone();
    assert_eq!(
        serde_json::from_slice::<waybill_domain::fold::Pending>(&serde_json::to_vec(&pending).unwrap()).unwrap(),
        pending
    );
}
