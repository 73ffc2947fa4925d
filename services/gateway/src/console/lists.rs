//! Lists: which secrets there are, and which containers stand how.

use axum::response::Response;
use maud::{Markup, html};
use waybill_domain::{
    explain::{Code, State},
    fleet::{Listed, Wanted},
    fold::SecretState,
};
use waybill_platform::trace;
use waybill_schemas::Timestamp;

use super::{
    ask::{Ask, Page},
    layout::{self, Here, Same},
    stories::state_word,
};
use crate::{
    http::{problem::Problem, secret_list::read_heads},
    versions::Head,
};

/// Containers or secrets of one page.
const MOST: usize = 100;

/// `GET /secrets`.
pub(super) async fn show_secrets(ask: Ask) -> Response {
    let page = read_secrets(&ask).await;
    ask.answer(page)
}

async fn read_secrets(ask: &Ask) -> Result<Page, Problem> {
    let own = ask.holder.workspace();
    let mut heads = read_heads(&ask.app, &ask.holder.actor(), own.cloned()).await?;
    let after = ask.parameter("after").unwrap_or_default();
    heads.retain(|head| secret_name_of(head).is_some_and(|name| name > after));
    let more = heads.len() > MOST;
    heads.truncate(MOST);
    let last = heads.last().and_then(secret_name_of).filter(|_| more);
    let workspace = own.map_or_else(|| "WORKSPACE".to_owned(), ToString::to_string);
    let same = [
        Same::command(format_args!("secrets list --workspace {workspace}")),
        Same::get(&ask.base(), &format!("/v1/secrets/{workspace}")),
    ];
    let body = html! {
        div.lead { h1 { "Secrets" } p.soft { "Named credentials, each for one registry. A page never holds a value." } }
        (render_secrets(&heads, trace::now()))
        @if let Some(last) = last { p { a.button.plain href={ "/secrets?after=" (last) } rel="next" { "Further ones" } } }
        (layout::render_same(&same))
    };
    Ok(Page { title: "Secrets".to_owned(), here: Here::Secrets, body })
}

fn secret_name_of(head: &Head) -> Option<&str> {
    head.recorded.value.event.secret_name().map(|name| name.as_str())
}

fn render_secrets(heads: &[Head], now: Timestamp) -> Markup {
    html! {
        @if heads.is_empty() {
            (layout::render_empty("There are no secrets.", "A build that brings credentials saves one; `waybill secrets put NAME --registry HOST --creds FILE` does so without a build."))
        } @else {
            div.scroll tabindex="0" role="region" aria-label="Secrets" {
                table {
                    thead { tr {
                        th scope="col" { "Secret" } th scope="col" { "Workspace" } th scope="col" { "Registry" } th.num scope="col" { "Version" }
                        th scope="col" { "State" } th scope="col" { "Works until" } th scope="col" { "Changed" }
                    } }
                    tbody { @for head in heads { (render_secret(head, now)) } }
                }
            }
        }
    }
}

fn render_secret(Head { head, recorded }: &Head, now: Timestamp) -> Markup {
    let event = &recorded.value.event;
    let (Some(workspace), Some(name)) = (event.workspace(), event.secret_name()) else { return layout::no_markup() };
    let expires = head.stored.as_ref().and_then(|stored| stored.expires_at);
    let expired = expires.is_some_and(|expiry| expiry <= now);
    html! {
        tr {
            td { a href={ "/secrets/" (workspace) "/" (name) } { (name) } }
            td { (workspace) }
            td { code { (head.registry) } }
            td.num { (head.version) }
            td.bad[head.state != SecretState::Active] { (state_word(head.state)) }
            td.bad[expired] { @match expires { Some(expiry) => (layout::render_time(expiry)), None => span.soft { "no end" } } }
            td.nowrap { (layout::spell_ago(recorded.at, now)) }
        }
    }
}

/// `GET /containers`.
pub(super) async fn show_containers(ask: Ask) -> Response {
    let page = read_containers(&ask);
    ask.answer(page)
}

const STATES: [State; 3] = [State::Broken, State::InFlight, State::Healthy];

fn read_containers(ask: &Ask) -> Result<Page, Problem> {
    let text = |name: &str| ask.parameter(name).map(str::to_owned);
    let unknown =
        |field: &'static str| Problem::invalid(field, "there is no such word").remedy("choose one of the page's");
    let state = ask.parameter("state").map(|word| STATES.into_iter().find(|state| state.as_str() == word).ok_or(word));
    let state = state.transpose().map_err(|_| unknown("state"))?;
    let code = ask.parameter("code").map(|word| find_code(word).ok_or_else(|| unknown("code"))).transpose()?;
    let own = ask.holder.workspace().map(ToString::to_string);
    let [worker, image, secret] = ["worker", "image", "secret"].map(text);
    let wanted = Wanted { workspace: own, worker, image, secret, state, code };
    let until = ask.number("until")?.unwrap_or(u64::MAX);
    let (listed, next) = ask.app.look_at_fleet(|fleet| fleet.list(&wanted, until, MOST))?;
    let query = to_query(&wanted);
    let body = html! {
        div.lead { h1 { "Containers" } p.soft { "The newest placement of each that goes on, the newest first." } }
        (render_choice(&wanted))
        (render_containers(&listed, trace::now()))
        @if let Some(next) = next { p { a.button.plain href={ "/containers?" (query) "until=" (next) } rel="next" { "Older ones" } } }
        (layout::render_same(&[
            Same::command(format_args!("containers{}", to_flags(&wanted))),
            Same::get(&ask.base(), &format!("/v1/containers?{query}limit={MOST}")),
        ]))
    };
    Ok(Page { title: "Containers".to_owned(), here: Here::Containers, body })
}

/// The code that a word stands for.
pub(super) fn find_code(word: &str) -> Option<Code> {
    Code::ALL.iter().copied().find(|code| code.as_str() == word)
}

/// What is asked for, by name.
fn list_chosen(wanted: &Wanted) -> impl Iterator<Item = (&'static str, &str)> {
    let pairs = [
        ("worker", wanted.worker.as_deref()),
        ("image", wanted.image.as_deref()),
        ("secret", wanted.secret.as_deref()),
        ("state", wanted.state.map(State::as_str)),
        ("code", wanted.code.map(Code::as_str)),
    ];
    pairs.into_iter().filter_map(|(name, value)| Some((name, value?)))
}

/// The same as flags of the command.
fn to_flags(wanted: &Wanted) -> String {
    list_chosen(wanted).map(|(name, value)| format!(" --{name} {value}")).collect()
}

/// The same as a query, ready for a further parameter.
fn to_query(wanted: &Wanted) -> String {
    let query = form_urlencoded::Serializer::new(String::new()).extend_pairs(list_chosen(wanted)).finish();
    if query.is_empty() { query } else { format!("{query}&") }
}

/// The filter as a form.
fn render_choice(wanted: &Wanted) -> Markup {
    let kept = [("worker", &wanted.worker), ("image", &wanted.image), ("secret", &wanted.secret)];
    html! {
        form.filter action="/containers" method="get" {
            div {
                label for="state" { "State" }
                select #state name="state" data-submits {
                    option value="" { "any" }
                    @for state in STATES { option value=(state.as_str()) selected[wanted.state == Some(state)] { (state.as_str()) } }
                }
            }
            @for (name, value) in kept {
                div {
                    label for={ "by-" (name) } { (name) }
                    input id={ "by-" (name) } name=(name) value=(value.as_deref().unwrap_or_default()) autocomplete="off" spellcheck="false";
                }
            }
            div {
                label for="code" { "Reason" }
                input #code name="code" value=(wanted.code.map_or("", Code::as_str)) autocomplete="off" spellcheck="false";
            }
            button.plain type="submit" { "Show" }
        }
    }
}

/// Containers, each with how it stands.
pub(super) fn render_containers(listed: &[Listed], now: Timestamp) -> Markup {
    html! {
        @if listed.is_empty() {
            (layout::render_empty("No container is here.", "Ask for one with `POST /v1/containers`, or choose less narrowly."))
        } @else {
            div.scroll tabindex="0" role="region" aria-label="Containers" {
                table {
                    thead { tr {
                        th scope="col" { "Container" } th scope="col" { "Stands" } th scope="col" { "Since" } th scope="col" { "Worker" }
                        th scope="col" { "Image" } th scope="col" { "Secret" } th.num scope="col" { "Placement" }
                    } }
                    tbody { @for one in listed { (render_container(one, now)) } }
                }
            }
        }
    }
}

fn render_container(one: &Listed, now: Timestamp) -> Markup {
    let class = match one.state {
        State::Healthy => "good",
        State::Broken => "bad",
        State::InFlight => "warn",
    };
    let named = |kind: &str, id: Option<&String>| {
        html! { @match id { Some(id) => a href={ "/" (kind) "s/" (one.workspace) "/" (id) } { (id) }, None => span.soft { "none" } } }
    };
    html! {
        tr {
            td { a href={ "/containers/" (one.workspace) "/" (one.container_id) } { (one.container_id) } " " span.soft.small { (one.workspace) } }
            td class=(class) { code { (one.code.as_str()) } span.small { " at " (one.hop.as_str()) } }
            td.nowrap { (layout::spell_ago(one.since, now)) }
            td { a href={ "/workers/" (one.worker_id) } { (one.worker_id) } }
            td { (named("image", one.image_id.as_ref())) }
            td { (named("secret", one.secret_name.as_ref())) }
            td.num { (one.placement) }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_page_asks_for_the_same() {
        let cases = [
            (Wanted::default(), ""),
            (Wanted { state: Some(State::Broken), ..Wanted::default() }, "state=broken&"),
            (
                Wanted { worker: Some("w 1".to_owned()), code: Some(Code::Denied), ..Wanted::default() },
                "worker=w+1&code=denied&",
            ),
        ];
        for (wanted, expected) in cases {
            assert_eq!(to_query(&wanted), expected);
        }
    }

    #[test]
    fn a_container_without_image_says_so() {
        let at: Timestamp = "2026-01-31T12:00:00Z".parse().unwrap();
        let one = Listed {
            workspace: "acme".to_owned(),
            container_id: "c-1".to_owned(),
            placement: 7,
            worker_id: "w1".to_owned(),
            image_id: None,
            secret_name: Some("team".to_owned()),
            registry: None,
            state: State::Broken,
            hop: waybill_domain::explain::Hop::Pull,
            code: Code::Denied,
            requested_at: at,
            sequence: 9,
            since: at,
        };
        let text = render_containers(&[one], at).into_string();
        assert!(
            text.contains("class=\"bad\"><code>denied") && text.contains("none") && text.contains("/secrets/acme/team"),
            "{text}"
        );
    }
}
