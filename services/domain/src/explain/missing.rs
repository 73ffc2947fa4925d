//! Placements without credentials: the verdict on the hop that has none, and what was put right since.

use waybill_schemas::{Recorded, Subject, WorkspaceId, v1::AttachSkipReason};

use super::{
    again::ASK_AGAIN,
    container::{View, quarantined},
    reason::{Situation, clause, remedy},
    refused::Refusal,
    replay::Replay,
    skipped,
    story::Story,
    verdict::{Code, Hop, Verdict},
};
use crate::{
    decision::SkippedImage,
    fold::{SecretFact, SecretKey},
};

/// Why a placement has no credentials, as the verdict on the hop that has none.
pub(super) fn missing(view: &View<'_>, story: &Story<'_>, image: &SkippedImage, reason: AttachSkipReason) -> Verdict {
    let request = story.request.value;
    let before = secret_before(view, story, image);
    let situation = Situation {
        history: view.history,
        workspace: &request.workspace,
        image_id: request.image_id.as_ref(),
        image_event: image.image_event,
        registry: image.registry.as_deref(),
        secret_name: image.secret_name.as_ref(),
        secret: before.as_ref(),
        worker: story.worker(),
    };
    let again = view.again(story);
    let after = |usual: String| again.after_skip(reason, usual);
    let usual = format!("{} {ASK_AGAIN}", remedy(reason, &situation));
    let asked = format!("{} when the container asked", clause(reason, &situation, "was"));
    let decided =
        story.decision.as_ref().map_or((story.number(), story.request.at), |decision| (decision.sequence, decision.at));
    let (hop, code, sentence) = match reason {
        AttachSkipReason::NoSecretForImage | AttachSkipReason::CredentialsUnusable => {
            return without_secret(view, story, &situation, after);
        }
        AttachSkipReason::NoImageId => (Hop::Requested, Code::NoImageId, clause(reason, &situation, "was")),
        AttachSkipReason::BuildContainer => (Hop::Attached, Code::BuildContainer, clause(reason, &situation, "was")),
        AttachSkipReason::SecretNotFound => (Hop::Attached, Code::SecretNotFound, asked),
        AttachSkipReason::RegistryMismatch => (Hop::Attached, Code::RegistryMismatch, asked),
        AttachSkipReason::UnknownWorker => (Hop::Attached, Code::UnknownWorker, asked),
        AttachSkipReason::SecretExpired => (Hop::Attached, Code::SecretExpired, asked),
        AttachSkipReason::SecretRevoked => (Hop::Attached, Code::SecretRevoked, asked),
        AttachSkipReason::SecretShredded => (Hop::Attached, Code::SecretShredded, asked),
    };
    let (sequence, at) = if hop == Hop::Requested { (story.number(), story.request.at) } else { decided };
    Verdict::broken(hop, code, sentence, after(usual)).at(sequence, at)
}

/// The secret as it was when the container asked: folded again up to there.
fn secret_before(view: &View<'_>, story: &Story<'_>, image: &SkippedImage) -> Option<SecretFact> {
    let secret_name = image.secret_name.clone()?;
    let before = view.history.clone().until(story.number());
    let mut facts = Replay::from_history(&before).facts;
    facts.secrets.remove(&SecretKey { workspace: story.request.value.workspace.clone(), secret_name })
}

/// The image's newest build had no secret, or there was no build.
fn without_secret(
    view: &View<'_>,
    story: &Story<'_>,
    situation: &Situation<'_>,
    after: impl Fn(String) -> String,
) -> Verdict {
    let built = situation.image_event.unwrap_or(0);
    let unread = |unreadable: &Recorded<&str>| (built..story.number()).contains(&unreadable.sequence);
    let of_image = |subject: &Subject| match subject {
        Subject::Image { image_id, .. } => Some(image_id) == situation.image_id,
        _ => false,
    };
    if let Some(unreadable) = view.history.unreadable(of_image).rfind(unread) {
        return quarantined(Hop::Saved, unreadable);
    }
    if let Some(skipped) = situation.skipped() {
        let verdict = skipped::verdict(&skipped);
        let remedy = after(format!("{} {ASK_AGAIN}", verdict.remedy));
        return Verdict { remedy, ..verdict };
    }
    let later =
        view.history.events().find(|recorded| recorded.sequence > story.number() && of_image(&recorded.value.subject));
    match later {
        Some(later) => {
            let id = situation.image_id.map_or("of the request", |id| id.as_str());
            let sentence = format!("image {id} was built after the container asked for it");
            let wait = "Have the orchestrator wait for the build's answer.";
            let remedy = format!("{} {wait}", after(ASK_AGAIN.to_owned()));
            Verdict::broken(Hop::Saved, Code::SavedAfterRequest, sentence, remedy).at(later.sequence, later.at)
        }
        None => nothing_built(situation, ASK_AGAIN),
    }
}

/// The log holds no build of an image in its workspace.
pub(super) fn nothing_built(situation: &Situation<'_>, then: &str) -> Verdict {
    let reason = AttachSkipReason::NoSecretForImage;
    let id = situation.image_id.map_or("of the request", |id| id.as_str());
    let about = |subject: &Subject| matches!(subject, Subject::RefusedImage { image_id, .. } if Some(image_id) == situation.image_id);
    if let Some(refusal) = Refusal::find(situation.history, 0, about, |_| true) {
        return refusal.verdict(then);
    }
    match situation.history.elsewhere() {
        [] => {
            let remedy = format!("{} {then}", remedy(reason, situation));
            Verdict::broken(Hop::Saved, Code::NothingBuilt, clause(reason, situation, "is"), remedy.trim_end())
        }
        workspaces => {
            let names: Vec<&str> = workspaces.iter().map(WorkspaceId::as_str).collect();
            let workspace = situation.workspace;
            Verdict::broken(
                Hop::Saved,
                Code::OtherWorkspace,
                format!("image {id} was built in workspace {}, not in {workspace}", names.join(", ")),
                format!("Ask for the container in that workspace, or build the image in {workspace}."),
            )
        }
    }
}
