//! What must hold after every step, and in the end.

use waybill_domain::fold::{PlacementState, SecretState};

use crate::world::{CONTAINERS, WORKERS, World};

impl World {
    /// After every step: nothing that a view was told to drop is in it.
    pub(crate) fn check_withdrawn(&mut self) {
        for (worker, container, placement) in self.withdrawn.clone() {
            if let Some((held, ..)) = self.login(worker, container) {
                assert!(held > placement, "{worker} holds {container}@{placement}, which was withdrawn");
            }
        }
    }

    /// With everything published and delivered, views hold what the history says, and nothing else.
    pub(crate) fn check_end(&mut self) {
        while let Some(key) = self.story.facts.pending.keys().next().cloned() {
            self.story.publish(&key);
        }
        for worker in WORKERS {
            while self.deliver_to(worker) {}
        }
        self.check_withdrawn();
        for container in CONTAINERS {
            for worker in WORKERS {
                let held = self.login(worker, container);
                let expected = self.requested.get(container).and_then(|requested| {
                    let secret = requested.secret.filter(|_| requested.worker == worker && !requested.over)?;
                    Some((requested.placement, secret.to_owned(), self.secrets[secret].0))
                });
                assert_eq!(held, expected, "{worker} {container}");
            }
        }
        self.check_rows();
    }

    /// What is over is forgotten, and what is kept is what runs.
    pub(crate) fn check_rows(&self) {
        let facts = &self.story.facts;
        for fact in facts.placements.values() {
            let requested = self.requested.values().find(|requested| requested.placement == fact.number);
            assert!(requested.is_some_and(|requested| !requested.over), "{fact:?} is over");
            assert!(matches!(fact.state, PlacementState::Decided { .. } | PlacementState::Withdrawn), "{fact:?}");
        }
        let running = self.requested.values().filter(|requested| !requested.over).count();
        assert_eq!((facts.placements.len(), facts.newest.len()), (running, running));
        for secret_use in &facts.uses {
            let secret = &facts.secrets[&secret_use.secret];
            assert_eq!(secret.state, SecretState::Active, "{secret_use:?}");
            assert!(facts.placements.contains_key(&secret_use.placement), "{secret_use:?}");
        }
        assert!(facts.pending.is_empty());
    }

    /// Every recorded decision is decided again, and what a worker forges is told.
    pub(crate) fn check_verifier(self) {
        let (found, _) = self.story.verifier.finish();
        for divergence in found {
            assert_eq!(divergence.recorded, None, "{divergence:?}");
        }
    }
}
