//! One event as one line.

use serde_json::{Map, Value, json};
use waybill_platform::log::RawMessage;
use waybill_schemas::{Event, RecordedEvent, header};

use crate::{
    Failure,
    output::{self, Colour, WIDTH},
    text::printable,
};

/// CloudEvents JSON format (1.0, section 3), with the place in the log as extension attributes: `sequence` (decimal text,
/// as the CloudEvents sequence extension has it), `recordedtime` and `natssubject`. What is no event has `error` instead
/// of `data`; its body stays in the log.
pub(super) fn json(message: &RawMessage) -> Result<String, Failure> {
    let mut line = Map::new();
    line.insert("sequence".to_owned(), json!(message.sequence.to_string()));
    line.insert("recordedtime".to_owned(), json!(message.at));
    line.insert("natssubject".to_owned(), json!(message.subject));
    match message.decode() {
        Ok(RecordedEvent { envelope, event }) => {
            for (name, value) in envelope.to_headers(event.event_type(), &event.subject()) {
                if name != header::NATS_MSG_ID {
                    let name = name.strip_prefix("ce-").unwrap_or(name);
                    line.insert(name.to_owned(), json!(value));
                }
            }
            line.insert("data".to_owned(), serde_json::from_slice::<Value>(&event.to_json()?)?);
        }
        Err(error) => {
            line.insert("error".to_owned(), json!(error.to_string()));
        }
    }
    Ok(serde_json::to_string(&line)?)
}

/// For people: sequence, time, event and whom it is about; below, what it says. At most 80 columns.
pub(super) fn text(message: &RawMessage, coloured: bool) -> String {
    let time = message.at.to_string();
    let time = time.get(11..19).unwrap_or(&time);
    let (name, about, says, bad) = match message.decode() {
        Ok(recorded) => {
            let (about, says, bad) = summary(&recorded.event);
            (recorded.event.event_type().as_str(), about, says, bad)
        }
        Err(error) => ("(not an event)", printable(&message.subject), error.to_string(), true),
    };
    let first = wrapped(&format!("{:>7} {time}  {name:<28} {about}", message.sequence));
    let colour = if bad { Colour::Red } else { Colour::Green };
    let first = first.replacen(name, &output::paint(name, colour, coloured), 1);
    format!("{first}\n{}", wrapped(&format!("{INDENT}{says}")))
}

/// What belongs to an event stands below its name.
const INDENT: &str = "                  ";

fn wrapped(text: &str) -> String {
    textwrap::fill(text, textwrap::Options::new(WIDTH).subsequent_indent(INDENT))
}

/// Whom an event is about, what it says, and whether it is bad news.
fn summary(event: &Event) -> (String, String, bool) {
    match event {
        Event::CredentialSecretSaved(e) => (
            format!("{}/{}", e.workspace, e.image_id),
            format!("{} ({}) for {}", e.secret_name, e.cred_type, e.image_ref),
            false,
        ),
        Event::CredentialSecretSkipped(e) => {
            let missing = e.missing_key.as_ref().map(|key| format!(", {key} is missing")).unwrap_or_default();
            (format!("{}/{}", e.workspace, e.image_id), format!("{}{missing}", e.reason), true)
        }
        Event::CredentialSecretRotated(e) => (
            format!("{}/{}", e.secret.workspace, e.secret.image_id),
            format!("{} ({}) in place of sequence {}", e.secret.secret_name, e.secret.cred_type, e.replaces),
            false,
        ),
        Event::CredentialSecretVerified(e) => {
            let failed =
                e.provider_failure.map(|reason| reason.as_str()).or(e.pull_failure.map(|reason| reason.as_str()));
            let refused = with_detail(failed.unwrap_or("not accepted"), e.detail.as_deref());
            let accepted = e.digest.as_ref().map(|digest| format!("the registry accepts them, and has {digest}"));
            (format!("{}/{}", e.workspace, e.image_id), accepted.unwrap_or(refused), e.digest.is_none())
        }
        Event::CredentialSecretRevoked(e) => {
            let reason = e.reason.as_deref().unwrap_or("no reason given");
            let says = format!("{} of sequence {}: {reason}", e.secret_name, e.revokes);
            (format!("{}/{}", e.workspace, e.image_id), says, true)
        }
        Event::ContainerRequested(e) => {
            let image = e.image_id.as_ref().map_or("no image", |id| id.as_str());
            (format!("{}/{}", e.workspace, e.container_id), format!("{image} on {}", e.worker_id), false)
        }
        Event::ContainerEnded(e) => (format!("{}/{}", e.workspace, e.container_id), "ended".to_owned(), false),
        Event::WorkerRegistered(e) => (e.worker_id.to_string(), format!("key {}", e.sealing_key), false),
        Event::ContainerCredentialsAttached(e) => (
            format!("{}/{}", e.workspace, e.container_id),
            format!("{} ({}), saved by {}, for {}", e.secret_name, e.cred_type, e.saved_by, e.worker_id),
            false,
        ),
        Event::ContainerCredentialsSkipped(e) => {
            (format!("{}/{}", e.workspace, e.container_id), e.reason.to_string(), true)
        }
        Event::CredentialProviderAttached(e) => {
            (format!("{}/{}", e.workspace, e.container_id), format!("{} on {}", e.provider_name, e.worker_id), false)
        }
        Event::CredentialProviderFailed(e) => {
            (format!("{}/{}", e.workspace, e.container_id), with_detail(e.reason.as_str(), e.detail.as_deref()), true)
        }
        Event::QuarantineRetried(e) => (format!("sequence {}", e.sequence), "to be read again".to_owned(), false),
        Event::QuarantineDiscarded(e) => {
            let reason = e.reason.as_deref().unwrap_or("no reason given");
            (format!("sequence {}", e.sequence), format!("given up: {reason}"), false)
        }
        Event::ImagePullSucceeded(e) => {
            (format!("{}/{}", e.workspace, e.container_id), format!("{} is {}", e.image_ref, e.digest), false)
        }
        Event::ImagePullFailed(e) => {
            (format!("{}/{}", e.workspace, e.container_id), with_detail(e.reason.as_str(), e.detail.as_deref()), true)
        }
    }
}

/// Details come from registries and clouds: control characters must not reach a terminal.
fn with_detail(reason: &str, detail: Option<&str>) -> String {
    detail.map_or_else(|| reason.to_owned(), |detail| format!("{reason}: {}", printable(detail)))
}
