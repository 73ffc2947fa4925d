//! Connections: accepted until shutdown, bounded in the size and time of their headers, drained at the end.

use std::{io, net::SocketAddr, time::Duration};

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    server::graceful::{GracefulShutdown, Watcher},
    service::TowerToHyperService,
};
use tokio::{
    net::{TcpListener, TcpStream},
    time::{sleep, timeout},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// How long a client may take to send a request's headers, or to begin its next request.
const HEADER_LIMIT: Duration = Duration::from_secs(60);
/// Largest head of a request, in bytes; hyper answers 431 beyond it.
const HEAD_BYTES: usize = 32 * 1024;
/// Without file descriptors there is no point in asking again at once.
const ACCEPT_PAUSE: Duration = Duration::from_millis(500);

/// Serves until shutdown. Then no connection is accepted any more, and requests and recordings under way may finish
/// within `drain`. Returns whether all did.
pub(crate) async fn serve(
    listener: TcpListener,
    router: Router,
    recordings: &TaskTracker,
    shutdown: &CancellationToken,
    drain: Duration,
) -> bool {
    let graceful = GracefulShutdown::new();
    let cut = CancellationToken::new();
    while let Some(stream) = next(&listener, shutdown).await {
        tokio::spawn(connection(stream, router.clone(), graceful.watcher(), cut.clone()));
    }
    drop(listener);
    recordings.close();
    let draining = async {
        graceful.shutdown().await;
        recordings.wait().await;
    };
    let drained = timeout(drain, draining).await.is_ok();
    cut.cancel();
    drained
}

/// The next connection; none after shutdown.
async fn next(listener: &TcpListener, shutdown: &CancellationToken) -> Option<TcpStream> {
    loop {
        let accepted: io::Result<(TcpStream, SocketAddr)> = tokio::select! {
            biased;
            () = shutdown.cancelled() => return None,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, _)) => return Some(stream),
            Err(error) if is_of_connection(&error) => {}
            Err(error) => {
                tracing::error!(%error, "cannot accept connections; are there enough file descriptors?");
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// The client went away before it was accepted.
fn is_of_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset)
}

async fn connection(stream: TcpStream, router: Router, watcher: Watcher, cut: CancellationToken) {
    // Answers are one small write; a socket that cannot say so still works.
    let _ = stream.set_nodelay(true);
    let serving = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_LIMIT)
        .max_buf_size(HEAD_BYTES)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    tokio::select! {
        served = watcher.watch(serving) => if let Err(error) = served {
            tracing::debug!(%error, "a connection ended early");
        },
        () = cut.cancelled() => {}
    }
}
