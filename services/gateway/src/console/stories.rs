//! The pages of containers, images and secrets: what they are made from.

use axum::{extract::Path, response::Response};
use maud::{Markup, html};
use waybill_domain::{
    explain::{Asked, Code, Explanation},
    fold::SecretState,
    secret::SecretHead,
};
use waybill_platform::{explain::Moment, log::LogError, trace};
use waybill_schemas::{Event, Filter, SecretName, Subject, WorkspaceId};

use super::{
    act::Action,
    ask::{Ask, Page},
    layout::{self, Here},
    moments::{Moments, find_stops},
    story::{self, Story, Thing},
};
use crate::http::{
    problem::{self, Problem},
    request,
};

/// `GET /containers/{workspace}/{id}`.
pub(super) async fn show_container(ask: Ask, Path((workspace, id)): Path<(String, String)>) -> Response {
    let question = request::id(id).map(Asked::Container);
    let page = read_page(&ask, workspace, question, Here::Containers).await;
    ask.answer(page)
}

/// `GET /images/{workspace}/{id}`.
pub(super) async fn show_image(ask: Ask, Path((workspace, id)): Path<(String, String)>) -> Response {
    let question = request::id(id).map(Asked::Image);
    let page = read_page(&ask, workspace, question, Here::Elsewhere).await;
    ask.answer(page)
}

/// `GET /secrets/{workspace}/{name}`.
pub(super) async fn show_secret(ask: Ask, Path((workspace, name)): Path<(String, String)>) -> Response {
    let question = request::id(name).map(Asked::Secret);
    let page = read_page(&ask, workspace, question, Here::Secrets).await;
    ask.answer(page)
}

async fn read_page(
    ask: &Ask,
    workspace: String,
    question: Result<Asked, Problem>,
    here: Here,
) -> Result<Page, Problem> {
    let (workspace, question) = (ask.workspace(workspace)?, question?);
    let present = explain_at(ask, &workspace, &question, Moment::Now).await?;
    let stops = find_stops(&present);
    let at = find_moment(ask, &stops)?;
    let explanation = match at {
        Some(at) => explain_at(ask, &workspace, &question, moment_at(ask, at).await?).await?,
        None => present,
    };
    let before = match ask.number("diff")? {
        Some(from) => Some((from, explain_at(ask, &workspace, &question, moment_at(ask, from).await?).await?)),
        None => None,
    };
    let story = Story {
        now: trace::now(),
        related: find_related(ask, &workspace, &question, explanation.placement).await?,
        actions: offer_actions(&workspace, &question, &explanation),
        done: ask.number("done")?,
        traces: ask.app.console.traces.clone(),
        base: ask.base(),
        moments: Moments { stops, at, before },
        explanation,
    };
    let title = format!("{} {}", story.explanation.kind, story.explanation.id);
    Ok(Page { title, here, body: story::render_page(&story) })
}

/// The moment that the query names: a sequence, or the slider's step. None for the present.
fn find_moment(ask: &Ask, stops: &[super::moments::Stop]) -> Result<Option<u64>, Problem> {
    if let Some(at) = ask.number("as_of")? {
        return Ok(Some(at));
    }
    let step: Option<usize> = ask.number("step")?;
    // The last step is the present: what comes later belongs to it.
    Ok(step
        .filter(|step| *step < stops.len())
        .and_then(|step| stops.get(step.checked_sub(1)?))
        .map(|stop| stop.sequence))
}

async fn moment_at(ask: &Ask, sequence: u64) -> Result<Moment, Problem> {
    let message = request::in_time(&ask.app, ask.app.explainer.log.message_at(sequence)).await?;
    let message = message.ok_or_else(|| {
        Problem::invalid("as_of", format!("the log has no event at sequence {sequence}"))
            .remedy("choose another moment")
    })?;
    Ok(Moment::Past { sequence, at: message.at })
}

async fn explain_at(
    ask: &Ask,
    workspace: &WorkspaceId,
    question: &Asked,
    moment: Moment,
) -> Result<Explanation, Problem> {
    request::in_time(&ask.app, ask.explainer(moment).explain(workspace, question)).await
}

/// The image of a placement, and the secret of an image's newest build.
async fn find_related(
    ask: &Ask,
    workspace: &WorkspaceId,
    question: &Asked,
    placement: Option<u64>,
) -> Result<Vec<Thing>, Problem> {
    let mut related = Vec::new();
    let mut add = |kind, id: String| related.push(Thing { kind, workspace: workspace.to_string(), id });
    let image = match question {
        Asked::Container(_) => match placement {
            Some(placement) => match request::in_time(&ask.app, event_at(ask, placement)).await? {
                Some(Event::ContainerRequested(request)) => request.image_id,
                _ => None,
            },
            None => None,
        },
        Asked::Image(id) => Some(id.clone()),
        Asked::Secret(_) => None,
    };
    let Some(image) = image else { return Ok(related) };
    if matches!(question, Asked::Container(_)) {
        add("image", image.to_string());
    }
    let builds = Filter::Image(Some(workspace.clone()), Some(image));
    if let Some(Event::ImageSecretNamed(named)) = request::in_time(&ask.app, newest_event(ask, &builds)).await? {
        add("secret", named.secret_name.to_string());
    }
    Ok(related)
}

async fn event_at(ask: &Ask, sequence: u64) -> Result<Option<Event>, LogError> {
    let message = ask.app.explainer.log.message_at(sequence).await?;
    Ok(message.and_then(|message| message.decode().ok()).map(|recorded| recorded.event))
}

async fn newest_event(ask: &Ask, filter: &Filter) -> Result<Option<Event>, LogError> {
    let message = ask.app.explainer.log.last_matching(filter).await?;
    Ok(message.and_then(|message| message.decode().ok()).map(|recorded| recorded.event))
}

/// What can be done with a secret that is there.
fn offer_actions(workspace: &WorkspaceId, question: &Asked, explanation: &Explanation) -> Markup {
    let Asked::Secret(name) = question else { return layout::no_markup() };
    let actions: &[Action] = match explanation.verdict.code {
        Code::SecretNotFound | Code::Quarantined => &[],
        Code::SecretShredded => &[Action::Rotate],
        Code::SecretRevoked => &[Action::Rotate, Action::Shred],
        _ => &Action::ALL,
    };
    html! {
        div.actions {
            @for action in actions {
                a.button.plain href={ "/secrets/" (workspace) "/" (name) "/" (action.as_str()) } { (action.label()) " …" }
            }
        }
    }
}

/// The head of a secret, or that there is none.
pub(super) async fn read_secret(ask: &Ask, workspace: &WorkspaceId, name: &SecretName) -> Result<SecretHead, Problem> {
    let subject = Subject::Secret { workspace: workspace.clone(), secret: name.clone() };
    let last = request::in_time(&ask.app, ask.app.explainer.log.last(&subject)).await?;
    let head = last.and_then(|message| {
        let recorded = message.decode().ok()?;
        SecretHead::from_event(message.sequence, &recorded.event)
    });
    head.ok_or_else(problem::no_such_secret)
}

/// A secret's state as one word.
pub(super) fn state_word(state: SecretState) -> &'static str {
    match state {
        SecretState::Active => "active",
        SecretState::Revoked => "revoked",
        SecretState::Shredded => "shredded",
    }
}
