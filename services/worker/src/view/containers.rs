//! The newest placement of each container, and whether it is in force.

use std::collections::BTreeMap;

use waybill_domain::{
    decision::Outcome,
    fold::{ContainerKey, SecretKey},
};
use waybill_schemas::SecretName;

use super::{Decided, Placed};

/// Most containers of which it is remembered that their placement is over. Older ones are found in the log again.
const REMEMBERED: usize = 10_000;

#[derive(Debug, Clone, Default)]
pub(super) struct Containers {
    newest: BTreeMap<ContainerKey, Newest>,
    over: usize,
}

#[derive(Debug, Clone)]
struct Newest {
    number: u64,
    state: State,
}

#[derive(Debug, Clone)]
enum State {
    /// An access file names the placement.
    Unread,
    /// The placement has, or has not, a secret.
    InForce(Box<Outcome>),
    /// The placement is withdrawn, ended or superseded.
    Over,
}

/// What a container had before: its placement, and the secret where it had one.
pub(super) struct Replaced {
    pub(super) placed: Placed,
    pub(super) secret: Option<SecretKey>,
}

impl Containers {
    /// Notes the placement that an access file names.
    pub(super) fn remember(&mut self, placed: &Placed) {
        let known = self.newest.get(&placed.container).is_some_and(|newest| newest.number >= placed.number);
        if !known {
            self.put(placed, State::Unread);
        }
    }

    /// True if the placement is over, or a newer one of its container is known.
    pub(super) fn is_over(&self, placed: &Placed) -> bool {
        self.newest.get(&placed.container).is_some_and(|newest| {
            newest.number > placed.number || (newest.number == placed.number && matches!(newest.state, State::Over))
        })
    }

    /// Puts a placement in force that is not over. Returns what the container had before.
    pub(super) fn adopt(&mut self, placed: &Placed, decided: &Decided) -> Option<Replaced> {
        self.put(placed, State::InForce(Box::new(decided.decision.outcome.clone())))
    }

    /// Marks a placement as over, unless a newer one is known. Returns what the container had before.
    pub(super) fn end(&mut self, placed: &Placed) -> Option<Replaced> {
        if self.newest.get(&placed.container).is_some_and(|newest| newest.number > placed.number) {
            return None;
        }
        let replaced = self.put(placed, State::Over);
        if self.over > REMEMBERED {
            self.forget_oldest();
        }
        replaced
    }

    fn put(&mut self, placed: &Placed, state: State) -> Option<Replaced> {
        self.over = self.over.saturating_add(usize::from(matches!(state, State::Over)));
        let before = self.newest.insert(placed.container.clone(), Newest { number: placed.number, state })?;
        self.over = self.over.saturating_sub(usize::from(matches!(before.state, State::Over)));
        let workspace = &placed.container.workspace;
        let secret =
            name_of(&before.state).map(|name| SecretKey { workspace: workspace.clone(), secret_name: name.clone() });
        Some(Replaced { placed: Placed { container: placed.container.clone(), number: before.number }, secret })
    }

    /// The older half at once, so that it need not be looked for each time.
    fn forget_oldest(&mut self) {
        let over = |newest: &&Newest| matches!(newest.state, State::Over);
        let mut numbers: Vec<u64> = self.newest.values().filter(over).map(|newest| newest.number).collect();
        numbers.sort_unstable();
        let middle = numbers.get(numbers.len() / 2).copied().unwrap_or_default();
        self.newest.retain(|_, newest| !over(&&*newest) || newest.number > middle);
        self.over = self.newest.values().filter(over).count();
    }

    /// What was decided for the placement, if it is in force.
    pub(super) fn outcome(&self, placed: &Placed) -> Option<&Outcome> {
        let newest = self.newest.get(&placed.container).filter(|newest| newest.number == placed.number)?;
        match &newest.state {
            State::InForce(outcome) => Some(outcome),
            State::Unread | State::Over => None,
        }
    }

    /// Placements in force.
    pub(super) fn in_force(&self) -> impl Iterator<Item = Placed> {
        self.placements(|state| matches!(state, State::InForce(_)))
    }

    /// Placements that the log was not asked about.
    pub(super) fn unread(&self) -> impl Iterator<Item = Placed> {
        self.placements(|state| matches!(state, State::Unread))
    }

    fn placements(&self, which: fn(&State) -> bool) -> impl Iterator<Item = Placed> {
        let matching = self.newest.iter().filter(move |(_, newest)| which(&newest.state));
        matching.map(|(container, newest)| Placed { container: container.clone(), number: newest.number })
    }

    /// Number of placements in force that have the secret.
    pub(super) fn uses(&self, secret: &SecretKey) -> usize {
        let of_workspace = self.newest.iter().filter(|(container, _)| container.workspace == secret.workspace);
        of_workspace.filter(|(_, newest)| name_of(&newest.state) == Some(&secret.secret_name)).count()
    }
}

/// The secret of a placement in force.
fn name_of(state: &State) -> Option<&SecretName> {
    let State::InForce(outcome) = state else { return None };
    let Outcome::Attached { credential, .. } = outcome.as_ref() else { return None };
    Some(&credential.secret_name)
}
