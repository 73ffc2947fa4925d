//! `--rebuild`: fold the whole log into a new file, then put it in the old one's place.

use std::{fs, path::PathBuf, sync::Arc};

use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;
use waybill_platform::log::EventLog;

use crate::{SchedulerConfig, SchedulerError, folding::Folding, projection::Projection, start::open_log};

/// Folds the log as it stands now into a new projection and swaps it in. The old one stays until that moment.
///
/// # Errors
/// [`SchedulerError`]; the old projection is untouched then.
pub async fn rebuild(config: &SchedulerConfig, shutdown: &CancellationToken) -> Result<(), SchedulerError> {
    let swap = |source| SchedulerError::Swap { path: config.projection.clone(), source };
    let scratch = scratch_path(&config.projection);
    match fs::remove_file(&scratch) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(swap(error)),
        _ => {}
    }
    // Holding the old file keeps a running scheduler from being swapped out under its feet.
    let held = config.projection.exists().then(|| Projection::open(&config.projection));
    let held = match held {
        Some(Err(error)) if error.is_in_use() => return Err(error.into()),
        Some(Err(error)) => {
            tracing::warn!(%error, "the old projection cannot be opened, replacing it");
            None
        }
        Some(Ok(projection)) => Some(projection),
        None => None,
    };
    let log = EventLog::connect(config.nats.clone()).await?;
    let projection = Arc::new(Projection::open(&scratch)?);
    let (from, stream) = open_log(&log, None, config.replicas).await?;
    tracing::info!(last_sequence = stream.last_sequence, "rebuilding the projection from the start of the event log");
    let (folded, _) = watch::channel(0);
    let (registered, _) = mpsc::unbounded_channel();
    let (back, _) = mpsc::unbounded_channel();
    let stream_created = stream.created;
    let folding = Folding { log, projection: projection.clone(), stream_created, folded, registered, back };
    folding.run(from, Some(stream.last_sequence), shutdown).await?;
    if shutdown.is_cancelled() {
        return Err(SchedulerError::Interrupted);
    }
    drop((folding, projection, held));
    fs::rename(&scratch, &config.projection).map_err(swap)?;
    tracing::info!(sequence = stream.last_sequence, "projection rebuilt");
    Ok(())
}

fn scratch_path(projection: &std::path::Path) -> PathBuf {
    let mut name = projection.file_name().unwrap_or_default().to_owned();
    name.push(".rebuild");
    projection.with_file_name(name)
}
