//! `waybill events`: the log as people and programs read it.

mod line;
mod start;

use std::{io::Write as _, path::Path, pin::pin};

use futures_util::StreamExt as _;
use waybill_platform::{
    config::Settings,
    log::{EventLog, NatsConfig, RawMessage},
    shutdown,
    telemetry::{self, TelemetryConfig},
};

use crate::{Failure, cli::EventsArguments, output};

pub(crate) use start::Start;

/// `waybill events`.
pub(crate) fn run(home: &Path, arguments: &EventsArguments) -> Result<(), Failure> {
    let settings = Settings::load(home, "operator")?;
    let mut reader = settings.reader();
    let nats = NatsConfig::read(&mut reader, "operator");
    reader.finish()?;
    let telemetry = telemetry::init("waybill", &TelemetryConfig::read(&settings, "warn")?)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let outcome = runtime.block_on(read(nats, arguments));
    drop(runtime);
    telemetry.shutdown()?;
    outcome
}

async fn read(nats: NatsConfig, arguments: &EventsArguments) -> Result<(), Failure> {
    let stop = shutdown::signal();
    tokio::select! {
        () = stop.cancelled() => Ok(()),
        outcome = print(nats, arguments) => outcome,
    }
}

async fn print(nats: NatsConfig, arguments: &EventsArguments) -> Result<(), Failure> {
    let log = EventLog::connect(nats).await?;
    let from = arguments.from.sequence(&log).await?;
    let mut out = output::stdout();
    let coloured = output::coloured();
    let mut write = |message: &RawMessage| -> Result<(), Failure> {
        let line = if arguments.json { line::json(message)? } else { line::text(message, coloured) };
        Ok(writeln!(out, "{line}")?)
    };
    if !arguments.follow && log.pending(&arguments.subject, from).await? == 0 {
        return Ok(());
    }
    let mut messages = pin!(log.read(&arguments.subject, from));
    while let Some(message) = messages.next().await {
        let message = message?;
        write(&message)?;
        if !arguments.follow && message.pending == 0 {
            break;
        }
    }
    Ok(())
}
