//! A story as a picture: the hops on one line, each with what became of it and how long it took.

use maud::{Markup, html};
use waybill_domain::explain::{Explanation, Hop, State, Step, StepOutcome};
use waybill_schemas::Timestamp;

use super::layout::spell_ms;

/// What became of a hop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mark {
    Done,
    Skipped,
    Failed,
    Withdrawn,
    Open,
    Ahead,
}

impl Mark {
    /// Class of the style sheet, and word on the page.
    fn words(self) -> (&'static str, &'static str) {
        match self {
            Self::Done => ("done", "done"),
            Self::Skipped => ("skipped", "skipped"),
            Self::Failed => ("failed", "broken"),
            Self::Withdrawn => ("withdrawn", "withdrawn"),
            Self::Open => ("open", "waiting"),
            Self::Ahead => ("ahead", "not reached"),
        }
    }
}

/// A hop of the picture.
#[derive(Debug, PartialEq, Eq)]
struct Station<'e> {
    hop: Hop,
    mark: Mark,
    step: Option<&'e Step>,
    /// Milliseconds since the station before.
    after: Option<i64>,
}

/// Every container goes this way; withdrawing comes last, where it happens.
const WAY: [Hop; 5] = [Hop::Saved, Hop::Requested, Hop::Attached, Hop::Provider, Hop::Pull];

fn list_stations(explanation: &Explanation) -> Vec<Station<'_>> {
    let verdict = &explanation.verdict;
    let last_step = |hop: Hop| {
        let mut believed = explanation.timeline.iter().filter(|step| step.outcome != StepOutcome::Ignored);
        believed.rfind(|step| step.hop == hop)
    };
    let is_container = explanation.kind == "container";
    let happened = |hop: &Hop| last_step(*hop).is_some() || verdict.hop == *hop;
    let hops = WAY.into_iter().filter(|hop| is_container || happened(hop));
    let hops = hops.chain([Hop::Withdrawn].into_iter().filter(happened));
    let mut before: Option<Timestamp> = None;
    let station = |hop| {
        let step = last_step(hop);
        let mark = match (verdict.hop == hop, verdict.state, step.map(|step| step.outcome)) {
            (true, State::Broken, _) => Mark::Failed,
            (true, State::InFlight, _) => Mark::Open,
            (_, _, Some(StepOutcome::Done)) => Mark::Done,
            (_, _, Some(StepOutcome::Skipped)) => Mark::Skipped,
            (_, _, Some(StepOutcome::Failed)) => Mark::Failed,
            (_, _, Some(StepOutcome::Withdrawn)) => Mark::Withdrawn,
            _ => Mark::Ahead,
        };
        let time = step.map(|step| step.time);
        let after = before.zip(time).map(|(before, time)| (time.instant() - before.instant()).whole_milliseconds());
        before = time.or(before);
        Station { hop, mark, step, after: after.and_then(|ms| i64::try_from(ms).ok()).filter(|ms| *ms >= 0) }
    };
    hops.map(station).collect()
}

/// The picture.
pub(super) fn draw_way(explanation: &Explanation) -> Markup {
    html! {
        section.section aria-label="The way" {
            ol.hops {
                @for Station { hop, mark, step, after } in list_stations(explanation) {
                    @let (class, word) = mark.words();
                    li class=(class) {
                        (draw_ring(mark))
                        @if let Some(after) = after { span.gap { "+" (spell_ms(after)) } }
                        p.name { (hop.as_str()) }
                        p.state.small { (word) @if let Some(reason) = step.and_then(|step| step.reason) { ": " (reason) } }
                        @if let Some(step) = step { p.says { (step.says) } }
                    }
                }
            }
        }
    }
}

fn draw_ring(mark: Mark) -> Markup {
    let sign = match mark {
        Mark::Done => "M8.5 14.5l3.8 3.8 7.2-8",
        Mark::Failed => "M10 10l8 8M18 10l-8 8",
        Mark::Skipped => "M9 10l4 4-4 4M15 10l4 4-4 4",
        Mark::Withdrawn => "M9 14h10",
        Mark::Open => "M14 9v5l3 2.5",
        Mark::Ahead => "",
    };
    html! {
        svg viewBox="0 0 28 28" aria-hidden="true" {
            circle.ring cx="14" cy="14" r="12" {}
            path.sign d=(sign) {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{
        super::testing::{explanation, step},
        *,
    };

    #[test]
    fn the_broken_hop_is_red_and_what_follows_is_not_reached() {
        use Hop::{Attached, Provider, Pull, Requested, Saved};
        use Mark::{Ahead, Done, Failed, Open};
        let way = [step(Saved, 1, 0), step(Requested, 2, 1000), step(Attached, 3, 1012)];
        let failed = Step { outcome: StepOutcome::Failed, ..step(Pull, 5, 1500) };
        let cases = [
            ("nothing yet", vec![], Saved, State::Broken, [Failed, Ahead, Ahead, Ahead, Ahead]),
            ("waits", way[..2].to_vec(), Attached, State::InFlight, [Done, Done, Open, Ahead, Ahead]),
            ("refused", way.to_vec(), Provider, State::Broken, [Done, Done, Done, Failed, Ahead]),
            (
                "not pulled",
                [&way[..], &[step(Provider, 4, 1400), failed]].concat(),
                Pull,
                State::Broken,
                [Done, Done, Done, Done, Failed],
            ),
        ];
        for (name, timeline, hop, state, expected) in cases {
            let explanation = explanation("container", hop, state, timeline);
            let marks: Vec<Mark> = list_stations(&explanation).iter().map(|station| station.mark).collect();
            assert_eq!(marks, expected, "{name}");
        }
        let explanation = explanation("container", Pull, State::Healthy, way.to_vec());
        let after: Vec<_> = list_stations(&explanation).iter().map(|station| station.after).collect();
        assert_eq!(after, [None, Some(1000), Some(12), None, None]);
    }

    #[test]
    fn a_secret_shows_the_hops_that_it_went() {
        let withdrawn = Step { outcome: StepOutcome::Withdrawn, ..step(Hop::Withdrawn, 2, 9) };
        let explanation = explanation("secret", Hop::Saved, State::Broken, vec![step(Hop::Saved, 1, 0), withdrawn]);
        let hops: Vec<_> = list_stations(&explanation).iter().map(|station| (station.hop, station.mark)).collect();
        assert_eq!(hops, [(Hop::Saved, Mark::Failed), (Hop::Withdrawn, Mark::Withdrawn)]);
    }
}
