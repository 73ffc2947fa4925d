//! `waybill doctor`: is everything as it must be, and if not, what to do.
//!
//! Each group of checks is a file. It asks, with a limit of a few seconds, and a function without I/O judges what it saw.

mod finding;
mod health;
mod home;
mod keys;
mod permissions;
mod room;
mod scheduler;
mod server;
mod servers;
mod stream;
mod text;
mod workers;

use std::{io::Write as _, path::Path};

use waybill_platform::log::{Inspector, read_archives};

use self::{
    finding::{Finding, Report, Status},
    home::Home,
    server::{Answered, StreamInfo},
    stream::Kind,
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
    let report = Report::new(runtime.block_on(examine(home))?);
    print(&report, arguments.json)?;
    match report.count(Status::Attention) {
        0 => Ok(()),
        _ => Err(NeedsAttention(text::summary(&report)).into()),
    }
}

/// Why the log takes no events, in the words of a service of this machine; none where each finds room, or does not answer.
pub(crate) async fn no_room(home: &Path) -> Option<String> {
    health::no_room(&health::client().ok()?, &Home::read(home)).await
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

/// Everything that is in the log and the vault, or about them.
async fn examine_log(home: &Home) -> Vec<Finding> {
    let connected = server::connect(home.operator()).await;
    let operator = connected.as_ref().ok();
    let (log, vault) = tokio::join!(ask(operator, Kind::Log), ask(operator, Kind::Vault));
    let [stream, vault_stream] = [&log, &vault].map(|answered| match answered {
        Some(answered) => answered.stream(),
        None => Err("nobody could be asked".to_owned()),
    });
    let known = stream.as_ref().ok();
    let roles = home.roles.get("scheduler");
    let projection = roles.and_then(|scheduler| scheduler.projection.as_deref());
    let key_folder = roles.and_then(|scheduler| scheduler.key_folder.as_deref());
    let removed = match operator.filter(|_| known.is_some()) {
        Some(inspector) => read_archives(inspector.log()).await.ok().map(|archives| archives.removed),
        None => None,
    };
    let (servers, permissions, scheduler, keys, workers) = tokio::join!(
        servers::check(home.system.as_ref(), removed.as_ref()),
        permissions::check(
            &home.users,
            known.is_some_and(|stream| stream.config.get("num_replicas") == Some(&1.into()))
        ),
        scheduler::check(projection, known, operator),
        keys::check(key_folder, operator.filter(|_| known.is_some())),
        examine_workers(operator, home, known),
    );
    let server = match (&connected, &log) {
        (Ok(inspector), Some(answered)) => server::judge(&inspector.server(), answered),
        (Err(why), _) => vec![server::judge_not_connected(why)],
        (Ok(_), None) => Vec::new(),
    };
    let is_missing = |answered: &Option<Answered>| answered.as_ref().is_some_and(Answered::is_missing);
    let stream = stream::judge(Kind::Log, &stream, is_missing(&log));
    let vault = stream::judge(Kind::Vault, &vault_stream, is_missing(&vault));
    [server, examine_servers(home, servers), stream, vault, permissions, scheduler, keys, workers].concat()
}

async fn ask(operator: Option<&Inspector>, kind: Kind) -> Option<Answered> {
    match operator {
        Some(inspector) => Some(server::ask(inspector, kind).await),
        None => None,
    }
}

/// What the servers say of themselves; where nobody may ask them, what their configuration here says.
fn examine_servers(home: &Home, asked: Option<Vec<Finding>>) -> Vec<Finding> {
    let judge_file = || {
        let url = home.operator().and_then(|config| config.as_ref().ok()).map(|config| config.url.as_str());
        vec![stream::judge_durability(&stream::Durability { configuration: home.nats_conf.as_deref(), url })]
    };
    let room = home.nats_data.as_deref().map(room::check);
    asked.unwrap_or_else(judge_file).into_iter().chain(room).collect()
}

async fn examine_workers(operator: Option<&Inspector>, home: &Home, stream: Option<&StreamInfo>) -> Vec<Finding> {
    match (operator, stream) {
        (Some(inspector), Some(stream)) => workers::check(inspector, home, stream).await,
        _ => vec![Finding::unknown("workers", "the log cannot be asked for them", "see to the checks above first")],
    }
}
