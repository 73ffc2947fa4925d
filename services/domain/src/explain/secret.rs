//! Explaining a secret: its newest version, and whether the workers that were sent it can use it.

use std::collections::BTreeMap;

use waybill_schemas::{
    Event, Recorded, RecordedEvent, SecretName, Subject, Timestamp, WorkerId, WorkspaceId, v1::SecretRenewalFailed,
};

use super::{
    Concern, Explanation, History, Readers,
    container::quarantined,
    notes::unreadable,
    open::{Owed, await_worker},
    reason::rotate,
    refused::{Refusal, refused_since, refused_unnamed, saves},
    replay::Replay,
    step::latest_steps,
    verdict::{Code, Hop, Verdict},
};
use crate::fold::{SecretFact, SecretKey, SecretState};

/// What a container that needs the secret at `now` would get, and why.
pub fn explain_secret(
    history: &History,
    workspace: &WorkspaceId,
    secret_name: &SecretName,
    now: Timestamp,
) -> Explanation {
    let history = history.restrict(&Concern::from_secret(workspace, secret_name));
    let facts = Replay::from_history(&history).facts;
    let secret = facts.secrets.get(&SecretKey { workspace: workspace.clone(), secret_name: secret_name.clone() });
    let verdict = judge(&history, (workspace, secret_name), secret, now);
    let mut notes: Vec<String> = secret.and_then(|secret| unverified(&history, secret)).into_iter().collect();
    notes.extend(refused_since(&history, &verdict));
    notes.extend(refused_unnamed(&history, &verdict, now));
    notes.extend(unreadable(&history, &verdict));
    let shown = |subject: &Subject| !matches!(subject, Subject::RefusedWorkspace { .. } | Subject::RefusedUnowned);
    let (hidden, timeline) = latest_steps(history.events().filter(|recorded| shown(&recorded.value.subject)));
    if hidden > 0 {
        notes.push(format!("{hidden} earlier events are not shown"));
    }
    Explanation {
        kind: "secret",
        workspace: workspace.clone(),
        id: secret_name.to_string(),
        placement: None,
        worker_id: None,
        verdict,
        timeline,
        earlier: Vec::new(),
        notes,
    }
}

fn judge(
    history: &History,
    (workspace, name): (&WorkspaceId, &SecretName),
    secret: Option<&SecretFact>,
    now: Timestamp,
) -> Verdict {
    let newest = secret.map_or(0, |secret| secret.sequence);
    let heads = |subject: &Subject| matches!(subject, Subject::Secret { .. });
    if let Some(unreadable) = history.unreadable(heads).rfind(|unreadable| unreadable.sequence > newest) {
        return quarantined(Hop::Saved, unreadable);
    }
    let Some(secret) = secret else {
        let about = |subject: &Subject| matches!(subject, Subject::RefusedSecret { .. });
        if let Some(refusal) = Refusal::find(history, 0, about, saves) {
            return refusal.verdict("");
        }
        return Verdict::broken(
            Hop::Saved,
            Code::SecretNotFound,
            format!("there is no secret {name} in workspace {workspace}"),
            format!(
                "Check the name with `waybill secrets list`, or save it with `waybill secrets put {name} --registry REGISTRY --creds FILE`."
            ),
        );
    };
    let verdict = match secret.state {
        SecretState::Revoked => withdrawn(history, name, secret, "revoked", Code::SecretRevoked),
        SecretState::Shredded => withdrawn(history, name, secret, "shredded", Code::SecretShredded),
        SecretState::Active => match secret.expires_at.filter(|expiry| *expiry <= now) {
            Some(expiry) => Verdict::broken(
                Hop::Saved,
                Code::SecretExpired,
                format!("secret {name} is at version {}, which expired at {expiry}", secret.version),
                rotate(name.as_str(), "with credentials that have not expired"),
            ),
            None => return in_use(history, name, secret, now),
        },
    };
    let at = history.at(newest).map_or(now, |head| head.at);
    verdict.at(newest, at)
}

fn withdrawn(history: &History, name: &SecretName, secret: &SecretFact, verb: &str, code: Code) -> Verdict {
    let reason = history.at(secret.sequence).and_then(|head| match &head.value.event {
        Event::CredentialSecretRevoked(event) => event.reason.as_deref(),
        Event::CredentialSecretShredded(event) => event.reason.as_deref(),
        _ => None,
    });
    let why = reason.map_or_else(String::new, |reason| format!(" ({reason})"));
    let sentence = format!("secret {name}, up to version {}, was {verb}{why}", secret.version);
    Verdict::broken(Hop::Saved, code, sentence, rotate(name.as_str(), "once there are new credentials"))
}

/// The newest version may be used: what its workers made of it.
fn in_use(history: &History, name: &SecretName, secret: &SecretFact, now: Timestamp) -> Verdict {
    let sent = sent_to(history, secret.version);
    for (worker, renewal) in &sent {
        if let Some(Recorded { sequence, at, value: Some(failed) }) = &renewal.outcome {
            let detail = failed.detail.as_ref().map_or_else(String::new, |detail| format!(": {detail}"));
            let sentence = format!("worker {worker} cannot use version {} of secret {name}{detail}", secret.version);
            let remedy = format!(
                "{}; `waybill explain container` for one of its containers says more.",
                rotate(name.as_str(), "with what is named put right").trim_end_matches('.')
            );
            return Verdict::broken(Hop::Provider, failed.reason.into(), sentence, remedy).at(*sequence, *at);
        }
    }
    let open = sent.iter().find(|(_, renewal)| renewal.outcome.is_none());
    if let Some((worker, renewal)) = open {
        let since = (renewal.decided.sequence, renewal.decided.at);
        let (hop, code, decision) = (Hop::Provider, Code::AwaitingProvider, renewal.decided.sequence);
        return await_worker(Owed { hop, code, worker, decision, since }, &Readers::unknown(), now);
    }
    let until = secret.expires_at.map_or_else(String::new, |expiry| format!(", until {expiry}"));
    let with = match sent.len() {
        0 => String::new(),
        workers => format!("; {workers} of its workers took that version"),
    };
    let sentence = format!(
        "version {} of secret {name} ({}) is in use for {}{until}{with}",
        secret.version, secret.cred_type, secret.registry
    );
    let at = history.at(secret.saved_by).map_or(now, |saved| saved.at);
    Verdict::healthy(Hop::Saved, Code::Saved, sentence).at(secret.saved_by, at)
}

/// A version on its way to a worker.
struct Sent<'h> {
    decided: Recorded<()>,
    outcome: Option<Recorded<Option<&'h SecretRenewalFailed>>>,
}

/// The newest renewal of a version for each worker, and what it made of it.
fn sent_to(history: &History, version: u64) -> BTreeMap<WorkerId, Sent<'_>> {
    let mut sent: BTreeMap<WorkerId, Sent<'_>> = BTreeMap::new();
    for Recorded { sequence, at, value } in history.events() {
        let RecordedEvent { event, .. } = value;
        if event.version() != Some(version) {
            continue;
        }
        let (worker, failed, decided_by) = match event {
            Event::WorkerCredentialsRenewed(renewed) => {
                let decided = Recorded { sequence, at, value: () };
                sent.insert(renewed.worker_id.clone(), Sent { decided, outcome: None });
                continue;
            }
            Event::SecretRenewalApplied(applied) => (&applied.worker_id, None, applied.decided_by),
            Event::SecretRenewalFailed(failed) => (&failed.worker_id, Some(failed), failed.decided_by),
            _ => continue,
        };
        let renewal = sent.get_mut(worker).filter(|renewal| renewal.decided.sequence == decided_by);
        if let Some(renewal) = renewal {
            renewal.outcome.get_or_insert(Recorded { sequence, at, value: failed });
        }
    }
    sent
}

/// What the registry said when it was asked about a version and did not accept it.
pub(super) fn unverified(history: &History, secret: &SecretFact) -> Option<String> {
    let saved = history.at(secret.saved_by)?;
    let verified = saved.value.event.stored_version()?.verified.as_ref()?;
    if verified.digest.is_some() {
        return None;
    }
    let words = verified.detail.as_deref().unwrap_or("no more is known");
    Some(format!("the registry did not accept version {} when it was saved: {words}", secret.version))
}
