//! What the log says of a placement: the last decision about it, how far its outcomes are, and the newest version.

use waybill_domain::{
    decision::{Decision, Outcome},
    fold::SecretKey,
};
use waybill_platform::log::{LogError, RawMessage};
use waybill_schemas::{Filter, Subject};

use crate::{
    handler::Handler,
    outcome::outcome_subject,
    progress::Progress,
    view::{Decided, Found, Input, Placed},
};

impl Handler {
    /// Looks a placement up. `delivered` is what the queue just gave: a replica that is behind may lack it. All questions are
    /// asked at once: each answer counts only as far as nothing newer is delivered, whichever comes first.
    pub(crate) async fn look_up(&self, placed: &Placed, delivered: Option<&Decided>) -> Result<Found, LogError> {
        let delivered = delivered.filter(|decided| is_about(decided, placed));
        let likely = delivered.and_then(secret_of);
        let (decided, progress, renewed) =
            tokio::join!(self.last_decision(placed), self.progress(placed), self.renewal_of(likely.as_ref()));
        let (mut newest, mut last) = decided?;
        if let Some(delivered) = delivered
            && last.as_ref().is_none_or(|last| last.sequence < delivered.sequence)
        {
            (newest, last) = (newest.max(placed.number), Some(delivered.clone()));
        }
        let secret = last.as_ref().and_then(secret_of);
        let renewed = if secret == likely { renewed? } else { self.renewal_of(secret.as_ref()).await? };
        Ok(Found { newest, last, renewed, progress: progress? })
    }

    async fn renewal_of(&self, secret: Option<&SecretKey>) -> Result<Option<Decided>, LogError> {
        match secret {
            Some(secret) => self.newest_renewal(secret).await,
            None => Ok(None),
        }
    }

    /// How far the placement's outcomes are.
    pub(crate) async fn progress(&self, placed: &Placed) -> Result<Progress, LogError> {
        let last = self.log.last(&outcome_subject(&self.worker_id, placed)).await?;
        Ok(progress_of(last.as_ref()))
    }

    /// Tells the view of the newest renewal of a secret that the log has.
    pub(crate) async fn read_renewal(&self, secret: &SecretKey) -> Result<(), LogError> {
        if let Some(renewed) = self.newest_renewal(secret).await? {
            self.tell(Input::RenewalFound(renewed));
        }
        Ok(())
    }

    /// The newest placement of the container that was decided for this worker, and the last decision about this one.
    async fn last_decision(&self, placed: &Placed) -> Result<(u64, Option<Decided>), LogError> {
        let (workspace, container_id) = (placed.container.workspace.clone(), placed.container.container_id.clone());
        let me = Some(self.worker_id.clone());
        let filter = Filter::ContainerDecisions(me, Some(workspace.clone()), Some(container_id.clone()));
        let newest = self.log.last_matching(&filter).await?.and_then(|message| decided_in(&message));
        let number = newest.as_ref().and_then(number_of).unwrap_or(placed.number);
        if number == placed.number && newest.is_some() {
            return Ok((number, newest));
        }
        // What is said of an older placement may stand behind what is said of this one.
        let (worker_id, placement) = (self.worker_id.clone(), placed.number);
        let subject = Subject::ContainerDecision { worker_id, workspace, container_id, placement };
        let last = self.log.last(&subject).await?.and_then(|message| decided_in(&message));
        Ok((number.max(placed.number), last))
    }

    /// The renewal of the newest version. It need not be the last one: of two schedulers, one may be behind.
    async fn newest_renewal(&self, secret: &SecretKey) -> Result<Option<Decided>, LogError> {
        let SecretKey { workspace, secret_name } = secret;
        let me = Some(self.worker_id.clone());
        let filter = Filter::SecretDecisions(me, Some(workspace.clone()), Some(secret_name.clone()));
        let mut newest = self.log.last_matching(&filter).await?.and_then(|message| decided_in(&message));
        while let Some(version) = newest.as_ref().and_then(|newest| newest.decision.credential()).map(|one| one.version)
        {
            let subject = Subject::SecretDecision {
                worker_id: self.worker_id.clone(),
                workspace: workspace.clone(),
                secret: secret_name.clone(),
                version: version.saturating_add(1),
            };
            let Some(newer) = self.log.last(&subject).await?.and_then(|message| decided_in(&message)) else { break };
            newest = Some(newer);
        }
        Ok(newest)
    }
}

/// How far outcomes are of which this is the last.
pub(crate) fn progress_of(last: Option<&RawMessage>) -> Progress {
    let recorded = last.and_then(|message| message.decode().ok());
    Progress::from_last(last.map(|message| (message.sequence, recorded.as_ref().map(|recorded| &recorded.event))))
}

fn decided_in(message: &RawMessage) -> Option<Decided> {
    let decision = Decision::from_event(&message.decode().ok()?)?;
    Some(Decided { sequence: message.sequence, decision })
}

fn number_of(decided: &Decided) -> Option<u64> {
    decided.decision.placement().map(|placement| placement.number)
}

fn is_about(decided: &Decided, placed: &Placed) -> bool {
    Placed::from_decision(&decided.decision).is_some_and(|about| about == *placed)
}

fn secret_of(decided: &Decided) -> Option<SecretKey> {
    let Outcome::Attached { credential, .. } = &decided.decision.outcome else { return None };
    Some(SecretKey { workspace: decided.decision.workspace.clone(), secret_name: credential.secret_name.clone() })
}
