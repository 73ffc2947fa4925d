//! `waybill doctor`: is everything as it must be, and if not, what to do.
//!
//! Each group of checks is a file. It asks, with a limit of a few seconds, and a function without I/O judges what it saw.

mod finding;
mod health;
mod home;
mod permissions;
mod scheduler;
mod server;
mod stream;
mod text;
mod workers;

use std::{io::Write as _, path::Path};

use waybill_platform::log::Inspector;

use self::{
    finding::{Finding, Report, Status},
    home::Home,
    server::{Answered, StreamInfo},
};
use crate::{Failure, cli::DoctorArguments, output};

/// Something is to be done; the findings have said what.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct NeedsAttention(String);

/// `waybill doctor`.
///
/// # Errors
/// When something needs attention.
pub(crate) fn run(home: &Path, arguments: &DoctorArguments) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let report = Report::of(runtime.block_on(examine(home))?);
    print(&report, arguments.json)?;
    match report.count(Status::Attention) {
        0 => Ok(()),
        _ => Err(NeedsAttention(text::summary(&report)).into()),
    }
}

fn print(report: &Report, json: bool) -> Result<(), Failure> {
    let mut out = output::stdout();
    if json {
        writeln!(out, "{}", serde_json::to_string(report)?)?;
        return Ok(());
    }
    let coloured = output::coloured();
    for finding in report.checks() {
        writeln!(out, "{}", text::finding(finding, coloured))?;
    }
    if report.count(Status::Attention) == 0 {
        writeln!(out, "{}", text::summary(report))?;
    }
    Ok(())
}

/// All checks: those that do not need each other at the same time.
async fn examine(path: &Path) -> Result<Vec<Finding>, Failure> {
    let home = Home::read(path);
    let client = health::client()?;
    let (log, services, collectors) =
        tokio::join!(examine_log(&home), health::services(&client, &home), health::collectors(&client, &home));
    Ok(home.findings().into_iter().chain(log).chain(services).chain(collectors).collect())
}

/// Everything that is in the log or about it.
async fn examine_log(home: &Home) -> Vec<Finding> {
    let operator = server::connect(home.operator()).await;
    let answered = match &operator {
        Ok(inspector) => Some(server::ask(inspector).await),
        Err(_) => None,
    };
    let stream = answered.as_ref().map_or_else(|| Err("nobody could be asked".to_owned()), Answered::stream);
    let missing = answered.as_ref().is_some_and(Answered::is_missing);
    let known = stream.as_ref().ok();
    let projection = home.roles.get("scheduler").and_then(|scheduler| scheduler.projection.as_deref());
    let (permissions, scheduler, workers) = tokio::join!(
        permissions::check(&home.users, known.is_some()),
        scheduler::check(projection, known, operator.as_ref().ok()),
        examine_workers(operator.as_ref().ok(), home, known),
    );
    let server = match (&operator, &answered) {
        (Ok(inspector), Some(answered)) => server::judge(&inspector.server(), answered),
        (Err(why), _) => vec![server::judge_not_connected(why)],
        (Ok(_), None) => Vec::new(),
    };
    let url = home.operator().and_then(|config| config.as_ref().ok()).map(|config| config.url.as_str());
    let durability = stream::judge_durability(&stream::Durability { configuration: home.nats_conf.as_deref(), url });
    let stream = stream::judge(&stream, missing);
    [server, stream, vec![durability], permissions, scheduler, workers].concat()
}

async fn examine_workers(operator: Option<&Inspector>, home: &Home, stream: Option<&StreamInfo>) -> Vec<Finding> {
    match (operator, stream) {
        (Some(inspector), Some(stream)) => workers::check(inspector, home, stream).await,
        _ => vec![Finding::unknown("workers", "the log cannot be asked for them", "see to the checks above first")],
    }
}
