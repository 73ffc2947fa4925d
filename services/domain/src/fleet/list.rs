//! What runs where: placements page by page, and how much each worker has.

use serde::Serialize;
use waybill_schemas::Timestamp;

use super::{Fleet, Row, Standing};
use crate::explain::{Code, Hop, State};

/// Which placements are asked for; none of a field stands for all.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Wanted {
    /// Owner of the container.
    pub workspace: Option<String>,
    /// The worker that it is on.
    pub worker: Option<String>,
    /// The image that it runs.
    pub image: Option<String>,
    /// The secret that it has.
    pub secret: Option<String>,
    /// How it stands.
    pub state: Option<State>,
    /// Why, as one word.
    pub code: Option<Code>,
}

/// A placement that goes on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Listed {
    /// Owner of the container.
    pub workspace: String,
    /// The container.
    pub container_id: String,
    /// Number of the placement.
    pub placement: u64,
    /// The worker that it is on.
    pub worker_id: String,
    /// The image that it runs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image_id: Option<String>,
    /// The secret that it has, or was to have.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub secret_name: Option<String>,
    /// Registry that it pulls from, where a build named one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub registry: Option<String>,
    /// How it stands.
    pub state: State,
    /// The hop that it is at.
    pub hop: Hop,
    /// Why, as one word.
    pub code: Code,
    /// When it was asked for.
    pub requested_at: Timestamp,
    /// The event that says how it stands.
    pub sequence: u64,
    /// The stream's time of that event.
    pub since: Timestamp,
}

/// What a worker has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct WorkerLoad {
    /// The worker.
    pub worker_id: String,
    /// Placements on it that go on.
    pub placements: usize,
    /// Those of them that failed.
    pub broken: usize,
    /// Those of them that wait.
    pub in_flight: usize,
    /// When the log last heard of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub heard_at: Option<Timestamp>,
}

impl Wanted {
    fn matches(&self, row: &Row) -> bool {
        let is =
            |wanted: &Option<String>, found: Option<&str>| wanted.as_deref().is_none_or(|wanted| found == Some(wanted));
        let secret = row.target.as_ref().and_then(|target| target.secret.as_deref());
        is(&self.workspace, Some(&row.workspace))
            && is(&self.worker, Some(&row.worker))
            && is(&self.image, row.image.as_deref())
            && is(&self.secret, secret)
            && self.state.is_none_or(|state| row.standing.state() == state)
            && self.code.is_none_or(|code| row.standing.code() == code)
    }
}

impl Fleet {
    /// The newest placements, at most `most`, none after `until`; and the number that the next page ends with, if there is one.
    pub fn list(&self, wanted: &Wanted, until: u64, most: usize) -> (Vec<Listed>, Option<u64>) {
        let matching = |row: &Row| wanted.matches(row);
        let mut found: Vec<Listed> = match &wanted.worker {
            Some(worker) => {
                let placements = self.on_worker.get(worker.as_str()).into_iter();
                let placements = placements.flat_map(|placements| placements.range(..=until).rev());
                let rows = placements.filter_map(|number| Some((number, self.rows.get(number)?)));
                rows.filter(|(_, row)| matching(row)).take(most.saturating_add(1)).map(describe).collect()
            }
            None => {
                let rows = self.rows.range(..=until).rev();
                rows.filter(|(_, row)| matching(row)).take(most.saturating_add(1)).map(describe).collect()
            }
        };
        let next = found.get(most).map(|surplus| surplus.placement);
        found.truncate(most);
        (found, next)
    }

    /// The workers that something is placed on, or that were heard of; `workspace` counts only its placements.
    pub fn workers(&self, workspace: Option<&str>) -> Vec<WorkerLoad> {
        let mut names: Vec<_> = self.on_worker.keys().chain(self.heard.keys()).collect();
        names.sort();
        names.dedup();
        let load = |worker: &std::sync::Arc<str>| {
            let numbers = self.on_worker.get(worker).into_iter().flatten();
            let rows = numbers.filter_map(|number| self.rows.get(number));
            let rows = rows.filter(|row| workspace.is_none_or(|workspace| *row.workspace == *workspace));
            let heard_at = self.heard.get(worker).map(|heard| Timestamp::from(heard.last));
            let worker_id = worker.to_string();
            rows.fold(WorkerLoad { worker_id, placements: 0, broken: 0, in_flight: 0, heard_at }, |mut load, row| {
                load.placements = load.placements.saturating_add(1);
                match row.standing {
                    Standing::Broken(_) => load.broken = load.broken.saturating_add(1),
                    Standing::Open(_) => load.in_flight = load.in_flight.saturating_add(1),
                    Standing::Pulled => {}
                }
                load
            })
        };
        let loads = names.into_iter().map(load);
        loads.filter(|load| workspace.is_none() || load.placements > 0).collect()
    }
}

fn describe((number, row): (&u64, &Row)) -> Listed {
    let target = row.target.as_ref();
    Listed {
        workspace: row.workspace.to_string(),
        container_id: row.container.to_string(),
        placement: *number,
        worker_id: row.worker.to_string(),
        image_id: row.image.as_deref().map(str::to_owned),
        secret_name: target.and_then(|target| target.secret.as_deref()).map(str::to_owned),
        registry: target.and_then(|target| target.registry.as_deref()).map(str::to_owned),
        state: row.standing.state(),
        hop: row.standing.hop(),
        code: row.standing.code(),
        requested_at: row.requested.into(),
        sequence: row.since.0,
        since: row.since.1.into(),
    }
}
