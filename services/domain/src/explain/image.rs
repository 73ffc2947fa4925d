//! Explaining an image: what its newest build leaves for containers to come.

use waybill_schemas::{ImageId, Subject, Timestamp, WorkerId, WorkspaceId, v1::AttachSkipReason};

use super::{
    Concern, Explanation, History,
    container::quarantined,
    missing::nothing_built,
    notes::unreadable,
    reason::{Situation, clause, remedy},
    refused::{refused_since, refused_unnamed},
    replay::Replay,
    secret::unverified,
    skipped,
    step::latest_steps,
    verdict::{Code, Hop, State, Verdict},
};
use crate::fold::{ImageFact, ImageKey, SecretFact, SecretKey, find_credential};

/// What becomes of a remedy for an image.
const LATER: &str = "Containers asked for later get it.";

/// What a container that asks for the image at `now` would find, and why.
pub fn explain_image(history: &History, workspace: &WorkspaceId, image_id: &ImageId, now: Timestamp) -> Explanation {
    let history = history.restrict(&Concern::from_image(history, workspace, image_id));
    let facts = Replay::from_history(&history).facts;
    let image = facts.images.get(&ImageKey { workspace: workspace.clone(), image_id: image_id.clone() });
    let key = image.and_then(|image| image.secret_name.clone());
    let secret =
        key.and_then(|secret_name| facts.secrets.get(&SecretKey { workspace: workspace.clone(), secret_name }));
    let mut notes = Vec::new();
    notes.extend(secret.and_then(|secret| unverified(&history, secret)));
    let verdict = judge(&history, (workspace, image_id), image, secret, now);
    notes.extend(refused_since(&history, &verdict));
    notes.extend(refused_unnamed(&history, &verdict, now));
    notes.extend(unreadable(&history, &verdict));
    let shown = |subject: &Subject| match subject {
        Subject::Image { .. } | Subject::RefusedImage { .. } => true,
        Subject::Secret { secret, .. } => image.and_then(|image| image.secret_name.as_ref()) == Some(secret),
        _ => false,
    };
    let (hidden, timeline) = latest_steps(history.events().filter(|recorded| shown(&recorded.value.subject)));
    if hidden > 0 {
        notes.push(format!("{hidden} earlier events are not shown; `waybill events --image {image_id}` has them"));
    }
    Explanation {
        kind: "image",
        workspace: workspace.clone(),
        id: image_id.to_string(),
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
    (workspace, image_id): (&WorkspaceId, &ImageId),
    image: Option<&ImageFact>,
    secret: Option<&SecretFact>,
    now: Timestamp,
) -> Verdict {
    // No reason that an image has speaks of a worker.
    let Ok(worker) = "-".parse::<WorkerId>() else { return unknown() };
    let situation = Situation {
        history,
        workspace,
        image_id: Some(image_id),
        image_event: image.map(|image| image.sequence),
        registry: image.and_then(|image| image.registry.as_deref()),
        secret_name: image.and_then(|image| image.secret_name.as_ref()),
        secret,
        worker: &worker,
    };
    let built = image.map_or(0, |image| image.sequence);
    let builds = |subject: &Subject| matches!(subject, Subject::Image { .. });
    if let Some(unreadable) = history.unreadable(builds).rfind(|unreadable| unreadable.sequence > built) {
        return quarantined(Hop::Saved, unreadable);
    }
    let Some(image) = image else { return nothing_built(&situation, "") };
    match find_credential(image, secret, now) {
        Ok((image_ref, credential)) => {
            let until = credential.expires_at.map_or_else(String::new, |expiry| format!(", until {expiry}"));
            let sentence = format!(
                "{image_ref} is pulled with secret {}, version {} ({}){until}",
                credential.secret_name, credential.version, credential.cred_type
            );
            let since = history.at(image.sequence.max(credential.saved_by));
            let verdict = Verdict::healthy(Hop::Saved, Code::Saved, sentence);
            since.map_or(verdict.clone(), |since| verdict.at(since.sequence, since.at))
        }
        Err(AttachSkipReason::NoSecretForImage | AttachSkipReason::CredentialsUnusable) => {
            situation.skipped().map_or_else(unknown, |skipped| not_needed(skipped::verdict(&skipped)))
        }
        Err(reason) => refused(&situation, reason),
    }
}

/// The image names a secret that no container can be given.
fn refused(situation: &Situation<'_>, reason: AttachSkipReason) -> Verdict {
    let code = match reason {
        AttachSkipReason::SecretRevoked => Code::SecretRevoked,
        AttachSkipReason::SecretShredded => Code::SecretShredded,
        AttachSkipReason::SecretExpired => Code::SecretExpired,
        AttachSkipReason::RegistryMismatch => Code::RegistryMismatch,
        _ => Code::SecretNotFound,
    };
    let remedy = format!("{} {LATER}", remedy(reason, situation));
    let verdict = Verdict::broken(Hop::Saved, code, clause(reason, situation, "is"), remedy);
    let said = situation.secret.map(|secret| secret.sequence).max(situation.image_event);
    match said.and_then(|said| situation.history.at(said)) {
        Some(said) => verdict.at(said.sequence, said.at),
        None => verdict,
    }
}

/// A build that the fold knows, and that this version cannot put into words.
fn unknown() -> Verdict {
    Verdict::broken(Hop::Saved, Code::NothingBuilt, "nothing is known of the image's build", "Build again.")
}

/// A build that needs no credentials is well as it is.
fn not_needed(verdict: Verdict) -> Verdict {
    match verdict.code {
        Code::PublicRegistry | Code::ImageModified => Verdict { state: State::Healthy, ..verdict },
        _ => verdict,
    }
}
