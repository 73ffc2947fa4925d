//! From configuration to a server that answers, and drains when it is told to stop.

use std::sync::Arc;

use tokio::{net::TcpListener, sync::Semaphore};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use waybill_platform::{
    explain::{Explainer, Moment, Scope},
    health::HealthState,
    log::{EventLog, Log, LogError},
};

use crate::{
    GatewayConfig,
    console::Console,
    feed::Feed,
    http::{App, MOST_STREAMS, router},
    port::Verifies,
    probe,
    record::Recorder,
    refusals::Refusals,
    server::{self, Server},
    service,
    tls::Served,
};

/// Why the gateway stopped.
#[derive(Debug, thiserror::Error)]
pub enum GatewayError {
    /// The log's settings do not work.
    #[error("the event log cannot be used")]
    Log(#[from] LogError),
    /// The certificate or its key cannot be used.
    #[error("{0}")]
    Tls(String),
    /// The address is not free, or not this machine's.
    #[error(
        "cannot listen on {address}; is the port free, and the address this machine's? WAYBILL_GATEWAY_LISTEN sets another"
    )]
    Listen {
        /// The address.
        address: String,
        /// Why.
        source: std::io::Error,
    },
}

/// Serves until shutdown; then finishes what is under way. Without `verifies`, no registry is ever asked.
///
/// # Errors
/// [`GatewayError`].
pub async fn run(
    config: GatewayConfig,
    verifies: Option<Arc<dyn Verifies>>,
    shutdown: CancellationToken,
) -> Result<(), GatewayError> {
    let address = config.listen;
    let bound = TcpListener::bind(&address).await;
    let listener = bound.map_err(|source| GatewayError::Listen { address: address.clone(), source })?;
    let (served, acceptor) = config.tls.map(Served::read).transpose().map_err(GatewayError::Tls)?.unzip();
    let certificate = tokio::spawn(async move {
        if let Some(served) = served {
            served.follow().await;
        }
    });
    let nats = EventLog::connect(config.nats).await?.gathering();
    let vault = Arc::new(nats.vault());
    let issuer = nats.clone();
    let client = nats.client().clone();
    let log: Arc<dyn Log> = Arc::new(nats);
    let health = HealthState::default();
    let probing = tokio::spawn(probe::keep(log.clone(), health.component("event log")));
    let room = tokio::spawn(probe::keep_room(log.clone(), health.component("log has room")));
    let feed = Arc::new(Feed::new(log.clone(), shutdown.clone()));
    let following = tokio::spawn(config.tokens.recorded().clone().follow(log.clone(), feed.clone()));
    let reading = feed.clone();
    let reading = tokio::spawn(async move { reading.run().await });
    let recordings = TaskTracker::new();
    let refusals = Refusals::start(log.clone(), shutdown.clone());
    let hash_key = Arc::new(config.hash_key);
    let app = App {
        explainer: Explainer { log: log.clone(), scope: Scope::OneWorkspace, moment: Moment::Now },
        feed,
        streams: Arc::new(Semaphore::new(MOST_STREAMS)),
        verifies,
        recorder: Recorder { log, vault, hash_key, limit: config.limits.append },
        tokens: config.tokens,
        issuer: Some(issuer),
        limits: config.limits,
        console: Console { traces: config.traces, ..Console::default() },
        refusals,
        recordings: recordings.clone(),
    };
    let service = service::serve(client, app.explainer.clone(), health.clone(), shutdown.clone());
    let service = tokio::spawn(service);
    let router = router(Arc::new(app), &health);
    tracing::info!(address = %listener.local_addr().map_or(address, |bound| bound.to_string()), tls = acceptor.is_some(), "gateway listens");
    let server = Server { router, tls: acceptor, places: server::places(), drain: config.limits.drain };
    if !server.serve(listener, &recordings, &shutdown).await {
        tracing::warn!("requests were still under way at the end of the drain time");
    }
    probing.abort();
    following.abort();
    room.abort();
    certificate.abort();
    reading.abort();
    // It ends by itself at shutdown, when it has left the server's lists.
    let _ = service.await;
    Ok(())
}
