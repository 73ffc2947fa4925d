//! `GET /find`: one field for any id, part of a name, registry host, reason code, sequence or trace.

use std::collections::BTreeSet;

use axum::response::{IntoResponse as _, Redirect, Response};
use maud::{Markup, html};
use waybill_domain::fleet::{Listed, Wanted};
use waybill_platform::{
    events::{Ids, Order, Selection, Span, TraceId, read_events},
    log::RawMessage,
    trace,
};
use waybill_schemas::{ContainerId, Filter, ImageId, Subject, WorkerId, WorkspaceId};

use super::{
    ask::{Ask, Page},
    flow,
    layout::{self, Here, Same},
    lists,
    story::Thing,
};
use crate::http::{problem::Problem, request, secret_list::read_heads};

/// Most hits of a kind.
const MOST: usize = 20;
/// Containers of one look at the fleet: the lock is held for no longer.
const LOOK: usize = 2000;
/// Containers that are looked through for a part of a name.
const MOST_SEEN: usize = 200_000;

/// What was found.
#[derive(Debug, Default)]
struct Found {
    containers: Vec<Listed>,
    /// Images, secrets, and containers of the past, which stand in the log alone.
    things: BTreeSet<(&'static str, String, String)>,
    workers: Vec<String>,
    events: Vec<RawMessage>,
}

/// `GET /find`.
pub(super) async fn show_found(ask: Ask) -> Response {
    let sought = ask.parameter("q").unwrap_or_default().trim().to_owned();
    match search_everything(&ask, &sought).await {
        Ok(found) => match found.only().filter(|_| ask.parameter("all").is_none()) {
            Some(path) => Redirect::to(&path).into_response(),
            None => ask.answer(Ok(Page {
                title: format!("Find {sought}"),
                here: Here::Elsewhere,
                body: render_page(&sought, &found, &ask.base()),
            })),
        },
        Err(problem) => ask.answer(Err(problem)),
    }
}

async fn search_everything(ask: &Ask, sought: &str) -> Result<Found, Problem> {
    let mut found = Found::default();
    if sought.is_empty() {
        return Ok(found);
    }
    if let Ok(sequence) = sought.parse::<u64>() {
        let message = request::in_time(&ask.app, ask.app.recorder.log.message_at(sequence)).await?;
        found.events.extend(message.filter(|message| flow::is_visible(message, ask.holder.workspace())));
    }
    if let Ok(trace) = sought.parse() {
        found.events.extend(read_trace(ask, trace).await?);
    }
    found.containers = match lists::find_code(sought) {
        Some(code) => {
            let workspace = ask.holder.workspace().map(ToString::to_string);
            ask.app
                .look_at_fleet(|fleet| {
                    fleet.list(&Wanted { workspace, code: Some(code), ..Wanted::default() }, u64::MAX, MOST)
                })?
                .0
        }
        None => search_fleet(ask, sought)?,
    };
    search_log(ask, sought, &mut found).await?;
    Ok(found)
}

/// Containers whose own name, image, worker or registry holds the text.
fn search_fleet(ask: &Ask, sought: &str) -> Result<Vec<Listed>, Problem> {
    let wanted = Wanted { workspace: ask.holder.workspace().map(ToString::to_string), ..Wanted::default() };
    let holds = |text: &str| text.contains(sought);
    let matches = |one: &Listed| {
        let named = [one.image_id.as_deref(), one.secret_name.as_deref(), one.registry.as_deref()];
        holds(&one.container_id) || holds(&one.worker_id) || named.into_iter().flatten().any(holds)
    };
    let (mut hits, mut until, mut seen) = (Vec::new(), Some(u64::MAX), 0_usize);
    while let Some(end) = until.filter(|_| hits.len() < MOST && seen < MOST_SEEN) {
        let (listed, next) = ask.app.look_at_fleet(|fleet| fleet.list(&wanted, end, LOOK))?;
        seen = seen.saturating_add(listed.len());
        hits.extend(listed.into_iter().filter(matches));
        until = next;
    }
    // Who typed a whole name wants that one first.
    hits.sort_by_key(|one| one.container_id != sought);
    hits.truncate(MOST);
    Ok(hits)
}

/// Events of a trace, among the newest.
async fn read_trace(ask: &Ask, trace: TraceId) -> Result<Vec<RawMessage>, Problem> {
    let filters = Ids { workspace: ask.holder.workspace().cloned(), ..Ids::default() }.filters();
    let selection = Selection { filters, trace: Some(trace), ..Selection::default() };
    let log = ask.app.recorder.log.as_ref();
    let reading = read_events(log, &selection, Span { from: 1, until: u64::MAX }, Order::Newest, MOST);
    Ok(request::in_time(&ask.app, reading).await?.messages)
}

/// Names that the log knows exactly, and secrets by a part of their names or registries.
async fn search_log(ask: &Ask, sought: &str, found: &mut Found) -> Result<(), Problem> {
    let own: Option<WorkspaceId> = ask.holder.workspace().cloned();
    let log = ask.app.recorder.log.as_ref();
    let listed: BTreeSet<String> = found.containers.iter().map(|one| one.container_id.clone()).collect();
    if let Ok(id) = sought.parse::<ContainerId>()
        && !listed.contains(sought)
    {
        let filter = Filter::Container(own.clone(), Some(id));
        let last = request::in_time(&ask.app, log.last_matching(&filter)).await?;
        found.add_subject("container", sought, last.as_ref());
    }
    if let Ok(id) = sought.parse::<ImageId>() {
        let filter = Filter::Image(own.clone(), Some(id));
        let last = request::in_time(&ask.app, log.last_matching(&filter)).await?;
        found.add_subject("image", sought, last.as_ref());
    }
    let images = found.containers.iter().filter_map(|one| Some((one.workspace.clone(), one.image_id.clone()?)));
    let images: Vec<_> = images.filter(|(_, image)| image.contains(sought)).collect();
    found.things.extend(images.into_iter().map(|(workspace, image)| ("image", workspace, image)));
    let heads = read_heads(&ask.app, &ask.holder.actor(), own.clone()).await?;
    for head in heads {
        let event = &head.recorded.value.event;
        if let (Some(workspace), Some(name)) = (event.workspace(), event.secret_name())
            && (name.as_str().contains(sought) || head.head.registry.contains(sought))
        {
            found.things.insert(("secret", workspace.to_string(), name.to_string()));
        }
    }
    let workers = ask.app.look_at_fleet(|fleet| fleet.workers(own.as_ref().map(|own| own.as_str())))?;
    found.workers = workers.into_iter().map(|load| load.worker_id).filter(|id| id.contains(sought)).collect();
    if found.workers.is_empty()
        && own.is_none()
        && let Ok(worker_id) = sought.parse::<WorkerId>()
        && request::in_time(&ask.app, log.last(&Subject::Worker { worker_id })).await?.is_some()
    {
        found.workers.push(sought.to_owned());
    }
    Ok(())
}

impl Found {
    fn add_subject(&mut self, kind: &'static str, id: &str, last: Option<&RawMessage>) {
        let subject: Option<Subject> = last.and_then(|last| last.subject.parse().ok());
        if let Some(workspace) = subject.as_ref().and_then(Subject::workspace) {
            self.things.insert((kind, workspace.to_string(), id.to_owned()));
        }
    }

    /// The page of the one thing that was found.
    fn only(&self) -> Option<String> {
        let containers =
            self.containers.iter().map(|one| format!("/containers/{}/{}", one.workspace, one.container_id));
        let things = self.things.iter().map(|(kind, workspace, id)| format!("/{kind}s/{workspace}/{id}"));
        let workers = self.workers.iter().map(|id| format!("/workers/{id}"));
        let events = self.events.iter().map(|message| format!("/events/{}", message.sequence));
        let mut all = containers.chain(things).chain(workers).chain(events);
        all.next().filter(|_| all.next().is_none())
    }
}

fn render_page(sought: &str, found: &Found, base: &str) -> Markup {
    let nothing =
        found.containers.is_empty() && found.things.is_empty() && found.workers.is_empty() && found.events.is_empty();
    html! {
        div.lead { h1 { "Find " q { (sought) } } }
        @if nothing {
            (layout::render_empty("Nothing has this name.", "Try a part of it: a container, an image, a secret, a worker, a registry host, a reason such as `unauthorized`, a sequence, or the 32 digits of a trace."))
        }
        @if !found.things.is_empty() || !found.workers.is_empty() {
            section.section {
                h2 { "By name" }
                ul {
                    @for (kind, workspace, id) in &found.things {
                        @let thing = Thing { kind, workspace: workspace.clone(), id: id.clone() };
                        li { span.soft { (kind) " in " (workspace) } " " (thing.link()) }
                    }
                    @for id in &found.workers { li { span.soft { "worker" } " " a href={ "/workers/" (id) } { (id) } } }
                }
            }
        }
        @if !found.containers.is_empty() {
            section.section { h2 { "Containers" } (lists::render_containers(&found.containers, trace::now())) }
        }
        @if !found.events.is_empty() {
            section.section { h2 { "Events" } ul.flow { @for message in &found.events { (flow::render_line(message, false)) } } }
        }
        (layout::render_same(&[
            Same::command("containers"),
            Same::command("secrets list"),
            Same::command(format_args!("events | grep -F -- '{}'", sought.replace('\'', "'\\''"))),
            Same::get(base, "/v1/containers"),
        ]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_hit_is_gone_to_at_once() {
        let secret = ("secret", "acme".to_owned(), "team".to_owned());
        let mut found = Found { things: [secret].into(), ..Found::default() };
        assert_eq!(found.only().as_deref(), Some("/secrets/acme/team"));
        found.workers.push("team-w".to_owned());
        assert_eq!(found.only(), None, "two");
        assert_eq!(Found::default().only(), None);
    }

    #[test]
    fn what_was_looked_for_is_text() {
        let text = render_page("<b>x", &Found::default(), "http://h").into_string();
        assert!(text.contains("&lt;b&gt;x") && text.contains("Nothing has this name."), "{text}");
    }
}
