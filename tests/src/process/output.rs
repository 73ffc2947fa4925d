//! What a child prints: kept as lines that can be waited for, and appended to a file.

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::timeout;

/// Which of its two outputs a child wrote to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

/// One line, without its end; bytes that are not UTF-8 are replaced.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// Where it was written.
    pub stream: Stream,
    /// What was written.
    pub text: String,
}

/// The lines of both streams in the order they arrived. Clones see the same lines.
#[derive(Debug, Clone)]
pub struct Output {
    lines: Arc<Mutex<Vec<Line>>>,
    changed: watch::Receiver<Progress>,
}

#[derive(Debug, Default, Clone, Copy)]
struct Progress {
    lines: usize,
    open: usize,
}

struct Sink {
    stream: Stream,
    lines: Arc<Mutex<Vec<Line>>>,
    changed: Arc<watch::Sender<Progress>>,
    log: Arc<Mutex<File>>,
}

impl Output {
    /// Reads both pipes, each in a thread of its own that ends with its pipe.
    pub(super) fn read(
        stdout: Option<impl Read + Send + 'static>,
        stderr: Option<impl Read + Send + 'static>,
        log: File,
    ) -> Self {
        let log = Arc::new(Mutex::new(log));
        let (sender, changed) = watch::channel(Progress::default());
        let (sender, lines) = (Arc::new(sender), Arc::new(Mutex::new(Vec::new())));
        let sink = |stream| Sink { stream, lines: lines.clone(), changed: sender.clone(), log: log.clone() };
        if let Some(pipe) = stdout {
            sink(Stream::Stdout).follow(pipe);
        }
        if let Some(pipe) = stderr {
            sink(Stream::Stderr).follow(pipe);
        }
        Self { lines, changed }
    }

    /// All lines so far.
    pub fn lines(&self) -> Vec<Line> {
        lock(&self.lines).clone()
    }

    /// What was written to one stream so far.
    pub fn text(&self, stream: Stream) -> String {
        let lines = lock(&self.lines);
        lines.iter().filter(|line| line.stream == stream).map(|line| format!("{}\n", line.text)).collect()
    }

    /// The lines that fulfil `wanted`.
    pub fn matching(&self, wanted: impl Fn(&str) -> bool) -> Vec<Line> {
        lock(&self.lines).iter().filter(|line| wanted(&line.text)).cloned().collect()
    }

    /// The last forty lines, for error messages.
    pub fn last_lines(&self) -> String {
        let lines = lock(&self.lines);
        let tail: Vec<&str> = lines.iter().rev().take(40).map(|line| line.text.as_str()).collect();
        tail.into_iter().rev().collect::<Vec<_>>().join("\n")
    }

    /// The first line that fulfils `wanted`; `None` when it does not come in time or cannot come any more.
    pub(super) async fn wait_for(&self, limit: Duration, wanted: impl Fn(&str) -> bool) -> Option<Line> {
        let mut changed = self.changed.clone();
        let mut read = 0;
        let search = async {
            loop {
                let progress = *changed.borrow_and_update();
                let found = lock(&self.lines).iter().skip(read).find(|line| wanted(&line.text)).cloned();
                if found.is_some() || progress.open == 0 {
                    return found;
                }
                read = progress.lines;
                // An error says that both pipes have ended: the next round sees that too.
                let _ = changed.changed().await;
            }
        };
        timeout(limit, search).await.ok().flatten()
    }

    /// Waits until both pipes have ended, as they do with the process and its children; at most `limit`.
    pub(super) async fn closed(&self, limit: Duration) {
        let mut changed = self.changed.clone();
        let _ = timeout(limit, changed.wait_for(|progress| progress.open == 0)).await;
    }
}

impl Sink {
    fn follow(self, pipe: impl Read + Send + 'static) {
        self.changed.send_modify(|progress| progress.open += 1);
        std::thread::spawn(move || {
            let mut pipe = BufReader::new(pipe);
            let mut line = Vec::new();
            while pipe.read_until(b'\n', &mut line).is_ok_and(|length| length > 0) {
                self.keep(&line);
                line.clear();
            }
            self.changed.send_modify(|progress| progress.open -= 1);
        });
    }

    fn keep(&self, raw: &[u8]) {
        // A full disk must not stop the child: the lines in memory are what tests look at.
        let _ = lock(&self.log).write_all(raw);
        let text = String::from_utf8_lossy(raw.strip_suffix(b"\n").unwrap_or(raw)).into_owned();
        let mut lines = lock(&self.lines);
        lines.push(Line { stream: self.stream, text });
        self.changed.send_modify(|progress| progress.lines = lines.len());
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
