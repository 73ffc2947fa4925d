//! Quarantined messages that are to be read again: the whole log is folded anew with them in their place, and where nothing in
//! it contradicts that, the new projection takes the place of the old one.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use tokio::{
    sync::{mpsc, watch},
    time::sleep,
};
use tokio_util::sync::CancellationToken;
use waybill_domain::verify::{Divergence, Problem};
use waybill_platform::{
    chain,
    log::{Administration, ErrorKind, LogError, RawMessage, StreamState},
};

use crate::{
    SchedulerError,
    projection::{Held, Projection, ProjectionError},
    refold::Refold,
};

/// How long to wait before asking an absent log again.
const PAUSE: Duration = Duration::from_millis(500);

/// A message that is to be read again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Retry {
    /// Sequence of the message.
    pub(crate) sequence: u64,
    /// Sequence of the request.
    pub(crate) asked_by: u64,
}

/// Reads messages again, while the scheduler goes on.
pub(crate) struct Retries {
    pub(crate) log: Arc<dyn Administration>,
    pub(crate) stream: StreamState,
    pub(crate) projection: Arc<Projection>,
    pub(crate) folded: watch::Receiver<u64>,
    pub(crate) asked: mpsc::UnboundedReceiver<Retry>,
}

/// A projection with a message back in its place.
#[derive(Debug)]
pub(crate) struct Candidate {
    retry: Retry,
    with: Refold,
    /// The log without the message, where the log with it diverges anywhere.
    without: Option<Refold>,
}

impl Retries {
    /// Runs until there is a projection to take the place of the present one; for ever if there is none.
    pub(crate) async fn run(mut self, shutdown: &CancellationToken) -> Result<Candidate, SchedulerError> {
        loop {
            let Some(retry) = self.asked.recv().await else { return Err(SchedulerError::Interrupted) };
            match self.examine(retry, shutdown).await? {
                Ok(candidate) => return Ok(candidate),
                Err(why) => hold(&self.projection, retry, why).await?,
            }
        }
    }

    /// A candidate, or why the message stays in quarantine.
    async fn examine(
        &self,
        retry: Retry,
        shutdown: &CancellationToken,
    ) -> Result<Result<Candidate, String>, SchedulerError> {
        let Some(message) = self.message_at(retry.sequence).await? else {
            return Ok(Err("the log does not hold the message any more".to_owned()));
        };
        if let Err(error) = message.decode() {
            return Ok(Err(error.to_string()));
        }
        let projection = self.projection.clone();
        let kept = crate::run_blocking(move || sequences_apart(&projection)).await?;
        let mut others = kept.clone();
        if !others.remove(&retry.sequence) {
            return Ok(Err("the message is not in quarantine any more".to_owned()));
        }
        let begin = |set_apart| Refold::begin(self.log.clone(), self.stream, self.projection.path(), set_apart);
        let last = *self.folded.borrow();
        let mut with = begin(others)?;
        with.fold_until(last, shutdown).await?;
        let without = if with.divergences().is_empty() { None } else { Some(begin(kept)?) };
        let mut candidate = Candidate { retry, with, without };
        Ok(candidate.compare(last, shutdown).await?.map(|()| candidate))
    }

    async fn message_at(&self, sequence: u64) -> Result<Option<RawMessage>, SchedulerError> {
        loop {
            match self.log.message_at(sequence).await {
                Ok(message) => return Ok(message),
                Err(error) if error.kind() == ErrorKind::Never => return Err(error.into()),
                Err(error) => wait_out(&error).await,
            }
        }
    }
}

async fn wait_out(error: &LogError) {
    tracing::warn!(error = %chain(error), "a quarantined message cannot be read now, trying again");
    sleep(PAUSE).await;
}

/// Sequences of what is in quarantine or given up.
fn sequences_apart(projection: &Projection) -> Result<BTreeSet<u64>, ProjectionError> {
    let snapshot = projection.snapshot()?;
    let rows = snapshot.quarantine()?.into_iter().chain(snapshot.discarded()?);
    Ok(rows.map(|(sequence, _)| sequence).collect())
}

/// Notes why a message stays in quarantine.
async fn hold(projection: &Arc<Projection>, retry: Retry, why: String) -> Result<(), SchedulerError> {
    tracing::warn!(sequence = retry.sequence, why, "quarantined event stays in quarantine");
    let (projection, held) = (projection.clone(), Held { asked_by: retry.asked_by, why });
    crate::run_blocking(move || projection.hold(retry.sequence, &held)).await
}

impl Candidate {
    /// Why the message cannot be put back, if the log up to a sequence contradicts it.
    async fn compare(&mut self, last: u64, shutdown: &CancellationToken) -> Result<Result<(), String>, SchedulerError> {
        self.with.fold_until(last, shutdown).await?;
        if self.with.divergences().is_empty() {
            return Ok(Ok(()));
        }
        let Some(without) = &mut self.without else {
            return Ok(Err(describe(self.with.divergences().first())));
        };
        without.fold_until(last, shutdown).await?;
        let is_new = |divergence: &&Divergence| !without.divergences().contains(*divergence);
        Ok(match self.with.divergences().iter().find(is_new) {
            Some(divergence) => Err(describe(Some(divergence))),
            None => Ok(()),
        })
    }

    /// Puts the candidate in the place of the projection, which nobody folds any more: the message is back in its place. Where
    /// what was folded meanwhile contradicts it, the message stays in quarantine.
    pub(crate) async fn finish(
        mut self,
        projection: Arc<Projection>,
        shutdown: &CancellationToken,
    ) -> Result<(), SchedulerError> {
        let waiting = projection.clone();
        crate::run_blocking(move || waiting.wait_for_writer()).await?;
        let last = projection.position()?.map_or(0, |position| position.sequence);
        if let Err(why) = self.compare(last, shutdown).await? {
            hold(&projection, self.retry, why).await?;
            self.with.discard();
            return Ok(());
        }
        let path = projection.path().to_owned();
        drop(projection);
        self.with.put_in_place(&path).await?;
        tracing::info!(sequence = self.retry.sequence, "quarantined event put back in its place");
        Ok(())
    }
}

fn describe(divergence: Option<&Divergence>) -> String {
    let Some(divergence) = divergence else { return "the log contradicts it".to_owned() };
    let sequence = divergence.sequence;
    match &divergence.problem {
        Problem::Differs(fields) => {
            format!("the decision at sequence {sequence} would have been another one ({})", fields.join(", "))
        }
        Problem::Unexpected => format!("the decision at sequence {sequence} would not have been made"),
        Problem::ForeignOutcome { .. } => format!("the outcome at sequence {sequence} would be another worker's"),
        Problem::RepeatedOutcome => format!("the outcome at sequence {sequence} would be a repeated one"),
    }
}
