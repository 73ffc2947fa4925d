//! What is worth knowing beside the verdict on a placement.

use waybill_schemas::Recorded;

use super::{History, Verdict, asked, container::View, missing::missing, story::Story, verdict::State};
use crate::decision::Outcome;

pub(super) fn notes_on(view: &View<'_>, story: &Story<'_>, state: State) -> Vec<String> {
    let mut notes = Vec::new();
    notes.extend(without_credentials(view, story));
    notes.extend(story.ended.as_ref().map(|ended| format!("the placement ended at sequence {}", ended.sequence)));
    notes.extend(renewed(story));
    notes.extend(newer_build(view, story));
    for (recorded, why) in &story.ignored {
        let Recorded { sequence, value, .. } = recorded;
        notes.push(format!("{} at sequence {sequence} is not believed: {why}", value.event.event_type()));
    }
    notes.extend(expiry(view, story, state));
    notes.extend(asked::notes(view, story));
    notes
}

/// What cannot be read in a history, unless the verdict is about it.
pub(super) fn unreadable(history: &History, verdict: &Verdict) -> Vec<String> {
    let others = history.unreadable(|_| true).filter(|unreadable| Some(unreadable.sequence) != verdict.sequence);
    let note = |Recorded { sequence, value, .. }: Recorded<&str>| {
        format!("the event at sequence {sequence} cannot be read: {value}")
    };
    others.map(note).collect()
}

/// A pull that is not over may go without credentials.
fn without_credentials(view: &View<'_>, story: &Story<'_>) -> Option<String> {
    match &story.decision.as_ref()?.value.outcome {
        Outcome::Skipped { image, reason, .. } if story.pull.is_none() && !reason.withholds_credentials() => {
            let cause = missing(view, story, image, *reason);
            Some(format!("no credentials were attached: {}", cause.sentence))
        }
        _ => None,
    }
}

/// The newest version that the worker uses for the placement.
fn renewed(story: &Story<'_>) -> Option<String> {
    let used = |outcome: &Recorded<Option<_>>| outcome.value.is_none();
    let renewal = story.renewals.iter().rfind(|renewal| renewal.outcome.as_ref().is_some_and(used))?;
    let (outcome, credential) = (renewal.outcome.as_ref()?, &renewal.credential);
    Some(format!(
        "the container has version {} of secret {} since sequence {}, which follows sequence {}",
        credential.version, credential.secret_name, outcome.sequence, renewal.cause.sequence
    ))
}

/// The newest build wins for the next placement, and changes nothing for this one.
fn newer_build(view: &View<'_>, story: &Story<'_>) -> Option<String> {
    let decision = &story.decision.as_ref()?.value;
    let again = view.again(story);
    let image = again.image.filter(|image| image.sequence > story.number())?;
    let secret = decision.credential().map(|credential| &credential.secret_name);
    let (had, names) = (decision.image_ref(), image.image_ref.as_deref());
    if had == names && secret == image.secret_name.as_ref() {
        return None;
    }
    let with = image.secret_name.as_ref().map_or_else(|| "no secret".to_owned(), |name| format!("secret {name}"));
    Some(format!(
        "a newer build of the image, at sequence {}, names {} with {with}; this placement keeps {}, and the next one gets the \
         newer",
        image.sequence,
        names.unwrap_or("no reference"),
        had.unwrap_or("what it had"),
    ))
}

/// Where expired credentials broke a hop, the verdict says so.
fn expiry(view: &View<'_>, story: &Story<'_>, state: State) -> Option<String> {
    let renewed = story.renewals.last().map(|renewal| &renewal.credential);
    let used = renewed.or_else(|| story.credential())?;
    let expiry = used.expires_at?;
    if expiry > view.now {
        return Some(format!("the credentials expire at {expiry}"));
    }
    if state == State::Broken {
        return None;
    }
    let next = match view.again(story).attached() {
        Some((_, newer)) => format!("the next placement gets those saved at sequence {}", newer.saved_by),
        None => format!(
            "give the secret a new version before the next placement: `waybill secrets rotate {} --creds FILE`",
            used.secret_name
        ),
    };
    Some(format!("the credentials expired at {expiry}; {next}"))
}
