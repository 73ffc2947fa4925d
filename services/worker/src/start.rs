//! From configuration to a worker that serves its queue.

use std::{net::SocketAddr, path::Path, sync::Arc, time::Duration};

use tokio_util::sync::CancellationToken;
use waybill_platform::{
    health::{self, ComponentHandle, HealthState},
    log::{EventLog, Log, LogError},
    metrics,
    sealing::{KeyError, PrivateKey},
    vault::Vault,
};
use waybill_registry::{provider::TokenCache, pull::PullConfig};
use waybill_schemas::{Timestamp, WorkerId};

use crate::{
    WorkerConfig,
    dispatch::{PROGRESS, Pace, dispatch},
    grants::Grants,
    handler::Handler,
    job::Job,
    logins::Logins,
    node::{Answerer, NodeDir, NodeDirError, NodeError, PodIdentities, Running, Server},
    providers::Providers,
    questions::Questions,
    register::{Registrar, Registration, Replaced},
    view::Input,
    watch::{PERIOD, Stop, Watch, watch},
};

/// How long to wait before trying to register again.
const REGISTER_PAUSE: Duration = Duration::from_millis(500);
/// Most decisions that are fetched before they are taken up.
const AHEAD: usize = 256;

/// Why a worker stopped.
#[derive(Debug, thiserror::Error)]
pub enum WorkerError {
    /// The log's settings do not work.
    #[error("the event log cannot be used")]
    Log(#[from] LogError),
    /// The sealing key is not usable.
    #[error("the sealing key cannot be used")]
    Key(#[from] KeyError),
    /// The node's folder does not work.
    #[error("the node's folder cannot be used")]
    NodeDir(#[from] NodeDirError),
    /// The node's socket does not work.
    #[error(transparent)]
    Node(#[from] NodeError),
    /// The health endpoint could not be served.
    #[error("cannot serve health checks on {address}; is the port free?")]
    Health {
        /// Where.
        address: SocketAddr,
        /// Why.
        source: std::io::Error,
    },
    /// An older copy of the log was restored.
    #[error(
        "the log does not hold the registration of worker {worker_id} any more: an older copy of it was restored. Start the \
         worker again: it then takes what that log says, and nothing else"
    )]
    OlderLog {
        /// The worker.
        worker_id: WorkerId,
    },
    /// Another process registered under the same id: the newest one owns it.
    #[error(
        "another process registered as worker {worker_id} at {at} (event {sequence}), and this one stops: two nodes have one \
         worker id; give each a WAYBILL_WORKER_ID of its own, or leave it to the newer process"
    )]
    Replaced {
        /// The worker.
        worker_id: WorkerId,
        /// Stream sequence of the other registration.
        sequence: u64,
        /// When it was recorded.
        at: Timestamp,
    },
}

/// Registers, and serves decisions until shutdown.
///
/// # Errors
/// [`WorkerError`]; [`WorkerError::Replaced`] as soon as another process has registered under the same id.
pub async fn run(config: WorkerConfig, shutdown: CancellationToken) -> Result<(), WorkerError> {
    let health = HealthState::default();
    if let Some(address) = config.health {
        let bound = tokio::net::TcpListener::bind(address).await;
        let listener = bound.map_err(|source| WorkerError::Health { address, source })?;
        tokio::spawn(health::serve(listener, health.clone()));
    }
    let queue_ready = health.component("decisions");
    let log = EventLog::connect(config.nats).await?;
    tokio::spawn(health::follow(log.connected(), health.component("event log")));
    let (followed, room) = (log.clone(), health.component("log has room"));
    tokio::spawn(async move { health::follow_room(&followed, room).await });
    let running = config.node_dir.map(|dir| open_node(&dir, config.node_group)).transpose()?;
    let parts = Parts {
        worker_id: config.worker_id,
        vault: Arc::new(log.vault()),
        log: Arc::new(log),
        sealing_key: config.sealing_key,
        tokens: TokenCache::new(config.clouds).observed_by(metrics::token_exchange),
        pull: config.pull,
        running,
        identities: config.identities.map(Arc::new),
        concurrency: config.concurrency,
        period: PERIOD,
    };
    serve(parts, queue_ready, shutdown).await
}

/// What a worker works with.
pub(crate) struct Parts {
    pub(crate) worker_id: WorkerId,
    pub(crate) log: Arc<dyn Log>,
    pub(crate) vault: Arc<dyn Vault>,
    pub(crate) sealing_key: PrivateKey,
    pub(crate) tokens: TokenCache,
    pub(crate) pull: PullConfig,
    pub(crate) running: Option<Running>,
    pub(crate) identities: Option<Arc<PodIdentities>>,
    pub(crate) concurrency: usize,
    /// How often it looks at its registration.
    pub(crate) period: Duration,
}

/// Registers, and serves decisions until shutdown, or until another process registers under the same id.
pub(crate) async fn serve(
    parts: Parts,
    queue_ready: ComponentHandle,
    shutdown: CancellationToken,
) -> Result<(), WorkerError> {
    let Parts { worker_id, log, vault, sealing_key, tokens, pull, running, identities, concurrency, period } = parts;
    let public = sealing_key.public()?.text().clone();
    let registrar = Arc::new(Registrar::new(log.clone(), worker_id.clone(), public));
    let registered = tokio::select! {
        () = shutdown.cancelled() => return Ok(()),
        registered = register(&registrar) => registered,
    };
    let grants = Grants::new(log.clone(), vault, worker_id.clone(), sealing_key);
    let providers = Providers::new(grants, tokens);
    let handler = Arc::new(Handler::new(worker_id.clone(), log.clone(), providers, pull, running));
    let Registration { sequence, key_changed } = registered;
    handler.tell(Input::Registered { sequence, key_changed });
    // A child, so that being replaced stops everything that shutdown does.
    let stop = shutdown.child_token();
    serve_node(&handler, identities, &stop)?;
    let watched = Watch::new(registrar.clone(), handler.clone());
    let queue = log.work(&format!("worker-{worker_id}"), AHEAD, queue_ready, watched.missing());
    let pace = Pace { slots: concurrency, progress: PROGRESS };
    let work = |job: Job| handler.clone().handle(job);
    let outcome = tokio::select! {
        () = dispatch(queue, pace, work, &stop) => Ok(()),
        stopped = watch(watched, period) => Err(match stopped {
            Stop::Replaced(Replaced { sequence, at }) => WorkerError::Replaced { worker_id, sequence, at },
            Stop::OlderLog => WorkerError::OlderLog { worker_id },
        }),
    };
    stop.cancel();
    outcome
}

/// The placements that programs of the node may ask about.
fn open_node(dir: &Path, group: Option<u32>) -> Result<Running, NodeDirError> {
    Running::open(NodeDir::open(dir, group)?)
}

/// Answers programs of the node, if there is a folder for it.
fn serve_node(
    handler: &Arc<Handler>,
    identities: Option<Arc<PodIdentities>>,
    stop: &CancellationToken,
) -> Result<(), NodeError> {
    let Some(running) = handler.running.clone() else { return Ok(()) };
    let questions = Questions::start(handler.worker_id.clone(), handler.log.clone(), stop.clone());
    let logins = Logins { handler: handler.clone(), questions };
    let server = Server::bind(Answerer::new(running, Arc::new(logins)).with_identities(identities))?;
    tokio::spawn(server.serve(stop.clone()));
    Ok(())
}

async fn register(registrar: &Registrar) -> Registration {
    loop {
        match registrar.register().await {
            Ok(registered) => return registered,
            Err(error) => {
                tracing::warn!(error = waybill_platform::chain(&error), "cannot register yet, trying again");
                tokio::time::sleep(REGISTER_PAUSE).await;
            }
        }
    }
}
