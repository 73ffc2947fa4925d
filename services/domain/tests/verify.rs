//! Verification as a specification: given a build, a registration and a request, when this decision is recorded, then
//! this divergence.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::type_complexity,
    reason = "tests fail by panicking, and their tables of cases have long types"
)]

use uuid::Uuid;
use waybill_domain::{
    fold::{MemoryFacts, fold},
    verify::{Divergence, Problem, Tally, Verifier},
};
use waybill_schemas::{
    Derivation, Envelope, Event, Recorded, RecordedEvent, Sealed, Timestamp, derived_id,
    v1::{self, AttachSkipReason as Skip, CredType, CredentialSource, SaveSkipReason},
};

const KEY: &str = "XAB3NANV3M6N7AHSQP2U5FRWKKUT7EG2ZXXABV4XVXYQRJGM4S2CZGHT";
const OTHER_KEY: &str = "XBB3NANV3M6N7AHSQP2U5FRWKKUT7EG2ZXXABV4XVXYQRJGM4S2CZGHT";
/// The request of [`before`] is the event at this sequence; the event at sequence n has the UUID n.
const REQUEST: u64 = 3;

/// One event to record: its id, its cause, and itself.
type Step = (Uuid, Option<Uuid>, Event);

fn id(sequence: u64) -> Uuid {
    Uuid::from_u128(u128::from(sequence))
}

fn decision_id(request: u64) -> Uuid {
    derived_id(id(request), Derivation::Decision)
}

fn second(sequence: u64) -> Timestamp {
    format!("2026-01-01T00:00:{sequence:02}Z").parse().unwrap()
}

fn sealed(to: &str) -> Sealed {
    Sealed { sender: KEY.parse().unwrap(), recipient: to.parse().unwrap(), ciphertext: "AAAA".to_owned() }
}

/// Saved at 1, registered at 2, requested at 3.
fn before() -> Vec<Step> {
    let saved = v1::CredentialSecretSaved {
        workspace: "ws".parse().unwrap(),
        image_id: "i".parse().unwrap(),
        image_ref: "a.b/team/app:1".to_owned(),
        registry: "a.b".to_owned(),
        secret_name: "oci-registry-a-b".to_owned(),
        cred_type: CredType::Basic,
        source: CredentialSource::FromRegistry,
        expires_at: Some(second(50)),
        credentials: sealed(KEY),
    };
    let registered = v1::WorkerRegistered { worker_id: "w1".parse().unwrap(), sealing_key: KEY.parse().unwrap() };
    vec![(id(1), None, saved.into()), (id(2), None, registered.into()), (id(REQUEST), None, requested().into())]
}

fn requested() -> v1::ContainerRequested {
    v1::ContainerRequested {
        workspace: "ws".parse().unwrap(),
        container_id: "c1".parse().unwrap(),
        image_id: Some("i".parse().unwrap()),
        worker_id: "w1".parse().unwrap(),
        build_container: false,
    }
}

/// What the log leads to.
fn attached() -> v1::ContainerCredentialsAttached {
    v1::ContainerCredentialsAttached {
        workspace: "ws".parse().unwrap(),
        container_id: "c1".parse().unwrap(),
        image_id: "i".parse().unwrap(),
        worker_id: "w1".parse().unwrap(),
        image_ref: "a.b/team/app:1".to_owned(),
        secret_name: "oci-registry-a-b".to_owned(),
        registry: "a.b".to_owned(),
        cred_type: CredType::Basic,
        credentials_length: 17,
        saved_by: 1,
        requested_by: REQUEST,
        expires_at: Some(second(50)),
        credentials: sealed(KEY),
    }
}

fn skipped(reason: Skip) -> v1::ContainerCredentialsSkipped {
    v1::ContainerCredentialsSkipped {
        workspace: "ws".parse().unwrap(),
        container_id: "c1".parse().unwrap(),
        image_id: Some("i".parse().unwrap()),
        worker_id: "w1".parse().unwrap(),
        image_ref: Some("a.b/team/app:1".to_owned()),
        registry: Some("a.b".to_owned()),
        reason,
        image_event: Some(1),
        requested_by: REQUEST,
    }
}

fn answer(event: impl Into<Event>) -> Step {
    (decision_id(REQUEST), Some(id(REQUEST)), event.into())
}

fn verify(steps: Vec<Step>, usable: bool) -> (Vec<Divergence>, Tally) {
    let mut verifier = Verifier::new(if usable { |_| true } else { |_| false });
    let mut facts = MemoryFacts::default();
    for (sequence, (id, causation_id, event)) in (1..).zip(steps) {
        let envelope = Envelope {
            id,
            source: "/test".to_owned(),
            source_version: None,
            time: None,
            causation_id,
            correlation_id: None,
            traceparent: None,
            tracestate: None,
        };
        let recorded = Recorded { sequence, at: second(sequence), value: RecordedEvent { envelope, event } };
        verifier.see(&facts, &recorded).unwrap();
        let folded = fold(&facts, &recorded).unwrap();
        folded.changes.into_iter().for_each(|change| facts.apply(change));
    }
    facts.pending.values().all(|pending| verifier.open(pending));
    verifier.finish()
}

/// Given a request that the log leads to credentials for, when these decisions follow, then these problems.
#[test]
fn what_diverges() {
    let differs = |fields: &[&'static str]| vec![(4, Problem::Differs(fields.to_vec()))];
    let good = attached();
    let changed = |change: fn(&mut v1::ContainerCredentialsAttached)| {
        let mut event = attached();
        change(&mut event);
        vec![answer(event)]
    };
    let elsewhere = (decision_id(9), Some(id(9)), good.clone().into());
    let outcome = ["outcome", "reason", "secret_name", "cred_type", "expires_at", "sealed_to"];
    let with_image = v1::ContainerCredentialsSkipped { image_event: Some(2), ..skipped(Skip::UnsealFailed) };
    // Another request at a sequence, and its decision.
    let overtaken = |requested_by: u64| {
        let decision = v1::ContainerCredentialsAttached { requested_by, ..attached() };
        let answer = (decision_id(requested_by), Some(id(requested_by)), decision.into());
        vec![(id(requested_by), None, requested().into()), answer]
    };
    let ended = v1::ContainerEnded { workspace: "ws".parse().unwrap(), container_id: requested().container_id };
    let c2 = || "c2".parse::<waybill_schemas::ContainerId>().unwrap();
    let later = v1::ContainerRequested { container_id: c2(), ..requested() };
    let decided_later = v1::ContainerCredentialsAttached { container_id: c2(), requested_by: 6, ..attached() };
    let retried = (id(4), None, v1::QuarantineRetried { sequence: REQUEST }.into());
    let cases: Vec<(&str, Vec<Step>, Vec<(u64, Problem)>)> = vec![
        ("no decision yet", vec![], vec![]),
        ("as decided", vec![answer(good.clone())], vec![]),
        (
            "another ciphertext and length",
            changed(|e| (e.credentials.ciphertext, e.credentials_length) = ("B".into(), 1)),
            vec![],
        ),
        ("could not be opened", vec![answer(skipped(Skip::UnsealFailed))], vec![]),
        ("could not be opened, of another build", vec![answer(with_image)], differs(&["saved_by"])),
        ("unknown worker, whose key works", vec![answer(skipped(Skip::UnknownWorker))], differs(&outcome)),
        ("another outcome", vec![answer(skipped(Skip::SecretExpired))], differs(&outcome)),
        ("another build", changed(|e| e.saved_by = 2), differs(&["saved_by"])),
        ("another secret", changed(|e| e.secret_name = "x".into()), differs(&["secret_name"])),
        ("another reference", changed(|e| e.image_ref = "x".into()), differs(&["image_ref"])),
        ("another registry", changed(|e| e.registry = "x".into()), differs(&["registry"])),
        ("another kind", changed(|e| e.cred_type = CredType::Aws), differs(&["cred_type"])),
        ("another expiry", changed(|e| e.expires_at = None), differs(&["expires_at"])),
        ("another worker", changed(|e| e.worker_id = "w2".parse().unwrap()), differs(&["worker_id"])),
        ("another container", changed(|e| e.container_id = "c2".parse().unwrap()), differs(&["container_id"])),
        ("another image", changed(|e| e.image_id = "j".parse().unwrap()), differs(&["image_id"])),
        ("another workspace", changed(|e| e.workspace = "x".parse().unwrap()), differs(&["workspace"])),
        ("another request's sequence", changed(|e| e.requested_by = 2), differs(&["requested_by"])),
        (
            "sealed to another",
            changed(|e| e.credentials.recipient = OTHER_KEY.parse().unwrap()),
            differs(&["sealed_to"]),
        ),
        ("another id", vec![(id(77), Some(id(REQUEST)), good.clone().into())], differs(&["id"])),
        ("twice", vec![answer(good.clone()), answer(good.clone())], vec![(5, Problem::Second(4))]),
        (
            "wrong, then right: the first one counts",
            vec![answer(skipped(Skip::NoImageId)), answer(good.clone())],
            vec![(4, Problem::Differs(outcome.to_vec())), (5, Problem::Second(4))],
        ),
        (
            "under a wrong id, then right",
            vec![(id(77), Some(id(REQUEST)), good.clone().into()), answer(good.clone())],
            differs(&["id"]),
        ),
        ("for no request", vec![elsewhere.clone()], vec![(4, Problem::NoRequest)]),
        ("without a cause", vec![(id(4), None, good.clone().into())], vec![(4, Problem::NoRequest)]),
        (
            "before its request",
            vec![elsewhere, (id(9), None, requested().into())],
            vec![(4, Problem::BeforeRequest(5))],
        ),
        ("none, and one for a later request", overtaken(4), vec![(REQUEST, Problem::Missing(5))]),
        ("none, and one for a later request, after a retry", [vec![retried], overtaken(5)].concat(), vec![]),
        // Versions before `container_ended` told no worker.
        (
            "an end that was not told, and a decision behind it",
            vec![
                answer(good.clone()),
                (id(5), None, ended.into()),
                (id(6), None, later.into()),
                (decision_id(6), Some(id(6)), decided_later.into()),
            ],
            vec![],
        ),
        ("none for the later request", vec![(id(4), None, requested().into()), answer(good)], vec![]),
    ];
    for (name, after, expected) in cases {
        let (found, _) = verify([before(), after].concat(), true);
        for one in &found {
            let shown = (one.recorded.is_some(), one.expected.is_some());
            let expected = match one.problem {
                Problem::Differs(_) | Problem::BeforeRequest(_) => (true, true),
                Problem::Second(_) | Problem::NoRequest => (true, false),
                Problem::Missing(_) => (false, true),
            };
            assert_eq!(shown, expected, "{name}");
        }
        let found: Vec<_> = found.into_iter().map(|one| (one.sequence, one.problem)).collect();
        assert_eq!(found, expected, "{name}");
    }
}

#[test]
fn a_key_that_nothing_can_be_sealed_to_explains_an_unknown_worker() {
    let steps = [before(), vec![answer(skipped(Skip::UnknownWorker))]].concat();
    assert_eq!(verify(steps, false), (vec![], Tally { requests: 1, agreed: 1, unsealed: 1 }));
}

#[test]
fn a_skip_is_compared_too() {
    let request = vec![(id(1), None, requested().into())];
    let bare = v1::ContainerCredentialsSkipped {
        requested_by: 1,
        image_ref: None,
        registry: None,
        image_event: None,
        ..skipped(Skip::NoSecretForImage)
    };
    let decide = |event: v1::ContainerCredentialsSkipped| vec![(decision_id(1), Some(id(1)), event.into())];
    assert!(verify([request.clone(), decide(bare.clone())].concat(), true).0.is_empty());
    let other = v1::ContainerCredentialsSkipped { reason: Skip::UnsealFailed, ..bare };
    let (found, _) = verify([request, decide(other)].concat(), true);
    assert_eq!(found[0].problem, Problem::Differs(vec!["reason"]));
    assert_eq!(found[0].expected.as_ref().unwrap().reason, Some(Skip::NoSecretForImage));
}

/// Versions before `credentials_unusable` said `no_secret_for_image`; no version said the reverse.
#[test]
fn the_older_word_for_unusable_credentials_agrees() {
    let build = |reason| v1::CredentialSecretSkipped {
        workspace: "ws".parse().unwrap(),
        image_id: "i".parse().unwrap(),
        image_ref: Some("a.b/team/app:1".to_owned()),
        registry: Some("a.b".to_owned()),
        secret_name: None,
        cred_type: None,
        source: None,
        reason,
        missing_key: None,
    };
    let cases = [
        (SaveSkipReason::ExpiredCredentials, Skip::CredentialsUnusable, vec![]),
        (SaveSkipReason::ExpiredCredentials, Skip::NoSecretForImage, vec![]),
        (SaveSkipReason::ExpiredCredentials, Skip::SecretRevoked, vec!["reason"]),
        (SaveSkipReason::NoCredentialsProvided, Skip::NoSecretForImage, vec![]),
        (SaveSkipReason::NoCredentialsProvided, Skip::CredentialsUnusable, vec!["reason"]),
    ];
    for (reason, recorded, expected) in cases {
        let [_, registered, request] = before().try_into().unwrap();
        let steps = vec![(id(1), None, build(reason).into()), registered, request, answer(skipped(recorded))];
        let found: Vec<_> = verify(steps, true).0.into_iter().map(|one| one.problem).collect();
        let expected: Vec<_> = (!expected.is_empty()).then_some(Problem::Differs(expected)).into_iter().collect();
        assert_eq!(found, expected, "{reason} {recorded}");
    }
}

/// A request published twice is decided once, and each counts once.
#[test]
fn what_was_compared_is_counted() {
    let again = (id(REQUEST), None, requested().into());
    let open = (id(9), None, requested().into());
    let (found, tally) = verify([before(), vec![again, answer(attached()), open]].concat(), true);
    assert_eq!((found, tally), (vec![], Tally { requests: 2, agreed: 1, unsealed: 0 }));
}
