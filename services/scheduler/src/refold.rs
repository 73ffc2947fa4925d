//! Folding the log anew, into a file beside the projection's that then takes its place: for `--rebuild`, and for quarantined
//! messages that can be read now. There is no inverse of the fold (invariant 13).

use std::{
    collections::BTreeSet,
    fs::{self, File, OpenOptions},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    sync::Arc,
};

use tokio_util::sync::CancellationToken;
use waybill_domain::verify::{Divergence, Verifier};
use waybill_platform::log::{Administration, RawMessage, StreamState};
use waybill_schemas::Filter;

use crate::{
    SchedulerConfig, SchedulerError,
    batch::{BULK, next_batch},
    projection::{Entry, Projection, ProjectionError},
};

/// A projection on its way through the log.
#[derive(Debug)]
pub(crate) struct Refold {
    log: Arc<dyn Administration>,
    stream: StreamState,
    scratch: Arc<Projection>,
    path: PathBuf,
    /// Sequences of messages that are taken for none, whether they can be read or not.
    set_apart: Arc<BTreeSet<u64>>,
    verifier: Verifier,
    folded: u64,
}

impl Refold {
    /// At the start of the log, with an empty projection in a new file beside the one that it may replace.
    pub(crate) fn begin(
        log: Arc<dyn Administration>,
        stream: StreamState,
        projection: &Path,
        set_apart: BTreeSet<u64>,
    ) -> Result<Self, SchedulerError> {
        let path = path_beside(projection);
        let file = make_file(&path).map_err(|source| SchedulerError::Swap { path: path.clone(), source })?;
        let scratch = Arc::new(Projection::scratch(file, &path)?);
        let set_apart = Arc::new(set_apart);
        Ok(Self { log, stream, scratch, path, set_apart, verifier: Verifier::default(), folded: 0 })
    }

    /// Folds up to a sequence that the log holds.
    pub(crate) async fn fold_until(&mut self, last: u64, shutdown: &CancellationToken) -> Result<(), SchedulerError> {
        if last <= self.folded {
            return Ok(());
        }
        let known = self.scratch.position()?.map(|position| position.identity());
        let mut messages = self.log.follow(&Filter::All, self.folded.saturating_add(1), known);
        while self.folded < last {
            let mut batch = tokio::select! {
                biased;
                () = shutdown.cancelled() => return Err(SchedulerError::Interrupted),
                batch = next_batch(&mut messages, BULK) => batch?,
            };
            batch.retain(|message| message.sequence <= last);
            let Some(end) = batch.last().map(|message| message.sequence) else { return Err(SchedulerError::LogEnded) };
            self.fold(batch).await?;
            self.folded = end;
        }
        Ok(())
    }

    async fn fold(&mut self, batch: Vec<RawMessage>) -> Result<(), SchedulerError> {
        let (scratch, set_apart, created) = (self.scratch.clone(), self.set_apart.clone(), self.stream.created);
        let mut verifier = std::mem::take(&mut self.verifier);
        let folding = move || {
            let read = |message: &RawMessage| match Entry::of(message) {
                Entry::Event(_) if set_apart.contains(&message.sequence) => {
                    Entry::poison(message, "it is in quarantine".to_owned())
                }
                entry => entry,
            };
            let entries: Vec<Entry> = batch.iter().map(read).collect();
            drop(batch);
            scratch.fold_verifying(created, &entries, &mut verifier)?;
            Ok::<_, ProjectionError>(verifier)
        };
        self.verifier = crate::run_blocking(folding).await?;
        Ok(())
    }

    /// What the log does not lead to, so far.
    pub(crate) fn divergences(&self) -> &[Divergence] {
        self.verifier.divergences()
    }

    /// Puts the new file in the place of the projection's. Whoever has the old one open goes on with that.
    pub(crate) async fn put_in_place(self, projection: &Path) -> Result<(), SchedulerError> {
        let scratch = Arc::into_inner(self.scratch).ok_or(SchedulerError::Interrupted)?;
        let (from, to) = (self.path, projection.to_owned());
        let swap = |source| SchedulerError::Swap { path: to.clone(), source };
        crate::run_blocking(move || scratch.persist()).await?;
        fs::rename(&from, &to).map_err(swap)?;
        // The new name is on the disk once the folder is.
        match to.parent().map(File::open) {
            Some(folder) => folder.and_then(|folder| folder.sync_all()).map_err(swap),
            None => Ok(()),
        }
    }

    /// Removes the new file.
    pub(crate) fn discard(self) {
        if let Err(error) = fs::remove_file(&self.path) {
            tracing::warn!(path = %self.path.display(), %error, "a projection that is not needed stays on the disk");
        }
    }
}

fn make_file(path: &Path) -> std::io::Result<File> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    match fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(path)
}

fn path_beside(projection: &Path) -> PathBuf {
    let mut name = projection.file_name().unwrap_or_default().to_owned();
    name.push(".refold");
    projection.with_file_name(name)
}

/// `--rebuild`: folds the log as it stands now into a new projection and swaps it in. The old one stays until that moment.
///
/// # Errors
/// [`SchedulerError`]; the old projection is untouched then.
pub async fn rebuild(config: &SchedulerConfig, shutdown: &CancellationToken) -> Result<(), SchedulerError> {
    let log = waybill_platform::log::EventLog::connect(config.nats.clone()).await?;
    rebuild_from(Arc::new(log), &config.projection, shutdown).await
}

pub(crate) async fn rebuild_from(
    log: Arc<dyn Administration>,
    projection: &Path,
    shutdown: &CancellationToken,
) -> Result<(), SchedulerError> {
    // Holding the old file keeps a running scheduler from being swapped out under its feet.
    let held = match projection.exists().then(|| Projection::open(projection)) {
        Some(Err(error)) if error.is_in_use() => return Err(error.into()),
        Some(Err(error)) => {
            tracing::warn!(%error, "the old projection cannot be opened, replacing it");
            None
        }
        Some(Ok(projection)) => Some(projection),
        None => None,
    };
    let stream = crate::start::find_log(log.as_ref()).await?;
    tracing::info!(last_sequence = stream.last_sequence, "rebuilding the projection from the start of the event log");
    let mut refold = Refold::begin(log, stream, projection, BTreeSet::new())?;
    refold.fold_until(stream.last_sequence, shutdown).await?;
    drop(held);
    refold.put_in_place(projection).await?;
    tracing::info!(sequence = stream.last_sequence, "projection rebuilt");
    Ok(())
}
