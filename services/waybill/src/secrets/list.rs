//! What a workspace has, read from the log: the present credentials of each image, without their values.

use std::{collections::BTreeMap, io::Write as _, pin::pin};

use futures_util::StreamExt as _;
use serde::Serialize;
use waybill_domain::rotate::is_overtaken;
use waybill_platform::{
    config::Settings,
    log::{EventLog, RawMessage},
    trace,
};
use waybill_schemas::{
    Event, ImageId, Timestamp, WorkspaceId,
    v1::{CredentialSecretRotated, CredentialSecretSaved},
};

use crate::{
    Failure, operator,
    output::{self, Colour},
    text,
};

/// One image's credentials.
#[derive(Debug, Serialize)]
struct Secret {
    image_id: ImageId,
    /// `in_use`, `expired` or `revoked`.
    state: &'static str,
    image_ref: String,
    registry: String,
    secret_name: String,
    cred_type: &'static str,
    /// Sequence of the event that saved them.
    version: u64,
    /// The stream's time of that event.
    saved_at: Timestamp,
    /// When they stop working, where known.
    expires_at: Option<Timestamp>,
    /// How often the image's credentials were saved or rotated.
    versions: u64,
    /// Sequence of the revocation.
    revoked_by: Option<u64>,
}

impl Secret {
    fn of(message: &RawMessage, saved: &CredentialSecretSaved, before: u64, now: Timestamp) -> Self {
        let expired = saved.expires_at.is_some_and(|expiry| expiry <= now);
        Self {
            image_id: saved.image_id.clone(),
            state: if expired { "expired" } else { "in_use" },
            image_ref: saved.image_ref.clone(),
            registry: saved.registry.clone(),
            secret_name: saved.secret_name.clone(),
            cred_type: saved.cred_type.as_str(),
            version: message.sequence,
            saved_at: message.at,
            expires_at: saved.expires_at,
            versions: before.saturating_add(1),
            revoked_by: None,
        }
    }

    /// Whether a rotation comes too late to count: the image is another one by now.
    fn overtakes(&self, rotated: &CredentialSecretRotated) -> bool {
        let newest = self.revoked_by.unwrap_or(self.version);
        is_overtaken(rotated, newest, &self.image_ref, &self.registry)
    }
}

/// Prints them by image.
pub(super) fn run(settings: &Settings, workspace: &WorkspaceId, as_json: bool) -> Result<(), Failure> {
    operator::with_log(settings, Ok(()), |log| async move {
        let secrets = read(&log, workspace).await?;
        let coloured = output::coloured();
        let mut out = output::stdout();
        for secret in secrets.values() {
            if as_json {
                writeln!(out, "{}", serde_json::to_string(secret)?)?;
            } else {
                print(&mut out, secret, coloured)?;
            }
        }
        if secrets.is_empty() && !as_json {
            writeln!(out, "no credentials are saved in workspace {workspace}")?;
        }
        Ok(())
    })
}

async fn read(log: &EventLog, workspace: &WorkspaceId) -> Result<BTreeMap<ImageId, Secret>, Failure> {
    let subject = format!("waybill.events.image.{workspace}.>");
    let mut secrets = BTreeMap::new();
    if log.pending(&subject, 1).await? == 0 {
        return Ok(secrets);
    }
    let now = trace::now();
    let mut messages = pin!(log.read(&subject, 1));
    while let Some(message) = messages.next().await {
        let message = message?;
        // What cannot be read is `waybill quarantine`'s business.
        if let Ok(recorded) = message.decode() {
            take(&mut secrets, &message, &recorded.event, now);
        }
        if message.pending == 0 {
            break;
        }
    }
    Ok(secrets)
}

fn take(secrets: &mut BTreeMap<ImageId, Secret>, message: &RawMessage, event: &Event, now: Timestamp) {
    if let Event::CredentialSecretRotated(rotated) = event
        && secrets.get(&rotated.secret.image_id).is_some_and(|secret| secret.overtakes(rotated))
    {
        return;
    }
    if let Some(saved) = event.saved() {
        let before = secrets.get(&saved.image_id).map_or(0, |secret| secret.versions);
        secrets.insert(saved.image_id.clone(), Secret::of(message, saved, before, now));
    }
    if let Event::CredentialSecretRevoked(revoked) = event
        && let Some(secret) = secrets.get_mut(&revoked.image_id).filter(|secret| secret.version <= revoked.revokes)
    {
        (secret.state, secret.revoked_by) = ("revoked", Some(message.sequence));
    }
}

fn print(out: &mut impl std::io::Write, secret: &Secret, coloured: bool) -> Result<(), Failure> {
    let colour = match secret.state {
        "in_use" => Colour::Green,
        "expired" => Colour::Yellow,
        _ => Colour::Red,
    };
    let state = output::paint(&secret.state.replace('_', " "), colour, coloured);
    writeln!(out, "{}  {state}", secret.image_id)?;
    let until = secret.expires_at.map_or_else(|| "not known".to_owned(), |expiry| expiry.to_string());
    let mut fields = vec![
        ("image".to_owned(), secret.image_ref.clone()),
        ("kind".to_owned(), format!("{}, as {}", secret.cred_type, secret.secret_name)),
        (
            "version".to_owned(),
            format!("sequence {} of {}, number {}", secret.version, secret.saved_at, secret.versions),
        ),
        ("until".to_owned(), until),
    ];
    if let Some(sequence) = secret.revoked_by {
        fields.push(("revoked".to_owned(), format!("at sequence {sequence}")));
    }
    text::fields(out, 2, &fields)
}

#[cfg(test)]
mod tests {
    use waybill_schemas::{
        Sealed,
        v1::{CredType, CredentialSecretRevoked, CredentialSource},
    };

    use super::*;

    const KEY: &str = "XAB3NANV3M6N7AHSQP2U5FRWKKUT7EG2ZXXABV4XVXYQRJGM4S2CZGHT";

    fn at(second: u64) -> Timestamp {
        format!("2026-01-01T00:00:{second:02}Z").parse().unwrap()
    }

    fn saved(tag: &str, until: Option<u64>) -> CredentialSecretSaved {
        CredentialSecretSaved {
            workspace: "ws".parse().unwrap(),
            image_id: "i".parse().unwrap(),
            image_ref: format!("a.b/app:{tag}"),
            registry: "a.b".to_owned(),
            secret_name: "oci-registry-a-b".to_owned(),
            cred_type: CredType::Basic,
            source: CredentialSource::FromRegistry,
            expires_at: until.map(at),
            credentials: Sealed {
                sender: KEY.parse().unwrap(),
                recipient: KEY.parse().unwrap(),
                ciphertext: "box".to_owned(),
            },
        }
    }

    fn rotated(replaces: u64, tag: &str, until: Option<u64>) -> Event {
        CredentialSecretRotated { replaces, secret: saved(tag, until) }.into()
    }

    fn revoked(revokes: u64) -> Event {
        CredentialSecretRevoked {
            workspace: "ws".parse().unwrap(),
            image_id: "i".parse().unwrap(),
            revokes,
            image_ref: "a.b/app:1".to_owned(),
            registry: "a.b".to_owned(),
            secret_name: "oci-registry-a-b".to_owned(),
            reason: None,
        }
        .into()
    }

    /// What is listed at second 30 of a log, and how it is printed.
    fn listed(events: &[Event]) -> (Secret, String) {
        let mut secrets = BTreeMap::new();
        for (sequence, event) in (1..).zip(events) {
            let (subject, headers) = (event.subject().to_string(), Default::default());
            let message =
                RawMessage { sequence, at: at(sequence), subject, headers, payload: Default::default(), pending: 0 };
            take(&mut secrets, &message, event, at(30));
        }
        let secret = secrets.remove(&"i".parse().unwrap()).unwrap();
        let mut out = Vec::new();
        print(&mut out, &secret, false).unwrap();
        (secret, String::from_utf8(out).unwrap())
    }

    #[test]
    fn an_image_has_its_newest_credentials() {
        let save = |tag, until| Event::from(saved(tag, until));
        // State, tag, version, how many there were, until when, and what revoked them.
        let cases = [
            (vec![save("1", None)], ("in_use", "1", 1, 1, None, None)),
            (vec![save("1", Some(31))], ("in_use", "1", 1, 1, Some(31), None)),
            (vec![save("1", Some(30))], ("expired", "1", 1, 1, Some(30), None)),
            (vec![save("1", Some(9)), rotated(1, "1", Some(40))], ("in_use", "1", 2, 2, Some(40), None)),
            (vec![save("1", None), save("2", None)], ("in_use", "2", 2, 2, None, None)),
            (vec![save("1", None), revoked(1)], ("revoked", "1", 1, 1, None, Some(2))),
            (vec![save("1", Some(9)), revoked(1)], ("revoked", "1", 1, 1, Some(9), Some(2))),
            (vec![save("1", None), rotated(1, "1", None), revoked(1)], ("in_use", "1", 2, 2, None, None)),
            (vec![save("1", None), revoked(1), save("2", None)], ("in_use", "2", 3, 2, None, None)),
            (vec![save("1", None), save("2", None), rotated(1, "1", None)], ("in_use", "2", 2, 2, None, None)),
        ];
        for (events, (state, tag, version, versions, until, revoked_by)) in cases {
            let (secret, printed) = listed(&events);
            assert_eq!((secret.state, secret.version, secret.versions), (state, version, versions), "{events:?}");
            assert_eq!((secret.expires_at, secret.revoked_by), (until.map(at), revoked_by), "{events:?}");
            assert_eq!((secret.image_ref, secret.saved_at), (format!("a.b/app:{tag}"), at(version)), "{events:?}");
            let until = until.map_or_else(|| "not known".to_owned(), |until| at(until).to_string());
            for words in [&state.replace('_', " "), &format!("a.b/app:{tag}"), &until, "basic, as oci-registry-a-b"] {
                assert!(printed.contains(words), "{words} is missing: {printed}");
            }
            assert_eq!(printed.contains("at sequence 2"), revoked_by.is_some(), "{printed}");
            assert!(!printed.contains("box"), "{printed}");
        }
    }
}
