//! What a forecast needs of the past: when secrets and tokens end and how they are usually renewed, who usually asks for them, how
//! often workers are heard of, and which images could not be pulled last.

use std::{collections::BTreeMap, sync::Arc};

use waybill_schemas::{
    Event, Subject,
    v1::{AttachSkipReason, SecretVersion, TokenCreated, TokenRole},
};

use super::{Cause, Fleet, Image, Moment, Row, Standing};
use crate::explain::{Code, Hop};

/// Most secrets that end, tokens that end, and images that cannot be pulled, each. More are not foretold.
const MOST: usize = 100_000;
/// Reports of a worker that are closer together are one sign of life.
const APART_MICROS: i64 = 600_000_000;
/// The last gaps that make up what is usual.
const GAPS: i64 = 64;

/// A secret whose newest version ends.
#[derive(Debug)]
pub(super) struct Ending {
    pub(super) ends: Moment,
    pub(super) version: u64,
    /// How often in a row it was renewed before it ended, and the shortest time that was left.
    pub(super) renewals: u32,
    pub(super) shortest_lead: i64,
    pub(super) asked: Asked,
}

/// How placements that have a secret come and go.
#[derive(Debug, Default)]
pub(super) struct Asked {
    pub(super) count: u32,
    pub(super) last: Option<Moment>,
    pub(super) longest_gap: i64,
    /// Placements that ended, and the longest that one of them lasted.
    pub(super) ended: u32,
    pub(super) longest_life: i64,
}

/// A bearer token that ends.
#[derive(Debug)]
pub(super) struct EndingToken {
    pub(super) ends: Moment,
    pub(super) roles: Vec<TokenRole>,
    pub(super) workspaces: Vec<Box<str>>,
}

/// When a worker was heard of.
#[derive(Debug, Clone, Copy)]
pub(super) struct Heard {
    pub(super) last: Moment,
    pub(super) sequence: u64,
    /// Gaps between signs of life, and what they are on average and at most.
    pub(super) gaps: i64,
    pub(super) mean_gap: i64,
    pub(super) longest_gap: i64,
    /// Placements that it was given since, and that ended without a word of it.
    pub(super) unanswered: u32,
}

/// An image whose last pull failed.
#[derive(Debug)]
pub(super) struct Failing {
    pub(super) cause: Arc<Cause>,
    pub(super) secret: Option<Box<str>>,
    pub(super) worker: Arc<str>,
    pub(super) since: Moment,
    /// The event that says so last.
    sequence: u64,
}

/// Everything that a forecast looks at beside the placements.
#[derive(Debug, Default)]
pub(super) struct Habits {
    pub(super) secrets: BTreeMap<(Arc<str>, Box<str>), Ending>,
    pub(super) tokens: BTreeMap<Box<str>, EndingToken>,
    pub(super) failing: BTreeMap<Image, Failing>,
    /// Earlier keys of the scheduler that are taken still, and when each was replaced.
    pub(super) replaced_keys: BTreeMap<Box<str>, Moment>,
    /// Where the newest version of each secret stands.
    renewed: BTreeMap<(Arc<str>, Box<str>), u64>,
}

impl Habits {
    /// True if nothing was put right since an image could not be pulled: no newer version of its secret, as a new build forgets it.
    pub(super) fn still_fails(&self, workspace: &Arc<str>, failing: &Failing) -> bool {
        let key = failing.secret.clone().map(|secret| (workspace.clone(), secret));
        key.and_then(|key| self.renewed.get(&key)).is_none_or(|renewed| *renewed < failing.sequence)
    }
}

impl Moment {
    pub(super) fn since(self, earlier: Self) -> i64 {
        self.0.saturating_sub(earlier.0)
    }
}

impl Heard {
    fn first((sequence, last): (u64, Moment)) -> Self {
        Self { last, sequence, gaps: 0, mean_gap: 0, longest_gap: 0, unanswered: 0 }
    }

    fn again(&mut self, (sequence, now): (u64, Moment)) {
        let gap = now.since(self.last);
        if gap >= APART_MICROS {
            self.gaps = self.gaps.saturating_add(1);
            let difference = gap.saturating_sub(self.mean_gap);
            self.mean_gap = self.mean_gap.saturating_add(difference.checked_div(self.gaps.min(GAPS)).unwrap_or(0));
            self.longest_gap = self.longest_gap.max(gap);
        }
        (self.last, self.sequence, self.unanswered) = (now, sequence, 0);
    }
}

impl Fleet {
    /// Notes a sign of life of a worker.
    pub(super) fn hear(&mut self, subject: &Subject, now: (u64, Moment)) {
        let (Subject::ContainerOutcome { worker_id, .. }
        | Subject::SecretOutcome { worker_id, .. }
        | Subject::ContainerQuestion { worker_id, .. }
        | Subject::NodeQuestion { worker_id }
        | Subject::Worker { worker_id }) = subject
        else {
            return;
        };
        let worker = self.name(worker_id.as_str());
        self.heard.entry(worker).and_modify(|heard| heard.again(now)).or_insert_with(|| Heard::first(now));
    }

    /// Notes what an event says of ends, and of who uses what ends.
    pub(super) fn note_habits(&mut self, event: &Event, place: (u64, Moment)) {
        let now = place.1;
        match event {
            Event::CredentialSecretSaved(saved) => {
                self.note_version(saved.workspace.as_str(), saved.secret_name.as_str(), &saved.stored, place);
            }
            Event::CredentialSecretRotated(rotated) => {
                self.note_version(rotated.workspace.as_str(), rotated.secret_name.as_str(), &rotated.stored, place);
            }
            Event::CredentialSecretRevoked(revoked) => {
                self.forget_secret(revoked.workspace.as_str(), revoked.secret_name.as_str());
            }
            Event::CredentialSecretShredded(shredded) => {
                self.forget_secret(shredded.workspace.as_str(), shredded.secret_name.as_str());
            }
            Event::ContainerCredentialsAttached(attached) => {
                let key = (self.name(attached.workspace.as_str()), attached.secret_name.as_str().into());
                if let Some(ending) = self.habits.secrets.get_mut(&key) {
                    ending.asked.ask(now);
                }
            }
            // Somebody who asks in vain asks all the same.
            Event::ContainerCredentialsSkipped(skipped) if skipped.reason == AttachSkipReason::SecretExpired => {
                let Some(name) = &skipped.secret_name else { return };
                let key = (self.name(skipped.workspace.as_str()), name.as_str().into());
                if let Some(ending) = self.habits.secrets.get_mut(&key) {
                    ending.asked.ask(now);
                }
            }
            Event::SchedulerKeyPublished(published) => {
                let before = std::mem::take(&mut self.habits.replaced_keys);
                let earlier = published.earlier_keys.iter().map(|key| key.as_str());
                let noted = earlier.map(|key| (Box::from(key), before.get(key).copied().unwrap_or(now)));
                self.habits.replaced_keys = noted.collect();
            }
            Event::TokenCreated(token) => self.note_token(token),
            Event::TokenRevoked(token) => drop(self.habits.tokens.remove(token.token_id.as_str())),
            // What was placed on it is withdrawn: nobody waits for it.
            Event::WorkerRetired(retired) => drop(self.heard.remove(retired.worker_id.as_str())),
            _ => {}
        }
    }

    fn note_version(&mut self, workspace: &str, name: &str, stored: &SecretVersion, (sequence, now): (u64, Moment)) {
        let key = (self.name(workspace), Box::from(name));
        // Whatever the last pull failed of may be put right by that.
        if self.habits.renewed.len() >= MOST {
            self.habits.renewed.pop_first();
        }
        self.habits.renewed.insert(key.clone(), sequence);
        let before = self.habits.secrets.remove(&key);
        let Some(ends) = stored.expires_at.map(Moment::from) else { return };
        let mut ending =
            Ending { ends, version: stored.version, renewals: 0, shortest_lead: i64::MAX, asked: Asked::default() };
        if let Some(before) = before {
            let lead = before.ends.since(now);
            ending.asked = before.asked;
            if lead > 0 {
                ending.renewals = before.renewals.saturating_add(1);
                ending.shortest_lead = before.shortest_lead.min(lead);
            }
        }
        if self.habits.secrets.len() >= MOST {
            self.habits.secrets.retain(|_, ending| ending.ends > now);
        }
        if self.habits.secrets.len() < MOST {
            self.habits.secrets.insert(key, ending);
        }
    }

    fn forget_secret(&mut self, workspace: &str, name: &str) {
        let key = (self.name(workspace), Box::from(name));
        self.habits.secrets.remove(&key);
    }

    fn note_token(&mut self, token: &TokenCreated) {
        self.habits.tokens.remove(token.token_id.as_str());
        // A join token is there to end.
        if token.roles.contains(&TokenRole::Join) || self.habits.tokens.len() >= MOST {
            return;
        }
        let workspaces = token.workspaces.iter().map(|workspace| workspace.as_str().into()).collect();
        // One without an end may take the place of others.
        let ends = token.ends_at.map_or(Moment(i64::MAX), Moment::from);
        let ending = EndingToken { ends, roles: token.roles.clone(), workspaces };
        self.habits.tokens.insert(token.token_id.as_str().into(), ending);
    }

    /// Notes that a placement is over.
    pub(super) fn note_end(&mut self, placement: u64, now: Moment) {
        let Some(row) = self.rows.get(&placement) else { return };
        if let Some(heard) = self.heard.get_mut(&row.worker).filter(|heard| row.is_owed() && placement > heard.sequence)
        {
            heard.unanswered = heard.unanswered.saturating_add(1);
        }
        let Some(secret) = row.target.as_ref().and_then(|target| target.secret.clone()) else { return };
        if let Some(ending) = self.habits.secrets.get_mut(&(row.workspace.clone(), secret)) {
            ending.asked.ended = ending.asked.ended.saturating_add(1);
            ending.asked.longest_life = ending.asked.longest_life.max(now.since(row.requested));
        }
    }

    /// Notes how the last pull of a placement's image went.
    pub(super) fn note_pull(&mut self, placement: u64, failed: Option<&Arc<Cause>>, (sequence, now): (u64, Moment)) {
        let Some(row) = self.rows.get(&placement) else { return };
        let Some(image) = row.image.clone() else { return };
        let key = (row.workspace.clone(), image);
        let Some(cause) = failed else { return drop(self.habits.failing.remove(&key)) };
        if !is_lasting(cause) || (self.habits.failing.len() >= MOST && !self.habits.failing.contains_key(&key)) {
            return;
        }
        let secret = row.target.as_ref().and_then(|target| target.secret.clone());
        let known = self.habits.failing.get(&key).filter(|known| known.cause == *cause);
        let since = known.map_or(now, |known| known.since);
        let failing = Failing { cause: cause.clone(), secret, worker: row.worker.clone(), since, sequence };
        self.habits.failing.insert(key, failing);
    }

    /// Notes that an image was built again: its next pull is another one.
    pub(super) fn note_rebuilt(&mut self, image: &Image) {
        self.habits.failing.remove(image);
    }
}

impl Row {
    /// True if its worker has the decision and has to report.
    pub(super) fn is_owed(&self) -> bool {
        matches!(self.standing, Standing::Open(Code::AwaitingProvider | Code::AwaitingPull))
    }
}

impl Asked {
    fn ask(&mut self, now: Moment) {
        if let Some(last) = self.last {
            self.longest_gap = self.longest_gap.max(now.since(last));
        }
        (self.last, self.count) = (Some(now), self.count.saturating_add(1));
    }
}

/// True if a pull that failed so fails again until somebody mends it. What comes of a moment or of one node is none.
fn is_lasting(cause: &Cause) -> bool {
    match cause.code {
        Code::Unauthorized
        | Code::Denied
        | Code::NotFound
        | Code::NoPlatform
        | Code::UnsupportedChallenge
        | Code::InvalidReference
        | Code::NoImageReference
        | Code::DigestMismatch
        | Code::TlsWrongHost
        | Code::TlsUnknownAuthority
        | Code::PlainHttp
        | Code::TokenExchangeFailed
        | Code::NoCredentialsProvided
        | Code::UnrecognizedCredentials => true,
        _ => cause.hop == Hop::Saved && cause.code == Code::IncompleteCredentials,
    }
}
