//! How far a replay is, on a terminal only.

use std::{
    io::{self, IsTerminal as _, Write as _},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::{task::JoinHandle, time::interval};

use super::summary::grouped;

const PERIOD: Duration = Duration::from_millis(200);
const BAR: u64 = 24;

/// A line on standard error that says how far it is; nothing where that is no terminal. Gone when dropped.
#[derive(Debug)]
pub(super) struct Progress(Option<JoinHandle<()>>);

impl Progress {
    /// Shows the counter's way to `total`.
    pub(super) fn show(done: Arc<AtomicU64>, total: u64) -> Self {
        let drawing = async move {
            let started = Instant::now();
            let mut ticks = interval(PERIOD);
            loop {
                ticks.tick().await;
                let line = line(done.load(Ordering::Relaxed), total, started.elapsed());
                // A terminal that has gone away needs no progress.
                let _ = write!(io::stderr(), "\r\u{1b}[2K{line}");
            }
        };
        Self(io::stderr().is_terminal().then(|| tokio::spawn(drawing)))
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some(drawing) = self.0.take() {
            drawing.abort();
            let _ = write!(io::stderr(), "\r\u{1b}[2K");
        }
    }
}

fn line(done: u64, total: u64, elapsed: Duration) -> String {
    let part = |of: u64| done.min(total).saturating_mul(of).checked_div(total).unwrap_or(of);
    let filled = part(BAR);
    let bar: String = (0..BAR).map(|at| if at < filled { '=' } else { ' ' }).collect();
    let rate = u128::from(done).saturating_mul(1000).checked_div(elapsed.as_millis()).unwrap_or(0);
    let rate = grouped(u64::try_from(rate).unwrap_or(u64::MAX));
    format!("[{bar}] {:>3}%  {} of {} events, {rate}/s", part(100), grouped(done), grouped(total))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines() {
        let cases = [
            (0, 0, 0, "[========================] 100%  0 of 0 events, 0/s"),
            (0, 1000, 0, "[                        ]   0%  0 of 1,000 events, 0/s"),
            (500, 1000, 2000, "[============            ]  50%  500 of 1,000 events, 250/s"),
            (1_000_000, 1_000_000, 8000, "[========================] 100%  1,000,000 of 1,000,000 events, 125,000/s"),
        ];
        for (done, total, milliseconds, expected) in cases {
            let line = line(done, total, Duration::from_millis(milliseconds));
            assert_eq!(line, expected);
            assert!(line.chars().count() <= 80, "{line}");
        }
    }
}
