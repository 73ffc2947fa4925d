//! A story at a moment of the log: the slider that chooses one, what differs between two, and where the container was.

use maud::{Markup, html};
use waybill_domain::explain::{Earlier, Explanation, Step};
use waybill_schemas::Timestamp;

use super::{
    layout,
    story::{Story, render_verdict},
};

/// A place in the log at which the story changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Stop {
    pub(super) sequence: u64,
    pub(super) time: Timestamp,
    pub(super) event: &'static str,
}

/// The moments of a story, and which of them are looked at.
#[derive(Debug, Clone, Default)]
pub(super) struct Moments {
    /// In the log's order.
    pub(super) stops: Vec<Stop>,
    /// Sequence of the last event that counts; none for the present.
    pub(super) at: Option<u64>,
    /// An earlier moment, and the story then.
    pub(super) before: Option<(u64, Explanation)>,
}

/// Where a story, as it is now, changed: at each event of the newest placement, and where each earlier one was asked for.
pub(super) fn find_stops(explanation: &Explanation) -> Vec<Stop> {
    let earlier = explanation.earlier.iter();
    let earlier = earlier.map(|one| Stop { sequence: one.sequence, time: one.time, event: "ContainerRequested" });
    let stop = |step: &Step| Stop { sequence: step.sequence, time: step.time, event: step.event };
    let mut stops: Vec<Stop> = earlier.chain(explanation.timeline.iter().map(stop)).collect();
    stops.sort_by_key(|stop| stop.sequence);
    stops.dedup_by_key(|stop| stop.sequence);
    stops
}

/// The slider over the stops, and the moment to compare with. Both are one form, which works without scripts.
pub(super) fn render_choice(moments: &Moments, path: &str) -> Markup {
    let stops = &moments.stops;
    let step =
        moments.at.and_then(|at| stops.iter().rposition(|stop| stop.sequence <= at)).map_or(stops.len(), |i| i + 1);
    html! {
        @if stops.len() > 1 {
            form.asof action=(path) method="get" hx-get=(path) hx-target="#story" hx-select="#story" hx-swap="outerHTML"
                hx-replace-url="true" hx-trigger="input delay:120ms, submit" {
                div.head {
                    label for="step" { "As of event " span.soft { "(1 to " (stops.len()) "; the last is the present)" } }
                    div.actions {
                        label.hidden for="from" { "Compare with" }
                        select #from name="diff" {
                            option value="" selected[moments.before.is_none()] { "compare with …" }
                            @for stop in stops {
                                @let chosen = moments.before.as_ref().is_some_and(|(from, _)| *from == stop.sequence);
                                option value=(stop.sequence) selected[chosen] { (stop.sequence) " " (stop.event) }
                            }
                        }
                        button.plain type="submit" { "Show" }
                    }
                }
                input #step type="range" name="step" min="1" max=(stops.len()) value=(step);
            }
        }
    }
}

/// Which moment the page is about, where it is not the present.
pub(super) fn render_heading(moments: &Moments) -> Markup {
    let stop = moments.at.and_then(|at| moments.stops.iter().rfind(|stop| stop.sequence <= at));
    html! {
        @if let Some(at) = moments.at {
            p.notice {
                "As of sequence " strong { (at) }
                @if let Some(stop) = stop { ", " (layout::render_time(stop.time)) ", after " (stop.event) }
                ". What came later does not count here."
            }
        }
    }
}

/// What happened between two moments, and both verdicts.
pub(super) fn render_difference(story: &Story) -> Markup {
    let Some((from, before)) = &story.moments.before else { return layout::no_markup() };
    let added: Vec<&Step> = story.explanation.timeline.iter().filter(|step| step.sequence > *from).collect();
    let same = before.verdict == story.explanation.verdict;
    html! {
        section.section {
            h2 {
                "Since sequence " (from) ": "
                @if same { "the verdict is the same" } @else { "another verdict" }
                ", " (layout::spell_count(added.len(), "new event"))
            }
            div.moments {
                div { p.small.soft { "as of sequence " (from) } (render_verdict(&before.verdict, story.now)) }
                div {
                    p.small.soft { @match story.moments.at { Some(at) => { "as of sequence " (at) }, None => "now" } }
                    (render_verdict(&story.explanation.verdict, story.now))
                }
            }
            ul.flow {
                @for step in added {
                    li {
                        (layout::render_clock(step.time))
                        span.what { "+ " (step.hop.as_str()) }
                        span.who { (step.event) @if let Some(reason) = step.reason { " " code { (reason) } } }
                        span { (step.says) }
                    }
                }
            }
        }
    }
}

/// Width of the picture of placements, in its own units.
const WIDTH: f64 = 1000.0;
/// Most earlier placements that are drawn, the newest.
const MOST_LANES: usize = 12;

/// One lane for each placement, from its request to the next one's.
pub(super) fn draw_placements(explanation: &Explanation, now: Timestamp) -> Markup {
    let Some(newest) = explanation.timeline.iter().find(|step| Some(step.sequence) == explanation.placement) else {
        return layout::no_markup();
    };
    let hidden = explanation.earlier.len().saturating_sub(MOST_LANES);
    let earlier: Vec<&Earlier> = explanation.earlier.iter().skip(hidden).collect();
    let Some(first) = earlier.first() else { return layout::no_markup() };
    let place = |at: Timestamp| {
        let whole = (now.instant() - first.time.instant()).as_seconds_f64().max(0.001);
        ((at.instant() - first.time.instant()).as_seconds_f64() / whole * WIDTH).clamp(0.0, WIDTH)
    };
    let ends = earlier.iter().skip(1).map(|one| one.time).chain([newest.time]);
    html! {
        section.section {
            h2 { "Placements" @if hidden > 0 { span.soft { ", without " (hidden) " earlier ones" } } }
            ol.lanes {
                @for (one, end) in earlier.iter().zip(ends) {
                    (draw_lane(one.worker_id.as_str(), one.sequence, one.state.as_str(), one.code.as_str(), (place(one.time), place(end))))
                }
                @if let Some(worker) = &explanation.worker_id {
                    @let verdict = &explanation.verdict;
                    (draw_lane(worker.as_str(), newest.sequence, verdict.state.as_str(), verdict.code.as_str(), (place(newest.time), WIDTH)))
                }
            }
        }
    }
}

fn draw_lane(worker: &str, sequence: u64, state: &str, code: &str, (from, to): (f64, f64)) -> Markup {
    // A placement that was superseded at once is still seen.
    let width = (to - from).max(6.0);
    html! {
        li {
            span { a href={ "/workers/" (worker) } { (worker) } " " span.soft.num { (sequence) } }
            svg viewBox="0 0 1000 12" preserveAspectRatio="none" aria-hidden="true" {
                rect.rail x="0" y="4" width="1000" height="4" rx="2" {}
                rect.lane.(state) x=(format!("{:.0}", from.min(WIDTH - width))) y="0" width=(format!("{width:.0}")) height="12" rx="3" {}
            }
            span.small { code { (code) } }
        }
    }
}

#[cfg(test)]
mod tests {
    use waybill_domain::explain::{Code, Hop, State};

    use super::{
        super::testing::{explanation, step},
        *,
    };

    fn moved() -> Explanation {
        let earlier = |sequence, time: &str, worker: &str| Earlier {
            sequence,
            time: time.parse().unwrap(),
            worker_id: worker.parse().unwrap(),
            state: State::Healthy,
            code: Code::Superseded,
            sentence: "moved".to_owned(),
        };
        let timeline = vec![step(Hop::Saved, 2, 0), step(Hop::Requested, 30, 60_000), step(Hop::Pull, 33, 61_000)];
        Explanation {
            placement: Some(30),
            worker_id: Some("w2".parse().unwrap()),
            earlier: vec![earlier(5, "2026-01-31T12:00:10Z", "w1")],
            ..explanation("container", Hop::Pull, State::Healthy, timeline)
        }
    }

    #[test]
    fn the_story_stops_at_each_event_and_at_each_earlier_request() {
        let stops: Vec<u64> = find_stops(&moved()).iter().map(|stop| stop.sequence).collect();
        assert_eq!(stops, [2, 5, 30, 33]);
    }

    #[test]
    fn the_slider_stands_where_the_page_is() {
        let stops = find_stops(&moved());
        for (at, value) in [(None, 4), (Some(33), 4), (Some(31), 3), (Some(5), 2), (Some(2), 1)] {
            let moments = Moments { stops: stops.clone(), at, before: None };
            let text = render_choice(&moments, "/containers/acme/c-1").into_string();
            assert!(text.contains(&format!("max=\"4\" value=\"{value}\"")), "{at:?}: {text}");
        }
        assert_eq!(render_choice(&Moments::default(), "/x").into_string(), "", "nothing to choose from");
    }

    #[test]
    fn a_container_that_moved_has_a_lane_for_each_place() {
        let now = "2026-01-31T12:02:10Z".parse().unwrap();
        let text = draw_placements(&moved(), now).into_string();
        assert_eq!(text.matches("<li>").count(), 2, "{text}");
        assert!(text.contains("class=\"lane healthy\" x=\"0\" y=\"0\" width=\"417\""), "{text}");
        let unmoved = Explanation { earlier: Vec::new(), ..moved() };
        assert_eq!(draw_placements(&unmoved, now).into_string(), "");
    }
}
