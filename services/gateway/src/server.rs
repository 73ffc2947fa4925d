//! Connections: accepted until shutdown, bounded in number and in the size and time of their headers, drained at the end.

use std::{future::Future, io, net::SocketAddr, sync::Arc, time::Duration};

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    server::graceful::{GracefulShutdown, Watcher},
    service::TowerToHyperService,
};
use rustix::process::{Resource, getrlimit};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{sleep, timeout},
};
use tokio_rustls::TlsAcceptor;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// How long a client may take to send a request's headers, or to begin its next request.
const HEADER_LIMIT: Duration = Duration::from_secs(60);
/// The same for connections that come when most places are taken: they come and go, and nobody is shut out.
const HEADER_LIMIT_WHEN_CROWDED: Duration = Duration::from_secs(2);
/// How long a TLS handshake may take.
const HANDSHAKE_LIMIT: Duration = Duration::from_secs(5);
/// Largest head of a request, in bytes; hyper answers 431 beyond it.
const HEAD_BYTES: usize = 32 * 1024;
/// Without file descriptors there is no point in asking again at once.
const ACCEPT_PAUSE: Duration = Duration::from_millis(500);
/// File descriptors for everything that is no client: the log's connections, files, listeners.
const RESERVED_FILES: u64 = 64;
/// Fewest places, however small the limit of files is.
const LEAST_PLACES: u64 = 16;
/// Most places, however large the limit of files is: each costs some ten kilobytes.
const MOST_PLACES: u64 = 16 * 1024;

/// How many connections there may be at once, by the limit of open files.
pub(crate) fn places() -> usize {
    let files = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    usize::try_from(files.saturating_sub(RESERVED_FILES).clamp(LEAST_PLACES, MOST_PLACES)).unwrap_or(usize::MAX)
}

/// How connections are served.
pub(crate) struct Server {
    pub(crate) router: Router,
    /// Where clients must speak TLS.
    pub(crate) tls: Option<TlsAcceptor>,
    /// Most connections at once.
    pub(crate) places: usize,
    /// How long requests and recordings under way may take once the gateway is stopping.
    pub(crate) drain: Duration,
}

impl Server {
    /// Serves until shutdown. Then no connection is accepted any more, and requests and recordings under way may finish.
    /// Returns whether all did.
    pub(crate) async fn serve(
        &self,
        listener: TcpListener,
        recordings: &TaskTracker,
        shutdown: &CancellationToken,
    ) -> bool {
        let graceful = GracefulShutdown::new();
        let cut = CancellationToken::new();
        let free = Arc::new(Semaphore::new(self.places));
        while let Some((stream, place)) = next(&listener, &free, shutdown).await {
            let limit = header_limit(free.available_permits(), self.places);
            let serving = self.connection(stream, limit, graceful.watcher(), cut.clone());
            tokio::spawn(async move {
                serving.await;
                drop(place);
            });
        }
        drop(listener);
        recordings.close();
        let draining = async {
            graceful.shutdown().await;
            recordings.wait().await;
        };
        let drained = timeout(self.drain, draining).await.is_ok();
        cut.cancel();
        drained
    }

    fn connection(
        &self,
        stream: TcpStream,
        limit: Duration,
        watcher: Watcher,
        cut: CancellationToken,
    ) -> impl Future<Output = ()> + Send + use<> {
        // Answers are one small write; a socket that cannot say so still works.
        let _ = stream.set_nodelay(true);
        let (router, tls) = (self.router.clone(), self.tls.clone());
        async move {
            let Some(tls) = tls else { return serve_http(stream, router, limit, watcher, cut).await };
            match timeout(HANDSHAKE_LIMIT.min(limit), tls.accept(stream)).await {
                Ok(Ok(stream)) => serve_http(stream, router, limit, watcher, cut).await,
                Ok(Err(error)) => tracing::debug!(%error, "a client does not speak TLS as the gateway does"),
                Err(_) => tracing::debug!("a client did not finish the TLS handshake in time"),
            }
        }
    }
}

/// Time for the headers of a connection that was accepted now.
fn header_limit(free: usize, places: usize) -> Duration {
    match free >= places / 4 {
        true => HEADER_LIMIT,
        false => HEADER_LIMIT_WHEN_CROWDED,
    }
}

/// The next connection with its place; none after shutdown. Where no place is free, connections wait in the kernel.
async fn next(
    listener: &TcpListener,
    free: &Arc<Semaphore>,
    shutdown: &CancellationToken,
) -> Option<(TcpStream, OwnedSemaphorePermit)> {
    loop {
        let accepting = async {
            let place = free.clone().acquire_owned().await.map_err(io::Error::other)?;
            let (stream, _): (TcpStream, SocketAddr) = listener.accept().await?;
            Ok::<_, io::Error>((stream, place))
        };
        let accepted = tokio::select! {
            biased;
            () = shutdown.cancelled() => return None,
            accepted = accepting => accepted,
        };
        match accepted {
            Ok(accepted) => return Some(accepted),
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

async fn serve_http(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    router: Router,
    limit: Duration,
    watcher: Watcher,
    cut: CancellationToken,
) {
    let serving = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limit)
        .max_buf_size(HEAD_BYTES)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    tokio::select! {
        served = watcher.watch(serving) => if let Err(error) = served {
            tracing::debug!(%error, "a connection ended early");
        },
        () = cut.cancelled() => {}
    }
}

#[cfg(test)]
mod tests {
    use axum::routing::get;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    #[test]
    fn headers_have_less_time_where_most_places_are_taken() {
        let cases = [(100, 100, 60), (25, 100, 60), (24, 100, 2), (0, 100, 2), (0, 1, 60)];
        for (free, places, seconds) in cases {
            assert_eq!(header_limit(free, places), Duration::from_secs(seconds), "{free} of {places}");
        }
    }

    /// Whoever holds every place idle is let go of, so that a client behind them is served.
    #[tokio::test]
    async fn idle_connections_do_not_shut_others_out() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let router = Router::new().route("/", get(|| async { "served" }));
        let server = Server { router, tls: None, places: 8, drain: Duration::from_secs(1) };
        let shutdown = CancellationToken::new();
        let stop = shutdown.clone();
        let serving = tokio::spawn(async move { server.serve(listener, &TaskTracker::new(), &stop).await });
        let mut idle = Vec::new();
        for _ in 0..16 {
            idle.push(TcpStream::connect(address).await.unwrap());
        }
        let mut client = TcpStream::connect(address).await.unwrap();
        client.write_all(b"GET / HTTP/1.1\r\nhost: h\r\nconnection: close\r\n\r\n").await.unwrap();
        let mut answer = String::new();
        client.read_to_string(&mut answer).await.unwrap();
        assert!(answer.ends_with("served"), "{answer}");
        shutdown.cancel();
        drop(idle);
        serving.await.unwrap();
    }
}
