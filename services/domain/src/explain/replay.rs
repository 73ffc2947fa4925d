//! Folding a history: the facts at its end, and what followed from each request.

use std::collections::BTreeMap;

use waybill_schemas::{Event, Recorded, RecordedEvent, Subject};

use super::{
    History,
    story::{Renewal, Story, set},
};
use crate::{
    decision::{Decision, Outcome},
    fold::{Anomaly, Change, ContainerKey, Folded, MemoryFacts, SecretUse, fold},
};

/// A history, folded.
#[derive(Debug, Default)]
pub(super) struct Replay<'h> {
    /// What the log says at the end.
    pub(super) facts: MemoryFacts,
    /// The placements, by number.
    pub(super) stories: BTreeMap<u64, Story<'h>>,
}

impl<'h> Replay<'h> {
    /// Folds everything that can be read.
    pub(super) fn from_history(history: &'h History) -> Self {
        let mut replay = Self::default();
        for recorded in history.events() {
            replay.step(recorded);
        }
        replay
    }

    fn step(&mut self, recorded: Recorded<&'h RecordedEvent>) {
        let Recorded { sequence, at, value } = recorded;
        let Ok(folded) = fold(&self.facts, &Recorded { sequence, at, value: value.clone() });
        self.tell(recorded, &folded);
        folded.changes.into_iter().for_each(|change| self.facts.apply(change));
    }

    /// Gives the event to the placements that it is about, with the facts as they were before it.
    fn tell(&mut self, recorded: Recorded<&'h RecordedEvent>, folded: &Folded) {
        self.expect_renewals(recorded, folded);
        match &recorded.value.event {
            Event::ContainerRequested(request) => {
                let container =
                    ContainerKey { workspace: request.workspace.clone(), container_id: request.container_id.clone() };
                let older = self.facts.newest.get(&container).and_then(|older| self.stories.get_mut(older));
                if let Some(older) = older {
                    older.superseded_by = Some(recorded.sequence);
                }
                let expected = expected_decision(recorded.sequence, folded);
                self.stories.insert(recorded.sequence, Story::new(recorded, request, expected));
            }
            Event::WorkerCredentialsRenewed(_) => self.take_renewal(recorded, folded),
            Event::SecretRenewalApplied(event) => self.take_applied(recorded, event.decided_by),
            Event::SecretRenewalFailed(event) => self.take_applied(recorded, event.decided_by),
            event => {
                let story = event.placement().and_then(|number| self.stories.get_mut(&number));
                let Some(story) = story.filter(|story| Some(&story.request.value.container_id) == event.container_id())
                else {
                    return;
                };
                match Decision::from_event(recorded.value) {
                    Some(decision) => take_decision(story, recorded, decision, folded),
                    None => take_outcome(story, recorded),
                }
            }
        }
    }

    /// A new version or key is for every placement that has the secret on that worker.
    fn expect_renewals(&mut self, recorded: Recorded<&'h RecordedEvent>, folded: &Folded) {
        for change in &folded.changes {
            let Change::PutPending(pending) = change else { continue };
            let Outcome::Renewed { credential, .. } = &pending.decision.outcome else { continue };
            let has = |secret_use: &&SecretUse| {
                secret_use.worker_id == pending.decision.worker_id
                    && secret_use.secret.workspace == pending.decision.workspace
                    && secret_use.secret.secret_name == credential.secret_name
            };
            for secret_use in self.facts.uses.iter().filter(has) {
                let cause = Recorded { sequence: recorded.sequence, at: recorded.at, value: () };
                let renewal = Renewal { cause, credential: credential.clone(), decision: None, outcome: None };
                if let Some(story) = self.stories.get_mut(&secret_use.placement) {
                    story.renewals.push(renewal);
                }
            }
        }
    }

    /// The renewal as recorded. One that nobody here waits for is for other containers of the worker.
    fn take_renewal(&mut self, recorded: Recorded<&'h RecordedEvent>, folded: &Folded) {
        let Some(decision) = Decision::from_event(recorded.value) else { return };
        if folded.anomaly == Some(Anomaly::UnexpectedDecision) {
            return;
        }
        let Recorded { sequence, at, .. } = recorded;
        let Some(name) = decision.credential().map(|credential| &credential.secret_name) else { return };
        for story in self.stories.values_mut().filter(|story| *story.worker() == decision.worker_id) {
            let waits = |renewal: &&mut Renewal<'_>| {
                renewal.cause.sequence == decision.caused_by && renewal.credential.secret_name == *name
            };
            if let Some(renewal) = story.renewals.iter_mut().find(waits)
                && set(&mut renewal.decision, Recorded { sequence, at, value: () })
            {
                story.events.push(recorded);
            }
        }
    }

    /// What a worker made of a renewal.
    fn take_applied(&mut self, recorded: Recorded<&'h RecordedEvent>, decided_by: u64) {
        let failed = match &recorded.value.event {
            Event::SecretRenewalFailed(failed) => Some(failed),
            _ => None,
        };
        let Recorded { sequence, at, value } = recorded;
        for story in self.stories.values_mut().filter(|story| value.event.worker_id() == Some(story.worker())) {
            let waits = |renewal: &&mut Renewal<'_>| {
                renewal.decision.as_ref().is_some_and(|decision| decision.sequence == decided_by)
            };
            if let Some(renewal) = story.renewals.iter_mut().find(waits)
                && set(&mut renewal.outcome, Recorded { sequence, at, value: failed })
            {
                story.events.push(recorded);
            }
        }
    }
}

fn expected_decision(number: u64, folded: &Folded) -> Option<Decision> {
    folded.changes.iter().find_map(|change| match change {
        Change::PutPending(pending)
            if pending.decision.placement().map(|placement| placement.number) == Some(number) =>
        {
            Some(pending.decision.clone())
        }
        _ => None,
    })
}

fn take_decision<'h>(
    story: &mut Story<'h>,
    recorded: Recorded<&'h RecordedEvent>,
    decision: Decision,
    folded: &Folded,
) {
    if folded.anomaly == Some(Anomaly::UnexpectedDecision) {
        let why = "the log leads to no such decision: it was said twice, or made up".to_owned();
        return story.ignored.push((recorded, why));
    }
    let Recorded { sequence, at, .. } = recorded;
    let place = match decision.outcome {
        Outcome::Withdrawn { .. } => &mut story.withdrawal,
        _ => &mut story.decision,
    };
    if set(place, Recorded { sequence, at, value: decision }) {
        story.events.push(recorded);
    }
}

/// An outcome. The subject says who reports, and only the worker that the placement is on is believed.
fn take_outcome<'h>(story: &mut Story<'h>, recorded: Recorded<&'h RecordedEvent>) {
    match &recorded.value.subject {
        Subject::ContainerOutcome { worker_id, .. } | Subject::ContainerQuestion { worker_id, .. }
            if worker_id != story.worker() =>
        {
            let why = format!("worker {worker_id} reports it, and the placement is on {}", story.worker());
            story.ignored.push((recorded, why));
        }
        _ => story.take_outcome(recorded),
    }
}
