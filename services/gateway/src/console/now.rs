//! `GET /`: what flows, what fails and why, and who takes part.

use axum::response::Response;
use maud::{Markup, html};
use waybill_domain::{
    explain::State,
    fleet::{Forecast, forecast},
};
use waybill_platform::{
    events::{Ids, Order, Selection, Span, read_events},
    explain::{Moment, Remedied},
    log::RawMessage,
    trace,
};
use waybill_schemas::Timestamp;

use super::{
    ask::{Ask, Page},
    flow,
    layout::{self, Here, Same},
    workers,
};
use crate::http::{
    failures::explain_all,
    now::{Figures, read_figures},
    problem::Problem,
    request,
};

/// Failures of this span are shown, in seconds.
const SPAN: u64 = 3600;
/// Most causes that are shown with their remedies.
const MOST_CAUSES: usize = 8;
/// Most forecasts that are shown.
const MOST_FORECASTS: usize = 8;
/// So far ahead.
const WEEK: std::time::Duration = std::time::Duration::from_secs(7 * 86_400);
/// Events that the page begins with.
const MOST_EVENTS: usize = 16;
/// A worker that was not heard of for this long is quiet, in seconds.
pub(super) const QUIET: i64 = 120;

/// `GET /`.
pub(super) async fn show_now(ask: Ask) -> Response {
    let page = read_page(&ask).await;
    ask.answer(page)
}

async fn read_page(ask: &Ask) -> Result<Page, Problem> {
    let own = ask.holder.workspace();
    let (figures, failing) = (read_figures(&ask.app, own).await?, read_failing(ask).await?);
    let events = read_recent(ask).await?;
    let now = trace::now();
    let coming = ask.app.look_at_fleet(|fleet| forecast(fleet, own.map(|own| own.as_str()), now, WEEK))?;
    let body = html! {
        h1.hidden { "Now" }
        div hidden hx-sse:connect="/live" hx-swap="none" {}
        dl #figures.tiles { (render_tiles(&figures)) }
        div.columns {
            div.stacked {
                section.section {
                    h2 { "What failed in the last hour, by cause" }
                    ul #causes.causes { (render_causes(&failing, now)) }
                }
                section.section {
                    div.head { h2 { "What will break within a week" } }
                    ul.causes { (render_forecasts(&coming)) }
                }
                section.section { h2 { "Workers" } (workers::render_table(&figures.workers, now)) }
            }
            section.section {
                div.head { h2 { "As it happens" } a.small href="/containers" { "all containers" } }
                ul #flow.flow { @for message in &events { (flow::render_line(message, false)) } }
                @if events.is_empty() {
                    (layout::render_empty("Nothing has happened yet.", "Build an image with `POST /v1/builds`, then ask for a container: it shows here as it comes."))
                }
            }
        }
        (layout::render_same(&[
            Same::command("top"),
            Same::command("explain --since 1h"),
            Same::command("forecast"),
            Same::command("events --follow"),
            Same::get(&ask.base(), "/v1/now"),
            Same::get(&ask.base(), "/v1/failures?since=1h"),
            Same::get(&ask.base(), "/v1/forecast?within=7d"),
            Same::get(&ask.base(), "/v1/events?order=newest"),
        ]))
    };
    Ok(Page { title: "Now".to_owned(), here: Here::Now, body })
}

/// The newest events, the newest first.
async fn read_recent(ask: &Ask) -> Result<Vec<RawMessage>, Problem> {
    let filters = Ids { workspace: ask.holder.workspace().cloned(), ..Ids::default() }.filters();
    let selection = Selection { filters, ..Selection::default() };
    let span = Span { from: 1, until: u64::MAX };
    let log = ask.app.recorder.log.as_ref();
    let page = request::in_time(&ask.app, read_events(log, &selection, span, Order::Newest, MOST_EVENTS)).await?;
    Ok(page.messages)
}

/// The causes that reach furthest, each with what to do.
pub(super) async fn read_failing(ask: &Ask) -> Result<Vec<Remedied>, Problem> {
    let now = trace::now();
    let since = Timestamp::from(now.instant() - std::time::Duration::from_secs(SPAN));
    let own = ask.holder.workspace().map(|own| own.as_str());
    let mut groups = ask.app.look_at_fleet(|fleet| fleet.group_failures(own, since, now))?;
    groups.truncate(MOST_CAUSES);
    request::in_time(&ask.app, explain_all(&ask.explainer(Moment::Now), groups)).await
}

pub(super) fn render_tiles(figures: &Figures) -> Markup {
    let Figures { builds, requests, decisions, pulls, failing, placements, lag, unreadable, .. } = figures;
    html! {
        @for (name, count) in [("Builds", builds), ("Requests", requests), ("Decisions", decisions), ("Pulls", pulls)] { div { dt { (name) } dd { (count) " " small { "/min" } } } }
        div { dt { "Placements" } dd { (placements) } }
        div { dt { "Failing now" } dd.bad[*failing > 0] { a.count href="/containers?state=broken" { (failing) } } }
        div {
            dt { "Scheduler" }
            @match lag {
                Some(0) => dd { "0 " small { "behind" } },
                Some(lag) => dd.warn { (lag) " " small { "events behind" } },
                None => dd.bad { "away" },
            }
        }
        div { dt { "Unreadable" } dd.bad[*unreadable > 0] { a.count href="/quarantine" { (unreadable) } } }
    }
}

pub(super) fn render_causes(failing: &[Remedied], now: Timestamp) -> Markup {
    html! {
        @if failing.is_empty() { li { (layout::render_empty("Nothing failed.", "A cause shows here with the first container that it stops.")) } }
        @for one in failing { (render_cause(one, now)) }
    }
}

/// What breaks, the soonest first, each with its command.
fn render_forecasts(coming: &[Forecast]) -> Markup {
    html! {
        @if coming.is_empty() { li { (layout::render_empty("Nothing that the log tells of.", "A secret or a token that ends with nobody renewing it shows here, and so does a worker that stays away.")) } }
        @for one in coming.iter().take(MOST_FORECASTS) { (render_forecast(one)) }
        @if coming.len() > MOST_FORECASTS { li.soft { "and " (coming.len().saturating_sub(MOST_FORECASTS)) " more" } }
    }
}

fn render_forecast(one: &Forecast) -> Markup {
    let page = match (&one.workspace, one.kind.thing()) {
        (_, "worker") => Some(format!("/workers/{}", one.id)),
        (Some(workspace), thing @ ("secret" | "image")) => Some(format!("/{thing}s/{workspace}/{}", one.id)),
        _ => None,
    };
    html! {
        li {
            p.line {
                span {
                    code class=(if one.at.is_some() { "warn" } else { "bad" }) { (one.kind.as_str()) }
                    " " (one.kind.thing()) " "
                    @match page { Some(page) => a href=(page) { (one.id) }, None => strong { (one.id) } }
                }
                span.soft.small { @match one.at { Some(at) => (layout::render_time(at)), None => "already" } }
            }
            p.reach { (layout::spell_count(one.containers, "container")) " · " (layout::spell_count(one.workers, "worker")) }
            p { (layout::render_prose(&layout::to_sentence(&one.sentence))) }
            p.small { "→ " code { (one.remedy) } }
        }
    }
}

fn render_cause(Remedied { group, sentence, remedy }: &Remedied, now: Timestamp) -> Markup {
    let (kind, name) = group.cause.about.parts();
    let example = &group.example;
    let story = match &example.workspace {
        Some(workspace) if example.kind != "event" => format!("/{}s/{workspace}/{}", example.kind, example.id),
        _ => format!("/events/{}", example.id),
    };
    let class = if group.state == State::InFlight { "warn" } else { "bad" };
    html! {
        li {
            p.line {
                span { code class=(class) { (group.cause.code.as_str()) } " at " (group.cause.hop.as_str()) ", " (kind) @if let Some(name) = name { " " strong { (name) } } }
                span.soft.small { (layout::spell_ago(group.last.time, now)) }
            }
            p.reach {
                a href={ "/containers?code=" (group.cause.code.as_str()) } { strong { (layout::spell_count(group.containers, "container")) } }
                @if group.still < group.containers { " (" (group.still) " still)" }
                " · " (layout::spell_count(group.images, "image"))
                " · " (layout::spell_count(group.workers, "worker"))
                " · " (layout::spell_count(group.secrets, "secret"))
                " · e.g. " a href=(story) { @if example.kind != "container" { (example.kind) " " } (example.id) }
            }
            @if !sentence.is_empty() { p { (layout::render_prose(&layout::to_sentence(sentence))) } }
            @if !remedy.is_empty() { p.small { "→ " (layout::render_prose(remedy)) } }
        }
    }
}

#[cfg(test)]
mod tests {
    use waybill_domain::{
        explain::{Code, Hop},
        fleet::{About, Cause, Example, Group, Place},
    };

    use super::*;

    fn group() -> Group {
        let place = Place { sequence: 17, time: "2026-01-31T12:00:00Z".parse().unwrap() };
        Group {
            cause: Cause { hop: Hop::Pull, code: Code::Unauthorized, about: About::Secret("a<b".into()) },
            state: State::Broken,
            containers: 1000,
            still: 999,
            images: 3,
            workers: 1,
            secrets: 1,
            workspaces: 1,
            first: place,
            last: place,
            example: Example {
                kind: "container",
                workspace: Some("acme".to_owned()),
                id: "c-1".to_owned(),
                placement: Some(5),
            },
            told: None,
        }
    }

    #[test]
    fn a_cause_says_how_far_it_reaches_and_what_to_do() {
        let now = "2026-01-31T12:10:00Z".parse().unwrap();
        let (sentence, remedy) = ("it broke".to_owned(), "Ask again, or `waybill secrets rotate a`.".to_owned());
        let text = render_causes(&[Remedied { group: group(), sentence, remedy }], now).into_string();
        for part in [
            "1000 containers",
            "(999 still)",
            "1 worker<",
            "10 min ago",
            "a&lt;b",
            "href=\"/containers/acme/c-1\"",
            "→ Ask again, or <code>waybill secrets rotate",
        ] {
            assert!(text.contains(part) || text.contains(part.trim_end_matches('<')), "{part}: {text}");
        }
    }

    #[test]
    fn what_will_break_has_its_command() {
        let one = Forecast {
            kind: waybill_domain::fleet::ForecastKind::SecretExpires,
            workspace: Some("acme".to_owned()),
            id: "a".to_owned(),
            at: Some("2026-01-31T12:00:00Z".parse().unwrap()),
            since: None,
            containers: 3,
            images: 1,
            workers: 2,
            sentence: "version 1 of secret a<b expires".to_owned(),
            remedy: "waybill secrets rotate a --creds FILE".to_owned(),
        };
        let text = render_forecasts(&vec![one; MOST_FORECASTS + 2]).into_string();
        for part in [
            "secret_expires",
            "href=\"/secrets/acme/a\"",
            "3 containers",
            "a&lt;b",
            "<code>waybill secrets rotate a",
            "and 2 more",
        ] {
            assert!(text.contains(part), "{part}: {text}");
        }
        assert!(render_forecasts(&[]).into_string().contains("Nothing that the log tells of."));
    }

    #[test]
    fn figures_say_what_is_wrong() {
        let good = Figures {
            builds: 3,
            requests: 0,
            decisions: 0,
            pulls: 0,
            placements: 9,
            failing: 0,
            lag: Some(0),
            unreadable: 0,
            workers: Vec::new(),
        };
        let cases = [
            (good.clone(), "0 <small>behind", false),
            (Figures { lag: Some(7), ..good.clone() }, "7 <small>events behind", false),
            (Figures { lag: None, ..good.clone() }, "away", true),
            (Figures { unreadable: 2, ..good.clone() }, ">2<", true),
        ];
        for (figures, part, bad) in cases {
            let text = render_tiles(&figures).into_string();
            assert!(text.contains(part) && text.contains("class=\"bad\"") == bad, "{text}");
        }
    }
}
