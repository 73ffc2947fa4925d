//! Fencing, withdrawals, ends, and queues that begin anew.

use super::*;

#[test]
fn a_newer_placement_is_never_replaced_by_an_older_one() {
    use WithdrawReason::{Ended, Superseded};
    let moved = || vec![attached("c", 1, "s", 1), attached("c", 2, "t", 1), withdrawn("c", 1, Superseded)];
    check(vec![
        (
            "in order",
            moved(),
            |w| w.deliver([1, 2, 3]),
            &["c@2 v1"],
            &["provide 1", "pull 1", "forget s", "provide 2", "pull 2"],
        ),
        ("the withdrawal first", moved(), |w| w.deliver([3, 2, 1]), &["c@2 v1"], &["provide 2", "pull 2"]),
        ("the older one last", moved(), |w| w.deliver([2, 1, 3]), &["c@2 v1"], &["provide 2", "pull 2"]),
        (
            "the older one after a restart",
            moved(),
            |w| {
                w.deliver([2]);
                w.restart();
                w.deliver([1, 3]);
                w.ask("c");
            },
            &["c@2 v1"],
            &["provide 2", "pull 2"],
        ),
        (
            "a late end of the older one",
            moved(),
            |w| {
                w.deliver([1, 2, 3]);
                w.end("c", 1);
            },
            &["c@2 v1"],
            &["provide 1", "pull 1", "forget s", "provide 2", "pull 2"],
        ),
        (
            "the newer one has nothing",
            vec![attached("c", 1, "s", 1), skipped("c", 2)],
            |w| w.deliver([1, 2, 1]),
            &[],
            &["provide 1", "pull 1", "forget s", "provide 2", "pull 2"],
        ),
        (
            "the newer one is over",
            vec![attached("c", 1, "s", 1), attached("c", 2, "s", 1), withdrawn("c", 2, Ended)],
            |w| {
                w.deliver([2, 3]);
                w.restart();
                w.deliver([1]);
            },
            &[],
            &["provide 2", "pull 2", "forget s"],
        ),
    ]);
}

#[test]
fn what_is_withdrawn_does_not_come_back() {
    use WithdrawReason::{SecretRevoked, Superseded};
    let revoked = || vec![attached("c", 1, "s", 1), withdrawn("c", 1, SecretRevoked)];
    check(vec![
        ("in order", revoked(), |w| w.deliver([1, 2]), &[], &["provide 1", "pull 1", "forget s"]),
        ("delivered again", revoked(), |w| w.deliver([1, 2, 1, 1]), &[], &["provide 1", "pull 1", "forget s"]),
        ("the withdrawal alone, then the rest", revoked(), |w| w.deliver([2, 1]), &[], &[]),
        (
            "after a restart",
            revoked(),
            |w| {
                w.deliver([2]);
                w.restart();
                w.deliver([1]);
            },
            &[],
            &[],
        ),
        (
            "asked for after a restart",
            revoked(),
            |w| {
                w.recorded = 2;
                w.files.insert(container("c"), 1);
                w.restart();
                w.ask("c");
            },
            &[],
            &[],
        ),
        (
            "a rotation afterwards",
            [revoked(), vec![rotated("s", 2)]].concat(),
            |w| w.deliver([1, 2, 3]),
            &[],
            &["provide 1", "pull 1", "forget s", "renew 2"],
        ),
        (
            "withdrawn before it was delivered",
            revoked(),
            |w| {
                w.recorded = 2;
                w.deliver([1]);
            },
            &[],
            &[],
        ),
        (
            "moved away and back",
            vec![attached("c", 1, "s", 1), withdrawn("c", 1, Superseded), attached("c", 3, "s", 1)],
            |w| w.deliver([1, 2, 3, 1, 2]),
            &["c@3 v1"],
            &["provide 1", "pull 1", "forget s", "provide 3", "pull 3"],
        ),
    ]);
}

/// The withdrawal is recorded between a look-up and its answer, and delivered first.
#[test]
fn an_old_answer_of_the_log_does_not_undo_a_withdrawal() {
    let mut world = World::with([attached("c", 1, "s", 1)]);
    world.recorded = 1;
    let asked = world.view.apply(Input::Delivered(world.log[0].clone()));
    assert_eq!(asked, [Effect::LookUp { placed: placed("c", 1), purpose: Purpose::Work }]);
    let found = Box::new(world.look_up(&placed("c", 1)));
    world.append(withdrawn("c", 1, WithdrawReason::SecretRevoked));
    world.deliver([2]);
    let placed = placed("c", 1);
    let effects = world.view.apply(Input::LookedUp { placed: placed.clone(), found, purpose: Purpose::Work });
    assert_eq!(effects, [Effect::Drop(placed)]);
    assert!(world.granted().is_empty());
}

/// A consumer is lost and made anew (fault 4).
#[test]
fn nothing_is_done_twice_by_a_queue_that_begins_anew() {
    let log = || {
        vec![
            attached("c", 1, "s", 1),
            skipped("d", 2),
            withdrawn("d", 2, WithdrawReason::Ended),
            attached("e", 3, "s", 1),
        ]
    };
    check(vec![
        (
            "in one process",
            log(),
            |w| w.deliver([1, 2, 3, 4, 1, 2, 3, 4]),
            &["c@1 v1", "e@3 v1"],
            &["provide 1", "pull 1", "provide 2", "pull 2", "provide 3", "pull 3"],
        ),
        (
            "in the next one",
            log(),
            |w| {
                w.deliver([1, 2, 3, 4]);
                w.restart();
                w.deliver([1, 2, 3, 4]);
            },
            &["c@1 v1", "e@3 v1"],
            &["provide 1", "pull 1", "provide 2", "pull 2", "provide 3", "pull 3"],
        ),
        (
            "the pull was left",
            log(),
            |w| {
                w.outcomes.insert(placed("c", 1), Progress::Provided { sequence: 7 });
                w.deliver([1]);
            },
            &["c@1 v1"],
            &["pull 1"],
        ),
    ]);
}

/// The queue begins behind a withdrawal that was recorded while there was no consumer.
#[test]
fn a_withdrawal_that_passed_by_is_found_again() {
    let mut world = World::with([attached("c", 1, "s", 1), attached("d", 2, "s", 1)]);
    world.deliver([1, 2]);
    world.append(withdrawn("c", 1, WithdrawReason::SecretRevoked));
    assert_eq!(world.granted(), ["c@1 v1", "d@2 v1"]);
    world.recorded = 3;
    world.remake_queue();
    assert_eq!(world.granted(), ["d@2 v1"]);
    world.append(rotated("s", 2));
    world.recorded = 4;
    world.remake_queue();
    assert_eq!(world.granted(), ["d@2 v2"]);
    assert!(!world.files.contains_key(&container("c")));
}

#[test]
fn an_end_is_for_ever() {
    let log = || vec![attached("c", 1, "s", 1), attached("d", 2, "s", 1)];
    check(vec![
        (
            "delivered again",
            log(),
            |w| {
                w.deliver([1, 2]);
                w.end("c", 1);
                w.deliver([1]);
            },
            &["d@2 v1"],
            &["provide 1", "pull 1", "provide 2", "pull 2"],
        ),
        (
            "after a restart",
            log(),
            |w| {
                w.deliver([1]);
                w.end("c", 1);
                w.restart();
                w.deliver([1]);
            },
            &[],
            &["provide 1", "pull 1", "forget s"],
        ),
    ]);
}

#[test]
fn memory_of_what_is_over_is_bounded_and_the_log_knows_the_rest() {
    let mut world = World::with([attached("c", 1, "s", 1), withdrawn("c", 1, WithdrawReason::Ended)]);
    world.deliver([1, 2]);
    for number in 2..=20_001 {
        world.view.apply(Input::Ended(placed(&format!("x{number}"), number)));
    }
    assert!(!world.view.containers.is_over(&placed("c", 1)), "forgotten");
    world.deliver([1]);
    assert!(world.granted().is_empty());
    assert!(world.view.containers.is_over(&placed("x20001", 20_001)));
}
