//! Putting a quarantined event back: the rows are those of a fold that could always read it, or the obstacle is named.
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

use log::World;
use proptest::prelude::*;
use waybill_domain::fold::Obstacle;

#[test]
fn what_can_be_put_back_and_what_stands_in_the_way() {
    let without = |request| Err(Obstacle::DecidedWithout { request });
    let changed = |changed| Err(Obstacle::FactsChanged { changed });
    let in_use = |request| Err(Obstacle::InUse { request });
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
        (&["saved:i", "rotated:i"], 1, Ok(())),
        (&["saved:i", "revoked:i"], 1, Ok(())),
        (&["saved:i", "revoked:i", "saved:i"], 1, Ok(())),
        (&["saved:i", "saved:i", "revoked:i"], 1, changed(3)),
        // Whether a rotation counts depends on what stands before it.
        (&["saved:i", "moved:i", "rotated:i:1"], 1, changed(3)),
        (&["saved:i", "moved:i", "rotated:i:1"], 2, Ok(())),
        (&["saved:i", "rotated:i", "moved:i"], 1, Ok(())),
        (&["saved:i", "moved:i", "revoked:i", "rotated:i:1"], 2, changed(4)),
        (&["registered:w", "saved:i", "requested:i:w", "rotated:i"], 3, in_use(3)),
        (&["registered:w", "saved:i", "requested:i:w", "revoked:i"], 3, in_use(3)),
        (&["registered:w", "saved:i", "revoked:i", "requested:i:w"], 2, without(4)),
        (&["registered:w", "saved:i", "requested:i:w", "saved:i", "rotated:i"], 3, without(3)),
        (&["registered:w", "saved:i", "registered:w", "requested:i:w", "rotated:i"], 0, Ok(())),
        (&["registered:w", "saved:i", "requested:i:w", "registered:w", "rotated:i"], 3, without(3)),
        (&["registered:w", "saved:i", "requested:i:w", "revoked:i"], 2, changed(4)),
        (&["registered:w", "saved:i", "requested:i:w", "requested:j:w", "rotated:i"], 3, changed(6)),
        (&["registered:w", "saved:i", "requested:i:w", "ended:c"], 3, Ok(())),
        // Its worker would have been told of the end.
        (&["registered:w", "saved:i", "requested:i:w", "ended:c"], 2, changed(4)),
        (&["registered:w", "saved:i", "requested:i:w", "ended:c", "requested:i:w"], 3, changed(6)),
        (&["registered:w", "saved:i", "requested:i:w", "ended:c", "rotated:i"], 3, changed(6)),
        (&["registered:w", "saved:i", "requested:j:w", "ended:c"], 2, Ok(())),
        (&["registered:w", "saved:i", "requested:j:w", "ended:c", "requested:i:w"], 3, Ok(())),
        (&["registered:w", "saved:i", "ended:c", "requested:i:w"], 2, Ok(())),
    ];
    for (words, hidden, expected) in cases {
        let world = World::hiding(words, *hidden);
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
        "moved:i",
        "rotated:i:1",
        "skipped:i",
        "skipped:j",
        "rotated:i",
        "rotated:j",
        "revoked:i",
        "registered:w",
        "registered:v",
        "requested:i:w",
        "requested:i:v",
        "requested:j:w",
        "requested:j:v:open",
        "requested:i:w:open",
        "requested:j:w:d",
        "ended:c",
        "ended:d",
    ])
}

proptest! {
    #[test]
    fn what_is_put_back_stands_where_it_always_stood(words in prop::collection::vec(word(), 1..14), hidden in any::<prop::sample::Index>()) {
        let world = World::hiding(&words, hidden.index(words.len()));
        if let Ok(facts) = world.reinstated() {
            prop_assert_eq!(facts, world.all());
        }
    }
}
