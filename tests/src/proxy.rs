//! An HTTPS proxy that takes every connection to one server, whatever host it is for: hosts of others are played here.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::{
    io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, copy_bidirectional},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};

use crate::error::StartError;

/// A running proxy. It ends with its value.
#[derive(Debug)]
pub struct Proxy {
    url: String,
    hosts: Arc<Mutex<Vec<String>>>,
    serving: JoinHandle<()>,
}

impl Proxy {
    /// Starts one before the server at this `host:port`.
    ///
    /// # Errors
    /// [`StartError`] without a free port.
    pub async fn start(server: &str) -> Result<Self, StartError> {
        let setup = |error| StartError::setup("a proxy")(error);
        let listener = TcpListener::bind("127.0.0.1:0").await.map_err(setup)?;
        let url = format!("http://{}", listener.local_addr().map_err(setup)?);
        let hosts = Arc::new(Mutex::new(Vec::new()));
        let (server, asked) = (server.to_owned(), hosts.clone());
        let serving = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                // Whoever breaks a connection off has what it wanted, or fails for a reason of its own.
                tokio::spawn(relay(client, server.clone(), asked.clone()));
            }
        });
        Ok(Self { url, hosts, serving })
    }

    /// `http://127.0.0.1:<port>`, as `HTTPS_PROXY` has it.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// `host:port` of every connection that was asked for, in order.
    pub fn hosts(&self) -> Vec<String> {
        self.hosts.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

/// `CONNECT host:port HTTP/1.1`, headers, an empty line; then bytes both ways (RFC 9110, section 9.3.6).
async fn relay(client: TcpStream, server: String, asked: Arc<Mutex<Vec<String>>>) -> std::io::Result<()> {
    let mut client = BufReader::new(client);
    let mut request = String::new();
    client.read_line(&mut request).await?;
    let mut line = request.clone();
    while !line.trim_end().is_empty() {
        line.clear();
        client.read_line(&mut line).await?;
    }
    let Some(host) = request.strip_prefix("CONNECT ").and_then(|rest| rest.split_whitespace().next()) else {
        return client.write_all(b"HTTP/1.1 405 Method Not Allowed\r\nContent-Length: 0\r\n\r\n").await;
    };
    asked.lock().unwrap_or_else(PoisonError::into_inner).push(host.to_owned());
    let mut server = TcpStream::connect(server).await?;
    client.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await?;
    copy_bidirectional(&mut client, &mut server).await.map(drop)
}
