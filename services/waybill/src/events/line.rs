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

/// For people: sequence, time, event and whom it is about; below, what it says. At most 80 columns, and no control characters:
/// whoever may publish chooses what most fields say.
pub(super) fn text(message: &RawMessage, coloured: bool) -> String {
    let time = message.at.to_string();
    let time = time.get(11..19).unwrap_or(&time);
    let (name, about, says, bad) = match message.decode() {
        Ok(recorded) => {
            let (about, says, bad) = summary(&recorded.event);
            (recorded.event.event_type().as_str(), about, says, bad)
        }
        Err(error) => ("(not an event)", message.subject.clone(), error.to_string(), true),
    };
    let (about, says) = (printable(&about), printable(&says));
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

fn with_detail(reason: &str, detail: Option<&str>) -> String {
    detail.map_or_else(|| reason.to_owned(), |detail| format!("{reason}: {detail}"))
}

#[cfg(test)]
mod tests {
    use std::{fs, path::Path};

    use super::*;

    /// Sets a terminal's title, and clears it.
    const HOSTILE: &str = "a\u{1b}]0;x\u{7}\u{1b}[2Jb\n\u{9b}c";

    fn message(subject: &str, headers: &Map<String, Value>, body: &Value) -> RawMessage {
        let mut message = RawMessage {
            sequence: 7,
            at: "2026-01-31T12:00:00.5Z".parse().unwrap(),
            subject: subject.to_owned(),
            headers: Default::default(),
            payload: body.to_string().into_bytes().into(),
            pending: 0,
        };
        for (name, value) in headers {
            message.headers.insert(name.as_str(), value.as_str().unwrap());
        }
        message
    }

    fn assert_harmless(text: &str) {
        assert!(text.lines().all(|line| !line.contains(char::is_control)), "{text:?}");
        assert!(text.lines().all(|line| line.chars().count() <= WIDTH), "{text}");
    }

    /// Every event with every field, one of which somebody chose badly.
    #[test]
    fn nothing_that_was_published_controls_the_terminal() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../schemas/golden/v1");
        let (mut taken, mut shown) = (0, 0);
        for file in fs::read_dir(folder).unwrap() {
            let golden: Value = serde_json::from_slice(&fs::read(file.unwrap().path()).unwrap()).unwrap();
            for field in golden["body"].as_object().unwrap().keys() {
                let mut body = golden["body"].clone();
                body[field] = json!(HOSTILE);
                let subject = golden["subject"].as_str().unwrap();
                let message = message(subject, golden["headers"].as_object().unwrap(), &body);
                let text = text(&message, false);
                assert_harmless(&text);
                taken += usize::from(message.decode().is_ok());
                shown += usize::from(text.contains("a\\u{1b}]0;x\\u{7}"));
            }
        }
        assert!(taken > 20 && shown > 10, "{taken} fields take any text, {shown} are shown");
        let text = text(&message("waybill.\u{1b}[2J", &Map::new(), &Value::Null), false);
        assert!(text.contains("(not an event)"), "{text}");
        assert_harmless(&text);
    }
}
