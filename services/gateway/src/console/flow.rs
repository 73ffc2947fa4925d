//! What happens, one line an event: when, what, about whom, and what it says.

use maud::{Markup, html};
use waybill_domain::explain::{StepOutcome, describe as describe_step};
use waybill_platform::log::RawMessage;
use waybill_schemas::{Event, Subject, WorkspaceId};

use super::{event::list_things, layout};

/// True if a message may be shown: those of other workspaces are not a workspace's business, nor what belongs to none.
pub(super) fn is_visible(message: &RawMessage, own: Option<&WorkspaceId>) -> bool {
    let Some(own) = own else { return true };
    message.subject.parse().is_ok_and(|subject: Subject| subject.workspace() == Some(own))
}

/// One line; `fresh` for one that has just come.
pub(super) fn render_line(message: &RawMessage, fresh: bool) -> Markup {
    let recorded = message.decode();
    let (class, what, says) = match &recorded {
        Ok(recorded) => describe_event(&recorded.event),
        Err(error) => ("bad", "cannot be read", error.to_string()),
    };
    let about = recorded.as_ref().map(|recorded| list_things(&recorded.event)).unwrap_or_default();
    html! {
        li.fresh[fresh] {
            a href={ "/events/" (message.sequence) } title={ "sequence " (message.sequence) } { (layout::render_clock(message.at)) }
            span class={ "what " (class) } { (what) }
            span.who {
                @match about.first() {
                    Some(thing) => { span.soft { (thing.workspace) " " (thing.kind) } " " (thing.link()) },
                    None => span.soft { (message.subject.trim_start_matches("waybill.events.")) },
                }
            }
            span { (says) }
        }
    }
}

fn describe_event(event: &Event) -> (&'static str, &'static str, String) {
    let Some(step) = describe_step(event) else {
        return ("", plain_name(event), String::new());
    };
    let class = match step.outcome {
        StepOutcome::Done => "good",
        StepOutcome::Skipped | StepOutcome::Withdrawn => "warn",
        StepOutcome::Failed | StepOutcome::Ignored => "bad",
    };
    let reason = step.reason.map_or_else(String::new, |reason| format!("{reason}: "));
    (class, plain_name(event), format!("{reason}{}", step.says))
}

/// An event in one or two words of people.
fn plain_name(event: &Event) -> &'static str {
    match event {
        Event::CredentialSecretSaved(_) => "saved",
        Event::CredentialSecretRotated(_) => "rotated",
        Event::CredentialSecretRevoked(_) => "revoked",
        Event::CredentialSecretShredded(_) => "shredded",
        Event::ImageSecretNamed(_) => "built",
        Event::CredentialSecretSkipped(_) => "built without",
        Event::ContainerRequested(_) => "requested",
        Event::ContainerEnded(_) => "ended",
        Event::WorkerRegistered(_) => "registered",
        Event::SchedulerKeyPublished(_) => "scheduler's key",
        Event::ContainerCredentialsAttached(_) => "attached",
        Event::ContainerCredentialsSkipped(_) => "not attached",
        Event::ContainerCredentialsWithdrawn(_) => "withdrawn",
        Event::WorkerCredentialsRenewed(_) => "renewed",
        Event::CredentialProviderAttached(_) => "provider",
        Event::CredentialProviderFailed(_) => "no provider",
        Event::ImagePullSucceeded(_) => "pulled",
        Event::ImagePullFailed(_) => "not pulled",
        Event::SecretRenewalApplied(_) => "renewal used",
        Event::SecretRenewalFailed(_) => "renewal failed",
        Event::RequestRefused(_) => "refused",
        other => other.event_type().as_str(),
    }
}
