//! One event as one line.

use waybill_domain::explain::{describe_question, describe_refusal};
use waybill_platform::log::RawMessage;
use waybill_schemas::{
    Event,
    v1::{LoginQuestion, SecretVersion},
};

use crate::{
    output::{self, Colour},
    text::printable,
};

/// For people: sequence, time, event and whom it is about; below, what it says. As wide as the terminal, and no control characters:
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
    textwrap::fill(text, textwrap::Options::new(output::width()).subsequent_indent(INDENT))
}

/// What an event is about, what it says, and true if it is bad news.
fn summary(event: &Event) -> (String, String, bool) {
    let (says, is_bad) = says(event);
    (about(event), says, is_bad)
}

/// What an event is about: a container, an image or a secret of a workspace, a worker, or a place in the log.
fn about(event: &Event) -> String {
    let of_secret = matches!(
        event,
        Event::CredentialSecretSaved(_)
            | Event::CredentialSecretRotated(_)
            | Event::CredentialSecretRevoked(_)
            | Event::CredentialSecretShredded(_)
            | Event::WorkerCredentialsRenewed(_)
            | Event::SecretRenewalApplied(_)
            | Event::SecretRenewalFailed(_)
            | Event::RequestRefused(_)
    );
    let secret = event.secret_name().filter(|_| of_secret).map(ToString::to_string);
    let container = event.container_id().map(ToString::to_string);
    let name = secret.or(container).or_else(|| event.image_id().map(ToString::to_string));
    if let Some(run) = event.archive_run() {
        return format!("archive, run {run}");
    }
    match (event.workspace(), name, event.quarantined()) {
        (Some(workspace), Some(name), _) => format!("{workspace}/{name}"),
        (_, _, Some(sequence)) => format!("sequence {sequence}"),
        (Some(workspace), None, _) if matches!(event, Event::RequestRefused(_)) => workspace.to_string(),
        (None, ..) if matches!(event, Event::RequestRefused(_)) => "nobody".to_owned(),
        _ => event.worker_id().map_or_else(|| "scheduler".to_owned(), ToString::to_string),
    }
}

fn says(event: &Event) -> (String, bool) {
    match event {
        Event::CredentialSecretSaved(e) => version(&e.stored),
        Event::CredentialSecretRotated(e) => version(&e.stored),
        Event::CredentialSecretRevoked(e) => (withdrawn("revoked", e.version, e.reason.as_deref()), true),
        Event::CredentialSecretShredded(e) => (withdrawn("shredded", e.version, e.reason.as_deref()), true),
        Event::ImageSecretNamed(e) => {
            let version = e.version.map(|version| format!(" version {version}")).unwrap_or_default();
            (format!("{}{version} for {}", e.secret_name, e.image_ref), false)
        }
        Event::CredentialSecretSkipped(e) => {
            let missing = e.missing_key.as_ref().map(|key| format!(", {key} is missing")).unwrap_or_default();
            (format!("{}{missing}", e.reason), true)
        }
        Event::ContainerRequested(e) => {
            let image = e.image_id.as_ref().map_or("no image", |id| id.as_str());
            (format!("{image} on {}", e.worker_id), false)
        }
        Event::ContainerEnded(e) => (format!("placement {} ended", e.placement), false),
        Event::WorkerRegistered(e) => (format!("key {}, instance {}", e.sealing_key, e.instance), false),
        Event::WorkspaceAdded(e) => (e.workspace.to_string(), false),
        Event::TokenCreated(e) => {
            let roles: Vec<&str> = e.roles.iter().map(|role| role.as_str()).collect();
            (format!("{}: {}", e.token_id, roles.join(", ")), false)
        }
        Event::TokenRevoked(e) => (e.token_id.to_string(), true),
        Event::WorkerJoined(e) => {
            let by = e.token_id.as_ref().map_or_else(String::new, |token| format!(" by token {token}"));
            (format!("user {}{by}", e.user_key), false)
        }
        Event::WorkerRetired(e) => (format!("{} keys revoked", e.revoked_keys.len()), true),
        Event::SchedulerKeyPublished(e) => {
            (format!("key {}, and {} earlier ones", e.sealing_key, e.earlier_keys.len()), false)
        }
        Event::ContainerCredentialsAttached(e) => {
            (format!("{} version {} ({}) for {}", e.secret_name, e.version, e.cred_type, e.worker_id), false)
        }
        Event::ContainerCredentialsSkipped(e) => (e.reason.to_string(), true),
        Event::ContainerCredentialsWithdrawn(e) => {
            (format!("placement {} on {}: {}, by {}", e.placement, e.worker_id, e.reason, e.caused_by), false)
        }
        Event::WorkerCredentialsRenewed(e) => {
            (format!("version {} for {}: {}, by {}", e.version, e.worker_id, e.cause, e.caused_by), false)
        }
        _ => outcome(event),
    }
}

fn outcome(event: &Event) -> (String, bool) {
    match event {
        Event::CredentialProviderAttached(e) => (format!("{} on {}", e.provider_name, e.worker_id), false),
        Event::CredentialProviderFailed(e) => (with_detail(e.reason.as_str(), e.detail.as_deref()), true),
        Event::ImagePullSucceeded(e) => (format!("{} is {}", e.image_ref, e.digest), false),
        Event::ImagePullFailed(e) => (with_detail(e.reason.as_str(), e.detail.as_deref()), true),
        Event::SecretRenewalApplied(e) => {
            (format!("version {} on {}, in {} placements", e.version, e.worker_id, e.placements), false)
        }
        Event::SecretRenewalFailed(e) => {
            let why = with_detail(e.reason.as_str(), e.detail.as_deref());
            (format!("version {} on {}: {why}", e.version, e.worker_id), true)
        }
        Event::ContainerLoginAsked(e) => asked(&e.asked),
        Event::NodeLoginAsked(e) => asked(&e.asked),
        Event::RequestRefused(e) => (describe_refusal(e), true),
        Event::QuarantineDiscarded(e) => {
            (format!("given up: {}", e.reason.as_deref().unwrap_or("no reason given")), false)
        }
        Event::PlacementsArchived(e) => {
            let part = format!("part {} of {}", e.part, e.parts);
            (format!("{} events from before {} left for {}, {part}", e.count(), e.before, e.archive), false)
        }
        _ => ("to be read again".to_owned(), false),
    }
}

fn asked(asked: &LoginQuestion) -> (String, bool) {
    let says = describe_question(asked);
    (asked.reason.map_or_else(|| says.clone(), |reason| format!("{reason}: {says}")), asked.reason.is_some())
}

fn version(stored: &SecretVersion) -> (String, bool) {
    let until = stored.expires_at.map(|expiry| format!(", until {expiry}")).unwrap_or_default();
    let refused = stored.verified.as_ref().filter(|verified| verified.digest.is_none());
    let verified = refused.map_or("", |_| "; the registry did not take it");
    let says = format!("version {} ({}) for {}{until}{verified}", stored.version, stored.cred_type, stored.registry);
    (says, refused.is_some())
}

fn withdrawn(what: &str, version: u64, reason: Option<&str>) -> String {
    format!("{what} at version {version}: {}", reason.unwrap_or("no reason given"))
}

fn with_detail(reason: &str, detail: Option<&str>) -> String {
    detail.map_or_else(|| reason.to_owned(), |detail| format!("{reason}: {detail}"))
}

#[cfg(test)]
mod tests {
    use std::{fs, path::Path};

    use serde_json::{Map, Value, json};

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
        assert!(text.lines().all(|line| line.chars().count() <= output::width()), "{text}");
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
