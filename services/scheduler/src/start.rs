//! From configuration to the running loops.

use std::{
    collections::BTreeSet,
    net::SocketAddr,
    path::PathBuf,
    sync::{Arc, atomic::AtomicBool},
    time::Duration,
};

use tokio::{
    sync::{mpsc, watch},
    time::{Instant, sleep},
};
use tokio_util::sync::CancellationToken;
use waybill_platform::{
    chain,
    health::{self, ComponentHandle, HealthState},
    log::{Administration, ErrorKind, EventLog, LogError, StreamState, read_archives},
    sealing::KeyRing,
    vault::{Vault, VaultError},
};
use waybill_schemas::VaultFilter;

use crate::{
    SchedulerConfig, SchedulerError,
    aside::Aside,
    bounded::Bounded,
    consumers::{Consumers, Reader},
    folding::{Folding, Heard},
    gauges::Gauges,
    grants::Grants,
    keeper::{Keeper, VaultTask},
    keys::{PublishKeysError, publish_keys},
    origin::{ForeignLog, LogState, resume},
    projection::{Position, Projection, ProjectionError},
    publisher::Publisher,
    retry::{Candidate, Retries, Retry},
    standing::Standing,
};

/// How long to wait before asking an absent log again, or making one.
const PAUSE: Duration = Duration::from_millis(500);
/// Times that decisions are handed over and wait for the publisher; then they wait in the outbox.
const MAX_NEWLY_DUE: usize = 4;
/// JetStream's code for a stream that does not exist.
const STREAM_NOT_FOUND: u64 = 10059;

/// Runs until shutdown, or until something fails for good.
///
/// # Errors
/// [`SchedulerError`] says what failed; starting again goes on from the projection.
pub async fn run(config: SchedulerConfig, shutdown: CancellationToken) -> Result<(), SchedulerError> {
    let health = HealthState::default();
    let serving = serve_health(config.health, &health).await?;
    // Told before the first connection, which may take a while.
    health.component("fold").not_ready("connecting to the event log");
    let log = EventLog::connect(config.nats.clone()).await?;
    let vault = Arc::new(log.vault());
    let scheduler = Scheduler {
        log: Arc::new(log.clone()),
        vault,
        projection: config.projection,
        key_folder: config.key_folder,
        keys: watch::channel(Arc::new(config.keys)).0,
        replicas: config.replicas,
        health,
    };
    let outcome = scheduler.run(&shutdown).await;
    shutdown.cancel();
    log.leave().await;
    if let Some(serving) = serving {
        serving.abort();
    }
    outcome
}

/// The scheduler, whatever keeps its log and its vault.
pub(crate) struct Scheduler {
    pub(crate) log: Arc<dyn Administration>,
    pub(crate) vault: Arc<dyn Vault>,
    pub(crate) projection: PathBuf,
    pub(crate) key_folder: PathBuf,
    pub(crate) keys: watch::Sender<Arc<KeyRing>>,
    pub(crate) replicas: usize,
    pub(crate) health: HealthState,
}

impl Scheduler {
    /// Runs until shutdown. A quarantined message that is put back begins another round, with a new projection.
    pub(crate) async fn run(&self, shutdown: &CancellationToken) -> Result<(), SchedulerError> {
        let following = [
            tokio::spawn(health::follow(self.log.connected(), self.health.component("event log"))),
            tokio::spawn(follow_room(self.log.clone(), self.health.component("log has room"))),
        ];
        let outcome = loop {
            match self.run_round(shutdown).await {
                Ok(Some((projection, candidate))) => {
                    if let Err(error) = candidate.finish(projection, shutdown).await {
                        break Err(error);
                    }
                }
                Ok(None) => break Ok(()),
                Err(error) => break Err(error),
            }
            if shutdown.is_cancelled() {
                break Ok(());
            }
        };
        following.iter().for_each(tokio::task::JoinHandle::abort);
        outcome
    }

    async fn run_round(
        &self,
        shutdown: &CancellationToken,
    ) -> Result<Option<(Arc<Projection>, Candidate)>, SchedulerError> {
        let ready = self.health.component("fold");
        let path = self.projection.clone();
        let projection = Arc::new(crate::run_blocking(move || Projection::open(&path)).await?);
        let position = projection.position()?;
        let opening = async {
            let opened = self.wait_for_log(position, &ready).await?;
            self.wait_for_keys(&ready).await?;
            Ok::<_, SchedulerError>(opened)
        };
        let (from, stream) = tokio::select! {
            () = shutdown.cancelled() => return Ok(None),
            opened = opening => opened?,
        };
        tracing::info!(from, last_sequence = stream.last_sequence, projection = %projection.path().display(), "folding the event log");
        let loops = Loops::new(self, &projection, stream, from)?;
        let outcome = loops.run((from, position), ready, shutdown).await?;
        Ok(outcome.map(|candidate| (projection, candidate)))
    }

    /// Opens log and vault, again until the server answers: it may come up after the scheduler.
    async fn wait_for_log(
        &self,
        position: Option<Position>,
        ready: &ComponentHandle,
    ) -> Result<(u64, StreamState), SchedulerError> {
        let began = Instant::now();
        loop {
            let error = match self.open_log(position).await {
                Err(SchedulerError::ForeignLog(foreign))
                    if !foreign.is_believed(self.log.has_other_servers(), began.elapsed()) =>
                {
                    chain(&foreign)
                }
                Err(SchedulerError::Log(error)) if error.kind() != ErrorKind::Never => chain(&error),
                Err(SchedulerError::Vault(error)) if error.kind() != ErrorKind::Never => chain(&error),
                opened => return opened,
            };
            tracing::warn!(error, "waiting for the event log");
            ready.not_ready(error);
            sleep(PAUSE).await;
        }
    }

    /// Looks at the log, refuses a foreign one, and creates log and vault where neither was ever there.
    async fn open_log(&self, position: Option<Position>) -> Result<(u64, StreamState), SchedulerError> {
        let found = self.log.stream_state().await?;
        let state = match &found {
            Some(stream) => Some(log_state(self.log.as_ref(), stream, position).await?),
            None => None,
        };
        let from = resume(position.as_ref(), state.as_ref())?;
        let stream = match found {
            Some(stream) => stream,
            None => {
                // The first users have a server build the log's account. It answers them already when it makes the folder of the
                // streams and removes it again, to see whether it may write: a stream made in that moment loses its files.
                sleep(PAUSE).await;
                // Invariant 11: nothing makes an empty log where one was lost.
                let entries = count_entries(self.vault.as_ref()).await?;
                if entries > 0 {
                    return Err(ForeignLog::Lost { entries }.into());
                }
                self.log.ensure_stream(self.replicas).await?
            }
        };
        self.vault.ensure(self.replicas).await?;
        Ok((from, stream))
    }

    /// Publishes the keys before anything is sealed with them.
    async fn wait_for_keys(&self, ready: &ComponentHandle) -> Result<(), SchedulerError> {
        let ring = self.keys.borrow().clone();
        loop {
            let error = match publish_keys(&self.log, &ring).await {
                Ok(()) => return Ok(()),
                Err(PublishKeysError::Log(error)) if error.kind() != ErrorKind::Never => chain(&error),
                Err(PublishKeysError::Append(error)) if error.kind() != ErrorKind::Never => chain(&error),
                Err(error) => return Err(error.into()),
            };
            ready.not_ready(error);
            sleep(PAUSE).await;
        }
    }
}

/// The log to rebuild from.
///
/// # Errors
/// [`ForeignLog::NothingToRebuild`] where there is none.
pub(crate) async fn find_log(log: &dyn Administration) -> Result<StreamState, SchedulerError> {
    let Some(stream) = log.stream_state().await? else { return Err(ForeignLog::NothingToRebuild.into()) };
    let state = log_state(log, &stream, None).await?;
    resume(None, Some(&state))?;
    Ok(stream)
}

async fn log_state(
    log: &dyn Administration,
    stream: &StreamState,
    position: Option<Position>,
) -> Result<LogState, LogError> {
    let at_position = match position {
        Some(position) if position.sequence <= stream.last_sequence => log.message_at(position.sequence).await?,
        _ => None,
    };
    let mut first_sequence = stream.first_sequence;
    // What left the log lawfully is no loss at its start.
    if first_sequence > 1 && read_archives(log).await?.removed.covers(1, first_sequence.saturating_sub(1)) {
        first_sequence = 1;
    }
    Ok(LogState {
        created: stream.created,
        first_sequence,
        last_sequence: stream.last_sequence,
        at_position: at_position.map(|message| message.at),
    })
}

/// Number of entries in the vault; none where there is no vault.
async fn count_entries(vault: &dyn Vault) -> Result<usize, VaultError> {
    match vault.keys(&VaultFilter::All).await {
        Ok(keys) => Ok(keys.len()),
        Err(VaultError::Log(LogError::Refused { code: STREAM_NOT_FOUND, .. })) => Ok(0),
        Err(error) => Err(error),
    }
}

/// Everything that runs beside the fold, on one projection.
struct Loops {
    folding: Folding,
    publisher: Publisher,
    keeper: Keeper,
    consumers: Consumers,
    retries: Retries,
    gauges: Gauges,
    folds: watch::Receiver<u64>,
    last_at_start: u64,
}

impl Loops {
    fn new(
        scheduler: &Scheduler,
        projection: &Arc<Projection>,
        stream: StreamState,
        from: u64,
    ) -> Result<Self, ProjectionError> {
        let Scheduler { log, vault, .. } = scheduler;
        let (folded, folds) = watch::channel(from.saturating_sub(1));
        let (readers, named) = mpsc::unbounded_channel();
        let (vault_tasks, tasks) = mpsc::unbounded_channel();
        let (retries, asked) = mpsc::unbounded_channel();
        let (due, new) = mpsc::channel(MAX_NEWLY_DUE);
        let behind = Arc::new(AtomicBool::new(false));
        // Consumers that are missing for workers known from earlier: making one that is there changes nothing.
        let _ = readers.send(projection.workers()?.into_iter().map(Reader::Worker).collect());
        // What a crash left undone in the vault.
        let _ = vault_tasks.send(VaultTask::Sweep);
        for retry in open_retries(projection)? {
            let _ = retries.send(retry);
        }
        let heard = Heard { due, readers, vault: vault_tasks, retries };
        let grants = Arc::new(Grants::new(vault.clone(), scheduler.keys.subscribe()));
        let aside = Arc::new(Aside::default());
        let (log, projection) = (log.clone(), projection.clone());
        Ok(Self {
            publisher: Publisher::new(
                log.clone(),
                projection.clone(),
                grants.clone(),
                aside.clone(),
                folds.clone(),
                new,
                Standing::new(behind.clone()),
            ),
            keeper: Keeper {
                log: log.clone(),
                vault: vault.clone(),
                projection: projection.clone(),
                grants,
                key_folder: scheduler.key_folder.clone(),
                keys: scheduler.keys.clone(),
                tasks,
            },
            consumers: Consumers { log: log.clone(), projection: projection.clone(), readers: named },
            retries: Retries { log: log.clone(), stream, projection: projection.clone(), folded: folds.clone(), asked },
            gauges: Gauges {
                log: log.clone(),
                projection: projection.clone(),
                aside,
                folded: folds.clone(),
                outbox: scheduler.health.component("outbox"),
            },
            folding: Folding {
                log,
                projection,
                stream_created: stream.created,
                folded,
                heard,
                poisonings: Bounded::default(),
                behind,
            },
            folds,
            last_at_start: stream.last_sequence,
        })
    }

    /// Folds; once what was in the log at start is folded, decisions are published, consumers made and the vault kept, all
    /// from a picture that is not older than the log. Ends at shutdown, or with a projection to go on with.
    async fn run(
        self,
        (from, position): (u64, Option<Position>),
        ready: ComponentHandle,
        shutdown: &CancellationToken,
    ) -> Result<Option<Candidate>, SchedulerError> {
        let Self { folding, publisher, keeper, consumers, retries, gauges, mut folds, last_at_start } = self;
        let acting = async {
            ready.not_ready("catching up with the event log");
            if folds.wait_for(|folded| *folded >= last_at_start).await.is_err() {
                return Err(SchedulerError::Interrupted);
            }
            ready.ready();
            tracing::info!(sequence = last_at_start, "caught up with the event log");
            tokio::select! {
                published = publisher.run(shutdown) => published.map(|()| None),
                kept = keeper.run(shutdown) => kept.map(|()| None),
                made = consumers.run(shutdown) => made.map(|()| None),
                candidate = retries.run(shutdown) => candidate.map(Some),
            }
        };
        tokio::select! {
            folded = folding.run(from, position, shutdown) => folded.map(|()| None),
            () = gauges.run() => Err(SchedulerError::Interrupted),
            acted = acting => acted,
        }
    }
}

async fn follow_room(log: Arc<dyn Administration>, part: ComponentHandle) {
    health::follow_room(log.as_ref(), part).await;
}

/// Requests to read quarantined messages again that are not answered.
fn open_retries(projection: &Projection) -> Result<BTreeSet<Retry>, ProjectionError> {
    let rows = projection.snapshot()?.quarantine()?;
    let open = |(sequence, row): &(u64, crate::projection::Quarantined)| {
        Some(Retry { sequence: *sequence, asked_by: row.open_retry()? })
    };
    Ok(rows.iter().filter_map(open).collect())
}

async fn serve_health(
    address: Option<SocketAddr>,
    health: &HealthState,
) -> Result<Option<tokio::task::JoinHandle<()>>, SchedulerError> {
    let Some(address) = address else { return Ok(None) };
    let bound = tokio::net::TcpListener::bind(address).await;
    let listener = bound.map_err(|source| SchedulerError::Health { address, source })?;
    let health = health.clone();
    Ok(Some(tokio::spawn(async move {
        if let Err(error) = health::serve(listener, health).await {
            tracing::error!(%error, "health checks are no longer served");
        }
    })))
}
