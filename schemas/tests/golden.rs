//! Events that were written once decode for ever. A golden file is never edited: a new version gets new files.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests fail by panicking")]

mod support;

use std::collections::BTreeMap;

use serde_json::Value;
use support::Golden;
use waybill_schemas::{DecodeError, Derivation, Event, EventType, RecordedEvent, derived_id, v1::RenewCause};

#[test]
fn every_golden_event_decodes_to_what_it_says() {
    for golden in Golden::read() {
        let name = &golden.name;
        let recorded = golden.decode_on(&golden.subject).unwrap_or_else(|error| panic!("{name}: {error}"));
        let RecordedEvent { subject, envelope, event } = recorded;
        assert_eq!(subject.to_string(), golden.subject, "{name}");
        assert_eq!(format!("waybill.v1.{}", event.event_type()), golden.headers["ce-type"], "{name}");
        let written: Value = serde_json::from_slice(&event.to_json().unwrap()).unwrap();
        // Defaults are written out; everything that the file says is there as it was.
        for (field, value) in golden.body.as_object().unwrap() {
            assert_eq!(written[field], *value, "{name}: {field}");
        }
        let headers: BTreeMap<_, _> = envelope.to_headers(event.event_type(), &subject).into_iter().collect();
        for (header, value) in &golden.headers {
            assert_eq!(headers.get(header.as_str()), Some(value), "{name}: {header}");
        }
    }
}

#[test]
fn every_event_has_golden_files() {
    let golden = Golden::read();
    let each = EventType::ALL.iter().flat_map(|event| ["least", "full"].map(|form| format!("{event}.{form}.json")));
    for file in
        each.chain(["ContainerEnded.outcome.json".to_owned(), "WorkerCredentialsRenewed.key_change.json".to_owned()])
    {
        assert!(golden.iter().any(|golden| golden.name == file), "golden/v1/{file} is missing");
    }
    let subject_of = |file: &str| golden.iter().find(|golden| golden.name == file).unwrap().subject.clone();
    assert_ne!(
        subject_of("ContainerEnded.full.json"),
        subject_of("ContainerEnded.outcome.json"),
        "an end has two subjects"
    );
}

#[test]
fn both_causes_of_a_renewal_are_golden() {
    let renewed =
        Golden::read().into_iter().filter_map(|golden| match golden.decode_on(&golden.subject).unwrap().event {
            Event::WorkerCredentialsRenewed(renewed) => Some(renewed.cause),
            _ => None,
        });
    let causes: Vec<RenewCause> = renewed.collect();
    for cause in RenewCause::ALL {
        assert!(causes.contains(cause), "{cause}");
    }
}

/// A least file has nothing but what its event cannot do without.
#[test]
fn a_missing_field_is_named() {
    for golden in Golden::read().into_iter().filter(|golden| golden.name.ends_with(".least.json")) {
        for path in leaves(&golden.body) {
            let mut less = golden.clone();
            let (parent, field) = path.rsplit_once('/').unwrap();
            less.body.pointer_mut(parent).unwrap().as_object_mut().unwrap().remove(field);
            let error = less.decode_on(&less.subject).unwrap_err();
            let DecodeError::Body { field: named, problem, .. } = error else { panic!("{}: {error}", golden.name) };
            assert_eq!((named, problem), (Some(field), "a field is missing"), "{}: {path}", golden.name);
        }
    }
}

/// JSON pointers of every field, those of inner objects too.
fn leaves(value: &Value) -> Vec<String> {
    let Some(map) = value.as_object() else { return Vec::new() };
    let inner = |(field, value): (&String, &Value)| {
        let deeper = leaves(value).into_iter().map(|path| format!("/{field}{path}")).collect::<Vec<_>>();
        std::iter::once(format!("/{field}")).chain(deeper).collect::<Vec<_>>()
    };
    map.iter().flat_map(inner).collect()
}

/// What follows from another event has the id that anybody can compute.
#[test]
fn derived_ids_are_golden() {
    let renewal = Derivation::Renewal { worker_id: "w1".parse().unwrap(), secret: "team.registry".parse().unwrap() };
    let expected = [
        ("ImageSecretNamed.full.json", Derivation::Naming),
        ("ContainerCredentialsAttached.full.json", Derivation::Decision),
        ("ContainerCredentialsSkipped.full.json", Derivation::Decision),
        ("ContainerCredentialsWithdrawn.full.json", Derivation::Withdrawal { placement: 17 }),
        ("WorkerCredentialsRenewed.full.json", renewal.clone()),
        ("WorkerCredentialsRenewed.key_change.json", renewal),
        ("CredentialProviderAttached.full.json", Derivation::Provider),
        ("CredentialProviderFailed.full.json", Derivation::Provider),
        ("ImagePullSucceeded.full.json", Derivation::Pull),
        ("ImagePullFailed.full.json", Derivation::Pull),
        ("SecretRenewalApplied.full.json", Derivation::Applied),
        ("SecretRenewalFailed.full.json", Derivation::Applied),
    ];
    let golden = Golden::read();
    for (file, derivation) in expected {
        let golden = golden.iter().find(|golden| golden.name == file).unwrap();
        let envelope = golden.decode_on(&golden.subject).unwrap().envelope;
        assert_eq!(envelope.id, derived_id(envelope.causation_id.unwrap(), &derivation), "{file}");
    }
}
