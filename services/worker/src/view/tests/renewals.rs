//! Versions of secrets, and grants after a key change.

use super::*;

#[test]
fn a_renewal_reaches_every_placement_and_an_older_version_never_comes_back() {
    let two = || vec![attached("c", 1, "s", 1), attached("d", 2, "s", 1), rotated("s", 2), rotated("s", 3)];
    check(vec![
        (
            "in order",
            two(),
            |w| w.deliver([1, 2, 3, 4]),
            &["c@1 v3", "d@2 v3"],
            &["provide 1", "pull 1", "provide 2", "pull 2", "renew 2", "renew 3"],
        ),
        (
            "the older renewal last",
            two(),
            |w| w.deliver([4, 1, 2, 3]),
            &["c@1 v3", "d@2 v3"],
            &["renew 3", "provide 1", "pull 1", "provide 2", "pull 2"],
        ),
        (
            "after a restart",
            two(),
            |w| {
                w.deliver([1, 2, 3, 4]);
                w.restart();
                w.ask("c");
            },
            &["c@1 v3"],
            &["provide 1", "pull 1", "provide 2", "pull 2", "renew 2", "renew 3"],
        ),
        (
            "before its renewal is delivered",
            two(),
            |w| {
                w.recorded = 4;
                w.deliver([1]);
            },
            &["c@1 v3"],
            &["provide 1", "pull 1"],
        ),
        (
            "another secret",
            vec![attached("c", 1, "s", 1), rotated("t", 2)],
            |w| w.deliver([1, 2]),
            &["c@1 v1"],
            &["provide 1", "pull 1", "renew 2"],
        ),
        (
            "delivered again",
            two(),
            |w| w.deliver([1, 4, 4]),
            &["c@1 v3"],
            &["provide 1", "pull 1", "renew 3", "renew 3"],
        ),
    ]);
}

#[test]
fn a_grant_is_waited_for_only_where_its_renewal_follows() {
    let s = secret("s");
    // (registered at, key changed, decisions, grant is sealed to another key) -> waits
    let cases: [(u64, bool, Vec<Decision>, bool, bool); 7] = [
        (150, true, vec![attached("c", 1, "s", 1)], true, true),
        (150, true, vec![attached("c", 1, "s", 1)], false, true),
        (150, false, vec![attached("c", 1, "s", 1)], false, false),
        // The process that changed the key died, and this one registers the same key again.
        (150, false, vec![attached("c", 1, "s", 1)], true, true),
        // The renewal has come: what is not there now does not come.
        (150, true, vec![attached("c", 1, "s", 1), renewed("s", 1, RenewCause::KeyChange)], true, false),
        // Decided after the registration: the grant is for this key.
        (50, true, vec![attached("c", 1, "s", 1)], true, false),
        (150, true, vec![attached("c", 1, "t", 1)], true, false),
    ];
    for (number, (sequence, key_changed, log, another_key, waits)) in cases.into_iter().enumerate() {
        let mut world = World::with(log);
        world.view.apply(Input::Registered { sequence, key_changed });
        world.deliver(1..=world.log.len());
        assert_eq!(world.view.awaits_grant(&s, another_key), waits, "case {number}");
    }
}
