//! From configuration to a worker that serves its queue.

use std::{net::SocketAddr, path::Path, sync::Arc, time::Duration};

use tokio_util::sync::CancellationToken;
use waybill_platform::{
    health::{self, HealthState},
    log::{Delivered, EventLog, LogError},
    metrics,
    sealing::KeyError,
};
use waybill_registry::provider::TokenCache;
use waybill_schemas::{Subject, WorkerId};

use crate::{
    WorkerConfig,
    access::Keys,
    attached::FromLog,
    dispatch::{Item, dispatch},
    handle::Handler,
    node::{Answerer, NodeDir, NodeDirError, NodeError, Running, Server},
    register::Registrar,
};

/// How long to wait before trying to register again.
const REGISTER_PAUSE: Duration = Duration::from_millis(500);

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
}

/// Registers, and serves decisions until shutdown.
///
/// # Errors
/// [`WorkerError`].
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
    let public = config.sealing_key.public()?;
    let registrar = Arc::new(Registrar::new(log.clone(), config.worker_id.clone(), public));
    tokio::select! {
        () = shutdown.cancelled() => return Ok(()),
        () = register(&registrar) => {}
    }
    let tokens = TokenCache::new(config.aws).with_clouds(config.clouds).observed_by(metrics::token_exchange);
    let keys = Keys { own: config.sealing_key, scheduler: config.scheduler_key, tokens };
    let running = config.node_dir.map(|dir| running(&dir, config.node_group)).transpose()?;
    let handler = Arc::new(Handler { log: log.clone(), keys, pull: config.pull, running });
    serve_node(&handler, &config.worker_id, &shutdown)?;
    let remind = move || {
        let registrar = registrar.clone();
        async move { registrar.remind().await }
    };
    let queue = log.work(&config.worker_id, config.concurrency, queue_ready, remind);
    let work = |delivered| handler.clone().handle(delivered);
    dispatch(queue, config.concurrency, work, &shutdown).await;
    Ok(())
}

/// The containers that programs of the node may ask about.
fn running(dir: &Path, group: Option<u32>) -> Result<Running, NodeDirError> {
    Running::open(NodeDir::open(dir, group)?)
}

/// Answers programs of the node, if there is a folder for it.
fn serve_node(
    handler: &Arc<Handler<EventLog>>,
    worker_id: &WorkerId,
    shutdown: &CancellationToken,
) -> Result<(), NodeError> {
    let Some(running) = handler.running.clone() else { return Ok(()) };
    let log = FromLog { handler: handler.clone(), worker_id: worker_id.clone() };
    let server = Server::bind(Answerer::new(running, Arc::new(log)))?;
    tokio::spawn(server.serve(shutdown.clone()));
    Ok(())
}

async fn register(registrar: &Registrar) {
    while let Err(error) = registrar.ensure().await {
        tracing::warn!(error = waybill_platform::chain(&error), "cannot register yet, trying again");
        tokio::time::sleep(REGISTER_PAUSE).await;
    }
}

/// Decisions about the same container are served one after the other.
impl Item for Delivered {
    type Key = String;

    fn key(&self) -> String {
        match self.message.subject.parse() {
            Ok(Subject::Decision { workspace, container_id, .. }) => format!("{workspace}/{container_id}"),
            _ => String::new(),
        }
    }

    fn number(&self) -> u64 {
        self.message.sequence
    }

    async fn waits(&self) {
        self.in_progress().await;
    }
}
