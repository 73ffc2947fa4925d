//! The timeline: one step an event, with who did it, when, and why.

use serde::Serialize;
use waybill_schemas::{Event, Recorded, RecordedEvent, Timestamp, v1::AttachSkipReason};

use super::verdict::Hop;

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

/// The steps of events, in the order of the log. A worker's registration is none.
pub(super) fn steps<'h>(events: impl IntoIterator<Item = Recorded<&'h RecordedEvent>>) -> Vec<Step> {
    let mut events: Vec<_> = events.into_iter().collect();
    events.sort_by_key(|recorded| recorded.sequence);
    let mut steps: Vec<Step> = Vec::new();
    for recorded in events {
        let Some((hop, outcome, reason, says)) = told(&recorded.value.event) else { continue };
        let before = steps.last().map(|step| step.time);
        let envelope = &recorded.value.envelope;
        steps.push(Step {
            hop,
            outcome,
            sequence: recorded.sequence,
            time: recorded.at,
            after_ms: before.map(|before| milliseconds(before, recorded.at)),
            event: recorded.value.event.event_type().as_str(),
            service: envelope.source.clone(),
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

type Told = (Hop, StepOutcome, Option<&'static str>, String);

fn told(event: &Event) -> Option<Told> {
    let done = |hop, says| Some((hop, StepOutcome::Done, None, says));
    match event {
        Event::CredentialSecretSaved(e) => {
            let expiry = e.expires_at.map_or_else(String::new, |expiry| format!(", until {expiry}"));
            done(Hop::Saved, format!("{} ({}) for {}{expiry}", e.secret_name, e.cred_type, e.image_ref))
        }
        Event::CredentialSecretRotated(e) => {
            let expiry = e.secret.expires_at.map_or_else(String::new, |expiry| format!(", until {expiry}"));
            let says = format!(
                "{} ({}), in place of sequence {}{expiry}",
                e.secret.secret_name, e.secret.cred_type, e.replaces
            );
            done(Hop::Saved, says)
        }
        Event::CredentialSecretRevoked(e) => {
            let why = e.reason.as_ref().map_or_else(String::new, |reason| format!(": {reason}"));
            let says = format!("{} of sequence {}{why}", e.secret_name, e.revokes);
            Some((Hop::Saved, StepOutcome::Skipped, Some(AttachSkipReason::SecretRevoked.as_str()), says))
        }
        Event::CredentialSecretVerified(e) => Some(match &e.digest {
            Some(digest) => {
                (Hop::Saved, StepOutcome::Done, None, format!("the registry accepts them, and has {digest}"))
            }
            None => {
                let exchange = e.provider_failure.map(|reason| (reason.as_str(), reason.meaning()));
                let failure = exchange.or(e.pull_failure.map(|reason| (reason.as_str(), reason.meaning())));
                let (reason, meaning) = failure.unzip();
                let detail = e.detail.as_deref().unwrap_or_default();
                (Hop::Saved, StepOutcome::Failed, reason, in_words(meaning.unwrap_or_default(), detail))
            }
        }),
        Event::CredentialSecretSkipped(e) => {
            let missing = e.missing_key.as_ref().map_or_else(String::new, |key| format!("{key} is missing; "));
            let detail = format!("{missing}{}", e.image_ref.as_deref().unwrap_or("no image reference"));
            let says = in_words(e.reason.meaning(), &detail);
            Some((Hop::Saved, StepOutcome::Skipped, Some(e.reason.as_str()), says))
        }
        Event::ContainerRequested(e) => {
            let image = e.image_id.as_ref().map_or("no image", |id| id.as_str());
            done(Hop::Requested, format!("{image} on worker {}", e.worker_id))
        }
        Event::ContainerCredentialsAttached(e) => done(
            Hop::Attached,
            format!(
                "{} ({}), saved at sequence {}, {} bytes",
                e.secret_name, e.cred_type, e.saved_by, e.credentials_length
            ),
        ),
        Event::ContainerCredentialsSkipped(e) => {
            let unknown = match e.reason {
                AttachSkipReason::ContainerEnded => "its worker is told to drop what it holds",
                _ => "no image reference is known",
            };
            let says = in_words(e.reason.meaning(), e.image_ref.as_deref().unwrap_or(unknown));
            Some((Hop::Attached, StepOutcome::Skipped, Some(e.reason.as_str()), says))
        }
        Event::CredentialProviderAttached(e) => {
            let expiry = e.token_expires_at.map_or_else(String::new, |expiry| format!(", token until {expiry}"));
            done(Hop::Provider, format!("{}{expiry}", e.provider_name))
        }
        Event::CredentialProviderFailed(e) => {
            let says = in_words(e.reason.meaning(), e.detail.as_deref().unwrap_or_default());
            Some((Hop::Provider, StepOutcome::Failed, Some(e.reason.as_str()), says))
        }
        Event::ImagePullSucceeded(e) => done(Hop::Pull, format!("{} is {}", e.image_ref, e.digest)),
        Event::ImagePullFailed(e) => {
            let says = in_words(e.reason.meaning(), e.detail.as_deref().unwrap_or_default());
            Some((Hop::Pull, StepOutcome::Failed, Some(e.reason.as_str()), says))
        }
        _ => None,
    }
}

/// What a reason means, and what more is known of this one.
fn in_words(meaning: &str, detail: &str) -> String {
    let mut characters = meaning.trim_end_matches('.').chars();
    let first = characters.next().map(|first| first.to_lowercase().to_string()).unwrap_or_default();
    let more = if detail.is_empty() { "" } else { "; " };
    format!("{first}{}{more}{detail}", characters.as_str())
}
