//! An in-process HTTP server on a thread of its own: it answers whatever the test's thread does.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};

use axum::Router;
use tokio::sync::oneshot;

use crate::error::StartError;

/// A server on a free port of 127.0.0.1. On drop it accepts no more connections and closes the idle ones.
#[derive(Debug)]
pub struct Serving {
    address: SocketAddr,
    _stop: oneshot::Sender<()>,
}

impl Serving {
    /// Serves the router that `routes` makes for the address served.
    pub fn start(what: &str, routes: impl FnOnce(SocketAddr) -> Router) -> Result<Self, StartError> {
        Self::try_start(routes).map_err(StartError::setup(what))
    }

    fn try_start(routes: impl FnOnce(SocketAddr) -> Router) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let routes = routes(address);
        let (stop, stopped) = oneshot::channel();
        std::thread::spawn(move || runtime.block_on(serve(listener, routes, stopped)));
        Ok(Self { address, _stop: stop })
    }

    /// `127.0.0.1:<port>`.
    pub fn host(&self) -> String {
        self.address.to_string()
    }

    /// `http://127.0.0.1:<port>`.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }
}

async fn serve(listener: TcpListener, routes: Router, stopped: oneshot::Receiver<()>) -> io::Result<()> {
    let listener = tokio::net::TcpListener::from_std(listener)?;
    axum::serve(listener, routes)
        .with_graceful_shutdown(async {
            // The sender is dropped, never used: an error is the message.
            let _ = stopped.await;
        })
        .await
}
