//! Explaining a container: the verdict on its newest placement, and what came before it.

use waybill_schemas::{
    ContainerId, Event, Recorded, Subject, Timestamp, WorkspaceId,
    v1::{AttachSkipReason, CredentialProviderFailed, ImagePullFailed, WithdrawReason},
};

use super::{
    Concern, Earlier, Explanation, History, Readers,
    again::{ASK_AGAIN, Again},
    asked::find_refusal,
    clocks::compare_clocks,
    missing::missing,
    notes::{notes_on, unreadable},
    open::{Owed, Undecided, await_decision, await_worker},
    provider::{Failed, no_provider},
    pull::{no_image, wants_credentials},
    refused::{Refusal, places, refused_since, refused_unnamed},
    replay::Replay,
    step::{StepOutcome, steps},
    story::{Provided, Pulled, Renewal, Story},
    verdict::{Code, Hop, Verdict},
    withdrawn::{is_revocation, over, retired, revoked},
};
use crate::decision::{Credential, Decision, Outcome, SkippedImage, differing_fields};

/// What verdicts are made from.
pub(super) struct View<'v> {
    pub(super) history: &'v History,
    pub(super) replay: &'v Replay<'v>,
    pub(super) readers: &'v Readers,
    pub(super) now: Timestamp,
}

impl<'v> View<'v> {
    /// What a new request for the same container would come to.
    pub(super) fn again(&self, story: &Story<'v>) -> Again<'v> {
        Again::ask(self.history, &self.replay.facts, story.request.value, self.now)
    }
}

/// What happened to a container's newest placement, by `now`.
pub fn explain_container(
    history: &History,
    workspace: &WorkspaceId,
    container_id: &ContainerId,
    readers: &Readers,
    now: Timestamp,
) -> Explanation {
    let history = history.restrict(&Concern::from_container(history, workspace, container_id));
    let replay = Replay::from_history(&history);
    let mut explanation = Explanation {
        kind: "container",
        workspace: workspace.clone(),
        id: container_id.to_string(),
        placement: None,
        worker_id: None,
        verdict: not_requested(&history, workspace, container_id),
        timeline: Vec::new(),
        earlier: Vec::new(),
        notes: Vec::new(),
    };
    let mut stories: Vec<&Story<'_>> = replay.stories.values().collect();
    if let Some(newest) = stories.pop() {
        let unknown = Readers::unknown();
        let view = View { history: &history, replay: &replay, readers: &unknown, now };
        explanation.earlier = stories.into_iter().map(|story| in_short(&view, story)).collect();
        let view = View { readers, ..view };
        let verdict = judge(&view, newest);
        explanation.notes = notes_on(&view, newest, verdict.state);
        explanation.notes.extend(compare_clocks(newest.events.iter().copied()));
        explanation.verdict = newer_request(&history, newest).unwrap_or(verdict);
        explanation.timeline = steps(timeline(&view, newest));
        (explanation.placement, explanation.worker_id) = (Some(newest.number()), Some(newest.worker().clone()));
    }
    if explanation.placement.is_none() {
        let refused = history.events().filter(|recorded| is_about_container(&recorded.value.subject));
        explanation.timeline = steps(refused.map(|recorded| (recorded, None)));
    }
    explanation.notes.extend(refused_since(&history, &explanation.verdict));
    explanation.notes.extend(refused_unnamed(&history, &explanation.verdict, now));
    explanation.notes.extend(unreadable(&history, &explanation.verdict));
    explanation
}

fn in_short(view: &View<'_>, story: &Story<'_>) -> Earlier {
    let verdict = judge(view, story);
    Earlier {
        sequence: story.number(),
        time: story.request.at,
        worker_id: story.worker().clone(),
        state: verdict.state,
        code: verdict.code,
        sentence: verdict.sentence,
    }
}

fn not_requested(history: &History, workspace: &WorkspaceId, container_id: &ContainerId) -> Verdict {
    if let Some(unreadable) = history.unreadable(|subject| matches!(subject, Subject::Container { .. })).next_back() {
        return quarantined(Hop::Requested, unreadable);
    }
    if let Some(refusal) = Refusal::find(history, 0, is_about_container, places) {
        return refusal.verdict("");
    }
    Verdict::broken(
        Hop::Requested,
        Code::NotRequested,
        format!("the log holds no request for container {container_id} in workspace {workspace}"),
        "Check the id and the workspace, and that the orchestrator calls POST /v1/containers or publishes \
         ContainerRequested; one that nats-server refuses leaves no event, and of one that the gateway refuses without a \
         valid token it is not known what it was about.",
    )
}

fn is_about_container(subject: &Subject) -> bool {
    matches!(subject, Subject::RefusedContainer { .. })
}

/// A message that cannot be read and stands where a newer request does. An end stands on the subject of its own request.
fn newer_request(history: &History, story: &Story<'_>) -> Option<Verdict> {
    let requests = |subject: &Subject| matches!(subject, Subject::Container { .. }) && subject != story.subject;
    let newer = history.unreadable(requests).rfind(|unreadable| unreadable.sequence > story.number());
    newer.map(|newer| quarantined(Hop::Requested, newer))
}

/// A message that cannot be read, at a hop.
pub(super) fn quarantined(hop: Hop, unreadable: Recorded<&str>) -> Verdict {
    let Recorded { sequence, at, value: error } = unreadable;
    Verdict::broken(
        hop,
        Code::Quarantined,
        format!("the event at sequence {sequence} cannot be read and is in quarantine: {error}"),
        format!(
            "Look at it with `waybill quarantine show {sequence}`; publish it anew as the schema says, or upgrade and \
             `waybill quarantine retry {sequence}`."
        ),
    )
    .at(sequence, at)
}

/// The first hop that broke or is open.
fn judge(view: &View<'_>, story: &Story<'_>) -> Verdict {
    if let Some(differs) = decision_differs(view, story) {
        return differs;
    }
    let withdrawing = story.withdrawing(&view.replay.facts);
    // A failure after that follows from it: the worker broke off what it was doing.
    let came_first = |failure: &Verdict| {
        let mut known = [failure.sequence, story.failed_at()].into_iter().flatten();
        withdrawing.is_none_or(|withdrawing| known.any(|sequence| sequence < withdrawing.caused_by))
    };
    if let Some(failure) = find_failure(view, story).filter(came_first) {
        return failure;
    }
    if let Some(withdrawing) = withdrawing.filter(|withdrawing| withdrawing.reason == WithdrawReason::WorkerRetired) {
        return retired(view, story, withdrawing);
    }
    match withdrawing.filter(|withdrawing| is_revocation(withdrawing.reason)) {
        Some(withdrawing) => revoked(view, story, withdrawing),
        None => over(view, story, withdrawing)
            .or_else(|| undecided(view, story))
            .unwrap_or_else(|| judge_worker(view, story)),
    }
}

/// The recorded decision is not the fold's. Where something before it cannot be read here, the scheduler may have known more.
fn decision_differs(view: &View<'_>, story: &Story<'_>) -> Option<Verdict> {
    let (recorded, expected) = (story.decision.as_ref()?, story.expected.as_ref()?);
    let number = story.number();
    let is_newest = view.replay.stories.keys().next_back() == Some(&number);
    let known = is_newest || view.history.is_complete_at(number);
    let unread = view.history.unreadable(|_| true).any(|unreadable| unreadable.sequence < number);
    if recorded.value == *expected || !known || unread {
        return None;
    }
    let fields = differing_fields(&recorded.value, expected).join(", ");
    let sentence = format!(
        "the log leads to another decision than the one at sequence {}: {}, not {} (differing: {fields})",
        recorded.sequence,
        in_words(expected),
        in_words(&recorded.value),
    );
    let remedy = "Run `waybill replay --verify`. If `waybill quarantine list` has what the scheduler could not read, retry it; \
                  if not, start `waybill scheduler --rebuild`. Then ask for the container again.";
    Some(Verdict::broken(Hop::Attached, Code::DecisionDiffers, sentence, remedy).at(recorded.sequence, recorded.at))
}

fn in_words(decision: &Decision) -> String {
    match &decision.outcome {
        Outcome::Attached { credential, image, .. } => {
            format!("version {} of secret {} for {}", credential.version, credential.secret_name, image.image_ref)
        }
        Outcome::Skipped { reason, .. } => format!("none ({reason})"),
        Outcome::Withdrawn { reason, .. } => format!("a withdrawal ({reason})"),
        Outcome::Renewed { credential, .. } => format!("version {}", credential.version),
    }
}

/// What broke, by the decision and by what the worker reported of it.
fn find_failure(view: &View<'_>, story: &Story<'_>) -> Option<Verdict> {
    let decision = story.decision.as_ref()?;
    let skip = match &decision.value.outcome {
        Outcome::Skipped { image, reason, .. } => Some((image, *reason)),
        _ => None,
    };
    if let Some((image, reason)) = skip.filter(|(_, reason)| reason.withholds_credentials()) {
        return Some(missing(view, story, image, reason));
    }
    let used = story.credential();
    match (&story.provider, &story.pull) {
        (Some(Recorded { sequence, at, value: Provided::Failed(failed) }), _) => {
            Some(failed_provider(view, story, used, &Recorded { sequence: *sequence, at: *at, value: *failed }))
        }
        (_, Some(Recorded { sequence, at, value: Pulled::Failed(failed) })) => {
            let failed = Recorded { sequence: *sequence, at: *at, value: *failed };
            let pull = no_image(view, story, &failed);
            Some(
                skip.map_or_else(
                    || pull.clone(),
                    |(image, reason)| blame(view, story, (image, reason), &failed, &pull),
                ),
            )
        }
        _ => failed_renewal(view, story),
    }
}

fn failed_provider(
    view: &View<'_>,
    story: &Story<'_>,
    used: Option<&Credential>,
    failed: &Recorded<&CredentialProviderFailed>,
) -> Verdict {
    let Recorded { sequence, at, value: CredentialProviderFailed { reason, detail, .. } } = failed;
    if let Some(used) = used {
        let failed = Failed { reason: *reason, detail: detail.as_deref(), sequence: *sequence, at: *at };
        return no_provider(view, story, used, &failed);
    }
    let words = detail.as_deref().unwrap_or("no more is known");
    let sentence = format!("worker {} has no provider, though it needs no credentials: {words}", story.worker());
    let remedy = format!("Look at the log of worker {} for this placement. {ASK_AGAIN}", story.worker());
    Verdict::broken(Hop::Provider, (*reason).into(), sentence, remedy).at(*sequence, *at)
}

/// A new version that the worker cannot use, unless a newer one followed.
fn failed_renewal(view: &View<'_>, story: &Story<'_>) -> Option<Verdict> {
    let Renewal { credential, outcome, .. } = story.renewals.last()?;
    let Recorded { sequence, at, value } = outcome.as_ref()?;
    let failed = (*value)?;
    let failed = Failed { reason: failed.reason, detail: failed.detail.as_deref(), sequence: *sequence, at: *at };
    Some(no_provider(view, story, credential, &failed))
}

/// A pull without credentials failed. Where the registry wants some, the first hop that broke is the one that has none; a
/// person sees both.
fn blame(
    view: &View<'_>,
    story: &Story<'_>,
    (image, reason): (&SkippedImage, AttachSkipReason),
    failed: &Recorded<&ImagePullFailed>,
    pull: &Verdict,
) -> Verdict {
    let cause = missing(view, story, image, reason);
    if !wants_credentials(failed.value.reason, cause.code) {
        return pull.clone();
    }
    // What broke is known since the pull.
    Verdict { sentence: format!("{}; {}", cause.sentence, pull.sentence), ..cause }
}

/// The scheduler has not decided about the request.
fn undecided(view: &View<'_>, story: &Story<'_>) -> Option<Verdict> {
    if story.decision.is_some() {
        return None;
    }
    let decides = |subject: &Subject| match subject {
        Subject::ContainerDecision { placement, .. } => *placement == story.number(),
        _ => false,
    };
    if let Some(unreadable) = view.history.unreadable(decides).next_back() {
        return Some(quarantined(Hop::Attached, unreadable));
    }
    let since = (story.number(), story.request.at);
    Some(await_decision(Undecided { hop: Hop::Attached, what: "the request", since }, view.readers, view.now))
}

/// What the worker made of the decision, where nothing failed.
fn judge_worker(view: &View<'_>, story: &Story<'_>) -> Verdict {
    let Some(Recorded { sequence, at, value: Pulled::Succeeded(pulled) }) = &story.pull else {
        return owed(view, story);
    };
    if let Some(renewal) = story.renewals.last().filter(|_| story.ended.is_none())
        && let Some(open) = open_renewal(view, story, renewal)
    {
        return open;
    }
    if let Some(refusal) = find_refusal(story) {
        return refusal;
    }
    let with = match story.provider.as_ref().map(|provider| provider.value) {
        Some(Provided::Attached(provider)) if provider.registry.is_some() => format!("with {}", provider.provider_name),
        _ => "without credentials of its own".to_owned(),
    };
    let sentence = format!("{} was pulled {with} as {} on worker {}", pulled.image_ref, pulled.digest, story.worker());
    Verdict::healthy(Hop::Pull, Code::Pulled, sentence).at(*sequence, *at)
}

/// A new version that is on its way to the worker.
fn open_renewal(view: &View<'_>, story: &Story<'_>, renewal: &Renewal<'_>) -> Option<Verdict> {
    let since = (renewal.cause.sequence, renewal.cause.at);
    match (&renewal.decision, &renewal.outcome) {
        (None, _) => {
            let what = "the new version of the secret";
            Some(await_decision(Undecided { hop: Hop::Attached, what, since }, view.readers, view.now))
        }
        (Some(decision), None) => {
            let (hop, code, worker) = (Hop::Provider, Code::AwaitingProvider, story.worker());
            let since = (decision.sequence, decision.at);
            Some(await_worker(Owed { hop, code, worker, decision: decision.sequence, since }, view.readers, view.now))
        }
        (Some(_), Some(_)) => None,
    }
}

fn owed(view: &View<'_>, story: &Story<'_>) -> Verdict {
    let reports = |subject: &Subject| match subject {
        Subject::ContainerOutcome { worker_id, placement, .. } => {
            *placement == story.number() && worker_id == story.worker()
        }
        _ => false,
    };
    let hop = if story.provider.is_some() { Hop::Pull } else { Hop::Provider };
    if let Some(unreadable) = view.history.unreadable(reports).next_back() {
        return quarantined(hop, unreadable);
    }
    let worker = story.worker();
    let decided =
        story.decision.as_ref().map_or((story.number(), story.request.at), |decided| (decided.sequence, decided.at));
    let (code, since) = match &story.provider {
        None => (Code::AwaitingProvider, decided),
        Some(provider) => (Code::AwaitingPull, (provider.sequence, provider.at)),
    };
    await_worker(Owed { hop, code, worker, decision: decided.0, since }, view.readers, view.now)
}

/// The build and the versions that the placement rests on, and its own events; last, what is not believed.
fn timeline<'v>(
    view: &View<'v>,
    story: &Story<'v>,
) -> Vec<(Recorded<&'v waybill_schemas::RecordedEvent>, Option<StepOutcome>)> {
    let mut rests_on = Vec::new();
    match story.decision.as_ref().map(|decision| &decision.value.outcome) {
        Some(Outcome::Attached { image, credential, .. }) => rests_on.extend([image.image_event, credential.saved_by]),
        Some(Outcome::Skipped { image, .. }) => {
            rests_on.extend(image.image_event);
            let named = image.secret_name.as_ref();
            let head = view.history.events().rfind(|recorded| {
                recorded.sequence < story.number()
                    && matches!(&recorded.value.subject, Subject::Secret { secret, .. } if Some(secret) == named)
            });
            rests_on.extend(head.map(|head| head.sequence));
        }
        _ => rests_on.extend(view.again(story).image.map(|image| image.sequence)),
    }
    rests_on.extend(story.renewals.iter().map(|renewal| renewal.cause.sequence));
    rests_on.extend(story.withdrawing(&view.replay.facts).map(|withdrawing| withdrawing.caused_by));
    let believed = story.events.iter().map(|recorded| recorded.sequence);
    let shown: std::collections::BTreeSet<u64> = believed.chain(rests_on).collect();
    let registered = |event: &Event| matches!(event, Event::WorkerRegistered(_));
    let mut events: Vec<_> = view
        .history
        .events()
        .filter(|recorded| shown.contains(&recorded.sequence) && !registered(&recorded.value.event))
        .map(|recorded| (recorded, None))
        .collect();
    events.extend(story.ignored.iter().map(|(recorded, _)| (*recorded, Some(StepOutcome::Ignored))));
    events
}
