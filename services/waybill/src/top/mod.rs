//! `waybill top`: what flows and what fails, in a terminal, kept up to date.

mod view;

use std::{io::Write as _, path::Path, sync::mpsc, thread, time::Duration};

use clap::Args;
use ratatui::crossterm::event::{self, Event, KeyCode, KeyEventKind, KeyModifiers};
use reqwest::Method;
use serde::Deserialize;
use serde_json::{Value, json};
use waybill_schemas::WorkspaceId;

use crate::{
    Failure,
    gateway::{Gateway, Request},
    operator, output,
};

#[derive(Debug, Args)]
pub(crate) struct TopArguments {
    /// Whose builds and containers [default: WAYBILL_WORKSPACE]
    #[arg(long, value_name = "NAME")]
    workspace: Option<WorkspaceId>,
    /// Every workspace, with the operator's token.
    #[arg(long, conflicts_with = "workspace")]
    all: bool,
    /// Print the figures once, and end.
    #[arg(long)]
    once: bool,
    /// The gateway's answers as JSON, once.
    #[arg(long)]
    json: bool,
}

/// How often the gateway is asked.
const INTERVAL: Duration = Duration::from_secs(2);
/// How long a key is waited for before the screen is drawn again.
const KEYS: Duration = Duration::from_millis(200);
/// Size of what is printed once.
const PRINTED: (u16, u16) = (100, 40);

/// What the gateway says at a moment.
#[derive(Debug, Clone, Deserialize)]
struct Snapshot {
    figures: Figures,
    causes: Vec<Cause>,
}

#[derive(Debug, Clone, Deserialize)]
struct Figures {
    builds: u64,
    requests: u64,
    decisions: u64,
    pulls: u64,
    placements: u64,
    failing: u64,
    lag: Option<u64>,
    unreadable: u64,
    workers: Vec<Worker>,
}

#[derive(Debug, Clone, Deserialize)]
struct Worker {
    worker_id: String,
    placements: u64,
    broken: u64,
    in_flight: u64,
    heard_at: Option<waybill_schemas::Timestamp>,
}

#[derive(Debug, Clone, Deserialize)]
struct Cause {
    hop: String,
    code: String,
    about: String,
    containers: u64,
    still: u64,
    workers: u64,
    remedy: String,
}

/// Whom is asked, and about what.
struct Source {
    gateway: Gateway,
    workspace: Option<WorkspaceId>,
}

/// `waybill top`.
pub(crate) fn run(home: &Path, arguments: &TopArguments) -> Result<(), Failure> {
    let settings = operator::settings(home)?;
    let workspace = match arguments.all {
        true => None,
        false => Some(operator::workspace(&settings, arguments.workspace.as_ref())?),
    };
    let gateway = match &workspace {
        Some(workspace) => Gateway::read(home, &settings, workspace.clone())?,
        None => Gateway::read_as_operator(home, &settings)?,
    };
    let source = Source { gateway, workspace };
    if arguments.json {
        writeln!(output::stdout(), "{}", serde_json::to_string_pretty(&source.ask()?)?)?;
        return Ok(());
    }
    let first: Snapshot = serde_json::from_value(source.ask()?)?;
    if arguments.once {
        writeln!(output::stdout(), "{}", view::print(&source.title(), &first, PRINTED)?)?;
        return Ok(());
    }
    let mut terminal = ratatui::try_init()?;
    let shown = show(&mut terminal, source, first);
    ratatui::try_restore()?;
    shown
}

impl Source {
    fn title(&self) -> String {
        self.workspace.as_ref().map_or_else(|| "every workspace".to_owned(), |name| format!("workspace {name}"))
    }

    fn ask(&self) -> Result<Value, Failure> {
        Ok(json!({
            "figures": self.read("now", &[])?,
            "causes": self.read("failures", &[("since", "1h"), ("limit", "20")])?.get("causes"),
        }))
    }

    fn read(&self, what: &str, query: &[(&'static str, &str)]) -> Result<Value, Failure> {
        let mine = self.workspace.iter().map(|name| ("workspace", name.to_string()));
        let query = query.iter().map(|(name, value)| (*name, (*value).to_owned())).chain(mine).collect();
        let request = Request { method: Method::GET, path: vec![what.to_owned()], query, body: None };
        let answer = self.gateway.ask(&request)?;
        if answer.is_good {
            return Ok(answer.body);
        }
        let detail = answer.body.get("detail").and_then(Value::as_str).unwrap_or("no reason");
        Err(format!("the gateway refuses to tell: {detail}").into())
    }
}

/// Draws until a key ends it. Asking blocks, and so has a thread of its own, which ends with the process.
fn show(terminal: &mut ratatui::DefaultTerminal, source: Source, first: Snapshot) -> Result<(), Failure> {
    let title = source.title();
    let (news, snapshots) = mpsc::channel();
    thread::spawn(move || {
        loop {
            thread::sleep(INTERVAL);
            let asked = source.ask().and_then(|answer| Ok(serde_json::from_value(answer)?));
            if news.send(asked.map_err(|failure: Failure| failure.to_string())).is_err() {
                return;
            }
        }
    });
    let (mut snapshot, mut problem) = (first, None);
    loop {
        match snapshots.try_iter().last() {
            Some(Ok(newer)) => (snapshot, problem) = (newer, None),
            Some(Err(why)) => problem = Some(why),
            None => {}
        }
        terminal.draw(|frame| view::draw(frame, &title, &snapshot, problem.as_deref()))?;
        if event::poll(KEYS)? && is_end(&event::read()?) {
            return Ok(());
        }
    }
}

fn is_end(event: &Event) -> bool {
    let Event::Key(key) = event else { return false };
    let by_control = key.modifiers.contains(KeyModifiers::CONTROL) && key.code == KeyCode::Char('c');
    key.kind == KeyEventKind::Press && (by_control || matches!(key.code, KeyCode::Char('q') | KeyCode::Esc))
}
