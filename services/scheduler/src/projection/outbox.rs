//! The outbox: decisions that the log does not hold yet, with what is needed to say them.

use std::collections::{BTreeSet, HashMap};

use waybill_domain::fold::{Lane, Pending, SecretFact, SecretKey, SecretState, WorkerFact};
use waybill_schemas::{Timestamp, WorkspaceId};

use super::{
    ProjectionError, Snapshot, checksum,
    tables::{PENDING, SECRETS, WORKERS, lane_prefix, pending_prefix, range, secret_key},
};

/// A decision that is due.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Due {
    /// Key of its row.
    pub(crate) key: String,
    /// The decision.
    pub(crate) pending: Pending,
    /// Its worker, as it is now.
    pub(crate) worker: Option<WorkerFact>,
    /// The secret that it hands over, as it is now.
    pub(crate) secret: Option<SecretFact>,
}

impl Due {
    /// True if the version that the decision hands over may still be handed over.
    pub(crate) fn is_in_force(&self) -> bool {
        let handed_over = self.pending.decision.credential().map_or(0, |credential| credential.version);
        // A version that came after a revocation is in force again; the one that was revoked is not.
        self.secret.as_ref().is_some_and(|secret| secret.state == SecretState::Active || secret.version < handed_over)
    }
}

/// How much waits in one lane.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct OutboxState {
    /// Decisions.
    pub(crate) depth: u64,
    /// The stream's time of the oldest of their causes.
    pub(crate) oldest: Option<Timestamp>,
}

/// A workspace's rows in a lane, as far as they were looked at.
struct Rows {
    prefix: String,
    /// Key to go on from.
    next: String,
    done: bool,
}

impl Snapshot {
    /// At most `most` decisions of a lane, oldest first within a workspace, the workspaces in turn: those after `turn` come
    /// first, and none takes another's share. Rows that `is_taken` are passed over.
    pub(crate) fn due(
        &self,
        lane: Lane,
        turn: Option<&WorkspaceId>,
        most: usize,
        is_taken: &dyn Fn(&str) -> bool,
    ) -> Result<Vec<Due>, ProjectionError> {
        let mut workspaces = self.workspaces_in(lane, turn, most)?;
        let share = most.checked_div(workspaces.len()).unwrap_or(0).max(1);
        let mut due = Vec::new();
        let mut facts = Facts { snapshot: self, workers: HashMap::new(), secrets: HashMap::new() };
        while due.len() < most && workspaces.iter().any(|rows| !rows.done) {
            for rows in workspaces.iter_mut().filter(|rows| !rows.done) {
                let room = most.saturating_sub(due.len()).min(share);
                self.take(rows, room, is_taken, &mut facts, &mut due)?;
            }
        }
        Ok(due)
    }

    /// Workspaces that have decisions in a lane, from the one after `turn` on and around, at most `most`.
    fn workspaces_in(&self, lane: Lane, turn: Option<&WorkspaceId>, most: usize) -> Result<Vec<Rows>, ProjectionError> {
        let Some(table) = self.table(PENDING)? else { return Ok(Vec::new()) };
        let prefix = lane_prefix(lane);
        let after_turn = turn.map_or_else(|| prefix.to_owned(), |turn| after(&pending_prefix(lane, turn)));
        let mut found: Vec<Rows> = Vec::new();
        for (mut from, end) in [(after_turn.clone(), None), (prefix.to_owned(), Some(after_turn.as_str()))] {
            while found.len() < most {
                let Some((key, _)) = range(&table, &from)?.next().transpose()? else { break };
                let key = key.value();
                let workspace = key.strip_prefix(prefix).and_then(|rest| rest.split_once('/'));
                let Some((workspace, _)) = workspace.filter(|_| end.is_none_or(|end| key < end)) else { break };
                let own = format!("{prefix}{workspace}/");
                from = after(&own);
                found.push(Rows { next: own.clone(), prefix: own, done: false });
            }
        }
        Ok(found)
    }

    fn take(
        &self,
        rows: &mut Rows,
        room: usize,
        is_taken: &dyn Fn(&str) -> bool,
        facts: &mut Facts<'_>,
        due: &mut Vec<Due>,
    ) -> Result<(), ProjectionError> {
        let Some(table) = self.table(PENDING)? else { return Ok(()) };
        let mut taken = 0_usize;
        for row in range(&table, &rows.next)? {
            if taken >= room {
                return Ok(());
            }
            let (key, value) = row?;
            let key = key.value();
            if !key.starts_with(&rows.prefix) {
                break;
            }
            rows.next = format!("{key}\0");
            if is_taken(key) {
                continue;
            }
            let pending: Pending = checksum::decode(PENDING, key, value.value())?;
            due.push(facts.complete(key, pending)?);
            taken = taken.saturating_add(1);
        }
        rows.done = true;
        Ok(())
    }

    /// How much waits in each lane; rows that `is_aside` do not count.
    pub(crate) fn outbox(&self, is_aside: &dyn Fn(&str) -> bool) -> Result<Vec<(Lane, OutboxState)>, ProjectionError> {
        let mut lanes: Vec<(Lane, OutboxState)> = Lane::ALL.map(|lane| (lane, OutboxState::default())).into();
        let Some(table) = self.table(PENDING)? else { return Ok(lanes) };
        for (lane, state) in &mut lanes {
            let prefix = lane_prefix(*lane);
            let mut workspace = None;
            for row in range(&table, prefix)? {
                let (key, value) = row?;
                let key = key.value();
                let Some(rest) = key.strip_prefix(prefix) else { break };
                if is_aside(key) {
                    continue;
                }
                state.depth = state.depth.saturating_add(1);
                // Rows of one workspace stand in the order of their causes.
                let own = rest.split('/').next().map(str::to_owned);
                if workspace != own {
                    workspace = own;
                    let pending: Pending = checksum::decode(PENDING, key, value.value())?;
                    let oldest = state.oldest.map_or(pending.cause.at, |oldest| oldest.min(pending.cause.at));
                    state.oldest = Some(oldest);
                }
            }
        }
        Ok(lanes)
    }

    /// Every version of a secret that a decision in the outbox hands over.
    pub(crate) fn versions_due(&self) -> Result<BTreeSet<(SecretKey, u64)>, ProjectionError> {
        let Some(table) = self.table(PENDING)? else { return Ok(BTreeSet::new()) };
        let mut versions = BTreeSet::new();
        for row in range(&table, "")? {
            let (key, value) = row?;
            let Pending { decision, .. } = checksum::decode(PENDING, key.value(), value.value())?;
            let version = decision.credential().map(|credential| {
                let secret_name = credential.secret_name.clone();
                (SecretKey { workspace: decision.workspace.clone(), secret_name }, credential.version)
            });
            versions.extend(version);
        }
        Ok(versions)
    }
}

/// The first key after all that begin with a prefix that ends with a slash.
fn after(prefix: &str) -> String {
    format!("{}0", prefix.trim_end_matches('/'))
}

/// Facts that several decisions of a batch need, each read once.
struct Facts<'s> {
    snapshot: &'s Snapshot,
    workers: HashMap<String, Option<WorkerFact>>,
    secrets: HashMap<String, Option<SecretFact>>,
}

impl Facts<'_> {
    fn complete(&mut self, key: &str, pending: Pending) -> Result<Due, ProjectionError> {
        let (mut worker, mut secret) = (None, None);
        if let Some(credential) = pending.decision.credential() {
            let worker_key = pending.decision.worker_id.as_str().to_owned();
            let workspace = pending.decision.workspace.clone();
            let secret_key = secret_key(&SecretKey { workspace, secret_name: credential.secret_name.clone() });
            worker = read_once(self.snapshot, WORKERS, &mut self.workers, worker_key)?;
            secret = read_once(self.snapshot, SECRETS, &mut self.secrets, secret_key)?;
        }
        Ok(Due { key: key.to_owned(), pending, worker, secret })
    }
}

fn read_once<T: Clone + serde::de::DeserializeOwned>(
    snapshot: &Snapshot,
    table: &'static str,
    known: &mut HashMap<String, Option<T>>,
    key: String,
) -> Result<Option<T>, ProjectionError> {
    if let Some(row) = known.get(&key) {
        return Ok(row.clone());
    }
    let row: Option<T> = snapshot.row(table, &key)?;
    known.insert(key, row.clone());
    Ok(row)
}
