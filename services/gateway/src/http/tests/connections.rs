//! Real connections: draining, hanging up, and heads that are too large.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use futures_util::future::BoxFuture;
use serde_json::json;
use tokio::sync::Notify;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
    time::timeout,
};
use tokio_util::sync::CancellationToken;

use super::{
    lines::Lines,
    support::{Gateway, TOKEN},
};
use crate::{
    config::Limits,
    port::{NotAccepted, Unverified, Verifies},
    server,
};

const LONG: Duration = Duration::from_secs(20);

/// A registry that answers when it is let.
#[derive(Default)]
struct Registry {
    reached: Notify,
    answers: Notify,
}

impl Verifies for Registry {
    fn verify<'a>(&'a self, _: &'a Unverified) -> BoxFuture<'a, Result<String, NotAccepted>> {
        Box::pin(async {
            self.reached.notify_one();
            self.answers.notified().await;
            Ok("sha256:0".to_owned())
        })
    }
}

struct Server {
    gateway: Gateway,
    registry: Arc<Registry>,
    address: SocketAddr,
    shutdown: CancellationToken,
    serving: JoinHandle<bool>,
}

impl Server {
    async fn start(drain: Duration) -> Self {
        let registry = Arc::new(Registry::default());
        let limits = Limits { append: LONG, body: LONG, ..Limits::default() };
        let gateway = Gateway::with(limits, Some(registry.clone())).await;
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let shutdown = CancellationToken::new();
        let (router, recordings, stop) = (gateway.router.clone(), gateway.recordings.clone(), shutdown.clone());
        let server = server::Server { router, tls: None, places: 100, drain };
        let serving = tokio::spawn(async move { server.serve(listener, &recordings, &stop).await });
        Self { gateway, registry, address, shutdown, serving }
    }

    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    /// Sends a build and waits until it is being recorded: it waits for the registry.
    async fn hold_a_build(&self) -> TcpStream {
        let mut stream = self.connect().await;
        stream.write_all(build().as_bytes()).await.unwrap();
        timeout(LONG, self.registry.reached.notified()).await.unwrap();
        stream
    }

    /// Waits until nobody listens any more.
    async fn refused(&self) {
        let refused = async { while TcpStream::connect(self.address).await.is_ok() {} };
        timeout(LONG, refused).await.unwrap();
    }

    async fn ended(self) -> bool {
        timeout(LONG, self.serving).await.unwrap().unwrap()
    }
}

fn build() -> String {
    let body = json!({
        "workspace": "acme", "image_id": "i", "base_image": "a.b/c", "base_image_creds": "u:p", "verify": true,
    });
    let body = body.to_string();
    format!(
        "POST /v1/builds HTTP/1.1\r\nHost: gateway\r\nAuthorization: Bearer {TOKEN}\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

async fn read(mut stream: TcpStream) -> String {
    let mut text = String::new();
    timeout(LONG, stream.read_to_string(&mut text)).await.unwrap().unwrap();
    text
}

#[tokio::test]
async fn shutdown_lets_requests_finish() {
    let server = Server::start(LONG).await;
    let idle = server.connect().await;
    let stream = server.hold_a_build().await;
    server.shutdown.cancel();
    server.refused().await;
    assert_eq!(read(idle).await, "", "an idle connection is closed at once");
    server.registry.answers.notify_one();
    let answer = read(stream).await;
    assert!(answer.starts_with("HTTP/1.1 201 Created\r\n"), "{answer}");
    assert!(server.ended().await);
}

#[tokio::test]
async fn shutdown_does_not_wait_for_ever() {
    let server = Server::start(Duration::from_millis(50)).await;
    let stream = server.hold_a_build().await;
    server.shutdown.cancel();
    assert_eq!(read(stream).await, "", "the connection is cut");
    assert!(!server.ended().await);
}

#[tokio::test]
async fn a_client_that_hangs_up_does_not_stop_the_recording() {
    let (lines, _guard) = Lines::capture();
    let server = Server::start(LONG).await;
    drop(server.hold_a_build().await);
    server.shutdown.cancel();
    server.refused().await;
    assert_eq!(lines.with("credential secret saved").len(), 0);
    server.registry.answers.notify_one();
    assert!(server.ended().await, "the recording is waited for");
    assert_eq!(lines.with("credential secret saved").len(), 1);
}

#[tokio::test]
async fn the_end_waits_for_recordings_without_a_connection() {
    let server = Server::start(Duration::from_millis(50)).await;
    server.gateway.recordings.spawn(std::future::pending::<()>());
    server.shutdown.cancel();
    assert!(!server.ended().await);
}

#[tokio::test]
async fn a_head_has_a_limit() {
    let server = Server::start(LONG).await;
    let mut stream = server.connect().await;
    let head = format!("GET /healthz HTTP/1.1\r\nHost: gateway\r\nX-Large: {}\r\n\r\n", "x".repeat(64 * 1024));
    // The answer may come before everything is written.
    let _ = stream.write_all(head.as_bytes()).await;
    let mut answer = vec![0; 12];
    timeout(LONG, stream.read_exact(&mut answer)).await.unwrap().unwrap();
    assert_eq!(String::from_utf8_lossy(&answer), "HTTP/1.1 431");
}
