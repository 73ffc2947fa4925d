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
