//! Any life of a container: one verdict, no panic, and nothing that others do changes it.

use proptest::prelude::*;
use waybill_domain::explain::{
    Code, Entry, Explanation, History, Hop, Seen, State, StepOutcome, explain_image, explain_secret,
};
use waybill_schemas::{
    Envelope, Event, Recorded, RecordedEvent, Subject, Uuid, WorkerId, WorkspaceId,
    v1::{self, ProviderFailure, PullFailure, SaveSkipReason},
};

use crate::{
    explained,
    world::{STEP, World, image, minute, secret, workspace},
};

/// Any life of a container, as words in an order in which the log can hold them.
fn life() -> impl Strategy<Value = Vec<String>> {
    let reason = |prefix: &'static str, words: Vec<&'static str>| {
        prop::sample::select(words).prop_map(move |word| format!("{prefix}:{word}"))
    };
    let skipped = reason("skipped", SaveSkipReason::ALL.iter().map(|r| r.as_str()).collect());
    let failed = reason("failed", ProviderFailure::ALL.iter().map(|r| r.as_str()).collect());
    let unusable = reason("unusable", ProviderFailure::ALL.iter().map(|r| r.as_str()).collect());
    let pull = reason("pull", PullFailure::ALL.iter().map(|r| r.as_str()).collect());
    let word = |words: &'static str| Just(words.to_owned());
    prop::collection::vec(
        prop_oneof![
            4 => word("registered"),
            1 => prop::sample::select(vec!["registered:new", "registered:w2"]).prop_map(str::to_owned),
            4 => prop::sample::select(vec!["built", "built:until=7", "saved", "saved:c.d", "refused"]).prop_map(str::to_owned),
            2 => prop::sample::select(vec!["named", "named:t", "moved", "rotated", "rotated:until=9"]).prop_map(str::to_owned),
            1 => skipped,
            1 => prop::sample::select(vec!["revoked", "shredded", "forged"]).prop_map(str::to_owned),
            5 => prop::sample::select(vec!["requested", "requested:w2", "requested:no_image", "requested:build"]).prop_map(str::to_owned),
            8 => word("decided"),
            4 => prop::sample::select(vec!["provider", "provider:until=5", "default", "provider:@w3"]).prop_map(str::to_owned),
            1 => failed,
            4 => prop::sample::select(vec!["pulled", "pulled:@w3", "applied"]).prop_map(str::to_owned),
            1 => pull,
            1 => unusable,
            1 => prop::sample::select(vec!["ended", "ended:worker", "ended:w3"]).prop_map(str::to_owned),
            1 => prop::sample::select(vec!["image", "secret", "container", "decision", "outcome"]).prop_map(|of| format!("garbage:{of}")),
        ],
        0..24,
    )
}

/// What is said of others in a log, between a world's messages.
fn noise(world: &World, kinds: &[u8]) -> Vec<Entry> {
    let mut entries = world.entries().to_vec();
    for (at, kind) in kinds.iter().enumerate() {
        let at = at as u64;
        let sequence = (at / (STEP - 1)) * STEP + 1 + at % (STEP - 1);
        let value = Seen::Event(Box::new(foreign(sequence, *kind)));
        entries.push(Recorded { sequence, at: minute(sequence / STEP), value });
    }
    entries
}

/// An event about another container, image, secret, workspace or worker.
fn foreign(sequence: u64, kind: u8) -> RecordedEvent {
    let (ours, theirs): (WorkspaceId, WorkspaceId) = (workspace(), "other".parse().unwrap());
    let (w1, w3): (WorkerId, WorkerId) = ("w1".parse().unwrap(), "w3".parse().unwrap());
    let stored = v1::SecretVersion {
        version: 7,
        registry: "x.y".to_owned(),
        cred_type: v1::CredType::Basic,
        account: None,
        expires_at: None,
        credentials_length: 1,
        digest: "sha256:0".to_owned(),
        note: None,
        verified: None,
    };
    let request = |workspace: &WorkspaceId, id: &str| v1::ContainerRequested {
        workspace: workspace.clone(),
        container_id: id.parse().unwrap(),
        image_id: Some(image()),
        worker_id: w1.clone(),
        build_container: false,
    };
    let container_subject = |workspace: &WorkspaceId, id: &str| Subject::Container {
        workspace: workspace.clone(),
        container_id: id.parse().unwrap(),
        request: "r".parse().unwrap(),
    };
    let (subject, event): (Subject, Event) = match kind % 6 {
        0 => (container_subject(&ours, "else"), request(&ours, "else").into()),
        1 => (container_subject(&theirs, "ctr"), request(&theirs, "ctr").into()),
        2 => {
            let secret_name = secret();
            let subject = Subject::Secret { workspace: theirs.clone(), secret: secret_name.clone() };
            (subject, v1::CredentialSecretRotated { workspace: theirs, secret_name, stored }.into())
        }
        3 => {
            let secret_name: waybill_schemas::SecretName = "x".to_owned().try_into().unwrap();
            let subject = Subject::Secret { workspace: ours.clone(), secret: secret_name.clone() };
            (subject, v1::CredentialSecretSaved { workspace: ours, secret_name, image_id: None, stored }.into())
        }
        4 => {
            let subject = Subject::Image { workspace: theirs.clone(), image_id: image(), build: "b".parse().unwrap() };
            let event = v1::ImageSecretNamed {
                workspace: theirs,
                image_id: image(),
                image_ref: "x.y/z:1".to_owned(),
                registry: "x.y".to_owned(),
                secret_name: secret(),
                source: v1::CredentialSource::BaseImage,
                version: None,
                cred_type: None,
            };
            (subject, event.into())
        }
        _ => {
            let subject = Subject::ContainerOutcome {
                worker_id: w3.clone(),
                workspace: ours.clone(),
                container_id: "else".parse().unwrap(),
                placement: 40,
            };
            let event = v1::CredentialProviderAttached {
                workspace: ours,
                container_id: "else".parse().unwrap(),
                placement: 40,
                image_id: None,
                worker_id: w3,
                provider_name: "default-chain".to_owned(),
                cred_type: None,
                registry: None,
                secret_name: None,
                version: None,
                token_expires_at: None,
                decided_by: 1,
            };
            (subject, event.into())
        }
    };
    assert!(event.belongs_on(&subject));
    RecordedEvent { subject, envelope: Envelope::new(Uuid::from_u128(u128::from(sequence)), "/other"), event }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    /// Every history has one verdict. What broke stays broken for the same placement: a later event may say more about why,
    /// never that the hop did not break. Only newer versions of the secret, and what takes them away, may bring a container on.
    #[test]
    fn every_prefix_has_a_verdict_and_what_broke_stays_broken(words in life()) {
        let world = World::of(&words.join(" "));
        let now = minute(200);
        let mut before: Option<Explanation> = None;
        for length in 0..=world.entries().len() {
            let history = world.prefix(length);
            explain_image(&history, &workspace(), &image(), now);
            explain_secret(&history, &workspace(), &secret(), now);
            let after = explained(&history, now);
            prop_assert_eq!(&after, &explained(&world.history().until(length as u64 * STEP), now));
            prop_assert_eq!(after.verdict.remedy.is_empty(), after.verdict.state != State::Broken);
            if let Some(before) = before.filter(|before| before.placement.is_some() && before.placement == after.placement) {
                let renewable = matches!(before.verdict.code, Code::Quarantined)
                    || before.timeline.iter().any(|step| step.event == "WorkerCredentialsRenewed");
                // A worker reports a pull after its provider: each outcome expects the one before.
                let place = |hop| after.timeline.iter().position(|step| step.hop == hop && step.outcome != StepOutcome::Ignored);
                let in_order = place(Hop::Pull).is_none_or(|pull| place(Hop::Provider).is_some_and(|provider| provider < pull));
                if before.verdict.state == State::Broken && !renewable {
                    prop_assert_eq!(after.verdict.state, State::Broken, "{:?} then {:?}", before.verdict, after.verdict);
                    let newer = (after.verdict.hop, after.verdict.code) == (Hop::Requested, Code::Quarantined);
                    prop_assert!(newer || !in_order || after.verdict.hop <= before.verdict.hop, "{before:?} then {after:?}");
                }
            }
            before = Some(after);
        }
    }

    /// Nothing that is said of other containers, images, secrets, workspaces and workers changes an explanation.
    #[test]
    fn unrelated_events_change_nothing(words in life(), kinds in prop::collection::vec(any::<u8>(), 0..60)) {
        let world = World::of(&words.join(" "));
        let with_noise = History::new(noise(&world, &kinds), Vec::new());
        let (alone, now) = (world.history(), minute(200));
        prop_assert_eq!(explained(&alone, now), explained(&with_noise, now));
        let image = |history: &History| explain_image(history, &workspace(), &image(), now);
        prop_assert_eq!(image(&alone), image(&with_noise));
        let secret = |history: &History| explain_secret(history, &workspace(), &secret(), now);
        prop_assert_eq!(secret(&alone), secret(&with_noise));
    }

    /// What the fold itself decides and a worker reports in order is never called odd.
    #[test]
    fn an_honest_log_has_no_anomaly(words in life()) {
        let honest = |word: &&String| {
            !word.starts_with("garbage") && !word.contains("w3") && !word.starts_with("forged")
        };
        let words: Vec<String> = words.iter().filter(honest).cloned().collect();
        let explained = explained(&World::of(&words.join(" ")).history(), minute(200));
        prop_assert_ne!(explained.verdict.code, Code::DecisionDiffers, "{:?}", explained.verdict);
        prop_assert!(explained.earlier.iter().all(|one| one.code != Code::DecisionDiffers), "{:?}", explained.earlier);
    }
}
