//! Commands that read the log: the operator's settings, one connection, and one thread.

use std::{path::Path, sync::Arc, time::Duration};

use nkeys::KeyPair;
use waybill_platform::{
    archive::{ArchivedLog, Store},
    config::{ConfigError, Settings, environment},
    identity::CredentialsFile,
    log::{EventLog, Log, NatsConfig},
    shutdown,
    telemetry::{self, TelemetryConfig},
};
use waybill_schemas::WorkspaceId;

use crate::{
    Failure,
    init::{Role, SIGNING, Signers},
};

/// `ce-source` of what the command line says.
pub(crate) const SOURCE: &str = "/waybill/operator";

/// The operator's settings.
pub(crate) fn settings(home: &Path) -> Result<Settings, Failure> {
    Ok(Settings::load(home, "operator")?)
}

/// The log, read together with an archive where one is named.
pub(crate) async fn whole_log(log: EventLog, archive: Option<&str>) -> Result<Arc<dyn Log>, Failure> {
    let log: Arc<dyn Log> = Arc::new(log);
    Ok(match archive {
        Some(address) => Arc::new(ArchivedLog::open(log, Store::open(address, environment())?).await?),
        None => log,
    })
}

/// How the user logs in that reads what the servers say of themselves; none where its credentials are elsewhere.
pub(crate) fn system(home: &Path, settings: &Settings) -> Option<Result<NatsConfig, ConfigError>> {
    let file = home.join(format!("keys/{}.creds", Role::System));
    let opened = || {
        let credentials = CredentialsFile::open(file.clone());
        let credentials = credentials.map_err(|problem| ConfigError { problems: vec![problem] })?;
        log_in_as(settings, &Role::System, credentials)
    };
    file.is_file().then(opened)
}

/// How a user logs in for an hour that may change the streams: its key is made now, and is in no file.
///
/// # Errors
/// Where the folder has no keys that sign.
pub(crate) fn log_admin(home: &Path, settings: &Settings) -> Result<NatsConfig, Failure> {
    if !home.join(SIGNING).is_dir() {
        return Err(
            format!("there is no folder {}; run this where `waybill init` ran", home.join(SIGNING).display()).into()
        );
    }
    let credentials = Signers::read(home)?.sign(&Role::LogAdmin, &KeyPair::new_user(), Duration::from_secs(3600))?;
    Ok(log_in_as(settings, &Role::LogAdmin, CredentialsFile::in_memory(credentials))?)
}

fn log_in_as(settings: &Settings, role: &Role, credentials: CredentialsFile) -> Result<NatsConfig, ConfigError> {
    let mut reader = settings.reader();
    let nats = NatsConfig::read(&mut reader, "operator");
    reader.finish()?;
    let (inbox_prefix, name) = (role.inbox(), format!("waybill-{role}"));
    Ok(NatsConfig { credentials: Some(credentials), inbox_prefix, name, renews: None, ..nats })
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
    with_log_as(settings, nats, stopped, run)
}

/// As [`with_log`], as another user.
pub(crate) fn with_log_as<T, F>(
    settings: &Settings,
    nats: NatsConfig,
    stopped: Result<T, Failure>,
    run: impl FnOnce(EventLog) -> F,
) -> Result<T, Failure>
where
    F: Future<Output = Result<T, Failure>>,
{
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
