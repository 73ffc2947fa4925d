//! A log from words: `saved:i`, or `moved:i` for another reference; `rotated:i`, or `rotated:i:2` by somebody who had looked
//! at sequence 2; `revoked:i`, or `revoked:i:2` for what was saved up to 2; `skipped:i`, `registered:w`, `ended:c`, and `requested:i:w`, or `requested:i:w:c` for another container than `c`. Each decision that
//! the fold leads to follows at once; with `:open` at the end of a request, none about it does.

use uuid::Uuid;
use waybill_domain::{
    fold::{Decision, MemoryFacts, Obstacle, Pending, fold, reinstate},
    rotate::in_use,
};
use waybill_schemas::{
    Envelope, Event, Recorded, RecordedEvent, Sealed, Timestamp,
    v1::{self, CredType, CredentialSource, SaveSkipReason},
};

const KEY: &str = "XAB3NANV3M6N7AHSQP2U5FRWKKUT7EG2ZXXABV4XVXYQRJGM4S2CZGHT";

#[derive(Default)]
pub(crate) struct World {
    /// The log, with the hidden event in it.
    pub(crate) log: Vec<Recorded<RecordedEvent>>,
    /// What was folded without it.
    pub(crate) live: MemoryFacts,
    hidden: Option<Recorded<RecordedEvent>>,
    /// Requests that are not answered, by their sequence.
    open: Vec<u64>,
}

impl World {
    /// A log of which one event cannot be read when it comes.
    pub(crate) fn hiding(words: &[&str], hidden: usize) -> Self {
        let mut world = Self::default();
        for (at, word) in words.iter().enumerate() {
            let recorded = world.append_word(word);
            if at == hidden {
                world.hidden = Some(recorded);
                continue;
            }
            world.fold(&recorded);
            world.answer();
        }
        world
    }

    pub(crate) fn of(words: &[&str]) -> Self {
        Self::hiding(words, usize::MAX)
    }

    fn append_word(&mut self, word: &str) -> Recorded<RecordedEvent> {
        let sequence = self.log.len() as u64 + 1;
        let (word, open) = word.strip_suffix(":open").map_or((word, false), |word| (word, true));
        if open {
            self.open.push(sequence);
        }
        let parts: Vec<&str> = word.split(':').collect();
        let event = event(&parts, &self.of_image(parts[1]));
        self.append(Uuid::from_u128(u128::from(sequence)), None, event)
    }

    /// The events of an image.
    pub(crate) fn of_image(&self, image: &str) -> Vec<(u64, &Event)> {
        let mine = |event: &Event| match event {
            Event::CredentialSecretRevoked(revoked) => revoked.image_id.as_str() == image,
            event => event.saved().is_some_and(|saved| saved.image_id.as_str() == image),
        };
        let events = self.log.iter().map(|recorded| (recorded.sequence, &recorded.value.event));
        events.filter(|(_, event)| mine(event)).collect()
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

    /// Records what is pending, in order.
    fn answer(&mut self) {
        let unanswered = self.live.pending.values().filter(|pending| !self.open.contains(&pending.requested_by));
        for pending in unanswered.cloned().collect::<Vec<Pending>>() {
            let answer = self.append(pending.decision_id(), Some(pending.cause()), decision(&pending));
            self.fold(&answer);
        }
    }

    fn fold(&mut self, recorded: &Recorded<RecordedEvent>) {
        let folded = fold(&self.live, recorded).unwrap();
        assert_eq!(folded.anomaly, None, "{recorded:?}");
        folded.changes.into_iter().for_each(|change| self.live.apply(change));
    }

    /// The facts after putting the hidden event back.
    pub(crate) fn reinstated(&self) -> Result<MemoryFacts, Obstacle> {
        let folded = reinstate(&self.live, self.hidden.as_ref().unwrap()).unwrap()?;
        let mut facts = self.live.clone();
        folded.changes.into_iter().for_each(|change| facts.apply(change));
        Ok(facts)
    }

    /// The facts of a fold that could read everything.
    pub(crate) fn all(&self) -> MemoryFacts {
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

/// What whoever changes an image's credentials has seen: those in use, or those of a sequence; else the newest event.
fn seen(parts: &[&str], of_image: &[(u64, &Event)]) -> (u64, String) {
    let named = parts.get(2).and_then(|sequence| sequence.parse().ok());
    let sequence = named.or(in_use(of_image.iter().copied()).map(|(sequence, _)| sequence));
    let found = of_image.iter().rfind(|(place, _)| sequence.is_none_or(|sequence| sequence == *place));
    let reference = match found.map(|(_, event)| event) {
        Some(Event::CredentialSecretRevoked(revoked)) => revoked.image_ref.clone(),
        event => event.and_then(|event| event.saved()).map_or("a.b/app:1".to_owned(), |saved| saved.image_ref.clone()),
    };
    (sequence.or(found.map(|(place, _)| *place)).unwrap_or(0), reference)
}

fn saved(image: &str, image_ref: &str) -> v1::CredentialSecretSaved {
    v1::CredentialSecretSaved {
        workspace: "ws".parse().unwrap(),
        image_id: image.parse().unwrap(),
        image_ref: image_ref.to_owned(),
        registry: "a.b".to_owned(),
        secret_name: "oci-registry-a-b".to_owned(),
        cred_type: CredType::Basic,
        source: CredentialSource::FromRegistry,
        expires_at: None,
        credentials: sealed(),
    }
}

fn event(parts: &[&str], of_image: &[(u64, &Event)]) -> Event {
    let (workspace, name) = ("ws".parse().unwrap(), parts[1]);
    let (seen, image_ref) = seen(parts, of_image);
    match parts[0] {
        "saved" => saved(name, "a.b/app:1").into(),
        "moved" => saved(name, "a.b/app:2").into(),
        "rotated" => v1::CredentialSecretRotated { replaces: seen, secret: saved(name, &image_ref) }.into(),
        "revoked" => v1::CredentialSecretRevoked {
            workspace,
            image_id: name.parse().unwrap(),
            revokes: seen,
            image_ref,
            registry: "a.b".to_owned(),
            secret_name: "oci-registry-a-b".to_owned(),
            reason: None,
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
        "ended" => v1::ContainerEnded { workspace, container_id: name.parse().unwrap() }.into(),
        "registered" => {
            v1::WorkerRegistered { worker_id: name.parse().unwrap(), sealing_key: KEY.parse().unwrap() }.into()
        }
        _ => v1::ContainerRequested {
            workspace,
            container_id: parts.get(3).unwrap_or(&"c").parse().unwrap(),
            image_id: Some(name.parse().unwrap()),
            worker_id: parts[2].parse().unwrap(),
            build_container: false,
        }
        .into(),
    }
}

fn decision(pending: &Pending) -> Event {
    let asked = pending.request.clone();
    let (workspace, container_id, worker_id) = (asked.workspace, asked.container_id, asked.worker_id);
    match &pending.decision {
        Decision::Attach(plan) => v1::ContainerCredentialsAttached {
            workspace,
            container_id,
            image_id: asked.image_id.unwrap(),
            worker_id,
            image_ref: plan.saved.image_ref.clone(),
            secret_name: plan.saved.secret_name.clone(),
            registry: plan.saved.registry.clone(),
            cred_type: CredType::Basic,
            credentials_length: 3,
            saved_by: plan.saved.sequence,
            requested_by: pending.requested_by,
            expires_at: None,
            credentials: sealed(),
        }
        .into(),
        Decision::Skip(plan) => v1::ContainerCredentialsSkipped {
            workspace,
            container_id,
            image_id: asked.image_id,
            worker_id,
            image_ref: plan.image_ref.clone(),
            registry: plan.registry.clone(),
            reason: plan.reason,
            image_event: plan.image_event,
            requested_by: pending.requested_by,
        }
        .into(),
    }
}
