//! What this worker may use, for which placement, and at which version: a state machine without I/O, clock or randomness.
//!
//! Inputs come from the queue, from look-ups in the log and from programs of the node; effects say what is to be done about
//! them. `README.md` beside this file has the rules.

mod containers;
mod secrets;

use std::collections::BTreeMap;

use waybill_domain::{
    decision::{AttachedImage, Credential, Decision, Outcome, Placement},
    fold::{ContainerKey, SecretKey},
};
use waybill_schemas::v1::AttachSkipReason;

use self::{
    containers::{Containers, Replaced},
    secrets::Secrets,
};
use crate::progress::Progress;

/// A placement of a container on this worker.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Placed {
    /// The container.
    pub container: ContainerKey,
    /// Its placement: the fencing token.
    pub number: u64,
}

impl Placed {
    /// The placement that a decision of a workspace is about.
    pub fn from_decision(decision: &Decision) -> Option<Self> {
        let Placement { container_id, number } = decision.placement()?.clone();
        let container = ContainerKey { workspace: decision.workspace.clone(), container_id };
        Some(Self { container, number })
    }
}

/// A decision in its place in the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decided {
    /// Stream sequence of its event.
    pub sequence: u64,
    /// The decision.
    pub decision: Decision,
}

/// What the log says of one placement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// Newest placement of the container that was decided for this worker.
    pub newest: u64,
    /// Last decision about the placement itself; none where the log that answered has none.
    pub last: Option<Decided>,
    /// Last renewal of the secret that the placement has.
    pub renewed: Option<Decided>,
    /// How far the placement's outcomes are.
    pub progress: Progress,
}

/// Why the log was asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// The queue delivered the placement's first decision: what is left of the work is to be done.
    Work,
    /// Somebody wants to know what the placement has.
    Answer,
}

/// What the view is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Input {
    /// This process has registered. `key_changed` is true if the registration before named another sealing key.
    Registered {
        /// Stream sequence of the registration.
        sequence: u64,
        /// True if grants from before are sealed to another key.
        key_changed: bool,
    },
    /// An access file of an earlier run names the placement.
    Remembered(Placed),
    /// The queue delivered a decision, for the first time or again.
    Delivered(Decided),
    /// The log was asked about a placement.
    LookedUp {
        /// The placement.
        placed: Placed,
        /// What the log says.
        found: Found,
        /// Why it was asked.
        purpose: Purpose,
    },
    /// The log has a renewal, which the queue may not have delivered yet.
    RenewalFound(Decided),
    /// The end of a placement is in the log, reported by this worker.
    Ended(Placed),
    /// The worker's consumer was made anew: decisions may never be delivered.
    QueueRemade,
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// Ask the log about the placement, and tell the view for this purpose.
    LookUp {
        /// The placement.
        placed: Placed,
        /// Why.
        purpose: Purpose,
    },
    /// Give the placement an access file.
    Admit(Placed),
    /// Remove what belongs to the placement, and stop its pull.
    Drop(Placed),
    /// Make the placement's provider, report it, and pull.
    Provide(Placed),
    /// The provider is reported at this sequence: make it again, and pull.
    Pull {
        /// The placement.
        placed: Placed,
        /// Stream sequence of the reported provider.
        provided_by: u64,
    },
    /// Use this version of the secret from now on, and report that.
    Renew(Decided),
    /// Forget the credentials of a secret: no placement has it any more.
    Forget(SecretKey),
}

/// What a placement may use now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access<'v> {
    /// This process has not asked the log about it.
    Unread,
    /// It is withdrawn, ended, or superseded on this worker.
    Over,
    /// It has no credentials of its own.
    Nothing(AttachSkipReason),
    /// It has the secret, at the newest version that the worker knows.
    Granted {
        /// Its image.
        image: &'v AttachedImage,
        /// The secret's version.
        credential: &'v Credential,
    },
}

/// A worker's view.
#[derive(Debug, Clone, Default)]
pub struct View {
    registration: Option<Registration>,
    containers: Containers,
    secrets: Secrets,
}

#[derive(Debug, Clone, Copy)]
struct Registration {
    sequence: u64,
    key_changed: bool,
}

impl View {
    /// Takes an input, and returns what is to be done about it, in order.
    pub fn apply(&mut self, input: Input) -> Vec<Effect> {
        match input {
            Input::Registered { sequence, key_changed } => {
                // A registration that repeats the key says nothing new.
                if key_changed || self.registration.is_none() {
                    self.registration = Some(Registration { sequence, key_changed });
                }
                Vec::new()
            }
            Input::Remembered(placed) => {
                self.containers.remember(&placed);
                Vec::new()
            }
            Input::Delivered(decided) => self.deliver(decided),
            Input::LookedUp { placed, found, purpose } => self.look_up(&placed, found, purpose),
            Input::RenewalFound(decided) => {
                self.learn(&decided);
                Vec::new()
            }
            Input::Ended(placed) => self.end(&placed),
            Input::QueueRemade => self.reread(),
        }
    }

    fn deliver(&mut self, decided: Decided) -> Vec<Effect> {
        match &decided.decision.outcome {
            Outcome::Renewed { .. } => self.renew(decided),
            Outcome::Withdrawn { .. } => match Placed::from_decision(&decided.decision) {
                Some(placed) => self.end(&placed),
                None => Vec::new(),
            },
            Outcome::Attached { .. } | Outcome::Skipped { .. } => match Placed::from_decision(&decided.decision) {
                // Fencing: an older placement never replaces a newer one, and one that is over never comes back.
                Some(placed) if !self.containers.is_over(&placed) => {
                    vec![Effect::LookUp { placed, purpose: Purpose::Work }]
                }
                _ => Vec::new(),
            },
        }
    }

    /// The log's answer counts only as far as nothing newer was delivered since it was asked for.
    fn look_up(&mut self, placed: &Placed, found: Found, purpose: Purpose) -> Vec<Effect> {
        if let Some(renewed) = &found.renewed {
            self.learn(renewed);
        }
        let over = self.containers.is_over(placed)
            || found.newest > placed.number
            || matches!(found.progress, Progress::Ended { .. });
        if over {
            return self.end(placed);
        }
        let Some(last) = found.last else { return Vec::new() };
        if matches!(last.decision.outcome, Outcome::Withdrawn { .. }) {
            return self.end(placed);
        }
        let mut effects = self.adopt(placed, &last);
        if purpose == Purpose::Work {
            effects.extend(next_effect(placed, found.progress));
        }
        effects
    }

    /// Puts a placement in force, in the place of the container's older one.
    fn adopt(&mut self, placed: &Placed, decided: &Decided) -> Vec<Effect> {
        self.learn(decided);
        let replaced = self.containers.adopt(placed, decided);
        let mut effects = replaced.map_or_else(Vec::new, |replaced| self.drop_replaced(replaced, placed));
        effects.push(Effect::Admit(placed.clone()));
        effects
    }

    /// What is to be done about what the container had before, if that was of an older placement.
    fn drop_replaced(&self, replaced: Replaced, by: &Placed) -> Vec<Effect> {
        let unused = |secret: &SecretKey| self.containers.uses(secret) == 0;
        let forget = replaced.secret.filter(unused).map(Effect::Forget);
        let drop = (replaced.placed.number < by.number).then_some(Effect::Drop(replaced.placed));
        drop.into_iter().chain(forget).collect()
    }

    /// Marks a placement as over, whether this view knew of it or not.
    fn end(&mut self, placed: &Placed) -> Vec<Effect> {
        let replaced = self.containers.end(placed);
        // The files name their placement: those of a newer one stay.
        let mut effects = vec![Effect::Drop(placed.clone())];
        if let Some(replaced) = replaced {
            effects.extend(self.drop_replaced(replaced, placed));
        }
        effects
    }

    fn renew(&mut self, decided: Decided) -> Vec<Effect> {
        if self.learn(&decided) { vec![Effect::Renew(decided)] } else { Vec::new() }
    }

    /// Notes the version that a decision hands over. False if a newer one is known.
    fn learn(&mut self, decided: &Decided) -> bool {
        let Some(credential) = decided.decision.credential() else { return false };
        let secret =
            SecretKey { workspace: decided.decision.workspace.clone(), secret_name: credential.secret_name.clone() };
        let containers = &self.containers;
        self.secrets.learn(secret, credential, decided.sequence, |secret| containers.uses(secret) > 0)
    }

    /// Everything in force is asked about again: a withdrawal may have been passed over.
    fn reread(&self) -> Vec<Effect> {
        let look_up = |placed| Effect::LookUp { placed, purpose: Purpose::Answer };
        self.containers.in_force().map(look_up).collect()
    }

    /// What a placement may use.
    pub fn access(&self, placed: &Placed) -> Access<'_> {
        let Some(outcome) = self.containers.outcome(placed) else {
            return if self.containers.is_over(placed) { Access::Over } else { Access::Unread };
        };
        match outcome {
            Outcome::Skipped { reason, .. } => Access::Nothing(*reason),
            Outcome::Attached { image, credential, .. } => {
                let workspace = placed.container.workspace.clone();
                let key = SecretKey { workspace, secret_name: credential.secret_name.clone() };
                let credential = self.secrets.newest(&key).unwrap_or(credential);
                Access::Granted { image, credential }
            }
            Outcome::Withdrawn { .. } | Outcome::Renewed { .. } => Access::Over,
        }
    }

    /// Every placement that has a secret now, and the version that it uses.
    pub fn granted(&self) -> BTreeMap<Placed, (SecretKey, u64)> {
        let granted = self.containers.in_force().filter_map(|placed| match self.access(&placed) {
            Access::Granted { credential, .. } => {
                let workspace = placed.container.workspace.clone();
                let key = SecretKey { workspace, secret_name: credential.secret_name.clone() };
                Some((placed, (key, credential.version)))
            }
            _ => None,
        });
        granted.collect()
    }

    /// Number of placements that have the secret.
    pub fn uses(&self, secret: &SecretKey) -> usize {
        self.containers.uses(secret)
    }

    /// The newest version of a secret that the worker was told of.
    pub fn newest(&self, secret: &SecretKey) -> Option<&Credential> {
        self.secrets.newest(secret)
    }

    /// Placements that access files name and that the log was not asked about.
    pub fn unread(&self) -> Vec<Placed> {
        self.containers.unread().collect()
    }

    /// True if a grant that is missing, or sealed to `another_key`, is about to be replaced: the worker has changed its key,
    /// and the renewal that follows from that has not come.
    pub fn awaits_grant(&self, secret: &SecretKey, another_key: bool) -> bool {
        let Some(registration) = self.registration else { return false };
        let from_before = self.secrets.decided_by(secret).is_some_and(|sequence| sequence < registration.sequence);
        from_before && (registration.key_changed || another_key)
    }
}

/// What is left of the work on a placement.
fn next_effect(placed: &Placed, progress: Progress) -> Option<Effect> {
    let placed = placed.clone();
    match progress {
        Progress::Nothing => Some(Effect::Provide(placed)),
        Progress::Provided { sequence } => Some(Effect::Pull { placed, provided_by: sequence }),
        Progress::Settled { .. } | Progress::Ended { .. } => None,
    }
}

#[cfg(test)]
mod tests;
