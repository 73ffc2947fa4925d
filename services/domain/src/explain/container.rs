//! Explaining a container: the verdict on its newest request, and what came before it.

use waybill_schemas::{
    ContainerId, EventType, ImageId, Recorded, Subject, Timestamp, WorkspaceId,
    v1::{AttachSkipReason, ContainerCredentialsAttached, ContainerCredentialsSkipped, ImagePullFailed, PullFailure},
};

use super::{
    Earlier, Explanation, History, Readers,
    attempt::{Attempt, Decided, Provided, Pulled, Renewed, attempts},
    broken::{no_image, no_provider, withheld},
    cause::{Builds, no_credentials, quarantined},
    open::{Owed, awaiting_decision, awaiting_worker},
    step::steps,
    verdict::{Code, Hop, State, Verdict},
};

/// What happened to a container's newest request, by `now`.
pub fn explain_container(
    history: &History,
    workspace: &WorkspaceId,
    container_id: &ContainerId,
    readers: &Readers,
    now: Timestamp,
) -> Explanation {
    let mut attempts = attempts(history, workspace, container_id);
    let newest = attempts.pop();
    let unknown = Readers::unknown();
    let earlier = attempts.iter().map(|attempt| {
        let verdict = judge(history, attempt, &unknown, now);
        Earlier {
            sequence: attempt.request.sequence,
            time: attempt.request.at,
            state: verdict.state,
            code: verdict.code,
        }
    });
    let earlier = earlier.collect();
    let mut notes = Vec::new();
    let verdict = match &newest {
        Some(attempt) => {
            let verdict = judge(history, attempt, readers, now);
            notes = notes_on(history, attempt, verdict.state, now);
            unread(history, attempt, &verdict).unwrap_or(verdict)
        }
        None => not_requested(history, workspace, container_id),
    };
    for unreadable in history.unreadable("").filter(|unreadable| Some(unreadable.sequence) != verdict.sequence) {
        notes.push(format!("the event at sequence {} cannot be read: {}", unreadable.sequence, unreadable.value));
    }
    let timeline = newest.map(|attempt| steps(timeline(history, &attempt))).unwrap_or_default();
    let id = container_id.to_string();
    Explanation { kind: "container", workspace: workspace.clone(), id, verdict, timeline, earlier, notes }
}

/// A message that cannot be read and says more than what can: a newer request, or what an open hop waits for.
fn unread(history: &History, attempt: &Attempt<'_>, verdict: &Verdict) -> Option<Verdict> {
    let request = attempt.request.value;
    let (workspace, container_id) = (&request.workspace, &request.container_id);
    let asked = attempt.request.sequence;
    let newest = |prefix: &str| history.unreadable_after(asked, prefix);
    let container = format!("waybill.events.container.{workspace}.{container_id}.");
    if let Some(again) = newest(&format!("{container}{}", EventType::ContainerRequested)) {
        return Some(quarantined(Hop::Requested, again));
    }
    let missing = match verdict.code {
        Code::LostByScheduler => {
            newest(&format!("waybill.events.worker.{}.{workspace}.{container_id}.", request.worker_id))
        }
        Code::LostByWorker => newest(&container),
        _ => None,
    };
    missing.map(|missing| quarantined(verdict.hop, missing))
}

fn not_requested(history: &History, workspace: &WorkspaceId, container_id: &ContainerId) -> Verdict {
    let prefix = format!("waybill.events.container.{workspace}.{container_id}.");
    if let Some(unreadable) = history.unreadable(&prefix).last() {
        return quarantined(Hop::Requested, unreadable);
    }
    Verdict::broken(
        Hop::Requested,
        Code::NotRequested,
        format!("the log holds no request for container {container_id} in workspace {workspace}"),
        "Check the id and the workspace, and that the orchestrator calls POST /v1/containers or publishes ContainerRequested.",
    )
}

/// The first hop that broke or is open. What the log says comes first; the readers only speak of open hops.
fn judge(history: &History, attempt: &Attempt<'_>, readers: &Readers, now: Timestamp) -> Verdict {
    let verdict = judge_first(history, attempt, readers, now);
    match verdict.state {
        State::Broken => verdict,
        _ => since_changed(history, attempt, readers, now).unwrap_or(verdict),
    }
}

/// What came of the request itself.
fn judge_first(history: &History, attempt: &Attempt<'_>, readers: &Readers, now: Timestamp) -> Verdict {
    if let Some(Recorded { sequence, at, value: Pulled::Succeeded(pulled) }) = &attempt.pull {
        let with = match attempt.provider.as_ref().map(|provider| provider.value) {
            Some(Provided::Attached(provider)) if provider.registry.is_some() => {
                format!("with {}", provider.provider_name)
            }
            _ => "without credentials of its own".to_owned(),
        };
        let sentence = format!("{} was pulled {with} as {}", pulled.image_ref, pulled.digest);
        return Verdict::healthy(Hop::Pull, Code::Pulled, sentence).at(*sequence, *at);
    }
    match &attempt.decision {
        None => awaiting_decision(attempt.request.sequence, attempt.request.at, &readers.scheduler, now),
        Some(Recorded { sequence, at, value: Decided::Skipped(skipped) }) => {
            let decision = Recorded { sequence: *sequence, at: *at, value: *skipped };
            withheld(history, attempt.request.sequence, &decision)
                .unwrap_or_else(|| without_credentials(history, attempt, &decision, readers, now))
        }
        Some(Recorded { sequence, value: Decided::Attached(attached), .. }) => {
            with_credentials(history, attempt, *sequence, attached, readers, now)
        }
    }
}

/// What a rotation or a revocation came to since the container got its credentials, where that is what counts.
fn since_changed(history: &History, attempt: &Attempt<'_>, readers: &Readers, now: Timestamp) -> Option<Verdict> {
    let renewed = attempt.renewals.last();
    let told = renewed.map(|renewed| match renewed.decision.value {
        Decided::Attached(attached) => Some(attached.saved_by),
        Decided::Skipped(skipped) => skipped.image_event,
    });
    if let Some((sequence, at)) = attempt.builds.changed_after
        && attempt.ended.is_none_or(|ended| sequence < ended)
        && matches!(&attempt.decision, Some(Recorded { value: Decided::Attached(_), .. }))
        && told.flatten() < Some(sequence)
        && !matches!(renewed, Some(Renewed { decision: Recorded { value: Decided::Skipped(_), .. }, .. }))
    {
        return Some(awaiting_decision(sequence, at, &readers.scheduler, now));
    }
    let Renewed { decision, provider } = renewed?;
    match (&decision.value, provider) {
        (Decided::Skipped(skipped), _) => {
            let decision = Recorded { sequence: decision.sequence, at: decision.at, value: *skipped };
            withheld(history, attempt.request.sequence, &decision)
        }
        (Decided::Attached(attached), Some(Recorded { sequence, at, value: Provided::Failed(failed) })) => {
            Some(no_provider(history, attached, &Recorded { sequence: *sequence, at: *at, value: *failed }))
        }
        (Decided::Attached(_), None) if matches!(&attempt.pull, Some(Recorded { value: Pulled::Succeeded(_), .. })) => {
            let worker = &attempt.request.value.worker_id;
            let since = (decision.sequence, decision.at);
            let (hop, code) = (Hop::Provider, Code::AwaitingProvider);
            Some(awaiting_worker(Owed { hop, code, worker, decision: decision.sequence, since }, &readers.worker, now))
        }
        _ => None,
    }
}

fn with_credentials(
    history: &History,
    attempt: &Attempt<'_>,
    decision: u64,
    attached: &ContainerCredentialsAttached,
    readers: &Readers,
    now: Timestamp,
) -> Verdict {
    match (&attempt.provider, &attempt.pull) {
        (Some(Recorded { sequence, at, value: Provided::Failed(failed) }), _) => {
            no_provider(history, attached, &Recorded { sequence: *sequence, at: *at, value: *failed })
        }
        (provider, Some(Recorded { sequence, at, value: Pulled::Failed(failed) })) => {
            let provider = match provider.as_ref().map(|provider| provider.value) {
                Some(Provided::Attached(provider)) => Some(provider),
                _ => None,
            };
            no_image(history, Some(attached), provider, &Recorded { sequence: *sequence, at: *at, value: *failed })
        }
        _ => worker_owes(attempt, decision, readers, now),
    }
}

/// The scheduler had nothing to attach. Where a build supplied credentials that cannot be used, that is what broke. Otherwise
/// it is well for a public image; where the registry wants credentials, the first hop that broke is the one that has none.
fn without_credentials(
    history: &History,
    attempt: &Attempt<'_>,
    decision: &Recorded<&ContainerCredentialsSkipped>,
    readers: &Readers,
    now: Timestamp,
) -> Verdict {
    let unusable = decision.value.reason == AttachSkipReason::CredentialsUnusable;
    if let Some(cause) = missing(history, attempt, decision).filter(|_| unusable) {
        return cause;
    }
    if let Some(Recorded { sequence, at, value: Provided::Failed(failed) }) = &attempt.provider {
        let words = failed.detail.clone().unwrap_or_default();
        let sentence = format!("the worker has no provider: {words}");
        let remedy = "Look at the worker's log for this sequence; then ask for the container again.";
        return Verdict::broken(Hop::Provider, Code::Unsupported, sentence, remedy).at(*sequence, *at);
    }
    let Some(Recorded { sequence, at, value: Pulled::Failed(failed) }) = &attempt.pull else {
        return worker_owes(attempt, decision.sequence, readers, now);
    };
    let failure = Recorded { sequence: *sequence, at: *at, value: *failed };
    let pull = no_image(history, None, None, &failure);
    let Some(cause) = missing(history, attempt, decision).filter(|cause| wants_credentials(failed, cause)) else {
        return pull;
    };
    // A person sees both: what the registry said, and why nothing could be sent to it.
    let sentence = format!("{}; {}", cause.sentence, pull.sentence);
    Verdict { sentence, ..cause }
}

/// Whether credentials would have made a difference.
fn wants_credentials(failed: &ImagePullFailed, cause: &Verdict) -> bool {
    match failed.reason {
        PullFailure::Unauthorized | PullFailure::Denied | PullFailure::NoImageReference => true,
        PullFailure::NotFound => !matches!(cause.code, Code::PublicRegistry | Code::ImageModified),
        _ => false,
    }
}

/// Why the request has no credentials, as the verdict on an earlier hop.
fn missing(
    history: &History,
    attempt: &Attempt<'_>,
    decision: &Recorded<&ContainerCredentialsSkipped>,
) -> Option<Verdict> {
    let request = attempt.request.value;
    let verdict = match decision.value.reason {
        AttachSkipReason::NoImageId => Verdict::broken(
            Hop::Requested,
            Code::NoImageId,
            "the request names no image, so nothing could be found for it",
            "Have the orchestrator pass image_id in the request.",
        )
        .at(attempt.request.sequence, attempt.request.at),
        AttachSkipReason::BuildContainer => Verdict::broken(
            Hop::Attached,
            Code::BuildContainer,
            "a container that builds images brings its own credentials and is given none",
            "Check the credentials of the build itself, or ask with build_container: false.",
        )
        .at(decision.sequence, decision.at),
        _ => no_credentials(history, &request.workspace, image_of(attempt)?, &attempt.builds),
    };
    Some(verdict)
}

fn image_of<'h>(attempt: &Attempt<'h>) -> Option<&'h ImageId> {
    attempt.request.value.image_id.as_ref()
}

fn worker_owes(attempt: &Attempt<'_>, decision: u64, readers: &Readers, now: Timestamp) -> Verdict {
    let worker = &attempt.request.value.worker_id;
    let decided_at = attempt.decision.as_ref().map_or(attempt.request.at, |decided| decided.at);
    let owed = match &attempt.provider {
        None => {
            Owed { hop: Hop::Provider, code: Code::AwaitingProvider, worker, decision, since: (decision, decided_at) }
        }
        Some(provider) => {
            let since = (provider.sequence, provider.at);
            Owed { hop: Hop::Pull, code: Code::AwaitingPull, worker, decision, since }
        }
    };
    awaiting_worker(owed, &readers.worker, now)
}

/// What is worth knowing beside the verdict.
fn notes_on(history: &History, attempt: &Attempt<'_>, state: State, now: Timestamp) -> Vec<String> {
    let mut notes = Vec::new();
    if let Some(Recorded { value: Decided::Skipped(skipped), sequence, at }) = &attempt.decision
        && attempt.pull.is_none()
        && !skipped.reason.withholds_credentials()
    {
        let decision = Recorded { sequence: *sequence, at: *at, value: *skipped };
        let cause = missing(history, attempt, &decision).map(|cause| cause.sentence);
        notes.extend(cause.map(|cause| format!("no credentials were attached: {cause}")));
    }
    notes.extend(attempt.ended.map(|sequence| format!("the container ended at sequence {sequence}")));
    for renewed in &attempt.renewals {
        if let Decided::Attached(attached) = renewed.decision.value {
            let (by, place) = (attached.saved_by, renewed.decision.sequence);
            notes.push(format!(
                "the credentials were rotated at sequence {by}; the container has new ones since sequence {place}"
            ));
        }
    }
    let newest = attempt.renewals.last().map(|renewed| &renewed.decision).or(attempt.decision.as_ref());
    let used = match newest.map(|decision| decision.value) {
        Some(Decided::Attached(attached)) => Some((attached.saved_by, attached.expires_at)),
        Some(Decided::Skipped(_)) => None,
        None => attempt.builds.saved.as_ref().map(|saved| (saved.sequence, saved.value.expires_at)),
    };
    // Where expired credentials broke a hop, the verdict says so.
    match used {
        Some((_, Some(expiry))) if expiry > now => notes.push(format!("the credentials expire at {expiry}")),
        Some((sequence, Some(expiry))) if state != State::Broken => {
            notes.push(format!(
                "the credentials expired at {expiry}; {}",
                after_expiry(history, attempt, sequence, now)
            ));
        }
        _ => {}
    }
    notes
}

/// What the next container that asks for the image finds in place of expired credentials.
fn after_expiry(history: &History, attempt: &Attempt<'_>, expired: u64, now: Timestamp) -> String {
    let workspace = &attempt.request.value.workspace;
    let newest = image_of(attempt).and_then(|image_id| Builds::before(u64::MAX, history, workspace, image_id).saved);
    match newest.filter(|saved| saved.sequence > expired && saved.value.expires_at.is_none_or(|expiry| expiry > now)) {
        Some(saved) => format!("the next container gets those saved at sequence {}", saved.sequence),
        None => "rotate them, or build again with new ones, before the next container asks".to_owned(),
    }
}

/// The build that the request depends on, the first one that came too late, and the request's own events.
fn timeline<'h>(history: &'h History, attempt: &Attempt<'h>) -> Vec<Recorded<&'h waybill_schemas::RecordedEvent>> {
    let builds = &attempt.builds;
    let used = match attempt.decision.as_ref().map(|decision| decision.value) {
        Some(Decided::Attached(attached)) => Some(attached.saved_by),
        _ => builds.saved.as_ref().map(|saved| saved.sequence),
    };
    let without = used.is_none().then(|| builds.skipped.as_ref().map(|skipped| skipped.sequence)).flatten();
    let late = used.is_none().then(|| builds.saved_after.as_ref().map(|saved| saved.sequence)).flatten();
    let decisions = attempt.decision.iter().chain(attempt.renewals.iter().map(|renewed| &renewed.decision));
    let rest_on = decisions.map(|decision| match decision.value {
        Decided::Attached(attached) => Some(attached.saved_by),
        Decided::Skipped(skipped) => skipped.image_event,
    });
    let shown: Vec<u64> = [used, without, late].into_iter().chain(rest_on).flatten().collect();
    let of_image = history.events().filter(|recorded| {
        matches!(recorded.value.event.subject(), Subject::Image { .. }) && shown.contains(&recorded.sequence)
    });
    of_image.chain(attempt.events.iter().cloned()).collect()
}
