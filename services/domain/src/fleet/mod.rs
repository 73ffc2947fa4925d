//! The fleet: how each placement that goes on stands, and what failed lately, folded from the log into what a question about
//! many needs and no more.
//!
//! A container's own story is explained from its events. This answers what runs where, and which one cause a thousand failures
//! have, without reading a log of any length again.

mod cause;
mod fold;
mod forecast;
mod groups;
mod habits;
mod list;
mod refused;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use time::OffsetDateTime;
use waybill_schemas::{
    Timestamp,
    v1::{AttachSkipReason, SaveSkipReason},
};

use crate::explain::{Code, Hop, State};

pub use cause::{About, Cause};
pub use forecast::{Forecast, ForecastKind, forecast};
pub use groups::{Example, Group, Place};
use habits::{Habits, Heard};
pub use list::{Listed, Wanted, WorkerLoad};
use refused::Refusals;

/// An image of a workspace.
type Image = (Arc<str>, Box<str>);
/// The sequence of the event that says that something failed, and the placement: a renewal fails for many at once.
type FailureKey = (u64, u64);

/// How long failures are kept, by the log's clock.
pub const KEPT_HOURS: i64 = 24;
/// Most failures that are kept; the newest.
pub const MOST_KEPT: usize = 200_000;

/// What is known of all placements. At 1,000,000 of them it takes some 440 MB, so that each field here counts.
#[derive(Debug, Default)]
pub struct Fleet {
    position: u64,
    at: Option<Moment>,
    /// Placements that go on, by number.
    rows: BTreeMap<u64, Row>,
    /// The newest placement of each container.
    newest: BTreeMap<(Arc<str>, Arc<str>), u64>,
    /// Placements on each worker.
    on_worker: BTreeMap<Arc<str>, BTreeSet<u64>>,
    /// Placements that wait for a decision or a report.
    open: BTreeSet<u64>,
    /// Why the newest build of an image has no secret. Public images are left out: most images are.
    builds: BTreeMap<Image, SaveSkipReason>,
    failures: BTreeMap<FailureKey, Failure>,
    /// Failures of placements whose image no build was recorded for.
    unbuilt: BTreeMap<Image, Vec<FailureKey>>,
    /// Requests that the gateway refused, and nobody accepted since.
    refusals: Refusals,
    /// When each worker was last heard of.
    heard: BTreeMap<Arc<str>, Heard>,
    /// What a forecast needs of the past.
    habits: Habits,
    /// Everything that failed since then is kept.
    complete_from: Option<Moment>,
    names: BTreeSet<Arc<str>>,
    targets: BTreeSet<Arc<Target>>,
    causes: BTreeSet<Arc<Cause>>,
}

/// A placement that goes on.
#[derive(Debug)]
struct Row {
    workspace: Arc<str>,
    worker: Arc<str>,
    container: Arc<str>,
    image: Option<Box<str>>,
    target: Option<Arc<Target>>,
    requested: Moment,
    /// When its login ends, where that is known.
    ends: Option<Moment>,
    /// Why it has no credentials, and why its image's build had none.
    skip: Option<AttachSkipReason>,
    build: Option<SaveSkipReason>,
    pulled: bool,
    standing: Standing,
    /// The event that says how it stands.
    since: (u64, Moment),
}

/// What a placement pulls with, and from where.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Target {
    secret: Option<Box<str>>,
    registry: Option<Box<str>>,
}

/// How a placement stands.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Standing {
    /// Somebody has not reported yet.
    Open(Code),
    Pulled,
    Broken(Arc<Cause>),
}

impl Standing {
    fn state(&self) -> State {
        match self {
            Self::Open(_) => State::InFlight,
            Self::Pulled => State::Healthy,
            Self::Broken(_) => State::Broken,
        }
    }

    fn code(&self) -> Code {
        match self {
            Self::Open(code) => *code,
            Self::Pulled => Code::Pulled,
            Self::Broken(cause) => cause.code,
        }
    }

    fn hop(&self) -> Hop {
        match self {
            Self::Open(Code::AwaitingDecision) => Hop::Attached,
            Self::Open(Code::AwaitingProvider) => Hop::Provider,
            Self::Open(_) | Self::Pulled => Hop::Pull,
            Self::Broken(cause) => cause.hop,
        }
    }
}

/// Something that failed.
#[derive(Debug)]
struct Failure {
    at: Moment,
    placement: u64,
    workspace: Arc<str>,
    worker: Arc<str>,
    container: Arc<str>,
    image: Option<Box<str>>,
    target: Option<Arc<Target>>,
    cause: Arc<Cause>,
}

/// Microseconds since 1970: half of what a timestamp takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Moment(i64);

impl From<Timestamp> for Moment {
    fn from(at: Timestamp) -> Self {
        let micros = at.instant().unix_timestamp_nanos() / 1_000;
        Self(i64::try_from(micros).unwrap_or(i64::MAX))
    }
}

impl From<Moment> for Timestamp {
    fn from(Moment(micros): Moment) -> Self {
        let at = OffsetDateTime::from_unix_timestamp_nanos(i128::from(micros).saturating_mul(1_000));
        at.unwrap_or(OffsetDateTime::UNIX_EPOCH).into()
    }
}

impl Fleet {
    /// Sequence of the last message that was folded.
    pub fn position(&self) -> u64 {
        self.position
    }

    /// The log's time of that message.
    pub fn at(&self) -> Option<Timestamp> {
        self.at.map(Timestamp::from)
    }

    /// Number of placements that go on.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// True if no placement goes on.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }
}
