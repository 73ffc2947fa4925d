//! Who may do what, as the log says, and what is to be said next: pure.

use std::{collections::BTreeMap, time::Duration};

use waybill_platform::identity::{Ask, By, NewToken, Refusal, Seed, lifetime, recorded_hash};
use waybill_schemas::{
    Event, Recorded, RecordedEvent, Subject, Timestamp, TokenId, WorkerId, WorkspaceId,
    v1::{TokenCreated, TokenRevoked, TokenRole, WorkerJoined, WorkerRetired, WorkspaceAdded, is_user_key},
};

/// Most workspaces of one token that is not for all.
const MOST_WORKSPACES: usize = 16;

/// The last event of each worker, workspace and token.
#[derive(Debug, Default)]
pub(crate) struct Register {
    lasts: BTreeMap<Subject, Recorded<Event>>,
}

/// An event that is to be recorded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Statement {
    pub(crate) subject: Subject,
    /// Sequence of the last event there; 0 for none.
    pub(crate) after: u64,
    pub(crate) event: Event,
    /// Who asked.
    pub(crate) actor: String,
}

/// What a request comes to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Decision {
    /// The log says so already, at this sequence.
    Said(u64),
    /// The log is to say so.
    Say(Box<Statement>),
}

impl Register {
    /// Takes an event in, in the log's order.
    pub(crate) fn fold(&mut self, recorded: Recorded<RecordedEvent>) {
        let Recorded { sequence, at, value: RecordedEvent { subject, event, .. } } = recorded;
        self.lasts.insert(subject, Recorded { sequence, at, value: event });
    }

    /// What a request comes to. Its right has been [checked](Self::authorize).
    pub(crate) fn decide(&self, ask: &Ask, actor: &str, now: Timestamp) -> Result<Decision, Refusal> {
        match ask {
            Ask::Join { by, worker_id, user_key } => {
                let (token_id, replaces) = match by {
                    By::Proof(proof) => (Some(self.join_token(proof, now)?.clone()), false),
                    // The cluster says which node it is, and a pod that is made anew has lost its key.
                    By::ServiceAccount(_) => (None, true),
                };
                let worker_id = worker_id.as_ref().ok_or_else(|| Refusal::new("invalid", "worker_id is missing"))?;
                self.join(worker_id, user_key, token_id, replaces, actor, now)
            }
            Ask::Retire { worker_id, .. } => self.retire(worker_id, actor, now),
            Ask::AddWorkspace { workspace, .. } => Ok(self.add_workspace(workspace, actor)),
            Ask::CreateToken { token, proof, .. } => self.create_token(token, proof, actor, now),
            Ask::RevokeToken { token_id, .. } => self.revoke_token(token_id, actor),
        }
    }

    /// The token that a proof is of, if it is good now and for this.
    pub(crate) fn authorize(&self, proof: &str, role: TokenRole, now: Timestamp) -> Result<&TokenId, Refusal> {
        let hash = recorded_hash(proof);
        let known = self.lasts.values().find_map(|last| match &last.value {
            Event::TokenCreated(token) if token.hash == hash => Some(token),
            _ => None,
        });
        let good = known.filter(|token| token.ends_at.is_none_or(|end| now < end));
        let good = good.ok_or_else(|| {
            let detail = format!("this is no {role} token that is good now: it is not known, has ended or was revoked");
            Refusal::new("not_allowed", detail)
        })?;
        if good.roles.contains(&role) {
            return Ok(&good.token_id);
        }
        Err(Refusal::new("not_allowed", format!("token {} is not for this: it is no {role} token", good.token_id)))
    }

    fn join_token(&self, proof: &str, now: Timestamp) -> Result<&TokenId, Refusal> {
        self.authorize(proof, TokenRole::Join, now)
    }

    fn join(
        &self,
        worker_id: &WorkerId,
        user_key: &str,
        token_id: Option<TokenId>,
        replaces: bool,
        actor: &str,
        now: Timestamp,
    ) -> Result<Decision, Refusal> {
        if !is_user_key(user_key) {
            return Err(Refusal::new("invalid", "user_key is not the public half of a NATS user's key"));
        }
        let subject = Subject::WorkerIdentity { worker_id: worker_id.clone() };
        let last = self.lasts.get(&subject);
        if let Some(Recorded { sequence, value: Event::WorkerJoined(joined), .. }) = last {
            if joined.user_key == user_key {
                return Ok(Decision::Said(*sequence));
            }
            if !replaces {
                let detail = format!(
                    "worker {worker_id} is there already; retire it first (`waybill worker retire {worker_id}`), or take \
                     another id"
                );
                return Err(Refusal::new("conflict", detail));
            }
        }
        if let Some(token_id) = &token_id {
            self.check_use(token_id, worker_id)?;
        }
        let revoked_keys = last.map(|last| revoked_by(last, now)).unwrap_or_default();
        if revoked_keys.iter().any(|key| key == user_key) {
            return Err(Refusal::new("conflict", "this key was revoked; make a new one"));
        }
        let (worker_id, user_key) = (worker_id.clone(), user_key.to_owned());
        let joined = WorkerJoined { worker_id, user_key, token_id, revoked_keys };
        Ok(say(subject, last, joined, actor))
    }

    /// True if one more worker may join by the token, under this id.
    fn check_use(&self, token_id: &TokenId, worker_id: &WorkerId) -> Result<(), Refusal> {
        let last = self.lasts.get(&Subject::Token { token_id: token_id.clone() });
        let Some(Event::TokenCreated(token)) = last.map(|last| &last.value) else { return Ok(()) };
        if let Some(prefix) = &token.worker_prefix
            && !worker_id.as_str().starts_with(prefix.as_str())
        {
            let detail = format!("by token {token_id}, only workers whose ids begin with {prefix} may join");
            return Err(Refusal::new("not_allowed", detail));
        }
        let by_it = |last: &&Recorded<Event>| match &last.value {
            Event::WorkerJoined(joined) => joined.token_id.as_ref() == Some(token_id),
            Event::WorkerRetired(retired) => retired.token_id.as_ref() == Some(token_id),
            _ => false,
        };
        let used = u64::try_from(self.lasts.values().filter(by_it).count()).unwrap_or(u64::MAX);
        if token.uses.is_some_and(|uses| used >= uses) {
            return Err(Refusal::new("not_allowed", format!("token {token_id} is used up; make another one")));
        }
        Ok(())
    }

    fn retire(&self, worker_id: &WorkerId, actor: &str, now: Timestamp) -> Result<Decision, Refusal> {
        let subject = Subject::WorkerIdentity { worker_id: worker_id.clone() };
        let last = self.lasts.get(&subject);
        let token_id = match last.map(|last| (last.sequence, &last.value)) {
            Some((_, Event::WorkerJoined(joined))) => joined.token_id.clone(),
            Some((sequence, _)) => return Ok(Decision::Said(sequence)),
            None => return Err(Refusal::new("not_found", format!("no worker {worker_id} has joined"))),
        };
        let revoked_keys = last.map(|last| revoked_by(last, now)).unwrap_or_default();
        Ok(say(subject, last, WorkerRetired { worker_id: worker_id.clone(), token_id, revoked_keys }, actor))
    }

    fn add_workspace(&self, workspace: &WorkspaceId, actor: &str) -> Decision {
        let subject = Subject::Workspace { workspace: workspace.clone() };
        match self.lasts.get(&subject) {
            Some(last) => Decision::Said(last.sequence),
            None => say(subject, None, WorkspaceAdded { workspace: workspace.clone() }, actor),
        }
    }

    fn create_token(&self, new: &NewToken, proof: &str, actor: &str, now: Timestamp) -> Result<Decision, Refusal> {
        let joins = new.roles.contains(&TokenRole::Join);
        if new.roles.is_empty() || joins && new.roles.len() > 1 {
            return Err(Refusal::new(
                "invalid",
                "roles must be join alone, or some of builder, orchestrator, reader, admin",
            ));
        }
        if !joins && (new.uses.is_some() || new.worker_prefix.is_some()) {
            return Err(Refusal::new("invalid", "uses and worker_prefix are for join tokens"));
        }
        if (joins || new.roles.contains(&TokenRole::Admin)) && !new.workspaces.is_empty() {
            return Err(Refusal::new("invalid", "a join or admin token is for all workspaces"));
        }
        if new.workspaces.len() > MOST_WORKSPACES {
            let detail = format!("a token is for all workspaces, or for {MOST_WORKSPACES} at most");
            return Err(Refusal::new("invalid", detail));
        }
        if new.ends_at.is_some_and(|end| end <= now) {
            return Err(Refusal::new("invalid", "ends_at has passed"));
        }
        let subject = Subject::Token { token_id: new.token_id.clone() };
        let (last, hash) = (self.lasts.get(&subject), recorded_hash(proof));
        match last.map(|last| (last.sequence, &last.value)) {
            Some((sequence, Event::TokenCreated(token))) if token.hash == hash => return Ok(Decision::Said(sequence)),
            Some((_, Event::TokenCreated(token))) => {
                let detail = format!("there is a token {} already; take another name", token.token_id);
                return Err(Refusal::new("conflict", detail));
            }
            _ => {}
        }
        let token = TokenCreated {
            token_id: new.token_id.clone(),
            roles: new.roles.clone(),
            hash,
            workspaces: new.workspaces.clone(),
            ends_at: new.ends_at,
            uses: new.uses,
            worker_prefix: new.worker_prefix.clone(),
        };
        Ok(say(subject, last, token, actor))
    }

    fn revoke_token(&self, token_id: &TokenId, actor: &str) -> Result<Decision, Refusal> {
        let subject = Subject::Token { token_id: token_id.clone() };
        let last = self.lasts.get(&subject);
        match last.map(|last| (last.sequence, &last.value)) {
            Some((_, Event::TokenCreated(token))) => {
                let revoked = TokenRevoked { token_id: token_id.clone(), hash: token.hash.clone() };
                Ok(say(subject, last, revoked, actor))
            }
            Some((sequence, _)) => Ok(Decision::Said(sequence)),
            None => Err(Refusal::new("not_found", format!("there is no token {token_id}"))),
        }
    }

    /// True if this is the key of the worker that is there now.
    pub(crate) fn is_current(&self, worker_id: &WorkerId, user_key: &str) -> bool {
        let last = self.lasts.get(&Subject::WorkerIdentity { worker_id: worker_id.clone() });
        matches!(last, Some(Recorded { value: Event::WorkerJoined(joined), .. }) if joined.user_key == user_key)
    }

    /// True if the workspace was added.
    pub(crate) fn has_workspace(&self, workspace: &WorkspaceId) -> bool {
        self.lasts.contains_key(&Subject::Workspace { workspace: workspace.clone() })
    }

    /// Keys that servers must refuse: what was signed for them up to a time, in Unix seconds. Older ones have ended by
    /// themselves, so that the list stays short.
    pub(crate) fn revocations(&self, now: Timestamp) -> BTreeMap<String, i64> {
        let mut revocations = BTreeMap::new();
        for last in self.lasts.values().filter(|last| is_recent(last.at, now)) {
            let keys = match &last.value {
                Event::WorkerJoined(joined) => &joined.revoked_keys,
                Event::WorkerRetired(retired) => &retired.revoked_keys,
                _ => continue,
            };
            revocations.extend(keys.iter().map(|key| (key.clone(), last.at.instant().unix_timestamp())));
        }
        revocations
    }

    /// What `waybill init` made and the log does not say. What was taken back since stays so.
    pub(crate) fn unsaid(&self, seed: &Seed, now: Timestamp) -> Vec<Statement> {
        const ACTOR: &str = "init";
        let workers = seed.workers.iter().filter_map(|(worker_id, key)| {
            let last = self.lasts.get(&Subject::WorkerIdentity { worker_id: worker_id.clone() });
            // One that is there keeps its key, whatever the file says: it may have joined again since.
            let was_revoked = last.is_some_and(
                |last| matches!(&last.value, Event::WorkerRetired(retired) if retired.revoked_keys.contains(key)),
            );
            if was_revoked { None } else { self.join(worker_id, key, None, false, ACTOR, now).ok() }
        });
        let workspaces = seed.workspaces.iter().map(|workspace| self.add_workspace(workspace, ACTOR));
        let tokens = seed.tokens.iter().filter_map(|token| {
            let subject = Subject::Token { token_id: token.token_id.clone() };
            let last = self.lasts.get(&subject);
            let was_said = last.is_some_and(|last| match &last.value {
                Event::TokenCreated(known) => known.hash == token.hash,
                Event::TokenRevoked(known) => known.hash == token.hash,
                _ => false,
            });
            (!was_said).then(|| say(subject, last, token.clone(), ACTOR))
        });
        let decisions = workspaces.chain(tokens).chain(workers);
        decisions
            .filter_map(|decision| if let Decision::Say(statement) = decision { Some(*statement) } else { None })
            .collect()
    }
}

fn say(subject: Subject, last: Option<&Recorded<Event>>, event: impl Into<Event>, actor: &str) -> Decision {
    let after = last.map_or(0, |last| last.sequence);
    Decision::Say(Box::new(Statement { subject, after, event: event.into(), actor: actor.to_owned() }))
}

/// True if credentials that were signed at that time may still be good.
fn is_recent(at: Timestamp, now: Timestamp) -> bool {
    at.instant() + lifetime("worker") + Duration::from_secs(60) > now.instant()
}

/// Keys of a worker that are good no more once it has another one, or none.
fn revoked_by(last: &Recorded<Event>, now: Timestamp) -> Vec<String> {
    let (present, before) = match &last.value {
        Event::WorkerJoined(joined) => (Some(joined.user_key.clone()), &joined.revoked_keys),
        Event::WorkerRetired(retired) => (None, &retired.revoked_keys),
        _ => return Vec::new(),
    };
    let before = before.iter().filter(|_| is_recent(last.at, now)).cloned();
    present.into_iter().chain(before).collect()
}

#[cfg(test)]
mod tests;
