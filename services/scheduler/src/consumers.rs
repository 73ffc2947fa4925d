//! Consumers: nobody but the scheduler makes any. One for each worker, when its registration is folded, and two for the
//! orchestrators of each workspace that is named.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use tokio::{
    sync::mpsc,
    time::{MissedTickBehavior, interval, sleep},
};
use tokio_util::sync::CancellationToken;
use waybill_platform::{
    chain,
    log::{Administration, ConsumerSpec, ErrorKind, LogError},
};
use waybill_schemas::{Filter, WorkerId, WorkspaceId};

use crate::{SchedulerError, projection::Projection, readers::Readers};

/// How long to wait before asking an absent log again.
const PAUSE: Duration = Duration::from_millis(200);
/// How often the file of the orchestrators' workspaces is looked at.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// Makes consumers.
pub(crate) struct Consumers {
    pub(crate) log: Arc<dyn Administration>,
    pub(crate) projection: Arc<Projection>,
    pub(crate) registered: mpsc::UnboundedReceiver<BTreeSet<WorkerId>>,
}

impl Consumers {
    /// Makes those of the orchestrators, now and when more are named, and one for each worker that registers. One that is
    /// there keeps its place.
    pub(crate) async fn run(mut self, readers: &Readers, shutdown: &CancellationToken) -> Result<(), SchedulerError> {
        tokio::select! {
            () = shutdown.cancelled() => Ok(()),
            made = self.make(readers) => made,
        }
    }

    async fn make(&mut self, readers: &Readers) -> Result<(), SchedulerError> {
        let (mut made, mut told) = (BTreeSet::new(), None);
        self.ensure_readers(readers, &mut made, &mut told).await?;
        let mut look = interval(LOOK_EVERY);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = look.tick() => self.ensure_readers(readers, &mut made, &mut told).await?,
                registered = self.registered.recv() => {
                    let Some(mut workers) = registered else { return Ok(()) };
                    // Finding out where to start reads every placement: once for all that wait.
                    while let Ok(more) = self.registered.try_recv() {
                        workers.extend(more);
                    }
                    self.ensure_workers(workers).await?;
                }
            }
        }
    }

    /// Makes the consumers of workspaces that are not among those `made`. A file that cannot be read is `told` once.
    async fn ensure_readers(
        &self,
        readers: &Readers,
        made: &mut BTreeSet<WorkspaceId>,
        told: &mut Option<String>,
    ) -> Result<(), SchedulerError> {
        let workspaces = match readers.read() {
            Ok(workspaces) => workspaces,
            Err(error) => {
                if told.as_ref() != Some(&error) {
                    tracing::warn!(
                        error,
                        "the workspaces of orchestrators cannot be read, going on with those from before"
                    );
                    *told = Some(error);
                }
                return Ok(());
            }
        };
        *told = None;
        for workspace in workspaces {
            if made.contains(&workspace) {
                continue;
            }
            for spec in reader_specs(&workspace) {
                self.ensure(&spec).await?;
            }
            tracing::info!(%workspace, "the consumers of the workspace's orchestrators are there");
            made.insert(workspace);
        }
        Ok(())
    }

    async fn ensure_workers(&self, workers: BTreeSet<WorkerId>) -> Result<(), SchedulerError> {
        let mut missing = BTreeSet::new();
        for worker in workers {
            // What the start is does not matter to a consumer that is there.
            if self.is_there(&ConsumerSpec::for_worker(&worker, 0).name).await? {
                self.ensure(&ConsumerSpec::for_worker(&worker, 0)).await?;
            } else {
                missing.insert(worker);
            }
        }
        if missing.is_empty() {
            return Ok(());
        }
        let projection = self.projection.clone();
        let starts = crate::run_blocking(move || projection.start_positions(&missing)).await?;
        for (worker_id, start) in starts {
            self.ensure(&ConsumerSpec::for_worker(&worker_id, start)).await?;
            tracing::info!(%worker_id, start, "made the worker's consumer");
        }
        Ok(())
    }

    async fn is_there(&self, name: &str) -> Result<bool, SchedulerError> {
        loop {
            match self.log.consumer_state(name).await {
                Ok(state) => return Ok(state.is_some()),
                Err(error) => wait_out(name, error).await?,
            }
        }
    }

    async fn ensure(&self, spec: &ConsumerSpec) -> Result<(), SchedulerError> {
        loop {
            match self.log.ensure_consumer(spec).await {
                Ok(_) => return Ok(()),
                Err(error) => wait_out(&spec.name, error).await?,
            }
        }
    }
}

/// Waits after an error that passes by itself.
async fn wait_out(consumer: &str, error: LogError) -> Result<(), SchedulerError> {
    if error.kind() == ErrorKind::Never {
        return Err(error.into());
    }
    tracing::debug!(consumer, error = %chain(&error), "the log does not answer, asking again for a consumer");
    sleep(PAUSE).await;
    Ok(())
}

/// What the orchestrators of a workspace read: decisions about its containers, and what workers report of them.
fn reader_specs(workspace: &WorkspaceId) -> [ConsumerSpec; 2] {
    let filters = [
        ("decisions", Filter::ContainerDecisions(None, Some(workspace.clone()), None)),
        ("outcomes", Filter::ContainerOutcomes(None, Some(workspace.clone()), None)),
    ];
    filters.map(|(what, filter)| ConsumerSpec { name: format!("orchestrator-{workspace}-{what}"), filter, start: 0 })
}
