//! A TCP link between two servers that can be cut, held or slowed: a partition without the rights of root.

use std::{io, time::Duration};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream, tcp::OwnedReadHalf, tcp::OwnedWriteHalf},
    sync::watch,
    task::JoinHandle,
    time::sleep,
};

use crate::error::StartError;

/// What becomes of bytes on a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LinkState {
    /// They arrive.
    Open,
    /// They arrive later.
    Slow(Duration),
    /// They wait until the link is open again, as behind a firewall that drops them. Nobody is told.
    Held,
    /// Connections end, and no new one is taken.
    Cut,
}

/// A running link. It ends with its value.
#[derive(Debug)]
pub struct Link {
    state: watch::Sender<LinkState>,
    serving: JoinHandle<()>,
}

impl Link {
    /// Takes connections on a loopback port, and makes one to `target` for each.
    ///
    /// # Errors
    /// [`StartError`] where the port is taken.
    pub async fn start(port: u16, target: String) -> Result<Self, StartError> {
        let listener = TcpListener::bind(("127.0.0.1", port)).await.map_err(StartError::setup("a link"))?;
        let (state, following) = watch::channel(LinkState::Open);
        let serving = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                // A connection that breaks is what links are for.
                tokio::spawn(carry(client, target.clone(), following.clone()));
            }
        });
        Ok(Self { state, serving })
    }

    /// From now on this becomes of bytes, those of connections that stand included.
    pub fn set(&self, state: LinkState) {
        self.state.send_replace(state);
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

async fn carry(client: TcpStream, target: String, mut state: watch::Receiver<LinkState>) -> io::Result<()> {
    if *state.borrow() == LinkState::Cut {
        return Ok(());
    }
    let server = TcpStream::connect(target).await?;
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    let (there, back) = (state.clone(), state.clone());
    tokio::select! {
        _ = state.wait_for(|state| *state == LinkState::Cut) => Ok(()),
        done = pass(from_client, to_server, there) => done,
        done = pass(from_server, to_client, back) => done,
    }
}

async fn pass(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    mut state: watch::Receiver<LinkState>,
) -> io::Result<()> {
    let mut bytes = vec![0; 64 * 1024];
    loop {
        let count = from.read(&mut bytes).await?;
        if count == 0 {
            return Ok(());
        }
        let now = state.wait_for(|state| *state != LinkState::Held).await.map(|state| *state);
        if let Ok(LinkState::Slow(delay)) = now {
            sleep(delay).await;
        }
        to.write_all(bytes.get(..count).unwrap_or_default()).await?;
    }
}
