//! Whether what is read is the log that was read before, whole: it was not made anew, replaced or cut short, and what is missing
//! left it lawfully.

use std::time::Duration;

use tokio::{
    sync::mpsc,
    time::{Instant, sleep},
};

use super::read::{Ended, Item, Reading};
use crate::log::{ELECTION_LIMIT, Identity, Log as _, LogError, ReadError, STREAM, StreamState, read_archives};

/// A stream may be away while a server starts; after this long it counts as gone.
const STREAM_LIMIT: Duration = Duration::from_secs(60);

impl Reading {
    /// Waits until the stream is there, and compares it with the one that was read before.
    pub(super) async fn check_log(&mut self, sender: &mpsc::Sender<Item>) -> Result<(), Ended> {
        let state = self.wait_for_stream(sender).await?;
        let first = Identity { created: state.created, sequence: 0, at: state.created };
        let known = *self.known.get_or_insert(first);
        if known.sequence == 0 {
            return known.compare(&state, None).map_err(Ended::Log);
        }
        if state.last_sequence < known.sequence {
            return self.judge_end(&known, &state);
        }
        self.shorter_since = None;
        let Some(found) = self.log.message_in(STREAM, known.sequence).await.map_err(Ended::Consumer)? else {
            return self.judge_absence(known.sequence).await;
        };
        known.compare(&state, Some(found.at)).map_err(Ended::Log)
    }

    /// Judges that the last message that was read is not there: it left the log, or a replica is behind.
    async fn judge_absence(&self, sequence: u64) -> Result<(), Ended> {
        let removed = read_archives(&self.log).await.map_err(Ended::Consumer)?.removed;
        match (removed.contains(sequence), self.gapless) {
            (true, true) => Err(Ended::Log(ReadError::Archived { last: removed.last() })),
            // Whoever reads some subjects only, and knows nothing that it has not read, goes on.
            (true, false) => Ok(()),
            (false, _) => Err(Ended::Consumer(LogError::behind(format!("read sequence {sequence}")))),
        }
    }

    /// Learns what left the log, where every sequence must come. Whoever has read a part of the log, and not that something of it
    /// left since, has read the beginnings of placements whose ends are gone.
    pub(super) async fn learn_removed(&mut self) -> Result<(), Ended> {
        if !self.gapless {
            return Ok(());
        }
        let now = read_archives(&self.log).await.map_err(Ended::Consumer)?.removed;
        let read_before = self.known.filter(|known| known.sequence > 0).map(|known| known.sequence);
        let unseen = match (&self.removed, read_before) {
            (Some(before), _) => now.exceeds(before, self.next),
            (None, Some(sequence)) => now.last() >= sequence,
            (None, None) => false,
        };
        if unseen {
            return Err(Ended::Log(ReadError::Archived { last: now.last() }));
        }
        self.removed = Some(now);
        Ok(())
    }

    /// Judges a gap before a message: something left the log just now, a replica told too little of what left, or messages are lost.
    pub(super) async fn judge_gap(&mut self, found: u64) -> Ended {
        let now = match read_archives(&self.log).await {
            Ok(archives) => archives.removed,
            Err(error) => return Ended::Consumer(error),
        };
        if now.covers(self.next, found.saturating_sub(1)) {
            return Ended::Log(ReadError::Archived { last: now.last() });
        }
        let since = *self.missing_since.get_or_insert_with(Instant::now);
        if self.log.has_other_servers() && since.elapsed() < ELECTION_LIMIT {
            return Ended::Consumer(LogError::behind(format!("read sequence {}", self.next)));
        }
        Ended::Log(ReadError::Gap { expected: now.next_outside(self.next), found })
    }

    /// Judges a log that ends before what was read. A server that hung takes itself for the leader until it hears of another one, so
    /// that of several it is believed only after a while.
    fn judge_end(&mut self, known: &Identity, state: &StreamState) -> Result<(), Ended> {
        let since = *self.shorter_since.get_or_insert_with(Instant::now);
        if self.log.has_other_servers() && since.elapsed() < ELECTION_LIMIT {
            return Err(Ended::Consumer(LogError::behind(format!("read sequence {}", known.sequence))));
        }
        known.compare(state, None).map_err(Ended::Log)
    }

    async fn wait_for_stream(&self, sender: &mpsc::Sender<Item>) -> Result<StreamState, Ended> {
        let limit = Instant::now() + STREAM_LIMIT;
        loop {
            match self.log.read_stream_state().await {
                Ok(Some(state)) => return Ok(state),
                Ok(None) if Instant::now() > limit => {
                    let what = format!("stream {STREAM}");
                    let reason = "the stream does not exist".to_owned();
                    return Err(Ended::Log(ReadError::Log(LogError::Unavailable { what, reason })));
                }
                Ok(None) => {}
                Err(error) => return Err(Ended::Consumer(error)),
            }
            tokio::select! {
                () = sender.closed() => return Err(Ended::Unheard),
                () = sleep(Duration::from_millis(200)) => {}
            }
        }
    }
}
