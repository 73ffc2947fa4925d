//! Serves the node's socket: few peers, short lines, a limit on each question.

use std::{fs::File, path::PathBuf, sync::Arc, time::Duration};

use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader},
    net::{UnixListener, UnixStream},
    sync::Semaphore,
    task::spawn_blocking,
    time::timeout,
};
use tokio_util::sync::CancellationToken;
use waybill_registry::node::{Answer, Code, Error, LIMIT, MAX_BYTES, Request};
use zeroize::Zeroizing;

use super::{
    answer::Answerer,
    asked::{Asked, Program},
    socket::{Bound, Peers, SocketError, bind},
};

/// How long a peer may take to say its line, and to take the answer.
const LINE: Duration = Duration::from_secs(5);
/// Most questions at once; more wait.
const AT_ONCE: usize = 64;
/// How long to rest after a connection could not be taken, as when file descriptors ran out.
const REST: Duration = Duration::from_millis(100);

/// The socket cannot be served.
#[derive(Debug, thiserror::Error)]
#[error("the node's socket cannot be served")]
pub struct NodeError(#[from] SocketError);

/// A bound socket.
#[derive(Debug)]
pub struct Server {
    listener: UnixListener,
    path: PathBuf,
    peers: Peers,
    answerer: Answerer,
    /// Held for as long as the socket is served.
    _lock: File,
}

impl Server {
    /// Binds the socket in the folder of the containers that are served. Needs a Tokio runtime.
    ///
    /// # Errors
    /// [`NodeError`].
    pub fn bind(answerer: Answerer) -> Result<Self, NodeError> {
        let Bound { listener, path, peers, lock } = bind(answerer.running().dir())?;
        let listener = UnixListener::from_std(listener)
            .map_err(super::files::NodeDirError::at("listen on", &path))
            .map_err(SocketError::from)?;
        Ok(Self { listener, path, peers, answerer, _lock: lock })
    }

    /// Answers until shutdown, and removes the socket then.
    pub async fn serve(self, shutdown: CancellationToken) {
        let slots = Arc::new(Semaphore::new(AT_ONCE));
        loop {
            let accepted = tokio::select! {
                () = shutdown.cancelled() => break,
                accepted = accept(&self.listener, &slots) => accepted,
            };
            match accepted {
                Ok((stream, slot)) => {
                    let (answerer, peers) = (self.answerer.clone(), self.peers);
                    tokio::spawn(async move {
                        converse(stream, peers, &answerer).await;
                        drop(slot);
                    });
                }
                Err(error) => {
                    tracing::warn!(%error, "a connection to the node's socket could not be taken");
                    tokio::time::sleep(REST).await;
                }
            }
        }
        // It is replaced at the next start if it stays.
        let _ = std::fs::remove_file(&self.path);
    }
}

async fn accept(
    listener: &UnixListener,
    slots: &Arc<Semaphore>,
) -> std::io::Result<(UnixStream, tokio::sync::OwnedSemaphorePermit)> {
    let slot = slots.clone().acquire_owned().await.map_err(std::io::Error::other)?;
    let (stream, _) = listener.accept().await?;
    Ok((stream, slot))
}

/// One line asked, one line answered. Who does not speak in time, or goes away, gets nothing.
async fn converse(mut stream: UnixStream, peers: Peers, answerer: &Answerer) {
    // Read in any case: whoever is hung up on while it speaks may not hear why.
    let Ok(line) = timeout(LINE, read_line(&mut stream)).await else { return };
    let peer = match stream.peer_cred() {
        Ok(peer) => peer,
        Err(error) => return tracing::warn!(%error, "cannot tell who asks for logins, refusing"),
    };
    // Looked at while it waits: a process that has its answer may be gone.
    let program = spawn_blocking(move || Program::look_up(peer.pid()));
    let mut asked = Asked::new(None);
    let answer = if peers.allow(peer.uid(), peer.gid()) {
        answer_line(line, answerer, &mut asked).await
    } else {
        let (uid, gid) = (peer.uid(), peer.gid());
        tracing::warn!(uid, gid, "a process of another user asked for logins, refusing it");
        refusal(
            Code::NoAccess,
            "this user may not ask; WAYBILL_WORKER_SOCKET_GROUP must be its process's own group, not a supplementary one",
        )
    };
    let Ok(text) = serde_json::to_vec(&answer) else { return };
    let mut text = Zeroizing::new(text);
    text.push(b'\n');
    // Whoever does not wait for the answer does not need it.
    let _ = timeout(LINE, stream.write_all(&text)).await;
    drop(stream);
    // After the answer: keeping the facts delays nobody.
    asked.note_answer(&answer);
    if let (Ok(program), false) = (program.await, asked.is_told()) {
        asked.note_program(program);
        answerer.tell(asked);
    }
}

async fn answer_line(line: Option<Zeroizing<Vec<u8>>>, answerer: &Answerer, asked: &mut Asked) -> Answer {
    let Some(line) = line else {
        return refusal(Code::BadRequest, "a question is one line of JSON of at most 64 KiB");
    };
    // The parser's own words may quote what it read.
    let Ok(request) = serde_json::from_slice::<Request>(&line) else {
        return refusal(
            Code::BadRequest,
            "a question has `op` (get, list or end) with `access`, and for get `registry` or `image`; or `op` pod with `token` \
             and `image`",
        );
    };
    *asked = Asked::new(Some(&request));
    match timeout(LIMIT, answerer.answer_noting(&request, asked)).await {
        Ok(answer) => answer,
        Err(_) => refusal(Code::Unavailable, "the login was not at hand in time; ask again"),
    }
}

/// The peer's line; none if it is too long or not to be read.
async fn read_line(stream: &mut UnixStream) -> Option<Zeroizing<Vec<u8>>> {
    let bound = u64::try_from(MAX_BYTES).ok()?.saturating_add(1);
    let mut line = Zeroizing::new(Vec::new());
    BufReader::new(stream).take(bound).read_until(b'\n', &mut line).await.ok()?;
    (line.len() <= MAX_BYTES).then_some(line)
}

fn refusal(code: Code, message: &str) -> Answer {
    Answer::Error { error: Error::because(code, message) }
}

#[cfg(test)]
mod tests;
