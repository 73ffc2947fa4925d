//! From configuration to a server that answers, and drains when it is told to stop.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use waybill_platform::{
    health::{ComponentHandle, HealthState},
    log::{EventLog, LogError},
};

use crate::{
    GatewayConfig,
    http::{App, router},
    record::Recorder,
};

/// A subject that nothing is published on: asking for its last message tells whether the stream answers.
const PROBE: &str = "waybill.events.image.-.-.CredentialSecretSaved";
const PROBE_INTERVAL: Duration = Duration::from_secs(1);

/// Why the gateway stopped.
#[derive(Debug, thiserror::Error)]
pub enum GatewayError {
    /// The log's settings do not work.
    #[error("the event log cannot be used")]
    Log(#[from] LogError),
    /// The address is not free, or not this machine's.
    #[error("cannot listen on {address}; is the port free? WAYBILL_GATEWAY_LISTEN sets another")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// Why.
        source: std::io::Error,
    },
    /// Serving failed.
    #[error("serving failed")]
    Serve(#[source] std::io::Error),
}

/// Serves until shutdown; then finishes what is under way.
///
/// # Errors
/// [`GatewayError`].
pub async fn run(config: GatewayConfig, shutdown: CancellationToken) -> Result<(), GatewayError> {
    let address = config.listen;
    let listener = TcpListener::bind(address).await.map_err(|source| GatewayError::Listen { address, source })?;
    let log = EventLog::connect(config.nats).await?;
    let health = HealthState::default();
    let probing = tokio::spawn(probe(log.clone(), health.component("event log")));
    let app = App {
        recorder: Recorder { log: Arc::new(log), limit: config.limits.append },
        tokens: config.tokens,
        sealing_key: config.sealing_key,
        scheduler_key: config.scheduler_key,
        limits: config.limits,
    };
    let router = router(Arc::new(app), &health);
    tracing::info!(address = %listener.local_addr().unwrap_or(address), "gateway listens");
    let stop = shutdown.clone();
    let serving = axum::serve(listener, router).with_graceful_shutdown(async move { stop.cancelled().await });
    let outcome = tokio::select! {
        served = async { serving.await } => served.map_err(GatewayError::Serve),
        () = give_up(&shutdown, config.limits.drain) => {
            tracing::warn!("requests were still under way at the end of the drain time");
            Ok(())
        }
    };
    probing.abort();
    outcome
}

async fn give_up(shutdown: &CancellationToken, drain: Duration) {
    shutdown.cancelled().await;
    tokio::time::sleep(drain).await;
}

/// Says whether the log answers, every second.
async fn probe(log: EventLog, ready: ComponentHandle) {
    loop {
        match log.last(PROBE).await {
            Ok(_) => ready.ready(),
            Err(error) => ready.not_ready(error.to_string()),
        }
        tokio::time::sleep(PROBE_INTERVAL).await;
    }
}
