//! Workers: what each has, whether it follows, and its own page.

use axum::{extract::Path, response::Response};
use maud::{Markup, html};
use waybill_domain::fleet::{Listed, Wanted, WorkerLoad};
use waybill_platform::{
    log::{ConsumerSpec, ConsumerState},
    trace,
};
use waybill_schemas::{Event, Recorded, Subject, Timestamp, WorkerId, v1::WorkerRegistered};

use super::{
    ask::{self, Ask, Page},
    layout::{self, Here, Same},
    lists, now,
};
use crate::http::{problem::Problem, request};

/// Most placements on a worker's page.
const MOST: usize = 50;

/// Everything that a worker's page shows.
struct Worker {
    id: WorkerId,
    registered: Option<Recorded<WorkerRegistered>>,
    queue: Option<ConsumerState>,
    load: Option<WorkerLoad>,
    placements: Vec<Listed>,
    more: bool,
}

/// `GET /workers`.
pub(super) async fn show_list(ask: Ask) -> Response {
    let own = ask.holder.workspace().map(|own| own.as_str());
    let workers = ask.app.look_at_fleet(|fleet| fleet.workers(own));
    let page = workers.map(|workers| Page {
        title: "Workers".to_owned(),
        here: Here::Workers,
        body: html! {
            div.lead { h1 { "Workers" } p.soft { "What is placed on each, and when the log last heard of it." } }
            (render_table(&workers, trace::now()))
            (layout::render_same(&[Same::command("top"), Same::get(&ask.base(), "/v1/now")]))
        },
    });
    ask.answer(page)
}

/// The table of workers, also on the page of the present.
pub(super) fn render_table(workers: &[WorkerLoad], now: Timestamp) -> Markup {
    html! {
        @if workers.is_empty() {
            (layout::render_empty("No worker is known.", "Start one with `waybill worker --id w1`: it registers by itself."))
        } @else {
            div.scroll tabindex="0" role="region" aria-label="Workers" {
                table.tight {
                    thead { tr {
                        th scope="col" { "Worker" } th.num scope="col" { "Placements" } th.num scope="col" { "Waiting" }
                        th.num scope="col" { "Failing" } th scope="col" { "Last heard of" }
                    } }
                    tbody {
                        @for load in workers {
                            tr {
                                td { a href={ "/workers/" (load.worker_id) } { (load.worker_id) } }
                                td.num { (load.placements) }
                                td.num.warn[load.in_flight > 0] { (load.in_flight) }
                                td.num.bad[load.broken > 0] { (load.broken) }
                                td.warn[is_quiet(load, now)] {
                                    @match load.heard_at { Some(at) => (layout::spell_ago(at, now)), None => "never" }
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}

/// True if something waits for a worker that does not speak.
fn is_quiet(load: &WorkerLoad, now: Timestamp) -> bool {
    let heard = load.heard_at.map(|at| (now.instant() - at.instant()).whole_seconds());
    load.in_flight > 0 && heard.is_none_or(|seconds| seconds > now::QUIET)
}

/// `GET /workers/{id}`.
pub(super) async fn show_worker(ask: Ask, Path(id): Path<String>) -> Response {
    let page = read_worker(&ask, id).await.map(|worker| Page {
        title: format!("worker {}", worker.id),
        here: Here::Workers,
        body: render_page(&worker, &ask.base(), trace::now()),
    });
    ask.answer(page)
}

async fn read_worker(ask: &Ask, id: String) -> Result<Worker, Problem> {
    let id: WorkerId = request::id(id)?;
    let own = ask.holder.workspace();
    let wanted = Wanted { worker: Some(id.to_string()), workspace: own.map(ToString::to_string), ..Wanted::default() };
    let (loads, (placements, next)) = ask
        .app
        .look_at_fleet(|fleet| (fleet.workers(own.map(|own| own.as_str())), fleet.list(&wanted, u64::MAX, MOST)))?;
    let load = loads.into_iter().find(|load| load.worker_id == id.as_str());
    // Which workers there are is no business of a workspace that has nothing on them.
    if load.is_none() && own.is_some() {
        return Err(ask::not_there());
    }
    let log = ask.app.recorder.log.as_ref();
    let subject = Subject::Worker { worker_id: id.clone() };
    let name = ConsumerSpec::for_worker(&id, 0).name;
    let reading = async { Ok((log.last(&subject).await?, log.consumer_state(&name).await?)) };
    let (registered, queue) = request::in_time(&ask.app, reading).await?;
    let registered = registered.and_then(|message| match message.decode().ok()?.event {
        Event::WorkerRegistered(value) => Some(Recorded { sequence: message.sequence, at: message.at, value }),
        _ => None,
    });
    if registered.is_none() && load.is_none() {
        return Err(ask::not_there());
    }
    Ok(Worker { id, registered, queue, load, placements, more: next.is_some() })
}

fn render_page(worker: &Worker, base: &str, now: Timestamp) -> Markup {
    let Worker { id, registered, queue, load, placements, more } = worker;
    html! {
        div.lead {
            p.crumbs { "worker" }
            h1 { (id) }
            @match registered {
                Some(Recorded { sequence, at, value }) => p.soft {
                    "registered " (layout::spell_ago(*at, now)) " at sequence " a href={ "/events/" (sequence) } { (sequence) }
                    ", instance " code { (value.instance) }
                },
                None => p.bad { "The log holds no registration of it: nothing can be attached for it." },
            }
        }
        dl.tiles {
            @if let Some(load) = load {
                div { dt { "Placements" } dd { (load.placements) } }
                div { dt { "Waiting" } dd.warn[load.in_flight > 0] { (load.in_flight) } }
                div { dt { "Failing" } dd.bad[load.broken > 0] { (load.broken) } }
                div { dt { "Last heard of" } dd { @match load.heard_at { Some(at) => (layout::spell_ago(at, now)), None => "never" } } }
            }
            @match queue {
                Some(queue) => {
                    div { dt { "Not delivered" } dd.warn[queue.pending > 0] { (queue.pending) } }
                    div { dt { "Under way" } dd { (queue.unacknowledged) } }
                },
                None => div { dt { "Queue" } dd.bad { "none" } },
            }
        }
        section.section {
            div.head {
                h2 { "Newest placements" }
                @if *more { a.small href={ "/containers?worker=" (id) } { "all of them" } }
            }
            (lists::render_containers(placements, now))
        }
        (layout::render_same(&[
            Same::command(format_args!("containers --worker {id}")),
            Same::command(format_args!("events --worker {id}")),
            Same::get(base, &format!("/v1/containers?worker={id}")),
        ]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_worker_that_owes_and_is_silent_stands_out() {
        let now: Timestamp = "2026-01-31T12:10:00Z".parse().unwrap();
        let load = |in_flight, heard: Option<&str>| WorkerLoad {
            worker_id: "w1".to_owned(),
            placements: 4,
            broken: 0,
            in_flight,
            heard_at: heard.map(|at| at.parse().unwrap()),
        };
        let cases = [
            (load(0, Some("2026-01-31T11:00:00Z")), false),
            (load(1, Some("2026-01-31T12:09:30Z")), false),
            (load(1, Some("2026-01-31T12:00:00Z")), true),
            (load(1, None), true),
        ];
        for (load, quiet) in cases {
            assert_eq!(is_quiet(&load, now), quiet, "{load:?}");
            assert!(render_table(&[load], now).into_string().contains("href=\"/workers/w1\""));
        }
    }
}
