//! Requests that the gateway refused, in words: what was asked, why it was refused, and that refusal's own remedy.

use std::collections::BTreeSet;

use waybill_schemas::{
    Event, Recorded, Subject, Timestamp,
    v1::{RefusalCode, RefusedOperation, RequestRefused},
};

use super::{
    History,
    verdict::{Code, Hop, Verdict},
};

/// A refused request at its place, with who asked.
#[derive(Clone, Copy)]
pub(super) struct Refusal<'h> {
    pub(super) recorded: Recorded<&'h RequestRefused>,
    actor: Option<&'h str>,
}

impl<'h> Refusal<'h> {
    /// The newest refusal after a sequence that is about a subject and of an operation that counts.
    pub(super) fn find(
        history: &'h History,
        after: u64,
        about: impl Fn(&Subject) -> bool,
        counts: impl Fn(RefusedOperation) -> bool,
    ) -> Option<Self> {
        let recorded = history.events().rev().take_while(|recorded| recorded.sequence > after);
        let mut refusals = recorded.filter(|recorded| about(&recorded.value.subject)).filter_map(|recorded| {
            let Event::RequestRefused(value) = &recorded.value.event else { return None };
            let (sequence, at) = (recorded.sequence, recorded.at);
            Some(Self { recorded: Recorded { sequence, at, value }, actor: recorded.value.envelope.actor.as_deref() })
        });
        refusals.find(|refusal| counts(refusal.recorded.value.operation))
    }

    /// Who asked for what, and why it was refused.
    fn sentence(&self) -> String {
        refusal_sentence(self.recorded, self.actor)
    }

    /// The verdict on a hop that there is nothing of because its request was refused.
    pub(super) fn verdict(&self, then: &str) -> Verdict {
        let Recorded { sequence, at, value } = self.recorded;
        let remedy = format!("{} {then}", refusal_remedy(value));
        let hop = hop_of(value.operation);
        let verdict = Verdict::broken(hop, Code::RequestRefused, self.sentence(), remedy.trim_end());
        verdict.at(sequence, at)
    }

    /// The refusal as a note beside a verdict about something else.
    fn note(&self) -> String {
        let Recorded { sequence, value, .. } = self.recorded;
        format!("at sequence {sequence}, {}. {}", self.sentence(), refusal_remedy(value))
    }
}

/// What was refused and not accepted since: requests for the container, builds of its images, versions of its secrets.
pub(super) fn refused_since(history: &History, verdict: &Verdict) -> Vec<String> {
    let things: BTreeSet<&Subject> =
        history.events().map(|recorded| &recorded.value.subject).filter(is_thing).collect();
    let refusals = things.into_iter().filter_map(|thing| {
        let accepted = history.events().rfind(|recorded| accepts(thing, &recorded.value.subject));
        let accepted = accepted.map_or(0, |accepted| accepted.sequence);
        Refusal::find(history, accepted, |subject| subject == thing, |_| true)
    });
    let others = refusals.filter(|refusal| Some(refusal.recorded.sequence) != verdict.sequence);
    others.map(|refusal| refusal.note()).collect()
}

fn is_thing(subject: &&Subject) -> bool {
    matches!(subject, Subject::RefusedContainer { .. } | Subject::RefusedImage { .. } | Subject::RefusedSecret { .. })
}

/// True if what stands on a subject was accepted about the same thing that others were refused about.
fn accepts(refused: &Subject, subject: &Subject) -> bool {
    match (refused, subject) {
        (Subject::RefusedContainer { container_id, .. }, Subject::Container { container_id: accepted, .. }) => {
            container_id == accepted
        }
        (Subject::RefusedImage { image_id, .. }, Subject::Image { image_id: accepted, .. }) => image_id == accepted,
        (Subject::RefusedSecret { secret, .. }, Subject::Secret { secret: accepted, .. }) => secret == accepted,
        _ => false,
    }
}

/// How long refusals of requests that name nothing may be what is missing here.
const DAY: time::Duration = time::Duration::DAY;

/// Where something was never recorded: the last request that was refused and of which is not known what it was about.
pub(super) fn refused_unnamed(history: &History, verdict: &Verdict, now: Timestamp) -> Vec<String> {
    let counts = |operation| match verdict.code {
        Code::NotRequested => places(operation),
        Code::NothingBuilt => operation == RefusedOperation::RecordBuild,
        Code::SecretNotFound => matches!(operation, RefusedOperation::PutSecret | RefusedOperation::RotateSecret),
        _ => false,
    };
    let unnamed = |subject: &Subject| matches!(subject, Subject::RefusedWorkspace { .. } | Subject::RefusedUnowned);
    let refusal = Refusal::find(history, 0, unnamed, counts);
    let lately = refusal.filter(|refusal| now.instant() - refusal.recorded.at.instant() < DAY);
    let note = |refusal: Refusal<'_>| format!("{} What it was about is not known.", refusal.note());
    lately.map(note).into_iter().collect()
}

/// Who asked for what, and why it was refused.
pub(crate) fn refusal_sentence(Recorded { at, value, .. }: Recorded<&RequestRefused>, actor: Option<&str>) -> String {
    let (who, request) = (actor.unwrap_or("somebody"), request_of(value.operation));
    format!("{who} sent {request}{} at {at}, and was refused: {}", thing_of(value), answer(value))
}

/// Requests that place a container.
pub(super) fn places(operation: RefusedOperation) -> bool {
    operation == RefusedOperation::RequestContainer
}

/// Requests that save a secret under a name that may be new.
pub(super) fn saves(operation: RefusedOperation) -> bool {
    operation == RefusedOperation::PutSecret
}

/// The hop whose request was refused.
pub(crate) fn hop_of(operation: RefusedOperation) -> Hop {
    match operation {
        RefusedOperation::RecordBuild | RefusedOperation::PutSecret | RefusedOperation::RotateSecret => Hop::Saved,
        RefusedOperation::RequestContainer => Hop::Requested,
        RefusedOperation::EndContainer | RefusedOperation::RevokeSecret | RefusedOperation::ShredSecret => {
            Hop::Withdrawn
        }
    }
}

/// A refused request in a line: method and path, the answer, and what was wrong.
pub fn describe_refusal(refused: &RequestRefused) -> String {
    let repeated = refused.repeated.map_or_else(String::new, |times| format!("; the same {times} more times before"));
    format!("{} was refused: {}{repeated}", request_of(refused.operation), answer(refused))
}

/// The answer: status, code, field and what is wrong, in the gateway's own words.
fn answer(refused: &RequestRefused) -> String {
    let RequestRefused { status, code, field, detail, .. } = refused;
    let field = field.as_ref().map_or_else(String::new, |field| format!("field {field}, "));
    let detail = detail.clone().unwrap_or_else(|| in_sentence(code.meaning()));
    format!("{status} {code}, {field}{detail}")
}

/// What to do so that the request is accepted.
pub(crate) fn refusal_remedy(refused: &RequestRefused) -> String {
    let told = refused.remedy.as_deref().map(|remedy| remedy.trim_end_matches('.').to_owned());
    let what = told.unwrap_or_else(|| usual_remedy(refused.code).to_owned());
    let request = request_of(refused.operation);
    let what = match &refused.field {
        Some(field) if refused.code == RefusalCode::InvalidField => format!("in field {field} of {request}: {what}"),
        _ => what,
    };
    let again = if what.contains("again") { "" } else { "; then send the request again" };
    format!("{}{again}.", capitalised(&what))
}

/// Where the gateway had no remedy of its own.
fn usual_remedy(code: RefusalCode) -> &'static str {
    match code {
        RefusalCode::InvalidField => "give a value as /openapi.json describes it",
        RefusalCode::Unauthenticated | RefusalCode::AnotherWorkspace | RefusalCode::WrongRole => {
            "use a token of the workspace that has the role"
        }
        _ => "put right what the answer names",
    }
}

/// Method and path of an operation.
fn request_of(operation: RefusedOperation) -> &'static str {
    operation.meaning().trim_matches('`')
}

/// The thing that a refused request is about.
fn thing_of(refused: &RequestRefused) -> String {
    let RequestRefused { container_id, image_id, secret_name, .. } = refused;
    let container = container_id.as_ref().map(|id| format!(" for container {id}"));
    let image = || image_id.as_ref().map(|id| format!(" for image {id}"));
    let secret = || secret_name.as_ref().map(|name| format!(" for secret {name}"));
    container.or_else(image).or_else(secret).unwrap_or_default()
}

fn in_sentence(meaning: &str) -> String {
    let mut characters = meaning.trim_end_matches('.').chars();
    characters.next().map(|first| first.to_lowercase().chain(characters).collect()).unwrap_or_default()
}

fn capitalised(text: &str) -> String {
    let mut characters = text.chars();
    characters.next().map(|first| first.to_uppercase().chain(characters).collect()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(code: RefusalCode, field: Option<&str>, remedy: Option<&str>) -> RequestRefused {
        RequestRefused {
            operation: RefusedOperation::RecordBuild,
            workspace: None,
            container_id: None,
            image_id: None,
            secret_name: None,
            status: 422,
            code,
            field: field.map(str::to_owned),
            detail: None,
            remedy: remedy.map(str::to_owned),
            repeated: None,
        }
    }

    #[test]
    fn each_refusal_has_its_own_remedy() {
        let cases = [
            (
                refused(RefusalCode::InvalidField, Some("base_image"), Some("add it")),
                "In field base_image of POST /v1/builds: add it; then send the request again.",
            ),
            (
                refused(RefusalCode::InvalidField, Some("base_image"), None),
                "In field base_image of POST /v1/builds: give a value as /openapi.json describes it; then send the request again.",
            ),
            (refused(RefusalCode::BodyTimeout, None, Some("send the request again")), "Send the request again."),
            (
                refused(RefusalCode::WrongRole, Some("Authorization"), Some("use a token that has it")),
                "Use a token that has it; then send the request again.",
            ),
        ];
        for (refused, remedy) in cases {
            assert_eq!(refusal_remedy(&refused), remedy);
        }
        let refused = RequestRefused { repeated: Some(3), ..refused(RefusalCode::MalformedJson, None, None) };
        assert_eq!(
            describe_refusal(&refused),
            "POST /v1/builds was refused: 422 malformed_json, the body is no JSON object; the same 3 more times before"
        );
    }
}
