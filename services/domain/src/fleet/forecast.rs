//! What will break and when, as far as the log tells: secrets and tokens that end, workers that stay away, images that cannot be
//! pulled, keys that are being replaced.
//!
//! A forecast is not a list of dates. A secret that is always renewed two days before it ends is none until it is overdue, one
//! that nobody uses by then breaks nothing, and a worker that is often quiet is not away.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use serde::{Serialize, Serializer};
use waybill_schemas::Timestamp;

use super::{
    About, Fleet, Moment, Row,
    habits::{Asked, Ending, EndingToken, Failing, Heard},
};
use crate::explain::Hop;

/// Renewals in time that make a habit.
const HABIT: u32 = 2;
/// Uses, and ends of uses, that make a habit.
const USES: u32 = 3;
/// A worker that was asked for something and says nothing for so long is away.
const OWED_MICROS: i64 = 3_600_000_000;
/// Placements that ended without a word of their worker, so that it is away.
const UNANSWERED: u32 = 2;
/// Signs of life that make a habit.
const SIGNS: i64 = 8;
/// So much longer than usual is far longer.
const FAR: i64 = 12;

/// What kind of thing will break.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum ForecastKind {
    /// A secret ends while containers need it.
    SecretExpires,
    /// A bearer token ends.
    TokenEnds,
    /// A worker with placements is not heard of.
    WorkerAway,
    /// The next pull of an image fails as the last one did.
    PullFails,
    /// A sealing key of the scheduler's was replaced, and what was sealed with it is good only until it is retired.
    KeyReplaced,
}

impl ForecastKind {
    /// Every kind.
    pub const ALL: &'static [Self] =
        &[Self::SecretExpires, Self::TokenEnds, Self::WorkerAway, Self::PullFails, Self::KeyReplaced];

    /// The word in JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::SecretExpires => "secret_expires",
            Self::TokenEnds => "token_ends",
            Self::WorkerAway => "worker_away",
            Self::PullFails => "pull_fails",
            Self::KeyReplaced => "key_replaced",
        }
    }

    /// The kind of thing that it names.
    pub fn thing(self) -> &'static str {
        match self {
            Self::SecretExpires => "secret",
            Self::TokenEnds => "token",
            Self::WorkerAway => "worker",
            Self::PullFails => "image",
            Self::KeyReplaced => "key",
        }
    }
}

impl Serialize for ForecastKind {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

/// Something that breaks, unless somebody does something about it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Forecast {
    /// What kind of thing breaks.
    pub kind: ForecastKind,
    /// Its owner, where it has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub workspace: Option<String>,
    /// The secret, the token, the worker or the image.
    pub id: String,
    /// When; none where it is broken already.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub at: Option<Timestamp>,
    /// Since when it is broken, where it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since: Option<Timestamp>,
    /// Containers that it touches.
    pub containers: usize,
    /// Images of theirs.
    pub images: usize,
    /// Workers of theirs.
    pub workers: usize,
    /// What breaks and why, in one sentence.
    pub sentence: String,
    /// The command that prevents or mends it.
    pub remedy: String,
}

/// What a secret's or an image's placements are, in numbers.
#[derive(Default)]
struct Reach<'f> {
    placements: Vec<&'f Row>,
}

impl Reach<'_> {
    fn counts(&self) -> [usize; 3] {
        let images: BTreeSet<_> = self.placements.iter().filter_map(|row| row.image.as_deref()).collect();
        let workers: BTreeSet<_> = self.placements.iter().map(|row| &row.worker).collect();
        [self.placements.len(), images.len(), workers.len()]
    }
}

/// What breaks within a time from `now` on, what is broken first, then the soonest. `workspace` restricts it to one.
pub fn forecast(fleet: &Fleet, workspace: Option<&str>, now: Timestamp, within: Duration) -> Vec<Forecast> {
    let now = Moment::from(now);
    let horizon = Moment(now.0.saturating_add(i64::try_from(within.as_micros()).unwrap_or(i64::MAX)));
    let mine = |owner: &str| workspace.is_none_or(|workspace| workspace == owner);
    let secrets: Vec<_> = fleet
        .habits
        .secrets
        .iter()
        .filter(|((owner, _), ending)| mine(owner) && ending.ends <= horizon && !ending.is_renewed_in_time(now))
        .collect();
    let failing: Vec<_> = fleet
        .habits
        .failing
        .iter()
        .filter(|((owner, _), failing)| mine(owner) && fleet.habits.still_fails(owner, failing))
        .collect();
    let mut reach = Reaches::default();
    reach.by_secret.extend(secrets.iter().map(|((owner, name), _)| ((&**owner, &**name), Reach::default())));
    reach.by_image.extend(failing.iter().map(|((owner, image), _)| ((&**owner, &**image), Reach::default())));
    reach.gather(fleet);
    let Reaches { by_secret, by_image } = reach;
    let secrets = secrets.into_iter().zip(by_secret.into_values());
    let secrets = secrets.filter_map(|((key, ending), reach)| foretell_secret(key, ending, &reach, now));
    let failing = failing.into_iter().zip(by_image.into_values());
    let failing = failing.map(|((key, failing), reach)| foretell_pull(key, failing, &reach));
    let tokens = fleet.habits.tokens.iter().filter_map(|(name, token)| {
        let is_mine = workspace.is_none_or(|workspace| token.workspaces.iter().any(|own| &**own == workspace));
        let ends = is_mine && token.ends > now && token.ends <= horizon;
        (ends && !fleet.is_replaced(name, token)).then(|| foretell_token(name, token))
    });
    let workers =
        fleet.heard.iter().filter_map(|(worker, heard)| foretell_worker(fleet, worker, *heard, workspace, now));
    // The keys are the operator's.
    let keys = fleet.habits.replaced_keys.iter().filter(|_| workspace.is_none());
    let keys = keys.map(|(key, since)| foretell_key(fleet, key, *since));
    let mut all: Vec<Forecast> = secrets.chain(failing).chain(tokens).chain(workers).chain(keys).collect();
    all.sort_by(|one, other| {
        let key = |forecast: &Forecast| (forecast.at.is_some(), forecast.at.map(|at| at.instant()));
        key(one).cmp(&key(other)).then(other.containers.cmp(&one.containers)).then(one.id.cmp(&other.id))
    });
    all
}

/// The placements of what is asked about, in the order of its names.
#[derive(Default)]
struct Reaches<'f> {
    by_secret: BTreeMap<(&'f str, &'f str), Reach<'f>>,
    by_image: BTreeMap<(&'f str, &'f str), Reach<'f>>,
}

impl<'f> Reaches<'f> {
    /// Looks once at all placements, and not at all where nothing is asked about.
    fn gather(&mut self, fleet: &'f Fleet) {
        if self.by_secret.is_empty() && self.by_image.is_empty() {
            return;
        }
        for row in fleet.rows.values().filter(|row| row.standing.hop() != Hop::Withdrawn) {
            let secret = row.target.as_ref().and_then(|target| target.secret.as_deref());
            if let Some(reach) = secret.and_then(|secret| self.by_secret.get_mut(&(&*row.workspace, secret))) {
                reach.placements.push(row);
            }
            let image = row.image.as_deref();
            if let Some(reach) = image.and_then(|image| self.by_image.get_mut(&(&*row.workspace, image))) {
                reach.placements.push(row);
            }
        }
    }
}

impl Ending {
    /// True if it has always been renewed before it ended, and its time for that has not passed by a quarter.
    fn is_renewed_in_time(&self, now: Moment) -> bool {
        let overdue = self.shortest_lead.saturating_sub(self.shortest_lead.checked_div(4).unwrap_or(0));
        self.renewals >= HABIT && self.ends.since(now) > overdue
    }
}

impl Asked {
    /// True if a placement is still there at a time: those of this secret last long enough, as far as is known.
    fn lasts_until(&self, row: &Row, at: Moment) -> bool {
        self.ended < USES || at.since(row.requested) <= self.longest_life.saturating_mul(2)
    }

    /// True if it is asked for again and again, and was lately.
    fn goes_on(&self, now: Moment) -> bool {
        let is_lately = |last: Moment| now.since(last) <= self.longest_gap.saturating_mul(2);
        self.count >= USES && self.last.is_some_and(is_lately)
    }
}

fn foretell_secret(
    (workspace, name): &(Arc<str>, Box<str>),
    ending: &Ending,
    reach: &Reach<'_>,
    now: Moment,
) -> Option<Forecast> {
    let Ending { ends, version, asked, .. } = ending;
    let at = (*ends).max(now);
    let placements = reach.placements.iter().copied().filter(|row| asked.lasts_until(row, at)).collect();
    let lasting = Reach { placements };
    let [containers, images, workers] = lasting.counts();
    let goes_on = asked.goes_on(now);
    if containers == 0 && !goes_on {
        return None;
    }
    let is_over = *ends <= now;
    let (verb, time) = (if is_over { "expired" } else { "expires" }, Timestamp::from(*ends));
    let under = match containers {
        0 => "is asked for again and again".to_owned(),
        1 => "1 container has it".to_owned(),
        many => format!("{many} containers have it"),
    };
    Some(Forecast {
        kind: ForecastKind::SecretExpires,
        workspace: Some(workspace.to_string()),
        id: name.to_string(),
        at: (!is_over).then_some(time),
        since: is_over.then_some(time),
        containers,
        images,
        workers,
        sentence: format!("version {version} of secret {name} {verb} at {time}, and {under}"),
        remedy: format!("waybill secrets rotate {name} --creds FILE --workspace {workspace}"),
    })
}

fn foretell_pull((workspace, image): &(Arc<str>, Box<str>), failing: &Failing, reach: &Reach<'_>) -> Forecast {
    let [containers, _, workers] = reach.counts();
    let code = failing.cause.code.as_str();
    let remedy = match &failing.secret {
        Some(secret) if matches!(failing.cause.about, About::Secret(_)) => {
            format!("waybill secrets rotate {secret} --creds FILE --workspace {workspace}")
        }
        _ => format!("waybill explain image {image} --workspace {workspace}"),
    };
    Forecast {
        kind: ForecastKind::PullFails,
        workspace: Some(workspace.to_string()),
        id: image.to_string(),
        at: None,
        since: Some(failing.since.into()),
        containers,
        images: 1,
        workers,
        sentence: format!(
            "the last pull of image {image}, on worker {}, failed ({code}, {}), and nothing was put right since",
            failing.worker, failing.cause.about
        ),
        remedy,
    }
}

fn foretell_token(name: &str, token: &EndingToken) -> Forecast {
    let at = Timestamp::from(token.ends);
    let roles = token.roles.iter().map(|role| format!(" --role {role}")).collect::<String>();
    let workspaces = token.workspaces.iter().map(|own| format!(" --workspace {own}")).collect::<String>();
    Forecast {
        kind: ForecastKind::TokenEnds,
        workspace: token.workspaces.first().filter(|_| token.workspaces.len() == 1).map(|own| own.to_string()),
        id: name.to_owned(),
        at: Some(at),
        since: None,
        containers: 0,
        images: 0,
        workers: 0,
        sentence: format!("token {name} ends at {at}, and no other takes its place"),
        remedy: format!("waybill token create {name}-next{roles}{workspaces}"),
    }
}

impl Fleet {
    /// True if a token that ends later, or never, is for the same: whoever made it takes that one.
    fn is_replaced(&self, name: &str, token: &EndingToken) -> bool {
        self.habits.tokens.iter().any(|(other, later)| {
            &**other != name
                && later.ends > token.ends
                && later.roles == token.roles
                && later.workspaces == token.workspaces
        })
    }
}

/// Workers that were away since then come back to grants which are good no more once the key is retired.
fn foretell_key(fleet: &Fleet, key: &str, since: Moment) -> Forecast {
    let away =
        fleet.on_worker.iter().filter(|(worker, _)| fleet.heard.get(*worker).is_none_or(|heard| heard.last < since));
    let rows = away.flat_map(|(_, numbers)| numbers).filter_map(|number| fleet.rows.get(number));
    let reach = Reach { placements: rows.filter(|row| row.standing.hop() != Hop::Withdrawn).collect() };
    let ([containers, images, workers], since) = (reach.counts(), Timestamp::from(since));
    let unheard = match workers {
        0 => "every worker with containers was heard of since".to_owned(),
        1 => "1 worker with containers was not heard of since".to_owned(),
        many => format!("{many} workers with containers were not heard of since"),
    };
    Forecast {
        kind: ForecastKind::KeyReplaced,
        workspace: None,
        id: key.to_owned(),
        at: None,
        since: Some(since),
        containers,
        images,
        workers,
        sentence: format!(
            "the scheduler's key {key} was replaced at {since}, and opens what was sealed with it until it is retired; {unheard}"
        ),
        remedy: "waybill keys retire".to_owned(),
    }
}

fn foretell_worker(
    fleet: &Fleet,
    worker: &Arc<str>,
    heard: Heard,
    workspace: Option<&str>,
    now: Moment,
) -> Option<Forecast> {
    let numbers = fleet.on_worker.get(worker).into_iter().flatten();
    let rows = numbers.filter_map(|number| Some((*number, fleet.rows.get(number)?)));
    let rows: Vec<_> = rows.filter(|(_, row)| row.standing.hop() != Hop::Withdrawn).collect();
    // Something was placed on it since, and it said nothing of that.
    let owes = |(number, row): &&(u64, &Row)| {
        *number > heard.sequence && row.is_owed() && now.since(row.requested) > OWED_MICROS
    };
    let is_owing = rows.iter().any(|row| owes(&row)) || heard.unanswered >= UNANSWERED;
    let silent = now.since(heard.last);
    let usual = heard.mean_gap.saturating_mul(FAR).max(heard.longest_gap.saturating_mul(3).checked_div(2)?);
    let is_far = heard.gaps >= SIGNS && silent > usual.max(OWED_MICROS);
    let mine = rows.into_iter().map(|(_, row)| row).filter(|row| workspace.is_none_or(|own| own == &*row.workspace));
    let reach = Reach { placements: mine.collect() };
    let [containers, images, _] = reach.counts();
    if !(is_owing && (containers > 0 || workspace.is_none()) || is_far && containers > 0) {
        return None;
    }
    let since = Timestamp::from(heard.last);
    let why = if is_owing { "what was placed on it since has no answer" } else { "that is far longer than usual" };
    Some(Forecast {
        kind: ForecastKind::WorkerAway,
        workspace: None,
        id: worker.to_string(),
        at: None,
        since: Some(since),
        containers,
        images,
        workers: 1,
        sentence: format!("worker {worker} was last heard of at {since}, and {why}"),
        remedy: format!("waybill worker --id {worker}"),
    })
}
