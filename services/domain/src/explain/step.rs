//! The timeline: one step an event, with who did it, when, and why.

use serde::Serialize;
use waybill_schemas::{
    Event, Recorded, RecordedEvent, Timestamp,
    v1::{LoginQuestion, SecretVersion},
};

use super::{asked, refused, verdict::Hop};

/// Whether a hop did what it is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum StepOutcome {
    /// It did.
    Done,
    /// It decided not to.
    Skipped,
    /// It could not.
    Failed,
    /// It took the credentials away.
    Withdrawn,
    /// Nobody believes it: said twice, made up, or by another worker.
    Ignored,
}

/// One event of the timeline.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Step {
    /// The hop.
    pub hop: Hop,
    /// Whether it did what it is for.
    pub outcome: StepOutcome,
    /// Stream sequence.
    pub sequence: u64,
    /// The stream's time.
    pub time: Timestamp,
    /// Milliseconds since the step before in this timeline.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub after_ms: Option<i64>,
    /// Name of the event.
    pub event: &'static str,
    /// Who wrote it: `ce-source`.
    pub service: String,
    /// Who asked for it, where that is known: `ce-actor`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub actor: Option<String>,
    /// Version of the program that wrote it, where it said so.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// Reason code of a skip or a failure.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<&'static str>,
    /// What it says, in words.
    pub says: String,
    /// Trace in which it was published.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trace_id: Option<String>,
}

/// Most events of an image or a secret that are shown.
const SHOWN: usize = 20;

/// The steps of the last events, and how many events come before them.
pub(super) fn latest_steps<'h>(events: impl Iterator<Item = Recorded<&'h RecordedEvent>>) -> (usize, Vec<Step>) {
    let all: Vec<_> = events.collect();
    let hidden = all.len().saturating_sub(SHOWN);
    (hidden, steps(all.into_iter().skip(hidden).map(|recorded| (recorded, None))))
}

/// The steps of events, in the order of the log, each with another outcome than its own where there is one. A worker's
/// registration is none.
pub(super) fn steps<'h>(
    events: impl IntoIterator<Item = (Recorded<&'h RecordedEvent>, Option<StepOutcome>)>,
) -> Vec<Step> {
    let mut events: Vec<_> = events.into_iter().collect();
    events.sort_by_key(|(recorded, _)| recorded.sequence);
    let mut steps: Vec<Step> = Vec::new();
    for (recorded, instead) in events {
        let Some(Words { hop, outcome, reason, says }) = describe(&recorded.value.event) else { continue };
        let before = steps.last().map(|step| step.time);
        let envelope = &recorded.value.envelope;
        steps.push(Step {
            hop,
            outcome: instead.unwrap_or(outcome),
            sequence: recorded.sequence,
            time: recorded.at,
            after_ms: before.map(|before| milliseconds(before, recorded.at)),
            event: recorded.value.event.event_type().as_str(),
            service: envelope.source.clone(),
            actor: envelope.actor.clone(),
            version: envelope.source_version.clone(),
            reason,
            says,
            trace_id: envelope.traceparent.as_ref().map(|trace| trace.trace_id().to_owned()),
        });
    }
    steps
}

fn milliseconds(from: Timestamp, to: Timestamp) -> i64 {
    i64::try_from((to.instant() - from.instant()).whole_milliseconds()).unwrap_or(i64::MAX)
}

/// An event in words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Words {
    /// The hop that it is of.
    pub hop: Hop,
    /// Whether the hop did what it is for.
    pub outcome: StepOutcome,
    /// Reason code of a skip or a failure.
    pub reason: Option<&'static str>,
    /// What it says.
    pub says: String,
}

impl Words {
    fn done(hop: Hop, says: String) -> Self {
        Self { hop, outcome: StepOutcome::Done, reason: None, says }
    }

    /// With a reason code, what it means, and what more is known.
    fn because(hop: Hop, outcome: StepOutcome, (reason, meaning): (&'static str, &str), detail: &str) -> Self {
        Self { hop, outcome, reason: Some(reason), says: in_words(meaning, detail) }
    }
}

/// An event in the words of a timeline; none for one that is no step of it, such as a worker's registration.
pub fn describe(event: &Event) -> Option<Words> {
    Some(match event {
        Event::CredentialSecretSaved(e) => Words::done(Hop::Saved, version(e.secret_name.as_str(), &e.stored)),
        Event::CredentialSecretRotated(e) => Words::done(Hop::Saved, version(e.secret_name.as_str(), &e.stored)),
        Event::CredentialSecretRevoked(e) => {
            withdrawn("secret_revoked", format!("{}, up to version {}", e.secret_name, e.version), e.reason.as_deref())
        }
        Event::CredentialSecretShredded(e) => {
            withdrawn("secret_shredded", format!("{}, up to version {}", e.secret_name, e.version), e.reason.as_deref())
        }
        Event::ImageSecretNamed(e) => Words::done(Hop::Saved, format!("{} with secret {}", e.image_ref, e.secret_name)),
        Event::CredentialSecretSkipped(e) => {
            let missing = e.missing_key.as_ref().map_or_else(String::new, |key| format!("{key} is missing; "));
            let detail = format!("{missing}{}", e.image_ref.as_deref().unwrap_or("no image reference"));
            Words::because(Hop::Saved, StepOutcome::Skipped, (e.reason.as_str(), e.reason.meaning()), &detail)
        }
        Event::ContainerRequested(e) => {
            let image = e.image_id.as_ref().map_or("no image", |id| id.as_str());
            Words::done(Hop::Requested, format!("{image} on worker {}", e.worker_id))
        }
        Event::ContainerEnded(e) => Words {
            hop: Hop::Withdrawn,
            outcome: StepOutcome::Done,
            reason: None,
            says: format!("placement {} has ended", e.placement),
        },
        event => return describe_decision(event).or_else(|| describe_outcome(event)),
    })
}

fn version(name: &str, stored: &SecretVersion) -> String {
    let expiry = stored.expires_at.map_or_else(String::new, |expiry| format!(", until {expiry}"));
    let verified = match &stored.verified {
        Some(verified) if verified.digest.is_some() => ", and the registry takes it",
        Some(_) => ", and the registry does not take it",
        None => "",
    };
    let note = stored.note.as_ref().map_or_else(String::new, |note| format!("; {note}"));
    format!("{name} version {} ({}) for {}{expiry}{verified}{note}", stored.version, stored.cred_type, stored.registry)
}

fn withdrawn(reason: &'static str, what: String, why: Option<&str>) -> Words {
    let why = why.map_or_else(String::new, |why| format!(": {why}"));
    let says = format!("{what}{why}");
    Words { hop: Hop::Withdrawn, outcome: StepOutcome::Withdrawn, reason: Some(reason), says }
}

fn describe_decision(event: &Event) -> Option<Words> {
    Some(match event {
        Event::ContainerCredentialsAttached(e) => Words::done(
            Hop::Attached,
            format!(
                "{} version {} ({}), saved at sequence {}, {} bytes",
                e.secret_name, e.version, e.cred_type, e.saved_by, e.credentials_length
            ),
        ),
        Event::ContainerCredentialsSkipped(e) => {
            let detail = e.image_ref.as_deref().unwrap_or("no image reference is known");
            Words::because(Hop::Attached, StepOutcome::Skipped, (e.reason.as_str(), e.reason.meaning()), detail)
        }
        Event::ContainerCredentialsWithdrawn(e) => {
            let detail = format!("follows sequence {}", e.caused_by);
            let reason = (e.reason.as_str(), e.reason.meaning());
            Words::because(Hop::Withdrawn, StepOutcome::Withdrawn, reason, &detail)
        }
        Event::WorkerCredentialsRenewed(e) => Words::done(
            Hop::Attached,
            format!(
                "{} version {} for worker {}, {}",
                e.secret_name,
                e.version,
                e.worker_id,
                in_words(e.cause.meaning(), "")
            ),
        ),
        _ => return None,
    })
}

fn describe_outcome(event: &Event) -> Option<Words> {
    Some(match event {
        Event::CredentialProviderAttached(e) => {
            let expiry = e.token_expires_at.map_or_else(String::new, |expiry| format!(", token until {expiry}"));
            Words::done(Hop::Provider, format!("{}{expiry}, on worker {}", e.provider_name, e.worker_id))
        }
        Event::CredentialProviderFailed(e) => {
            let detail = e.detail.as_deref().unwrap_or_default();
            Words::because(Hop::Provider, StepOutcome::Failed, (e.reason.as_str(), e.reason.meaning()), detail)
        }
        Event::ImagePullSucceeded(e) => {
            Words::done(Hop::Pull, format!("{} is {}, on worker {}", e.image_ref, e.digest, e.worker_id))
        }
        Event::ImagePullFailed(e) => {
            let detail = e.detail.as_deref().unwrap_or_default();
            Words::because(Hop::Pull, StepOutcome::Failed, (e.reason.as_str(), e.reason.meaning()), detail)
        }
        Event::ContainerLoginAsked(e) => question(&e.asked),
        Event::RequestRefused(e) => Words {
            hop: refused::hop_of(e.operation),
            outcome: StepOutcome::Failed,
            reason: Some(e.code.as_str()),
            says: refused::describe_refusal(e),
        },
        Event::SecretRenewalApplied(e) => {
            Words::done(Hop::Provider, format!("worker {} uses {} version {}", e.worker_id, e.secret_name, e.version))
        }
        Event::SecretRenewalFailed(e) => {
            let detail = e.detail.as_deref().unwrap_or_default();
            Words::because(Hop::Provider, StepOutcome::Failed, (e.reason.as_str(), e.reason.meaning()), detail)
        }
        _ => return None,
    })
}

fn question(asked: &LoginQuestion) -> Words {
    let outcome = match asked.reason {
        None => StepOutcome::Done,
        Some(_) if asked::is_about_login(asked.reason) => StepOutcome::Failed,
        Some(_) => StepOutcome::Skipped,
    };
    let reason = asked.reason.map(|reason| reason.as_str());
    Words { hop: Hop::Asked, outcome, reason, says: asked::describe(asked) }
}

/// What a reason means, and what more is known of this one.
fn in_words(meaning: &str, detail: &str) -> String {
    let mut characters = meaning.trim_end_matches('.').chars();
    let first = characters.next().map(|first| first.to_lowercase().to_string()).unwrap_or_default();
    let more = if detail.is_empty() { "" } else { "; " };
    format!("{first}{}{more}{detail}", characters.as_str())
}
