//! What every page has: the frame around it, and the small parts that pages are made of.

use maud::{DOCTYPE, Markup, PreEscaped, html};
use waybill_domain::explain::State;
use waybill_schemas::Timestamp;

use super::{assets, session::Theme};
use crate::tokens::Holder;

/// The part of the console that a page belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Here {
    Now,
    Containers,
    Secrets,
    Workers,
    Elsewhere,
}

const NAVIGATION: [(Here, &str, &str); 4] = [
    (Here::Now, "/", "Now"),
    (Here::Containers, "/containers", "Containers"),
    (Here::Secrets, "/secrets", "Secrets"),
    (Here::Workers, "/workers", "Workers"),
];

/// Who looks at a page, and where.
#[derive(Debug, Clone)]
pub(super) struct Frame<'a> {
    pub(super) here: Here,
    pub(super) theme: Theme,
    /// Who has signed in.
    pub(super) holder: Option<&'a Holder>,
    /// Path and query of the page, to come back to.
    pub(super) address: &'a str,
    /// What was looked for.
    pub(super) sought: &'a str,
}

/// htmx, without what the content security policy forbids.
const HTMX: &str = r#"{"includeIndicatorCSS":false,"extensions":"sse","history":true}"#;

/// A whole document.
pub(super) fn render_document(frame: &Frame<'_>, title: &str, body: &Markup) -> Markup {
    html! {
        (DOCTYPE)
        html lang="en" data-theme=(frame.theme.as_str()) {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="htmx-config" content=(HTMX);
                title { (title) " · Waybill" }
                link rel="icon" type="image/svg+xml" href=(assets::asset_address("icon.svg"));
                link rel="stylesheet" href=(assets::asset_address("console.css"));
                @if frame.holder.is_some() {
                    script defer src=(assets::asset_address("htmx.js")) {}
                    script defer src=(assets::asset_address("sse.js")) {}
                    script defer src=(assets::asset_address("console.js")) {}
                }
            }
            body {
                a.skip href="#main" { "Skip to the content" }
                (render_bar(frame))
                main #main { (body) }
                (render_foot(frame))
            }
        }
    }
}

fn render_bar(frame: &Frame<'_>) -> Markup {
    html! {
        header.bar {
            a.mark href="/" { "Waybill" }
            @if let Some(holder) = frame.holder {
                nav aria-label="Console" {
                    ul {
                        @for (here, path, name) in NAVIGATION {
                            li { a href=(path) aria-current=[(here == frame.here).then_some("page")] { (name) } }
                        }
                    }
                }
                form.find action="/find" method="get" role="search" {
                    label.hidden for="find" { "Find an id, a name, a registry, a reason or a trace" }
                    input #find type="search" name="q" value=(frame.sought) autocomplete="off" spellcheck="false"
                        placeholder="Find: any id, part of a name, registry, reason, trace  ( / )";
                }
                div.who {
                    @if holder.workspaces().len() > 1 { (render_workspaces(frame, holder)) }
                    span { (holder.actor()) }
                    form action="/signout" method="post" { button.tiny type="submit" { "Sign out" } }
                }
            }
        }
    }
}

/// The choice among the workspaces of a token that has several.
fn render_workspaces(frame: &Frame<'_>, holder: &Holder) -> Markup {
    html! {
        form.choice action="/workspace" method="post" {
            input type="hidden" name="back" value=(frame.address);
            label.hidden for="workspace" { "Workspace" }
            select #workspace name="workspace" data-submits {
                @for own in holder.workspaces() {
                    option value=(own) selected[holder.workspace() == Some(own)] { (own) }
                }
            }
            button.tiny type="submit" { "Show" }
        }
    }
}

fn render_foot(frame: &Frame<'_>) -> Markup {
    html! {
        footer {
            span { "Waybill " (env!("CARGO_PKG_VERSION")) }
            a href="/docs" { "HTTP interface" }
            form.choice action="/theme" method="post" {
                input type="hidden" name="back" value=(frame.address);
                label.hidden for="theme" { "Colours" }
                select #theme name="theme" data-submits {
                    @for theme in Theme::ALL {
                        option value=(theme.as_str()) selected[theme == frame.theme] { (theme.as_str()) }
                    }
                }
                button.tiny type="submit" { "Use these colours" }
            }
        }
    }
}

/// A command or a request that does what a page does, to be copied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Same(pub(super) String);

impl Same {
    /// A command of the binary.
    pub(super) fn command(text: impl std::fmt::Display) -> Self {
        Self(format!("waybill {text}"))
    }

    /// A question over HTTP. The token stands in a file or a variable, and never on a page.
    pub(super) fn get(base: &str, path: &str) -> Self {
        Self(format!("curl -H \"Authorization: Bearer $WAYBILL_TOKEN\" {base}{path}"))
    }
}

/// Everything that a page shows has its command and its endpoint.
pub(super) fn render_same(same: &[Same]) -> Markup {
    html! {
        section.section {
            h2 { "The same without this page" }
            ul.same {
                @for Same(text) in same {
                    li { code { (text) } button.tiny type="button" data-copy { "copy" } }
                }
            }
        }
    }
}

/// Sentences of the domain, whose commands stand in backquotes.
pub(super) fn render_prose(text: &str) -> Markup {
    html! {
        @for (index, part) in text.split('`').enumerate() {
            @if index % 2 == 1 { code { (part) } } @else { (part) }
        }
    }
}

/// A verdict's sentence begins with a capital and ends with a full stop.
pub(super) fn to_sentence(words: &str) -> String {
    let mut characters = words.chars();
    let first = characters.next().map(|first| first.to_uppercase().to_string()).unwrap_or_default();
    format!("{first}{}.", characters.as_str().trim_end_matches('.'))
}

/// The state's word, as the command line has it.
pub(super) fn state_word(state: State) -> &'static str {
    match state {
        State::Healthy => "HEALTHY",
        State::Broken => "BROKEN",
        State::InFlight => "IN FLIGHT",
    }
}

/// Date and time to the millisecond, in UTC.
pub(super) fn render_time(at: Timestamp) -> Markup {
    let text = at.to_string();
    let (date, rest) = text.split_once('T').unwrap_or((&text, ""));
    html! { time datetime=(text) title=(text) { (date) " " (cut_clock(rest)) } }
}

/// The time of day to the millisecond, in UTC.
pub(super) fn render_clock(at: Timestamp) -> Markup {
    let text = at.to_string();
    let rest = text.split_once('T').map_or("", |(_, rest)| rest);
    html! { time datetime=(text) title=(text) { (cut_clock(rest)) } }
}

fn cut_clock(rest: &str) -> String {
    let rest = rest.trim_end_matches('Z');
    let (clock, fraction) = rest.split_once('.').unwrap_or((rest, ""));
    let milliseconds: String = fraction.chars().chain("000".chars()).take(3).collect();
    format!("{clock}.{milliseconds}")
}

/// How long ago something was, in the largest unit that fits.
pub(super) fn spell_ago(since: Timestamp, now: Timestamp) -> String {
    let elapsed = (now.instant() - since.instant()).whole_milliseconds().max(0);
    format!("{} ago", spell_ms(i64::try_from(elapsed).unwrap_or(i64::MAX)))
}

/// Milliseconds in the unit that people use.
pub(super) fn spell_ms(ms: i64) -> String {
    match ms.unsigned_abs() {
        0..1_000 => format!("{ms} ms"),
        1_000..120_000 => format!("{} s", ms / 1_000),
        120_000..7_200_000 => format!("{} min", ms / 60_000),
        7_200_000..172_800_000 => format!("{} h", ms / 3_600_000),
        _ => format!("{} days", ms / 86_400_000),
    }
}

/// A number and its noun.
pub(super) fn spell_count(number: usize, noun: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{number} {noun}{plural}")
}

/// What stands where there is nothing to show: why, and what would make it show something.
pub(super) fn render_empty(what: &str, how: &str) -> Markup {
    html! { div.empty { strong { (what) } p { (render_prose(how)) } } }
}

/// Nothing.
pub(super) fn no_markup() -> Markup {
    PreEscaped(String::new())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_others_wrote_is_text() {
        let hostile = "<script>alert(1)</script>`<b>`\"";
        let holder = Holder::new(["a", "b"].map(|name| name.parse().unwrap()), Some(hostile.to_owned()), Vec::new());
        for markup in [
            render_prose(hostile),
            render_empty(hostile, hostile),
            render_same(&[Same::command(hostile)]),
            render_document(
                &Frame {
                    here: Here::Now,
                    theme: Theme::Dark,
                    holder: Some(&holder),
                    address: hostile,
                    sought: hostile,
                },
                hostile,
                &no_markup(),
            ),
        ] {
            let text = markup.into_string();
            assert!(
                !text.contains("<script>alert") && !text.contains("<b>") && !text.contains("value=\"\"\""),
                "{text}"
            );
        }
    }

    #[test]
    fn durations_are_spelled_in_one_unit() {
        for (ms, spelled) in [
            (7, "7 ms"),
            (1_500, "1 s"),
            (119_999, "119 s"),
            (120_000, "2 min"),
            (7_200_000, "2 h"),
            (172_800_000, "2 days"),
        ] {
            assert_eq!(spell_ms(ms), spelled);
        }
    }

    /// The content security policy allows no script or style that stands in a page.
    #[test]
    fn a_page_holds_no_inline_script_or_style() {
        let holder = Holder::new(["a", "b"].map(|name| name.parse().unwrap()), None, Vec::new());
        let frame = Frame { here: Here::Now, theme: Theme::System, holder: Some(&holder), address: "/", sought: "" };
        let text = render_document(&frame, "Now", &no_markup()).into_string();
        assert!(!text.contains("style=") && !text.contains("onclick") && !text.contains("<style"), "{text}");
        assert_eq!(text.matches("<script").count(), text.matches("<script defer src=\"/assets/").count());
    }
}
