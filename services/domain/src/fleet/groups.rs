//! Failures of a time span, grouped by what has to be mended.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use waybill_schemas::Timestamp;

use super::{
    About, Cause, Failure, Fleet, Moment, Row, Standing,
    cause::is_of_the_way,
    refused::{Kind, Refusal, Thing},
};
use crate::explain::{Code, State};

/// How long a placement may wait for a report before the wait counts as a failure.
const PATIENCE_MICROS: i64 = 60_000_000;

/// Failures that have one cause.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Group {
    /// What broke, and what has to be mended.
    #[serde(flatten)]
    pub cause: Cause,
    /// `broken`, or `in_flight` where everybody waits.
    pub state: State,
    /// Containers that failed of it.
    pub containers: usize,
    /// Those of them that still stand so.
    pub still: usize,
    /// Images, workers, secrets and workspaces that they are of.
    pub images: usize,
    /// See `images`.
    pub workers: usize,
    /// See `images`.
    pub secrets: usize,
    /// See `images`.
    pub workspaces: usize,
    /// The first failure of the span.
    pub first: Place,
    /// The last one.
    pub last: Place,
    /// One container that failed so: the newest that still stands so, or the newest; where only requests were refused, what one
    /// of them was about.
    pub example: Example,
    /// Sentence and remedy, where they are the newest refusal's own.
    #[serde(skip)]
    pub told: Option<(String, String)>,
}

/// A place in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Place {
    /// Stream sequence.
    pub sequence: u64,
    /// The stream's time.
    pub time: Timestamp,
}

/// A container that failed, or what a refused request was about.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Example {
    /// `container`, `image` or `secret`; `event` where the request named none of them.
    pub kind: &'static str,
    /// Its owner, where it has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub workspace: Option<String>,
    /// The container, the image or the secret, or the sequence of the event.
    pub id: String,
    /// The placement that failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub placement: Option<u64>,
}

/// One failure, or one wait.
#[derive(Clone, Copy)]
struct Case<'f> {
    sequence: u64,
    at: Moment,
    placement: u64,
    workspace: &'f str,
    worker: &'f str,
    container: &'f str,
    image: Option<&'f str>,
    secret: Option<&'f str>,
    state: State,
    still: bool,
}

impl Case<'_> {
    fn describe(&self) -> Example {
        let (workspace, id) = (Some(self.workspace.to_owned()), self.container.to_owned());
        Example { kind: "container", workspace, id, placement: Some(self.placement) }
    }
}

impl Thing {
    fn describe(&self, sequence: u64) -> Example {
        let (kind, id) = match self.kind {
            Kind::Container => ("container", self.id.to_string()),
            Kind::Image => ("image", self.id.to_string()),
            Kind::Secret => ("secret", self.id.to_string()),
            Kind::Unnamed => ("event", sequence.to_string()),
        };
        Example { kind, workspace: self.workspace.as_deref().map(str::to_owned), id, placement: None }
    }
}

impl Fleet {
    /// What failed since a time, by cause: the widest first. `workspace` restricts it to one; `now` tells which waits are long.
    pub fn group_failures(&self, workspace: Option<&str>, since: Timestamp, now: Timestamp) -> Vec<Group> {
        let (since, now) = (Moment::from(since), Moment::from(now));
        let mine = |owner: &str| workspace.is_none_or(|workspace| workspace == owner);
        let failed = self.failures.iter().rev().take_while(|(_, failure)| failure.at >= since);
        let failed = failed.filter(|(_, failure)| mine(&failure.workspace));
        let failed: Vec<(&Cause, Case<'_>)> =
            failed.map(|((sequence, _), failure)| (&*failure.cause, self.case(*sequence, failure))).collect();
        let blamed = blame_workers(&failed);
        let mut groups: BTreeMap<(Option<&str>, Cause), Gathered<'_>> = BTreeMap::new();
        for (cause, case) in failed {
            let about = match &cause.about {
                About::Registry(registry) if blamed.contains(&(cause.code, case.worker, &**registry)) => {
                    About::Worker(case.worker.into())
                }
                about => about.clone(),
            };
            let cause = Cause { about, ..cause.clone() };
            groups.entry((owner(&cause, case.workspace), cause)).or_default().take(case);
        }
        for (cause, case) in self.long_waits(now).filter(|(_, case)| mine(case.workspace)) {
            groups.entry((owner(&cause, case.workspace), cause)).or_default().take(case);
        }
        let refused = self.refusals.iter().filter(|(_, refusal)| refusal.place.1 >= since);
        for (thing, refusal) in refused {
            let owner = thing.workspace.as_deref();
            if owner.map_or(workspace.is_none(), mine) {
                groups.entry((owner, (*refusal.cause).clone())).or_default().take_refusal(thing, refusal);
            }
        }
        let mut groups: Vec<Group> =
            groups.into_iter().filter_map(|((_, cause), gathered)| gathered.into_group(cause)).collect();
        groups.sort_by_key(|group| std::cmp::Reverse((group.containers, group.last.sequence)));
        groups
    }

    /// Time from which on every failure is known; none where everything since the log's beginning is.
    pub fn failures_complete_from(&self) -> Option<Timestamp> {
        self.complete_from.map(Timestamp::from)
    }

    fn case<'f>(&'f self, sequence: u64, failure: &'f Failure) -> Case<'f> {
        let standing = self.rows.get(&failure.placement).map(|row| &row.standing);
        Case {
            sequence,
            at: failure.at,
            placement: failure.placement,
            workspace: &failure.workspace,
            worker: &failure.worker,
            container: &failure.container,
            image: failure.image.as_deref(),
            secret: failure.target.as_ref().and_then(|target| target.secret.as_deref()),
            state: State::Broken,
            still: matches!(standing, Some(Standing::Broken(cause)) if *cause == failure.cause),
        }
    }

    /// Placements that wait for longer than patience lasts, wherever the wait began.
    fn long_waits(&self, now: Moment) -> impl Iterator<Item = (Cause, Case<'_>)> {
        let rows = self.open.iter().filter_map(|placement| Some((*placement, self.rows.get(placement)?)));
        let long = move |row: &Row| now.0.saturating_sub(row.since.1.0) > PATIENCE_MICROS;
        rows.filter(move |(_, row)| long(row)).map(|(placement, row)| {
            let about = match row.standing {
                Standing::Open(Code::AwaitingDecision) => About::Scheduler,
                _ => About::Worker((&*row.worker).into()),
            };
            let cause = Cause { hop: row.standing.hop(), code: row.standing.code(), about };
            let case = Case {
                sequence: row.since.0,
                at: row.since.1,
                placement,
                workspace: &row.workspace,
                worker: &row.worker,
                container: &row.container,
                image: row.image.as_deref(),
                secret: row.target.as_ref().and_then(|target| target.secret.as_deref()),
                state: State::InFlight,
                still: true,
            };
            (cause, case)
        })
    }
}

/// The workspace that a cause is of; none where it goes beyond one.
fn owner<'c>(cause: &Cause, workspace: &'c str) -> Option<&'c str> {
    match cause.about {
        About::Secret(_) | About::Image(_) | About::Workspace | About::Request(_) => Some(workspace),
        About::Registry(_) | About::Worker(_) | About::Scheduler => None,
    }
}

/// Where a worker fails on its way to several registries, each of which fails for no other, the way from that worker is broken
/// and not the registries.
fn blame_workers<'f>(failed: &[(&'f Cause, Case<'f>)]) -> BTreeSet<(Code, &'f str, &'f str)> {
    let mut pairs: BTreeSet<(Code, &str, &str)> = BTreeSet::new();
    for (cause, case) in failed {
        if let (true, About::Registry(registry)) = (is_of_the_way(cause.code), &cause.about) {
            pairs.insert((cause.code, case.worker, &**registry));
        }
    }
    let (mut registries, mut workers) = (BTreeMap::<_, usize>::new(), BTreeMap::<_, usize>::new());
    for (code, worker, registry) in &pairs {
        let count = registries.entry((*code, *worker)).or_default();
        *count = count.saturating_add(1);
        let count = workers.entry((*code, *registry)).or_default();
        *count = count.saturating_add(1);
    }
    pairs.retain(|(code, worker, registry)| {
        registries.get(&(*code, *worker)).is_some_and(|count| *count > 1)
            && workers.get(&(*code, *registry)) == Some(&1)
    });
    pairs
}

/// What is counted of one cause.
#[derive(Default)]
struct Gathered<'f> {
    containers: BTreeSet<(&'f str, &'f str)>,
    still: BTreeSet<(&'f str, &'f str)>,
    images: BTreeSet<(&'f str, &'f str)>,
    workers: BTreeSet<&'f str>,
    secrets: BTreeSet<(&'f str, &'f str)>,
    workspaces: BTreeSet<&'f str>,
    first: Option<(u64, Moment)>,
    last: Option<(u64, Moment)>,
    example: Option<Case<'f>>,
    refused: Option<(&'f Thing, &'f Refusal)>,
}

impl<'f> Gathered<'f> {
    fn take(&mut self, case: Case<'f>) {
        let (workspace, place) = (case.workspace, (case.sequence, case.at));
        self.containers.insert((workspace, case.container));
        if case.still {
            self.still.insert((workspace, case.container));
        }
        self.images.extend(case.image.map(|image| (workspace, image)));
        self.secrets.extend(case.secret.map(|secret| (workspace, secret)));
        self.workers.insert(case.worker);
        self.workspaces.insert(workspace);
        self.first = Some(self.first.map_or(place, |first| first.min(place)));
        self.last = self.last.max(Some(place));
        let better = |than: &Case<'_>| (case.still, case.sequence) > (than.still, than.sequence);
        if self.example.as_ref().is_none_or(better) {
            self.example = Some(case);
        }
    }

    fn take_refusal(&mut self, thing: &'f Thing, refusal: &'f Refusal) {
        let named = thing.workspace.as_deref().map(|workspace| (workspace, &*thing.id));
        match thing.kind {
            Kind::Container => self.containers.extend(named),
            Kind::Image => self.images.extend(named),
            Kind::Secret => self.secrets.extend(named),
            Kind::Unnamed => {}
        }
        self.still.extend(named.filter(|_| thing.kind == Kind::Container));
        self.workspaces.extend(thing.workspace.as_deref());
        self.first = Some(self.first.map_or(refusal.first, |first| first.min(refusal.first)));
        self.last = self.last.max(Some(refusal.place));
        if self.refused.is_none_or(|(_, known)| known.place < refusal.place) {
            self.refused = Some((thing, refusal));
        }
    }

    fn into_group(self, cause: Cause) -> Option<Group> {
        let place = |(sequence, at): (u64, Moment)| Place { sequence, time: at.into() };
        let (state, example) = match (self.example, self.refused) {
            (Some(case), _) => (case.state, case.describe()),
            (None, Some((thing, refusal))) => (State::Broken, thing.describe(refusal.place.0)),
            (None, None) => return None,
        };
        let told = self.refused.map(|(_, refusal)| (refusal.sentence.to_string(), refusal.remedy.to_string()));
        Some(Group {
            cause,
            state,
            containers: self.containers.len(),
            still: self.still.len(),
            images: self.images.len(),
            workers: self.workers.len(),
            secrets: self.secrets.len(),
            workspaces: self.workspaces.len(),
            first: place(self.first?),
            last: place(self.last?),
            example,
            told,
        })
    }
}
