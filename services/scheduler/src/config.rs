//! What the scheduler is told at start.

use std::{fs, net::SocketAddr, path::PathBuf};

use waybill_platform::{
    chain,
    config::{ConfigError, Reader, Settings},
    log::NatsConfig,
    sealing::KeyRing,
};
use waybill_schemas::WorkspaceId;

use crate::keys::read_keys;

/// The scheduler's configuration.
#[derive(Debug)]
pub struct SchedulerConfig {
    /// The log.
    pub nats: NatsConfig,
    /// The projection's file (`WAYBILL_SCHEDULER_PROJECTION`).
    pub projection: PathBuf,
    /// Folder of the sealing keys, looked at while the scheduler runs (`WAYBILL_SCHEDULER_KEY_DIR`).
    pub key_folder: PathBuf,
    /// The keys in it.
    pub keys: KeyRing,
    /// Workspaces whose orchestrators read the log (in the file `WAYBILL_SCHEDULER_READERS_FILE`, one a line).
    pub readers: Vec<WorkspaceId>,
    /// Copies of log and vault when this scheduler creates them (`WAYBILL_STREAM_REPLICAS`: 1, 3 or 5).
    pub replicas: usize,
    /// Where `/healthz` and `/readyz` are served, if anywhere (`WAYBILL_SCHEDULER_HEALTH_LISTEN`).
    pub health: Option<SocketAddr>,
}

impl SchedulerConfig {
    /// Reads the scheduler's settings.
    ///
    /// # Errors
    /// [`ConfigError`] with everything that is wrong.
    pub fn read(settings: &Settings) -> Result<Self, ConfigError> {
        let mut reader = settings.reader();
        let nats = NatsConfig::read(&mut reader, "scheduler");
        let projection = reader.required_path("WAYBILL_SCHEDULER_PROJECTION");
        let key_folder = reader.required_path("WAYBILL_SCHEDULER_KEY_DIR");
        let readers = read_readers(&mut reader);
        let replicas = reader.or("WAYBILL_STREAM_REPLICAS", replicas, || 1);
        let health = reader.optional("WAYBILL_SCHEDULER_HEALTH_LISTEN", |text| {
            text.parse().map_err(|_| "an address and port, such as 127.0.0.1:8485")
        });
        let keys = read_keys(&key_folder);
        if let Err(error) = &keys {
            reader.problem(format!("WAYBILL_SCHEDULER_KEY_DIR: {}", chain(error)));
        }
        reader.finish()?;
        let keys = keys.map_err(|error| ConfigError { problems: vec![chain(&error)] })?;
        Ok(Self { nats, projection, key_folder, keys, readers, replicas, health })
    }
}

fn replicas(text: &str) -> Result<usize, &'static str> {
    text.parse().ok().filter(|replicas| [1, 3, 5].contains(replicas)).ok_or("1, 3 or 5")
}

const READERS_FILE: &str = "WAYBILL_SCHEDULER_READERS_FILE";

/// The workspaces in the file, which `waybill init` rewrites when one is added. No file means none.
fn read_readers(reader: &mut Reader<'_>) -> Vec<WorkspaceId> {
    let Some(path) = reader.path(READERS_FILE) else { return Vec::new() };
    let read = fs::read_to_string(&path).map_err(|error| format!("{} cannot be read: {error}", path.display()));
    match read.and_then(|text| parse_readers(&text)) {
        Ok(workspaces) => workspaces,
        Err(problem) => {
            reader.problem(format!("{READERS_FILE}: {problem}; `waybill init` writes the file"));
            Vec::new()
        }
    }
}

fn parse_readers(text: &str) -> Result<Vec<WorkspaceId>, String> {
    let lines = text.lines().map(str::trim).zip(1..).filter(|(line, _)| !line.is_empty() && !line.starts_with('#'));
    lines.map(|(line, number)| line.parse().map_err(|error| format!("line {number}: {error}"))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn readers_are_workspaces_one_a_line() {
        let expected: [WorkspaceId; 2] = ["acme".parse().unwrap(), "team-1".parse().unwrap()];
        assert_eq!(parse_readers("# of init\nacme\n\n team-1 \n").unwrap(), expected);
        assert_eq!(parse_readers("").unwrap(), []);
        assert!(parse_readers("acme\na.b").unwrap_err().starts_with("line 2: "));
    }

    #[test]
    fn a_file_that_cannot_be_read_is_a_problem() {
        let home = tempfile::tempdir().unwrap();
        let settings = Settings::from_pairs(home.path(), [(READERS_FILE, "readers")]);
        let mut reader = settings.reader();
        assert_eq!(read_readers(&mut reader), []);
        let error = reader.finish().unwrap_err().to_string();
        assert!(error.contains("readers") && error.contains("waybill init"), "{error}");
    }
}
