//! Credentials that were taken away, in words: revoked, shredded, superseded or ended.

use waybill_schemas::{Recorded, v1::WithdrawReason};

use super::{
    again::ASK_AGAIN,
    container::View,
    open::{Undecided, await_decision},
    reason::rotate,
    story::{Story, Withdrawing},
    verdict::{Code, Hop, Verdict},
};

/// True if the reason is something that a person did to the secret.
pub(super) fn is_revocation(reason: WithdrawReason) -> bool {
    matches!(reason, WithdrawReason::SecretRevoked | WithdrawReason::SecretShredded)
}

/// The verdict on a placement whose secret was revoked or shredded while it had it.
pub(super) fn revoked(view: &View<'_>, story: &Story<'_>, withdrawing: Withdrawing) -> Verdict {
    let Withdrawing { reason, caused_by, recorded } = withdrawing;
    let Some(recorded) = recorded else { return untold(view, withdrawing) };
    let (name, version) = match story.credential() {
        Some(credential) => (credential.secret_name.as_str(), credential.version.to_string()),
        None => ("of the container", "any".to_owned()),
    };
    let verb = if reason == WithdrawReason::SecretShredded { "shredded" } else { "revoked" };
    let sentence = format!(
        "secret {name} was {verb} at sequence {caused_by}, while the container had its version {version}; worker {} is told \
         to drop it since sequence {recorded}",
        story.worker()
    );
    let usual = format!("{} {ASK_AGAIN}", rotate(name, "once there are new credentials"));
    let again = view.again(story);
    let remedy = match story.credential() {
        Some(used) if again.attached().is_some() => again.after_failure(used, usual),
        _ => usual,
    };
    let since = view.history.at(caused_by);
    let (sequence, at) = since.map_or((story.number(), story.request.at), |since| (since.sequence, since.at));
    Verdict::broken(Hop::Withdrawn, reason.into(), sentence, remedy).at(sequence, at)
}

/// The verdict on a placement whose worker was retired.
pub(super) fn retired(view: &View<'_>, story: &Story<'_>, withdrawing: Withdrawing) -> Verdict {
    if withdrawing.recorded.is_none() {
        return untold(view, withdrawing);
    }
    let caused_by = withdrawing.caused_by;
    let sentence = format!("worker {} was retired at sequence {caused_by}, with everything on it", story.worker());
    let remedy = "request the container on another worker".to_owned();
    let at = view.history.at(caused_by).map_or(story.request.at, |since| since.at);
    Verdict::broken(Hop::Withdrawn, Code::WorkerRetired, sentence, remedy).at(caused_by, at)
}

/// The verdict on a placement that is over and did not fail; none for one that goes on.
pub(super) fn over(view: &View<'_>, story: &Story<'_>, withdrawing: Option<Withdrawing>) -> Option<Verdict> {
    let over = story.superseded_by.is_some() || story.ended.is_some();
    let unrecorded = withdrawing.filter(|withdrawing| withdrawing.recorded.is_none());
    if let Some(withdrawing) = unrecorded.filter(|_| over) {
        return Some(untold(view, withdrawing));
    }
    if let Some(Recorded { sequence, at, .. }) = story.ended {
        let sentence = format!("the placement ended at sequence {sequence}");
        let ended = Verdict::healthy(Hop::Withdrawn, Code::Ended, sentence).at(sequence, at);
        return (!story.is_pulled()).then_some(ended);
    }
    let newer = story.superseded_by?;
    let on = view.replay.stories.get(&newer).map_or_else(String::new, |newer| format!(" on {}", newer.worker()));
    let at = view.history.at(newer).map_or(story.request.at, |newer| newer.at);
    let sentence = format!("superseded by placement {newer}{on}");
    Some(Verdict::healthy(Hop::Withdrawn, Code::Superseded, sentence).at(newer, at))
}

/// The worker is not told yet.
fn untold(view: &View<'_>, withdrawing: Withdrawing) -> Verdict {
    let what = match withdrawing.reason {
        WithdrawReason::Superseded => "the move of the container",
        WithdrawReason::Ended => "the end of the placement",
        WithdrawReason::SecretRevoked => "the revocation of the secret",
        WithdrawReason::SecretShredded => "the shredding of the secret",
        WithdrawReason::WorkerRetired => "the end of the worker",
    };
    let at = view.history.at(withdrawing.caused_by).map_or(view.now, |cause| cause.at);
    let undecided = Undecided { hop: Hop::Withdrawn, what, since: (withdrawing.caused_by, at) };
    await_decision(undecided, view.readers, view.now)
}
