//! Consumers: nobody but the scheduler makes any. One for each worker, when its registration is folded, and two for the
//! orchestrators of each workspace.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use tokio::{sync::mpsc, time::sleep};
use tokio_util::sync::CancellationToken;
use waybill_platform::{
    chain,
    log::{Administration, ConsumerSpec, ErrorKind, LogError},
};
use waybill_schemas::{Event, Filter, WorkerId, WorkspaceId};

use crate::{SchedulerError, projection::Projection};

/// How long to wait before asking an absent log again.
const PAUSE: Duration = Duration::from_millis(200);
/// Most workspaces, and most workers that ever joined, that are looked at when the scheduler starts.
const MOST: usize = 50_000;

/// Whose consumers the log asks for.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Reader {
    /// A worker that has registered.
    Worker(WorkerId),
    /// A worker that is no more.
    Retired(WorkerId),
    /// The orchestrators of a workspace.
    Workspace(WorkspaceId),
}

impl Reader {
    /// Whose consumers an event asks for.
    pub(crate) fn from_event(event: &Event) -> Option<Self> {
        match event {
            Event::WorkerRegistered(worker) => Some(Self::Worker(worker.worker_id.clone())),
            Event::WorkerRetired(worker) => Some(Self::Retired(worker.worker_id.clone())),
            Event::WorkspaceAdded(added) => Some(Self::Workspace(added.workspace.clone())),
            _ => None,
        }
    }
}

/// Makes consumers.
pub(crate) struct Consumers {
    pub(crate) log: Arc<dyn Administration>,
    pub(crate) projection: Arc<Projection>,
    pub(crate) readers: mpsc::UnboundedReceiver<BTreeSet<Reader>>,
}

impl Consumers {
    /// Makes the consumers of everybody who is known and of those that come, and removes those of workers that retire. One that
    /// is there keeps its place.
    pub(crate) async fn run(mut self, shutdown: &CancellationToken) -> Result<(), SchedulerError> {
        tokio::select! {
            () = shutdown.cancelled() => Ok(()),
            made = self.make() => made,
        }
    }

    async fn make(&mut self) -> Result<(), SchedulerError> {
        let known = self.known().await?;
        self.serve(known).await?;
        while let Some(mut readers) = self.readers.recv().await {
            // Finding out where a worker starts reads every placement: once for all that wait.
            while let Ok(more) = self.readers.try_recv() {
                readers.extend(more);
            }
            self.serve(readers).await?;
        }
        Ok(())
    }

    /// Workspaces, and workers that retired while no scheduler heard of it or while one was stopped before it acted.
    async fn known(&self) -> Result<BTreeSet<Reader>, SchedulerError> {
        let mut known = BTreeSet::new();
        for filter in [Filter::Workspaces, Filter::WorkerIdentities] {
            let lasts = loop {
                match self.log.lasts(&filter, MOST).await {
                    Ok(lasts) => break lasts,
                    Err(error) => wait_out("of those known", error).await?,
                }
            };
            let events = lasts.messages.iter().filter_map(|message| message.decode().ok());
            known.extend(events.filter_map(|recorded| Reader::from_event(&recorded.event)));
        }
        Ok(known)
    }

    async fn serve(&self, readers: BTreeSet<Reader>) -> Result<(), SchedulerError> {
        let (mut workers, mut retired) = (BTreeSet::new(), BTreeSet::new());
        for reader in readers {
            match reader {
                Reader::Worker(worker_id) => _ = workers.insert(worker_id),
                Reader::Retired(worker_id) => _ = retired.insert(worker_id),
                Reader::Workspace(workspace) => self.ensure_workspace(&workspace).await?,
            }
        }
        let registered = {
            let projection = self.projection.clone();
            crate::run_blocking(move || projection.workers()).await?
        };
        // One that joined again since it retired keeps its consumer.
        for worker_id in retired.difference(&registered) {
            workers.remove(worker_id);
            self.remove_worker(worker_id).await?;
        }
        self.ensure_workers(workers).await
    }

    async fn ensure_workspace(&self, workspace: &WorkspaceId) -> Result<(), SchedulerError> {
        for spec in reader_specs(workspace) {
            self.ensure(&spec).await?;
        }
        tracing::info!(%workspace, "the consumers of the workspace's orchestrators are there");
        Ok(())
    }

    async fn remove_worker(&self, worker_id: &WorkerId) -> Result<(), SchedulerError> {
        let name = ConsumerSpec::for_worker(worker_id, 0).name;
        loop {
            match self.log.delete_consumer(&name).await {
                Ok(true) => {
                    tracing::info!(%worker_id, "removed the consumer of a worker that is no more");
                    return Ok(());
                }
                Ok(false) => return Ok(()),
                Err(error) => wait_out(&name, error).await?,
            }
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
