//! Commands that read the log: the operator's settings, one connection, and one thread.

use std::path::Path;

use waybill_platform::{
    config::Settings,
    log::{EventLog, NatsConfig},
    shutdown,
    telemetry::{self, TelemetryConfig},
};
use waybill_schemas::WorkspaceId;

use crate::Failure;

/// The operator's settings.
pub(crate) fn settings(home: &Path) -> Result<Settings, Failure> {
    Ok(Settings::load(home, "operator")?)
}

/// The workspace that a question is about: the flag, or `WAYBILL_WORKSPACE`.
pub(crate) fn workspace(settings: &Settings, flag: Option<&WorkspaceId>) -> Result<WorkspaceId, Failure> {
    if let Some(workspace) = flag {
        return Ok(workspace.clone());
    }
    let mut reader = settings.reader();
    let workspace =
        reader.optional("WAYBILL_WORKSPACE", |text| text.parse().map_err(|_| "1 to 128 of A-Z a-z 0-9 _ -"));
    reader.finish()?;
    let which = "which workspace? Give --workspace, or set WAYBILL_WORKSPACE";
    workspace.ok_or_else(|| match settings.no_home() {
        Some(no_home) => format!("{no_home}; {which}").into(),
        None => which.into(),
    })
}

/// Runs a command that reads the log. Ctrl-C ends it; `stopped` is its result then.
pub(crate) fn with_log<T, F>(
    settings: &Settings,
    stopped: Result<T, Failure>,
    run: impl FnOnce(EventLog) -> F,
) -> Result<T, Failure>
where
    F: Future<Output = Result<T, Failure>>,
{
    let mut reader = settings.reader();
    let nats = NatsConfig::read(&mut reader, "operator");
    reader.finish()?;
    let instance = uuid::Uuid::new_v4().to_string();
    let telemetry = telemetry::init("waybill", &instance, &TelemetryConfig::read(settings, "warn")?)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let outcome = runtime.block_on(async {
        let stop = shutdown::signal();
        let log = EventLog::connect(nats).await?;
        tokio::select! {
            () = stop.cancelled() => stopped,
            outcome = run(log) => outcome,
        }
    });
    drop(runtime);
    // What the command found out counts, whether or not a collector heard of it.
    if let Err(error) = telemetry.shutdown() {
        tracing::warn!(error = %error, "the last spans could not be delivered");
    }
    outcome
}
