//! Consumers: nobody but the scheduler makes any. One for each worker, when its registration is folded, and two for the
//! orchestrators of each workspace that is configured.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use tokio::{sync::mpsc, time::sleep};
use tokio_util::sync::CancellationToken;
use waybill_platform::{
    chain,
    log::{Administration, ConsumerSpec, ErrorKind, LogError},
};
use waybill_schemas::{Filter, WorkerId, WorkspaceId};

use crate::{SchedulerError, projection::Projection};

/// How long to wait before asking an absent log again.
const PAUSE: Duration = Duration::from_millis(200);

/// Makes consumers.
pub(crate) struct Consumers {
    pub(crate) log: Arc<dyn Administration>,
    pub(crate) projection: Arc<Projection>,
    pub(crate) registered: mpsc::UnboundedReceiver<BTreeSet<WorkerId>>,
}

impl Consumers {
    /// Makes those of the orchestrators, then one for each worker that registers; one that is there keeps its place.
    pub(crate) async fn run(
        mut self,
        readers: &[WorkspaceId],
        shutdown: &CancellationToken,
    ) -> Result<(), SchedulerError> {
        let making = async {
            for spec in readers.iter().flat_map(reader_specs) {
                self.ensure(&spec).await?;
            }
            while let Some(mut workers) = self.registered.recv().await {
                // Finding out where to start reads every placement: once for all that wait.
                while let Ok(more) = self.registered.try_recv() {
                    workers.extend(more);
                }
                self.ensure_workers(workers).await?;
            }
            Ok(())
        };
        tokio::select! {
            () = shutdown.cancelled() => Ok(()),
            made = making => made,
        }
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
