//! The workers' consumers: made here when a registration is folded, since a worker may not make any.

use std::collections::BTreeSet;

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use waybill_platform::log::{EventLog, LogError};
use waybill_schemas::WorkerId;

use crate::SchedulerError;

/// How long to wait before asking an absent log again.
const PAUSE: std::time::Duration = std::time::Duration::from_millis(200);

/// Makes a consumer for each worker that registers; one that is there is left as it is.
pub(crate) async fn run(
    log: &EventLog,
    mut registered: mpsc::UnboundedReceiver<BTreeSet<WorkerId>>,
    shutdown: &CancellationToken,
) -> Result<(), SchedulerError> {
    loop {
        let workers = tokio::select! {
            () = shutdown.cancelled() => return Ok(()),
            workers = registered.recv() => workers,
        };
        let Some(workers) = workers else { return Ok(()) };
        for worker in &workers {
            tokio::select! {
                () = shutdown.cancelled() => return Ok(()),
                made = ensure(log, worker) => made?,
            }
        }
    }
}

async fn ensure(log: &EventLog, worker: &WorkerId) -> Result<(), SchedulerError> {
    loop {
        match log.ensure_worker_consumer(worker).await {
            Ok(()) => {
                tracing::info!(worker_id = %worker, "worker registered, its consumer is there");
                return Ok(());
            }
            Err(LogError::Unavailable { reason, .. }) => {
                tracing::debug!(worker_id = %worker, reason, "the log does not answer, asking again for a consumer");
                tokio::time::sleep(PAUSE).await;
            }
            Err(error) => return Err(error.into()),
        }
    }
}
