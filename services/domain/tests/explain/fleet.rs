//! The fleet's picture of a container agrees with its explanation: one rule, folded for many.

use waybill_domain::{
    explain::{Code, Seen, State},
    fleet::{Fleet, Wanted},
};
use waybill_schemas::Recorded;

use crate::{
    explained,
    support::rows,
    world::{World, minute},
};

pub(crate) fn fold(world: &World) -> Fleet {
    let mut fleet = Fleet::default();
    for entry in world.entries() {
        let Recorded { sequence, at, value } = entry;
        match value {
            Seen::Event(event) => fleet.apply(Recorded { sequence: *sequence, at: *at, value: event }),
            unread => fleet.pass_unreadable(*sequence, *at, unread.subject().as_ref()),
        }
    }
    fleet
}

/// What needs more than the fleet knows: the decision that was due, other workspaces, and what is over is forgotten.
fn is_beyond(code: Code) -> bool {
    matches!(
        code,
        Code::DecisionDiffers
            | Code::OtherWorkspace
            | Code::NotRequested
            | Code::Ended
            | Code::Superseded
            | Code::Quarantined
    )
}

#[test]
fn a_placement_stands_as_its_explanation_says() {
    let (mut compared, mut wrong) = (0, Vec::new());
    for row in rows(include_str!("../testdata/explain.txt")) {
        let world = World::of(row.raw(1));
        let (fleet, explanation) = (fold(&world), explained(&world.history(), world.now()));
        let verdict = &explanation.verdict;
        let (listed, _) = fleet.list(&Wanted::default(), u64::MAX, 9);
        let Some(listed) = listed.iter().find(|listed| Some(listed.placement) == explanation.placement) else {
            continue;
        };
        // A renewal or a withdrawal on its way, and a decision that was made up, need the fold of the decisions.
        let on_its_way = verdict.state == State::InFlight && listed.state == State::Healthy;
        if is_beyond(verdict.code) || on_its_way || row.raw(1).contains("forged") {
            continue;
        }
        compared += 1;
        let found = (listed.state, listed.hop, listed.code);
        if found != (verdict.state, verdict.hop, verdict.code) {
            wrong
                .push(format!("{row}\n  explained {:?}, listed {found:?}", (verdict.state, verdict.hop, verdict.code)));
        }
        let groups = fleet.group_failures(None, minute(0), minute(1400));
        let example = groups.iter().any(|group| group.cause.code == verdict.code && group.still == 1);
        assert_eq!(example, verdict.state == State::Broken || verdict.state == State::InFlight, "{row}: {groups:?}");
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(compared > 60, "{compared}");
}
