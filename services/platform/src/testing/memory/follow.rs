//! Reading in order, in memory.

use futures_util::StreamExt as _;
use tokio::sync::watch;

use super::MemoryLog;
use crate::log::{Follow, Identity, RawMessage, ReadError};

pub(super) fn follow(log: MemoryLog, filter: String, from: u64, known: Option<Identity>) -> Follow {
    let changed = log.changed.subscribe();
    let following = Following { log, filter, next: from.max(1), known, connection: None, changed };
    let next = async |following: Option<Following>| {
        let mut following = following?;
        let item = following.next().await;
        // An error is the last item.
        let rest = item.is_ok().then_some(following);
        Some((item, rest))
    };
    futures_util::stream::unfold(Some(following), next).boxed()
}

/// One endless reading.
struct Following {
    log: MemoryLog,
    filter: String,
    next: u64,
    known: Option<Identity>,
    /// Number of the connection over which the log was compared last.
    connection: Option<u64>,
    changed: watch::Receiver<u64>,
}

impl Following {
    async fn next(&mut self) -> Result<RawMessage, ReadError> {
        loop {
            self.changed.mark_unchanged();
            if let Some(message) = self.read()? {
                return Ok(message);
            }
            if self.changed.changed().await.is_err() {
                return std::future::pending().await;
            }
        }
    }

    fn read(&mut self) -> Result<Option<RawMessage>, ReadError> {
        let server = self.log.server();
        if self.connection != Some(server.connection) {
            let state = server.state();
            let first = Identity { created: state.created, sequence: 0, at: state.created };
            server.compare(self.known.get_or_insert(first))?;
            self.connection = Some(server.connection);
        }
        let Some(mut message) = server.matching(&self.filter, self.next).next() else { return Ok(None) };
        let waiting = server.matching(&self.filter, message.sequence.saturating_add(1)).count();
        message.pending = u64::try_from(waiting).unwrap_or(u64::MAX);
        self.next = message.sequence.saturating_add(1);
        if let Some(known) = &mut self.known {
            (known.sequence, known.at) = (message.sequence, message.at);
        }
        Ok(Some(message))
    }
}
