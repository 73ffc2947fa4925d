//! A server on a free port of 127.0.0.1 that ends with its test.

use axum::Router;
use tokio::{
    net::{TcpListener, TcpSocket},
    task::JoinHandle,
};

use super::PrivateCa;

pub(crate) struct Server {
    host: String,
    task: JoinHandle<()>,
}

impl Server {
    pub(crate) async fn start(router: Router) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let host = listener.local_addr().unwrap().to_string();
        let task = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { host, task }
    }

    /// With TLS, as `127.0.0.1` and as `localhost`.
    pub(crate) async fn start_tls(ca: &PrivateCa, router: Router) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let host = listener.local_addr().unwrap().to_string();
        let task = tokio::spawn(ca.serve(listener, router));
        Self { host, task }
    }

    /// `127.0.0.1:<port>`.
    pub(crate) fn host(&self) -> &str {
        &self.host
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.host)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// A host where nobody listens, for as long as the socket is held.
pub(crate) fn nobody() -> (String, TcpSocket) {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    (socket.local_addr().unwrap().to_string(), socket)
}
