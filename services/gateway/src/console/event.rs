//! One message of the log with every field: headers and body. No event holds a secret.

use axum::{extract::Path, response::Response};
use maud::{Markup, html};
use serde_json::Value;
use waybill_platform::log::RawMessage;
use waybill_schemas::Subject;

use super::{
    ask::{Ask, Page},
    layout::{self, Here, Same},
    story::Thing,
};
use crate::http::{
    problem::{self, Problem},
    request,
};

/// `GET /events/{sequence}`, and its fields alone for the page of a story.
pub(super) async fn show_event(ask: Ask, Path(sequence): Path<String>) -> Response {
    let message = read_message(&ask, &sequence).await;
    if ask.parameter("part").is_some() {
        return ask.answer_part(message.map(|message| render_fields(&message)));
    }
    let page = message.map(|message| Page {
        title: format!("event {}", message.sequence),
        here: Here::Elsewhere,
        body: render_page(&message, &ask.base()),
    });
    ask.answer(page)
}

/// The message, if the token opens its workspace. What belongs to no workspace is shown to everybody who is signed in, but for
/// what nobody can read: whose it is cannot be told.
async fn read_message(ask: &Ask, sequence: &str) -> Result<RawMessage, Problem> {
    let number = sequence.parse().map_err(|_| Problem::invalid("sequence", "a sequence is a number"))?;
    let message = request::in_time(&ask.app, ask.app.explainer.log.message_at(number)).await?;
    let message = message.ok_or_else(problem::no_such_route)?;
    let subject: Option<Subject> = message.subject.parse().ok();
    let opens = match subject.as_ref() {
        Some(subject) => subject.workspace().is_none_or(|workspace| ask.holder.opens(workspace)),
        None => ask.holder.workspace().is_none(),
    };
    if opens { Ok(message) } else { Err(problem::another_workspace()) }
}

fn render_page(message: &RawMessage, base: &str) -> Markup {
    let event = message.decode().ok();
    let name = event.as_ref().map_or("a message that cannot be read", |recorded| recorded.event.event_type().as_str());
    let about = event.as_ref().map(|recorded| list_things(&recorded.event)).unwrap_or_default();
    let sequence = message.sequence;
    html! {
        div.lead {
            p.crumbs { "event at sequence " span.num { (sequence) } }
            h1 { (name) }
            p.soft {
                (layout::render_time(message.at))
                @for thing in &about { " · " (thing.kind) " " (thing.link()) }
            }
            p {
                a href={ "/events/" (sequence.saturating_sub(1)) } rel="prev" { "← before" } " · "
                a href={ "/events/" (sequence.saturating_add(1)) } rel="next" { "after →" }
            }
        }
        div.card { (render_fields(message)) }
        (layout::render_same(&[
            Same::command(format_args!("events --from {sequence} --until {sequence} --json")),
            Same::get(base, &format!("/v1/events?from={sequence}&until={sequence}")),
        ]))
    }
}

/// What an event is about, as far as it has pages.
pub(super) fn list_things(event: &waybill_schemas::Event) -> Vec<Thing> {
    let Some(workspace) = event.workspace().map(ToString::to_string) else { return Vec::new() };
    let named = [
        ("container", event.container_id().map(ToString::to_string)),
        ("image", event.image_id().map(ToString::to_string)),
        ("secret", event.secret_name().map(ToString::to_string)),
    ];
    let thing =
        |(kind, id): (&'static str, Option<String>)| Some(Thing { kind, workspace: workspace.clone(), id: id? });
    named.into_iter().filter_map(thing).collect()
}

fn render_fields(message: &RawMessage) -> Markup {
    let body: Result<Value, String> = match message.decode() {
        Ok(_) => serde_json::from_slice(&message.payload).map_err(|error| error.to_string()),
        Err(error) => Err(error.to_string()),
    };
    html! {
        dl.fields {
            dt { "subject" } dd { code { (message.subject) } }
            dt { "recorded" } dd { code { (message.at) } }
            @for (name, value) in message.header_pairs() { dt { (name) } dd { code { (value) } } }
            @match &body {
                Ok(Value::Object(members)) => @for (name, value) in members { dt { (name) } dd { code { (spell_value(value)) } } },
                Ok(other) => { dt { "body" } dd { code { (other) } } },
                Err(why) => { dt { "body" } dd.bad { "cannot be read: " (why) ", " (message.payload.len()) " bytes" } },
            }
        }
    }
}

fn spell_value(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}
