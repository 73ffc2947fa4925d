//! The page of a container, an image or a secret: verdict and remedy on top, the way as a picture, the events underneath.

use maud::{Markup, html};
use waybill_domain::explain::{Explanation, Step, StepOutcome, Verdict};
use waybill_schemas::Timestamp;

use super::{
    hops,
    layout::{self, Same},
    moments::{self, Moments},
};

/// A thing that is explained, by its kind as [`Explanation::kind`] has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Thing {
    pub(super) kind: &'static str,
    pub(super) workspace: String,
    pub(super) id: String,
}

impl Thing {
    pub(super) fn path(&self) -> String {
        format!("/{}s/{}/{}", self.kind, self.workspace, self.id)
    }

    pub(super) fn link(&self) -> Markup {
        html! { a href=(self.path()) { (self.id) } }
    }
}

/// Everything that the page shows.
#[derive(Debug, Clone)]
pub(super) struct Story {
    pub(super) explanation: Explanation,
    pub(super) now: Timestamp,
    pub(super) moments: Moments,
    /// What the log names together with it.
    pub(super) related: Vec<Thing>,
    pub(super) actions: Markup,
    /// Sequence of what was just asked for here.
    pub(super) done: Option<u64>,
    /// Where traces can be looked at.
    pub(super) traces: Option<String>,
    /// Address of this gateway, as the browser has it.
    pub(super) base: String,
}

impl Story {
    fn thing(&self) -> Thing {
        let Explanation { kind, workspace, id, .. } = &self.explanation;
        Thing { kind, workspace: workspace.to_string(), id: id.clone() }
    }

    fn same(&self) -> Vec<Same> {
        let Thing { kind, workspace, id } = self.thing();
        let moments =
            [("at", "as_of", self.moments.at), ("diff", "diff", self.moments.before.as_ref().map(|(from, _)| *from))];
        let (mut flags, mut query) = (String::new(), String::new());
        for (flag, parameter, sequence) in moments {
            if let Some(sequence) = sequence {
                flags.push_str(&format!(" --{flag} {sequence}"));
                query.push_str(&format!("{}{parameter}={sequence}", if query.is_empty() { "?" } else { "&" }));
            }
        }
        vec![
            Same::command(format_args!("explain {kind} {id} --workspace {workspace}{flags}")),
            Same::get(&self.base, &format!("/v1/{kind}s/{workspace}/{id}/explain{query}")),
        ]
    }
}

/// The whole page.
pub(super) fn render_page(story: &Story) -> Markup {
    let explanation = &story.explanation;
    html! {
        div.lead {
            p.crumbs { (explanation.kind) " in workspace " (explanation.workspace) }
            div.head { h1 { (explanation.id) } (story.actions) }
            (render_places(story))
        }
        @if let Some(done) = story.done {
            p.notice role="status" { "Recorded at sequence " a href={ "/events/" (done) } { (done) } ". What follows from it is in the log as it happens." }
        }
        (moments::render_choice(&story.moments, &story.thing().path()))
        div #story.columns aria-live="polite" {
            div.columns-all {
                (moments::render_heading(&story.moments))
                // What differs shows both verdicts.
                @if story.moments.before.is_none() { (render_verdict(&explanation.verdict, story.now)) }
            }
            (moments::render_difference(story))
            div.card { (hops::draw_way(explanation)) }
            (render_notes(&explanation.notes))
            (moments::draw_placements(explanation, story.now))
            (render_events(story))
        }
        (layout::render_same(&story.same()))
    }
}

fn render_places(story: &Story) -> Markup {
    let Explanation { placement, worker_id, .. } = &story.explanation;
    html! {
        p.soft {
            @if let (Some(placement), Some(worker)) = (placement, worker_id) {
                "placement " span.num { (placement) } " on worker " a href={ "/workers/" (worker) } { (worker) }
            }
            @for (index, thing) in story.related.iter().enumerate() {
                @if index > 0 || worker_id.is_some() { " · " }
                (thing.kind) " " (thing.link())
            }
            @if story.explanation.kind != "container" {
                @if !story.related.is_empty() { " · " }
                a href={ "/containers?" (story.explanation.kind) "=" (story.explanation.id) } { "its containers" }
            }
        }
    }
}

/// The verdict, with its remedy.
pub(super) fn render_verdict(verdict: &Verdict, now: Timestamp) -> Markup {
    html! {
        div.card.verdict.(verdict.state.as_str()) {
            p {
                span.word { (layout::state_word(verdict.state)) }
                " at " strong { (verdict.hop.as_str()) } ": " code { (verdict.code.as_str()) }
                @if let Some(since) = verdict.since { span.soft { " · " (layout::spell_ago(since, now)) } }
                @if let Some(sequence) = verdict.sequence {
                    span.soft { " · sequence " a href={ "/events/" (sequence) } { (sequence) } }
                }
            }
            p.says { (layout::render_prose(&layout::to_sentence(&verdict.sentence))) }
            @if !verdict.remedy.is_empty() { p.remedy { (layout::render_prose(&verdict.remedy)) } }
        }
    }
}

fn render_notes(notes: &[String]) -> Markup {
    html! {
        @if !notes.is_empty() {
            section.section {
                h2 { "Worth knowing" }
                ul.lines { @for note in notes { li { (layout::render_prose(&layout::to_sentence(note))) } } }
            }
        }
    }
}

/// Class and word of an outcome.
fn outcome_words(outcome: StepOutcome) -> (&'static str, &'static str) {
    match outcome {
        StepOutcome::Done => ("good", "done"),
        StepOutcome::Skipped => ("warn", "skipped"),
        StepOutcome::Failed => ("bad", "failed"),
        StepOutcome::Withdrawn => ("warn", "withdrawn"),
        StepOutcome::Ignored => ("bad", "not believed"),
    }
}

fn render_events(story: &Story) -> Markup {
    let timeline = &story.explanation.timeline;
    html! {
        section.section {
            h2 { "Events" }
            @if timeline.is_empty() {
                (layout::render_empty("The log holds no event about it.", "Is the id right, and the workspace? `waybill events` shows what was said last."))
            } @else {
                div.scroll tabindex="0" role="region" aria-label="Events" {
                    table.stack {
                        thead { tr {
                            th.num scope="col" { "Sequence" } th scope="col" { "Time (UTC)" } th.num.wideonly scope="col" { "After" }
                            th scope="col" { "Hop" } th scope="col" { "Outcome" } th scope="col" { "What it says" }
                        } }
                        tbody { @for step in timeline { (render_step(step, story)) } }
                    }
                }
            }
        }
    }
}

fn render_step(step: &Step, story: &Story) -> Markup {
    let (class, word) = outcome_words(step.outcome);
    let fields = format!("/events/{}", step.sequence);
    html! {
        tr {
            td.num { a href=(fields) { (step.sequence) } }
            td.nowrap { (layout::render_time(step.time)) }
            td.num.nowrap.wideonly { @if let Some(after) = step.after_ms { "+" (layout::spell_ms(after)) } }
            td { (step.hop.as_str()) }
            td class=(class) { (word) }
            td {
                p.says { @if let Some(reason) = step.reason { code { (reason) } " " } (step.says) }
                p.soft.small {
                    (step.event) " by " (step.service)
                    @if let Some(version) = &step.version { " " (version) }
                    @if let Some(actor) = &step.actor { " for " (actor) }
                    @if let Some(trace) = &step.trace_id { " · " (render_trace(trace, story.traces.as_deref())) }
                }
                details hx-get={ (fields) "?part=fields" } hx-trigger="toggle once" hx-target="find .body" {
                    summary { "every field" }
                    div.body { a href=(fields) { "sequence " (step.sequence) } }
                }
            }
        }
    }
}

/// A trace, with a link where its address is known.
pub(super) fn render_trace(trace_id: &str, traces: Option<&str>) -> Markup {
    let short: String = trace_id.chars().take(8).collect();
    html! {
        @match traces {
            Some(base) => a href={ (base) "/trace/" (trace_id) } rel="noreferrer" { "trace " (short) },
            None => span title=(trace_id) { "trace " code { (trace_id) } },
        }
    }
}

#[cfg(test)]
mod tests {
    use waybill_domain::explain::{Hop, State};

    use super::{
        super::testing::{explanation, step},
        *,
    };

    fn story(explanation: Explanation) -> Story {
        let now = "2026-01-31T12:10:00Z".parse().unwrap();
        let base = "http://127.0.0.1:8484".to_owned();
        Story {
            explanation,
            now,
            moments: Moments::default(),
            related: vec![Thing { kind: "secret", workspace: "acme".to_owned(), id: "a.b".to_owned() }],
            actions: layout::no_markup(),
            done: None,
            traces: Some("http://jaeger.example".to_owned()),
            base,
        }
    }

    #[test]
    fn the_page_says_the_verdict_the_remedy_and_every_event() {
        let failed = Step {
            outcome: StepOutcome::Failed,
            reason: Some("unauthorized"),
            says: "<b>no</b>".to_owned(),
            trace_id: Some("0af7651916cd43dd8448eb211c80319c".to_owned()),
            ..step(Hop::Pull, 17, 0)
        };
        let text = render_page(&story(explanation("container", Hop::Pull, State::Broken, vec![failed]))).into_string();
        for part in [
            "BROKEN",
            "class=\"card verdict broken\"",
            "It broke.",
            "<code>waybill secrets rotate a --creds FILE</code>",
            "&lt;b&gt;no&lt;/b&gt;",
            "href=\"http://jaeger.example/trace/0af7651916cd43dd8448eb211c80319c\"",
            "href=\"/secrets/acme/a.b\"",
            "waybill explain container c-1 --workspace acme",
            "http://127.0.0.1:8484/v1/containers/acme/c-1/explain",
            "href=\"/events/17\"",
        ] {
            assert!(text.contains(part), "{part}: {text}");
        }
    }

    #[test]
    fn nothing_known_is_said_and_not_shown_as_an_empty_table() {
        let text = render_page(&story(explanation("image", Hop::Saved, State::Broken, vec![]))).into_string();
        assert!(text.contains("The log holds no event about it.") && !text.contains("<table"), "{text}");
    }

    #[test]
    fn a_long_story_is_a_small_page() {
        let timeline = (1..=40).map(|sequence| step(Hop::Pull, sequence, 0)).collect();
        let text = render_page(&story(explanation("container", Hop::Pull, State::Healthy, timeline))).into_string();
        assert!(text.len() < 60_000, "{} bytes", text.len());
    }
}
