//! From configuration to two running loops.

use std::sync::Arc;

use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;
use waybill_platform::{
    health::{self, HealthState},
    log::{EventLog, LogError, StreamState},
};

use crate::{
    SchedulerConfig, SchedulerError, consumers,
    folding::Folding,
    gauges,
    origin::{LogState, resume},
    projection::{Position, Projection},
    publisher::Publisher,
};

/// How long to wait before asking an absent log again.
const PAUSE: std::time::Duration = std::time::Duration::from_millis(500);

/// Runs until shutdown, or until something fails for good.
///
/// # Errors
/// [`SchedulerError`] says what failed; starting again goes on from the projection.
pub async fn run(config: SchedulerConfig, shutdown: CancellationToken) -> Result<(), SchedulerError> {
    let health = HealthState::default();
    let serving = serve_health(&config, &health).await?;
    let ready = health.component("fold");
    ready.not_ready("connecting to the event log");
    let log = EventLog::connect(config.nats.clone()).await?;
    tokio::spawn(health::follow(log.connected(), health.component("event log")));
    let projection = Arc::new(Projection::open(&config.projection)?);
    let (from, stream) = tokio::select! {
        () = shutdown.cancelled() => return Ok(()),
        opened = wait_for_log(&log, projection.position()?, config.replicas, &ready) => opened?,
    };
    tracing::info!(from, last_sequence = stream.last_sequence, projection = %projection.path().display(), "folding the event log");
    let (folded, folds) = watch::channel(from.saturating_sub(1));
    let (registered, registrations) = mpsc::unbounded_channel();
    let (back, coming_back) = mpsc::unbounded_channel();
    // Consumers that are missing for workers known from earlier: making one that is there changes nothing.
    let _ = registered.send(projection.workers()?);
    let stream_created = stream.created;
    let folding =
        Folding { log: log.clone(), projection: projection.clone(), stream_created, folded, registered, back };
    let publisher = Publisher {
        log: log.clone(),
        projection: projection.clone(),
        keys: config.keys,
        folded: folds.clone(),
        back: coming_back,
    };
    let outcome = tokio::select! {
        folded = folding.run(from, None, &shutdown) => folded,
        published = publisher.run(&shutdown) => published,
        made = consumers::run(&log, registrations, &shutdown) => made,
        () = gauges::run(&log, projection, folds.clone()) => Err(SchedulerError::Interrupted),
        () = watch_ready(folds, stream.last_sequence, ready) => Ok(()),
    };
    shutdown.cancel();
    if let Some(serving) = serving {
        serving.abort();
    }
    outcome
}

/// As [`open_log`], again until the log answers: it may come up after the scheduler.
async fn wait_for_log(
    log: &EventLog,
    position: Option<Position>,
    replicas: usize,
    ready: &health::ComponentHandle,
) -> Result<(u64, StreamState), SchedulerError> {
    loop {
        match open_log(log, position, replicas).await {
            Err(SchedulerError::Log(error @ LogError::Unavailable { .. })) => {
                tracing::warn!(%error, "waiting for the event log");
                ready.not_ready(error.to_string());
                tokio::time::sleep(PAUSE).await;
            }
            opened => return opened,
        }
    }
}

/// Looks at the log, refuses a foreign one, and creates the stream for a new projection.
pub(crate) async fn open_log(
    log: &EventLog,
    position: Option<Position>,
    replicas: usize,
) -> Result<(u64, StreamState), SchedulerError> {
    let found = log.stream_state().await?;
    let state = match &found {
        Some(stream) => Some(log_state(log, stream, position).await?),
        None => None,
    };
    let from = resume(position.as_ref(), state.as_ref())?;
    let stream = match found {
        Some(stream) => stream,
        None => log.ensure_stream(replicas).await?,
    };
    Ok((from, stream))
}

async fn log_state(
    log: &EventLog,
    stream: &StreamState,
    position: Option<Position>,
) -> Result<LogState, SchedulerError> {
    let at_position = match position {
        Some(position) if position.sequence <= stream.last_sequence => log.message_at(position.sequence).await?,
        _ => None,
    };
    Ok(LogState {
        created: stream.created,
        first_sequence: stream.first_sequence,
        last_sequence: stream.last_sequence,
        at_position: at_position.map(|message| message.at),
    })
}

/// Ready once everything that was in the log at start is folded.
async fn watch_ready(mut folds: watch::Receiver<u64>, last_at_start: u64, ready: health::ComponentHandle) {
    ready.not_ready("catching up with the event log");
    if folds.wait_for(|folded| *folded >= last_at_start).await.is_ok() {
        ready.ready();
        tracing::info!(sequence = last_at_start, "caught up with the event log");
    }
    std::future::pending::<()>().await;
}

async fn serve_health(
    config: &SchedulerConfig,
    health: &HealthState,
) -> Result<Option<tokio::task::JoinHandle<()>>, SchedulerError> {
    let Some(address) = config.health else { return Ok(None) };
    let bound = tokio::net::TcpListener::bind(address).await;
    let listener = bound.map_err(|source| SchedulerError::Health { address, source })?;
    let health = health.clone();
    Ok(Some(tokio::spawn(async move {
        if let Err(error) = health::serve(listener, health).await {
            tracing::error!(%error, "health checks are no longer served");
        }
    })))
}
