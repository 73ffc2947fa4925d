//! Putting a quarantined event back: the rows are those of a fold that could always read it, or the obstacle is named.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::as_conversions,
    reason = "tests fail by panicking"
)]

use proptest::prelude::*;
use uuid::Uuid;
use waybill_domain::fold::{MemoryFacts, Obstacle, Outcome, fold, reinstate};
use waybill_schemas::{
    Derivation, Envelope, Event, Recorded, RecordedEvent, Sealed, Timestamp, derived_id,
    v1::{self, CredType, CredentialSource, SaveSkipReason},
};

const KEY: &str = "XAB3NANV3M6N7AHSQP2U5FRWKKUT7EG2ZXXABV4XVXYQRJGM4S2CZGHT";

/// What happens, in words: `saved:i`, `skipped:i`, `registered:w`, `requested:i:w`, and `requested:i:w:open` for a request
/// that is not answered yet.
#[derive(Default)]
struct World {
    /// The log, with the quarantined event in it.
    log: Vec<Recorded<RecordedEvent>>,
    /// What was folded without it.
    live: MemoryFacts,
    hidden: Option<Recorded<RecordedEvent>>,
}

impl World {
    fn of(words: &[&str], hidden: usize) -> Self {
        let mut world = Self::default();
        for (at, word) in words.iter().enumerate() {
            let parts: Vec<&str> = word.split(':').collect();
            let id = Uuid::from_u128(world.log.len() as u128 + 1);
            let recorded = world.append(id, None, event(&parts));
            if at == hidden {
                world.hidden = Some(recorded);
                continue;
            }
            world.fold(&recorded);
            if parts[0] == "requested" && parts.get(3) != Some(&"open") {
                let outcome = world.live.requests[&id].outcome;
                let decision = decision(&recorded, outcome);
                let answer = world.append(derived_id(id, Derivation::Decision), Some(id), decision);
                world.fold(&answer);
            }
        }
        world
    }

    fn append(&mut self, id: Uuid, causation_id: Option<Uuid>, event: Event) -> Recorded<RecordedEvent> {
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
        let sequence = self.log.len() as u64 + 1;
        let recorded = Recorded { sequence, at: second(sequence), value: RecordedEvent { envelope, event } };
        self.log.push(recorded.clone());
        recorded
    }

    fn fold(&mut self, recorded: &Recorded<RecordedEvent>) {
        let folded = fold(&self.live, recorded).unwrap();
        folded.changes.into_iter().for_each(|change| self.live.apply(change));
    }

    /// The facts after putting the event back.
    fn reinstated(&self) -> Result<MemoryFacts, Obstacle> {
        let folded = reinstate(&self.live, self.hidden.as_ref().unwrap()).unwrap()?;
        let mut facts = self.live.clone();
        folded.changes.into_iter().for_each(|change| facts.apply(change));
        Ok(facts)
    }

    /// The facts of a fold that could read everything.
    fn all(&self) -> MemoryFacts {
        let mut facts = MemoryFacts::default();
        for recorded in &self.log {
            let folded = fold(&facts, recorded).unwrap();
            folded.changes.into_iter().for_each(|change| facts.apply(change));
        }
        facts
    }
}

fn second(sequence: u64) -> Timestamp {
    format!("2026-01-01T00:{:02}:{:02}Z", sequence / 60, sequence % 60).parse().unwrap()
}

fn sealed() -> Sealed {
    Sealed { sender: KEY.parse().unwrap(), recipient: KEY.parse().unwrap(), ciphertext: "box".to_owned() }
}

fn event(parts: &[&str]) -> Event {
    let (workspace, name) = ("ws".parse().unwrap(), parts[1]);
    match parts[0] {
        "saved" => v1::CredentialSecretSaved {
            workspace,
            image_id: name.parse().unwrap(),
            image_ref: "a.b/app:1".to_owned(),
            registry: "a.b".to_owned(),
            secret_name: "oci-registry-a-b".to_owned(),
            cred_type: CredType::Basic,
            source: CredentialSource::FromRegistry,
            expires_at: None,
            credentials: sealed(),
        }
        .into(),
        "skipped" => v1::CredentialSecretSkipped {
            workspace,
            image_id: name.parse().unwrap(),
            image_ref: Some("a.b/app:2".to_owned()),
            registry: Some("a.b".to_owned()),
            secret_name: None,
            cred_type: None,
            source: None,
            reason: SaveSkipReason::NoCredentialsProvided,
            missing_key: None,
        }
        .into(),
        "registered" => {
            v1::WorkerRegistered { worker_id: name.parse().unwrap(), sealing_key: KEY.parse().unwrap() }.into()
        }
        _ => v1::ContainerRequested {
            workspace,
            container_id: "c".parse().unwrap(),
            image_id: Some(name.parse().unwrap()),
            worker_id: parts[2].parse().unwrap(),
            build_container: false,
        }
        .into(),
    }
}

fn decision(request: &Recorded<RecordedEvent>, outcome: Outcome) -> Event {
    let Event::ContainerRequested(asked) = request.value.event.clone() else { panic!("no request") };
    let (workspace, container_id, worker_id) = (asked.workspace, asked.container_id, asked.worker_id);
    match outcome {
        Outcome::Attached { saved_by } => v1::ContainerCredentialsAttached {
            workspace,
            container_id,
            image_id: asked.image_id.unwrap(),
            worker_id,
            image_ref: "a.b/app:1".to_owned(),
            secret_name: "oci-registry-a-b".to_owned(),
            registry: "a.b".to_owned(),
            cred_type: CredType::Basic,
            credentials_length: 3,
            saved_by,
            requested_by: request.sequence,
            expires_at: None,
            credentials: sealed(),
        }
        .into(),
        Outcome::Skipped { reason } => v1::ContainerCredentialsSkipped {
            workspace,
            container_id,
            image_id: asked.image_id,
            worker_id,
            image_ref: None,
            registry: None,
            reason,
            image_event: None,
            requested_by: request.sequence,
        }
        .into(),
    }
}

#[test]
fn what_can_be_put_back_and_what_stands_in_the_way() {
    let without = |request| Err(Obstacle::DecidedWithout { request });
    let changed = |changed| Err(Obstacle::FactsChanged { changed });
    type Case = (&'static [&'static str], usize, Result<(), Obstacle>);
    let cases: &[Case] = &[
        (&["registered:w", "saved:i"], 1, Ok(())),
        (&["registered:w", "saved:i", "requested:j:w"], 1, Ok(())),
        (&["registered:w", "saved:i", "requested:i:w"], 1, without(3)),
        (&["registered:w", "saved:i", "saved:i", "requested:i:w"], 1, Ok(())),
        (&["registered:w", "saved:i", "requested:i:w:open"], 1, without(3)),
        (&["registered:w", "saved:i", "skipped:i", "requested:i:w"], 2, Ok(())),
        (&["skipped:i", "requested:i:w"], 0, without(2)),
        (&["registered:w", "saved:i", "requested:i:w"], 0, without(3)),
        (&["registered:w", "requested:i:w"], 0, Ok(())),
        (&["registered:w", "registered:w", "saved:i", "requested:i:w"], 0, Ok(())),
        (&["saved:i", "registered:w", "requested:i:w", "registered:w"], 1, without(3)),
        (&["registered:w", "saved:i", "requested:i:w"], 2, Ok(())),
        (&["registered:w", "saved:i", "requested:i:w", "saved:i"], 2, changed(4)),
        (&["registered:w", "saved:i", "requested:i:w", "registered:w"], 2, changed(4)),
        (&["registered:w", "saved:i", "requested:i:w", "saved:j", "requested:j:w"], 2, Ok(())),
    ];
    for (words, hidden, expected) in cases {
        let world = World::of(words, *hidden);
        let reinstated = world.reinstated();
        assert_eq!(
            reinstated.as_ref().map(|_| ()).map_err(|obstacle| *obstacle),
            *expected,
            "{words:?} without {hidden}"
        );
        if let Ok(facts) = reinstated {
            assert_eq!(facts, world.all(), "{words:?} without {hidden}");
        }
    }
}

fn word() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec![
        "saved:i",
        "saved:j",
        "skipped:i",
        "skipped:j",
        "registered:w",
        "registered:v",
        "requested:i:w",
        "requested:i:v",
        "requested:j:w",
        "requested:j:v:open",
        "requested:i:w:open",
    ])
}

proptest! {
    #[test]
    fn what_is_put_back_stands_where_it_always_stood(words in prop::collection::vec(word(), 1..12), hidden in any::<prop::sample::Index>()) {
        let world = World::of(&words, hidden.index(words.len()));
        if let Ok(facts) = world.reinstated() {
            prop_assert_eq!(facts, world.all());
        }
    }
}
