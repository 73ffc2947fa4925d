//! A worker's view against a log that is a list: what it grants, what it asks to be done, and how often.

mod placements;
mod renewals;

use waybill_domain::decision::SkippedImage;
use waybill_schemas::{
    SecretName,
    v1::{CredType, RenewCause, WithdrawReason},
};

use super::*;

fn container(id: &str) -> ContainerKey {
    ContainerKey { workspace: "ws".parse().unwrap(), container_id: id.parse().unwrap() }
}

fn placed(id: &str, number: u64) -> Placed {
    Placed { container: container(id), number }
}

fn secret(name: &str) -> SecretKey {
    SecretKey { workspace: "ws".parse().unwrap(), secret_name: name.parse().unwrap() }
}

fn credential(name: &str, version: u64) -> Credential {
    let secret_name: SecretName = name.parse().unwrap();
    Credential {
        secret_name,
        version,
        registry: "a.b".to_owned(),
        cred_type: CredType::Basic,
        credentials_length: 9,
        expires_at: None,
        saved_by: version,
    }
}

fn decision(caused_by: u64, outcome: Outcome) -> Decision {
    Decision { worker_id: "w1".parse().unwrap(), workspace: "ws".parse().unwrap(), caused_by, outcome }
}

fn placement(id: &str, number: u64) -> Placement {
    Placement { container_id: id.parse().unwrap(), number }
}

fn attached(id: &str, number: u64, name: &str, version: u64) -> Decision {
    let image = AttachedImage { image_id: "i".parse().unwrap(), image_ref: "a.b/app:1".to_owned(), image_event: 1 };
    let (placement, credential) = (placement(id, number), credential(name, version));
    decision(number, Outcome::Attached { placement, image, credential })
}

fn skipped(id: &str, number: u64) -> Decision {
    let (placement, image) = (placement(id, number), SkippedImage::default());
    decision(number, Outcome::Skipped { placement, image, reason: AttachSkipReason::NoSecretForImage })
}

fn withdrawn(id: &str, number: u64, reason: WithdrawReason) -> Decision {
    decision(0, Outcome::Withdrawn { placement: placement(id, number), secret_name: None, reason })
}

fn renewed(name: &str, version: u64, cause: RenewCause) -> Decision {
    decision(0, Outcome::Renewed { credential: credential(name, version), cause })
}

fn rotated(name: &str, version: u64) -> Decision {
    renewed(name, version, RenewCause::Rotation)
}

/// A log, one worker, and its node.
#[derive(Default)]
struct World {
    log: Vec<Decided>,
    outcomes: BTreeMap<Placed, Progress>,
    files: BTreeMap<ContainerKey, u64>,
    view: View,
    /// Number of decisions that a look-up finds: those up to the newest that was delivered, or more.
    recorded: usize,
    /// Providers, pulls and renewals, in order.
    done: Vec<String>,
}

impl World {
    fn with(decisions: impl IntoIterator<Item = Decision>) -> Self {
        let mut world = Self::default();
        decisions.into_iter().for_each(|decision| world.append(decision));
        world
    }

    /// Sequences count up by 100, so that they are no placements.
    fn append(&mut self, decision: Decision) {
        let sequence = 100 * (1 + u64::try_from(self.log.len()).unwrap());
        self.log.push(Decided { sequence, decision });
    }

    /// Delivers the n-th decision, counted from 1.
    fn deliver(&mut self, numbers: impl IntoIterator<Item = usize>) {
        for number in numbers {
            self.recorded = self.recorded.max(number);
            let effects = self.view.apply(Input::Delivered(self.log[number - 1].clone()));
            self.perform(effects);
        }
    }

    /// The process starts anew: its files are all that it has.
    fn restart(&mut self) {
        self.view = View::default();
        for (container, number) in self.files.clone() {
            self.view.apply(Input::Remembered(Placed { container, number }));
        }
    }

    /// A program of the node asks, as the access file says.
    fn ask(&mut self, id: &str) {
        let Some(number) = self.files.get(&container(id)).copied() else { return };
        if self.view.access(&placed(id, number)) == Access::Unread {
            self.perform(vec![Effect::LookUp { placed: placed(id, number), purpose: Purpose::Answer }]);
        }
    }

    fn end(&mut self, id: &str, number: u64) {
        self.outcomes.insert(placed(id, number), Progress::Ended { sequence: 1 });
        let effects = self.view.apply(Input::Ended(placed(id, number)));
        self.perform(effects);
    }

    fn remake_queue(&mut self) {
        let effects = self.view.apply(Input::QueueRemade);
        self.perform(effects);
    }

    fn look_up(&self, of: &Placed) -> Found {
        let log = &self.log[..self.recorded];
        let about = |decided: &&Decided| {
            Placed::from_decision(&decided.decision).is_some_and(|about| about.container == of.container)
        };
        let newest = log.iter().filter(about).filter_map(|decided| Placed::from_decision(&decided.decision));
        let last = log.iter().rfind(|decided| Placed::from_decision(&decided.decision).as_ref() == Some(of));
        let renewals = |decided: &&Decided| matches!(decided.decision.outcome, Outcome::Renewed { .. });
        let name = last.and_then(|last| last.decision.credential()).map(|credential| &credential.secret_name);
        let renewed = log
            .iter()
            .filter(renewals)
            .rfind(|decided| decided.decision.credential().map(|credential| &credential.secret_name) == name);
        Found {
            newest: newest.map(|placed| placed.number).max().unwrap_or(of.number),
            last: last.cloned(),
            renewed: renewed.cloned(),
            progress: self.outcomes.get(of).copied().unwrap_or(Progress::Nothing),
        }
    }

    fn perform(&mut self, effects: Vec<Effect>) {
        for effect in effects {
            match effect {
                Effect::LookUp { placed, purpose } => {
                    let found = Box::new(self.look_up(&placed));
                    let effects = self.view.apply(Input::LookedUp { placed, found, purpose });
                    self.perform(effects);
                }
                Effect::Admit(placed) => drop(self.files.insert(placed.container, placed.number)),
                Effect::Drop(placed) => {
                    self.files.retain(|container, number| *container != placed.container || *number != placed.number)
                }
                Effect::Provide(placed) => {
                    self.done.push(format!("provide {}", placed.number));
                    self.pull(placed);
                }
                Effect::Pull { placed, .. } => self.pull(placed),
                Effect::Renew(decided) => {
                    self.done.push(format!("renew {}", decided.decision.credential().unwrap().version));
                }
                Effect::Forget(secret) => self.done.push(format!("forget {}", secret.secret_name)),
            }
        }
    }

    fn pull(&mut self, placed: Placed) {
        self.done.push(format!("pull {}", placed.number));
        self.outcomes.insert(placed, Progress::Settled { sequence: 1 });
    }

    /// What is granted, as `container@placement v<version>`.
    fn granted(&self) -> Vec<String> {
        let granted = self.view.granted().into_iter();
        granted
            .map(|(placed, (_, version))| format!("{}@{} v{version}", placed.container.container_id, placed.number))
            .collect()
    }
}

type Case = (&'static str, Vec<Decision>, fn(&mut World), &'static [&'static str], &'static [&'static str]);

fn check(cases: Vec<Case>) {
    for (name, log, act, granted, done) in cases {
        let mut world = World::with(log);
        act(&mut world);
        assert_eq!(world.granted(), granted, "{name}: what is granted");
        assert_eq!(world.done, done, "{name}: what is done");
        let granted = world.view.granted();
        assert!(
            granted.keys().all(|placed| world.files.get(&placed.container) == Some(&placed.number)),
            "{name}: files"
        );
    }
}
