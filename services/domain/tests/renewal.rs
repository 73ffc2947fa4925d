//! Rotation and revocation as a specification: given a log, these further decisions follow.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::as_conversions,
    reason = "tests fail by panicking"
)]

#[path = "support/log.rs"]
#[allow(dead_code, reason = "shared with other tests")]
mod log;

use std::collections::BTreeSet;

use log::World;
use proptest::prelude::*;
use waybill_domain::verify::Verifier;
use waybill_schemas::Event;

/// The decisions in a log: what each rests on and answers, as `attached 2 for 3` or `secret_revoked 4 for 3`.
fn decisions(world: &World) -> Vec<String> {
    let told = |event: &Event| match event {
        Event::ContainerCredentialsAttached(e) => Some(format!("attached {} for {}", e.saved_by, e.requested_by)),
        Event::ContainerCredentialsSkipped(e) => {
            Some(format!("{} {} for {}", e.reason, e.image_event.unwrap_or(0), e.requested_by))
        }
        _ => None,
    };
    world.log.iter().filter_map(|recorded| told(&recorded.value.event)).collect()
}

#[test]
fn who_is_told_of_a_change() {
    let cases: &[(&str, &str)] = &[
        ("registered:w saved:i requested:i:w", "attached 2 for 3"),
        ("registered:w saved:i requested:i:w rotated:i", "attached 2 for 3, attached 5 for 3"),
        ("registered:w saved:i requested:i:w revoked:i", "attached 2 for 3, secret_revoked 5 for 3"),
        (
            "registered:w saved:i requested:i:w rotated:i rotated:i",
            "attached 2 for 3, attached 5 for 3, attached 7 for 3",
        ),
        (
            "registered:w saved:i requested:i:w rotated:i revoked:i",
            "attached 2 for 3, attached 5 for 3, secret_revoked 7 for 3",
        ),
        // Once dropped, it gets no more before it asks again.
        ("registered:w saved:i requested:i:w revoked:i saved:i rotated:i", "attached 2 for 3, secret_revoked 5 for 3"),
        (
            "registered:w saved:i requested:i:w revoked:i saved:i requested:i:w",
            "attached 2 for 3, secret_revoked 5 for 3, attached 7 for 8",
        ),
        // Containers asked for later get what holds then.
        ("registered:w saved:i rotated:i requested:i:w", "attached 3 for 4"),
        ("registered:w saved:i revoked:i requested:i:w", "secret_revoked 3 for 4"),
        ("registered:w saved:i revoked:i saved:i requested:i:w", "attached 4 for 5"),
        // A build tells nobody.
        ("registered:w saved:i requested:i:w saved:i", "attached 2 for 3"),
        // Every container of the image, and of no other.
        (
            "registered:w saved:i saved:j requested:i:w:a requested:i:w:b requested:j:w:c rotated:i",
            "attached 2 for 4, attached 2 for 6, attached 3 for 8, attached 10 for 4, attached 10 for 6",
        ),
        // A container has what it asked for last.
        ("registered:w saved:i saved:j requested:i:w requested:j:w rotated:i", "attached 2 for 4, attached 3 for 6"),
        ("registered:w saved:i requested:i:w requested:k:w rotated:i", "attached 2 for 3, no_secret_for_image 0 for 5"),
        (
            "registered:w saved:i requested:i:w requested:i:w rotated:i",
            "attached 2 for 3, attached 2 for 5, attached 7 for 5",
        ),
        // The worker of a container that is gone is told to drop what it has, once, and of nothing else.
        ("registered:w saved:i requested:i:w ended:c ended:c", "attached 2 for 3, container_ended 5 for 3"),
        ("registered:w saved:i requested:i:w ended:c rotated:i", "attached 2 for 3, container_ended 5 for 3"),
        ("registered:w saved:i requested:i:w ended:c revoked:i", "attached 2 for 3, container_ended 5 for 3"),
        (
            "registered:w saved:i requested:i:w rotated:i ended:c",
            "attached 2 for 3, attached 5 for 3, container_ended 7 for 3",
        ),
        (
            "registered:w saved:i requested:i:w ended:c requested:i:w rotated:i",
            "attached 2 for 3, container_ended 5 for 3, attached 2 for 7, attached 9 for 7",
        ),
        (
            "registered:w saved:i requested:i:w requested:i:w:d ended:d",
            "attached 2 for 3, attached 2 for 5, container_ended 7 for 5",
        ),
        ("registered:w saved:i requested:i:w revoked:i ended:c", "attached 2 for 3, secret_revoked 5 for 3"),
        ("registered:w requested:i:w ended:c", "no_secret_for_image 0 for 2"),
        ("ended:c registered:w saved:i requested:i:w", "attached 3 for 4"),
        // Nothing was given.
        ("saved:i requested:i:w rotated:i", "unknown_worker 1 for 2"),
        ("registered:w requested:i:w saved:i rotated:i", "no_secret_for_image 0 for 2"),
        // What is revoked is not there any more.
        ("registered:w saved:i requested:i:w revoked:i revoked:i", "attached 2 for 3, secret_revoked 5 for 3"),
        // Who revokes has looked before the last build: what it saved stays, and whoever has the older one drops it.
        (
            "registered:w saved:i requested:i:w saved:i requested:i:w:d revoked:i:2",
            "attached 2 for 3, attached 5 for 6, secret_revoked 8 for 3",
        ),
        ("registered:w saved:i saved:i requested:i:w revoked:i:2", "attached 3 for 4"),
        ("registered:w saved:i requested:i:w rotated:i revoked:i:2", "attached 2 for 3, attached 5 for 3"),
        // Who rotates has looked before the image became another one: these credentials are not for what it is now.
        ("registered:w saved:i moved:i rotated:i:2 requested:i:w", "attached 3 for 5"),
        ("registered:w saved:i requested:i:w moved:i rotated:i:2", "attached 2 for 3"),
        ("registered:w saved:i moved:i revoked:i rotated:i:2 requested:i:w", "secret_revoked 4 for 6"),
        // Or before the same image was built once more, which makes no difference.
        ("registered:w saved:i saved:i rotated:i:2 requested:i:w", "attached 4 for 5"),
        ("registered:w saved:i moved:i rotated:i requested:i:w", "attached 4 for 5"),
        ("registered:w saved:i moved:i rotated:i:2 rotated:i requested:i:w", "attached 5 for 6"),
    ];
    for (words, expected) in cases {
        let world = World::of(&words.split(' ').collect::<Vec<_>>());
        assert_eq!(decisions(&world).join(", "), *expected, "{words}");
        assert!(world.live.pending.is_empty(), "{words}");
    }
}

#[test]
fn a_change_that_comes_before_the_answer_is_answered_after_it() {
    let world = World::of(&["registered:w", "saved:i", "requested:i:w:open", "rotated:i", "ended:c"]);
    let pending: Vec<_> = world.live.pending.keys().map(|key| (key.caused_by, key.requested_by)).collect();
    assert_eq!(pending, [(3, 3), (4, 3), (5, 3)]);
    let ids: BTreeSet<_> = world.live.pending.values().map(|pending| pending.decision_id()).collect();
    assert_eq!(ids.len(), 3);
}

fn word() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec![
        "saved:i",
        "saved:j",
        "moved:i",
        "rotated:i:1",
        "rotated:i:2",
        "skipped:i",
        "rotated:i",
        "rotated:j",
        "revoked:i",
        "revoked:j",
        "registered:w",
        "registered:v",
        "requested:i:w",
        "requested:i:v:d",
        "requested:j:w:e",
        "requested:j:v",
        "ended:c",
        "ended:d",
    ])
}

proptest! {
    /// Folding the log again gives the same decisions, and no container keeps what was revoked.
    #[test]
    fn the_log_verifies_and_nobody_keeps_what_was_revoked(words in prop::collection::vec(word(), 0..24)) {
        let world = World::of(&words);
        prop_assert_eq!(&world.all(), &world.live);
        let mut verifier = Verifier::new(|_| true);
        let mut facts = waybill_domain::fold::MemoryFacts::default();
        for recorded in &world.log {
            verifier.see(&facts, recorded).unwrap();
            let folded = waybill_domain::fold::fold(&facts, recorded).unwrap();
            folded.changes.into_iter().for_each(|change| facts.apply(change));
        }
        facts.pending.values().all(|pending| verifier.open(pending));
        let (divergences, _) = verifier.finish();
        prop_assert!(divergences.is_empty(), "{:?}", divergences);
        // Whoever asks the log comes to the same as whoever folds it.
        let of_image = world.of_image("i");
        let told = waybill_domain::rotate::in_use(of_image).map(|(sequence, _)| sequence);
        let key = facts.images.iter().find(|(key, _)| key.image_id.as_str() == "i");
        prop_assert_eq!(told, key.and_then(|(_, image)| image.saved.as_ref()).map(|saved| saved.sequence));
        for (image, served) in facts.served.values() {
            let saved = facts.images[image].saved.as_ref();
            prop_assert!(saved.is_some(), "{served:?} has revoked credentials");
        }
    }
}
