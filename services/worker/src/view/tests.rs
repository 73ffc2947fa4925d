//! A worker's view against a log that is a list: what it grants, what it asks to be done, and how often.

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
        let renewed = log.iter().filter(renewals).rfind(|decided| {
            decided.decision.credential().map(|credential| &credential.secret_name) == name
        });
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
                    let found = self.look_up(&placed);
                    let effects = self.view.apply(Input::LookedUp { placed, found, purpose });
                    self.perform(effects);
                }
                Effect::Admit(placed) => drop(self.files.insert(placed.container, placed.number)),
                Effect::Drop(placed) => self.files.retain(|container, number| {
                    *container != placed.container || *number != placed.number
                }),
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
        assert!(granted.keys().all(|placed| world.files.get(&placed.container) == Some(&placed.number)), "{name}: files");
    }
}

#[test]
fn a_newer_placement_is_never_replaced_by_an_older_one() {
    use WithdrawReason::{Ended, Superseded};
    let moved = || vec![attached("c", 1, "s", 1), attached("c", 2, "t", 1), withdrawn("c", 1, Superseded)];
    check(vec![
        ("in order", moved(), |w| w.deliver([1, 2, 3]), &["c@2 v1"], &[
            "provide 1", "pull 1", "forget s", "provide 2", "pull 2",
        ]),
        ("the withdrawal first", moved(), |w| w.deliver([3, 2, 1]), &["c@2 v1"], &["provide 2", "pull 2"]),
        ("the older one last", moved(), |w| w.deliver([2, 1, 3]), &["c@2 v1"], &["provide 2", "pull 2"]),
        ("the older one after a restart", moved(), |w| {
            w.deliver([2]);
            w.restart();
            w.deliver([1, 3]);
            w.ask("c");
        }, &["c@2 v1"], &["provide 2", "pull 2"]),
        ("a late end of the older one", moved(), |w| {
            w.deliver([1, 2, 3]);
            w.end("c", 1);
        }, &["c@2 v1"], &["provide 1", "pull 1", "forget s", "provide 2", "pull 2"]),
        ("the newer one has nothing", vec![attached("c", 1, "s", 1), skipped("c", 2)], |w| w.deliver([1, 2, 1]), &[], &[
            "provide 1", "pull 1", "forget s", "provide 2", "pull 2",
        ]),
        ("the newer one is over", vec![attached("c", 1, "s", 1), attached("c", 2, "s", 1), withdrawn("c", 2, Ended)],
            |w| {
                w.deliver([2, 3]);
                w.restart();
                w.deliver([1]);
            }, &[], &["provide 2", "pull 2", "forget s"]),
    ]);
}

#[test]
fn what_is_withdrawn_does_not_come_back() {
    use WithdrawReason::{SecretRevoked, Superseded};
    let revoked = || vec![attached("c", 1, "s", 1), withdrawn("c", 1, SecretRevoked)];
    check(vec![
        ("in order", revoked(), |w| w.deliver([1, 2]), &[], &[
            "provide 1", "pull 1", "forget s",
        ]),
        ("delivered again", revoked(), |w| w.deliver([1, 2, 1, 1]), &[], &[
            "provide 1", "pull 1", "forget s",
        ]),
        ("the withdrawal alone, then the rest", revoked(), |w| w.deliver([2, 1]), &[], &[]),
        ("after a restart", revoked(), |w| {
            w.deliver([2]);
            w.restart();
            w.deliver([1]);
        }, &[], &[]),
        ("asked for after a restart", revoked(), |w| {
            w.recorded = 2;
            w.files.insert(container("c"), 1);
            w.restart();
            w.ask("c");
        }, &[], &[]),
        ("a rotation afterwards", [revoked(), vec![rotated("s", 2)]].concat(), |w| w.deliver([1, 2, 3]), &[], &[
            "provide 1", "pull 1", "forget s", "renew 2",
        ]),
        ("withdrawn before it was delivered", revoked(), |w| {
            w.recorded = 2;
            w.deliver([1]);
        }, &[], &[]),
        ("moved away and back", vec![
            attached("c", 1, "s", 1), withdrawn("c", 1, Superseded), attached("c", 3, "s", 1),
        ], |w| w.deliver([1, 2, 3, 1, 2]), &["c@3 v1"], &["provide 1", "pull 1", "forget s", "provide 3", "pull 3"]),
    ]);
}

/// The withdrawal is recorded between a look-up and its answer, and delivered first.
#[test]
fn an_old_answer_of_the_log_does_not_undo_a_withdrawal() {
    let mut world = World::with([attached("c", 1, "s", 1)]);
    world.recorded = 1;
    let asked = world.view.apply(Input::Delivered(world.log[0].clone()));
    assert_eq!(asked, [Effect::LookUp { placed: placed("c", 1), purpose: Purpose::Work }]);
    let found = world.look_up(&placed("c", 1));
    world.append(withdrawn("c", 1, WithdrawReason::SecretRevoked));
    world.deliver([2]);
    let placed = placed("c", 1);
    let effects = world.view.apply(Input::LookedUp { placed: placed.clone(), found, purpose: Purpose::Work });
    assert_eq!(effects, [Effect::Drop(placed)]);
    assert!(world.granted().is_empty());
}

#[test]
fn a_renewal_reaches_every_placement_and_an_older_version_never_comes_back() {
    let two = || vec![attached("c", 1, "s", 1), attached("d", 2, "s", 1), rotated("s", 2), rotated("s", 3)];
    check(vec![
        ("in order", two(), |w| w.deliver([1, 2, 3, 4]), &["c@1 v3", "d@2 v3"], &[
            "provide 1", "pull 1", "provide 2", "pull 2", "renew 2", "renew 3",
        ]),
        ("the older renewal last", two(), |w| w.deliver([4, 1, 2, 3]), &["c@1 v3", "d@2 v3"], &[
            "renew 3", "provide 1", "pull 1", "provide 2", "pull 2",
        ]),
        ("after a restart", two(), |w| {
            w.deliver([1, 2, 3, 4]);
            w.restart();
            w.ask("c");
        }, &["c@1 v3"], &["provide 1", "pull 1", "provide 2", "pull 2", "renew 2", "renew 3"]),
        ("before its renewal is delivered", two(), |w| {
            w.recorded = 4;
            w.deliver([1]);
        }, &["c@1 v3"], &["provide 1", "pull 1"]),
        ("another secret", vec![attached("c", 1, "s", 1), rotated("t", 2)], |w| w.deliver([1, 2]), &["c@1 v1"], &[
            "provide 1", "pull 1", "renew 2",
        ]),
        ("delivered again", two(), |w| w.deliver([1, 4, 4]), &["c@1 v3"], &["provide 1", "pull 1", "renew 3", "renew 3"]),
    ]);
}

/// A consumer is lost and made anew (fault 4).
#[test]
fn nothing_is_done_twice_by_a_queue_that_begins_anew() {
    let log = || vec![
        attached("c", 1, "s", 1),
        skipped("d", 2),
        withdrawn("d", 2, WithdrawReason::Ended),
        attached("e", 3, "s", 1),
    ];
    check(vec![
        ("in one process", log(), |w| w.deliver([1, 2, 3, 4, 1, 2, 3, 4]), &["c@1 v1", "e@3 v1"], &[
            "provide 1", "pull 1", "provide 2", "pull 2", "provide 3", "pull 3",
        ]),
        ("in the next one", log(), |w| {
            w.deliver([1, 2, 3, 4]);
            w.restart();
            w.deliver([1, 2, 3, 4]);
        }, &["c@1 v1", "e@3 v1"], &["provide 1", "pull 1", "provide 2", "pull 2", "provide 3", "pull 3"]),
        ("the pull was left", log(), |w| {
            w.outcomes.insert(placed("c", 1), Progress::Provided { sequence: 7 });
            w.deliver([1]);
        }, &["c@1 v1"], &["pull 1"]),
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
        ("delivered again", log(), |w| {
            w.deliver([1, 2]);
            w.end("c", 1);
            w.deliver([1]);
        }, &["d@2 v1"], &["provide 1", "pull 1", "provide 2", "pull 2"]),
        ("after a restart", log(), |w| {
            w.deliver([1]);
            w.end("c", 1);
            w.restart();
            w.deliver([1]);
        }, &[], &["provide 1", "pull 1", "forget s"]),
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
