//! Explaining an image: what its builds left for containers to come.

use waybill_schemas::{Event, ImageId, Recorded, Timestamp, WorkspaceId, v1::CredentialSecretSaved};

use super::{
    Explanation, History,
    broken::rotate,
    cause::{Builds, no_credentials},
    step::steps,
    verdict::{Code, Hop, State, Verdict},
};

/// Most builds that are shown.
const SHOWN: usize = 20;

/// What a container that asks for the image at `now` would find, and why.
pub fn explain_image(history: &History, workspace: &WorkspaceId, image_id: &ImageId, now: Timestamp) -> Explanation {
    let builds = Builds::before(u64::MAX, history, workspace, image_id);
    let mut notes = Vec::new();
    let verdict = match &builds.saved {
        Some(saved) => {
            if let Some(skipped) = builds.skipped.as_ref().filter(|skipped| skipped.sequence > saved.sequence) {
                let reason = skipped.value.reason;
                let place = skipped.sequence;
                notes.push(format!(
                    "a later build saved none ({reason}, sequence {place}); the earlier ones stay in use"
                ));
            }
            notes.extend(unverified(history, workspace, image_id, saved.sequence));
            of_saved(image_id, saved, now)
        }
        None => not_needed(no_credentials(history, workspace, image_id, &builds)),
    };
    notes.extend(builds.overtaken.iter().map(|sequence| {
        format!(
            "the rotation at sequence {sequence} changed nothing: the image had become another one while it was asked for"
        )
    }));
    let prefix = format!("waybill.events.image.{workspace}.{image_id}.");
    notes.extend(history.unreadable(&prefix).map(|unreadable| {
        format!("the event at sequence {} cannot be read: {}", unreadable.sequence, unreadable.value)
    }));
    let all: Vec<_> = history.builds(workspace, image_id).collect();
    let hidden = all.len().saturating_sub(SHOWN);
    if hidden > 0 {
        notes.push(format!("{hidden} earlier builds are not shown; `waybill events --image {image_id}` has them"));
    }
    let timeline = steps(all.into_iter().skip(hidden));
    Explanation {
        kind: "image",
        workspace: workspace.clone(),
        id: image_id.to_string(),
        verdict,
        timeline,
        earlier: Vec::new(),
        notes,
    }
}

/// What the registry said when it was asked about the credentials and did not accept them.
fn unverified(history: &History, workspace: &WorkspaceId, image_id: &ImageId, saved_by: u64) -> Option<String> {
    history.builds(workspace, image_id).find_map(|recorded| match &recorded.value.event {
        Event::CredentialSecretVerified(e) if e.saved_by == saved_by && e.digest.is_none() => {
            let words = e.detail.as_deref().unwrap_or("no more is known");
            Some(format!(
                "the registry did not accept them when they were saved (sequence {}): {words}",
                recorded.sequence
            ))
        }
        _ => None,
    })
}

fn of_saved(image_id: &ImageId, saved: &Recorded<&CredentialSecretSaved>, now: Timestamp) -> Verdict {
    let CredentialSecretSaved { secret_name, cred_type, registry, expires_at, .. } = saved.value;
    let verdict = match expires_at {
        Some(expiry) if *expiry <= now => Verdict::broken(
            Hop::Saved,
            Code::SecretExpired,
            format!("the {cred_type} credentials of image {image_id} for {registry} expired at {expiry}"),
            format!("{}, or build again; containers asked for later get the new ones.", rotate(image_id)),
        ),
        Some(expiry) => Verdict::healthy(
            Hop::Saved,
            Code::Saved,
            format!("{cred_type} credentials for {registry} are saved as {secret_name}, until {expiry}"),
        ),
        None => Verdict::healthy(
            Hop::Saved,
            Code::Saved,
            format!("{cred_type} credentials for {registry} are saved as {secret_name}"),
        ),
    };
    verdict.at(saved.sequence, saved.at)
}

/// A build that needs no credentials is well as it is.
fn not_needed(verdict: Verdict) -> Verdict {
    match verdict.code {
        Code::PublicRegistry | Code::ImageModified => Verdict { state: State::Healthy, ..verdict },
        _ => verdict,
    }
}
