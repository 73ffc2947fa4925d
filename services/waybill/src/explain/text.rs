//! An explanation for people: the verdict first, as wide as the terminal.

use std::{fmt::Write as _, time::Duration};

use waybill_domain::explain::{Difference, Earlier, Explanation, Proof, State, Step, StepOutcome, Verdict};
use waybill_schemas::Timestamp;

use super::Traces;
use crate::{
    output::{self, Colour},
    text::printable,
};

pub(super) fn render(explanation: &Explanation, traces: &Traces, now: Timestamp, coloured: bool) -> String {
    let mut text = String::new();
    headline(&mut text, explanation, now, coloured);
    timeline(&mut text, &explanation.timeline, traces, coloured);
    for note in &explanation.notes {
        line(&mut text, format_args!(""));
        paragraph(&mut text, &format!("note: {note}"), "      ");
    }
    if !explanation.earlier.is_empty() {
        line(&mut text, format_args!("\nearlier placements:"));
        let hidden = explanation.earlier.len().saturating_sub(5);
        for one in explanation.earlier.iter().skip(hidden) {
            let Earlier { sequence, state, code, worker_id, .. } = one;
            let (state, code) = (word(*state), code.as_str());
            line(&mut text, format_args!("{sequence:>7} {}  {state} ({code}) on {worker_id}", time(one.time)));
            paragraph(&mut text, &format!("        {}", sentence(&one.sentence)), "          ");
        }
    }
    text.trim_end().to_owned()
}

/// What changed: the verdict then and afterwards, and what happened in between.
pub(super) fn render_changes(changes: &Difference, traces: &Traces, now: Timestamp, coloured: bool) -> String {
    let mut text = String::new();
    let Difference { kind, id, workspace, .. } = changes;
    let verdict = if changes.changed { "another verdict than before" } else { "the verdict is as it was" };
    paragraph(&mut text, &format!("{kind} {id} in workspace {workspace}: {verdict}"), "");
    line(&mut text, format_args!("\nbefore:"));
    told(&mut text, &changes.before, now, coloured);
    line(&mut text, format_args!("\nafterwards:"));
    told(&mut text, &changes.after, now, coloured);
    timeline(&mut text, &changes.steps, traces, coloured);
    for note in &changes.notes {
        paragraph(&mut text, &format!("note: {note}"), "      ");
    }
    text.trim_end().to_owned()
}

/// What the remedy's events lead to.
pub(super) fn render_proof(proof: &Proof, now: Timestamp, coloured: bool) -> String {
    let mut text = String::from("\n");
    match proof {
        Proof::NothingToDo => {}
        Proof::OutsideTheLog { why } => {
            line(&mut text, format_args!(""));
            paragraph(&mut text, &format!("the remedy cannot be proven: {why} is outside the log"), "  ");
        }
        Proof::Proven { events, verdict } => {
            line(&mut text, format_args!(""));
            paragraph(&mut text, &format!("proven: {} would lead to", events.join(", ")), "  ");
            told(&mut text, verdict, now, coloured);
        }
    }
    format!("\n{}", text.trim())
}

fn headline(text: &mut String, explanation: &Explanation, now: Timestamp, coloured: bool) {
    let verdict = &explanation.verdict;
    let Explanation { kind, id, workspace, .. } = explanation;
    let placed = explanation.placement.zip(explanation.worker_id.as_ref());
    let placed = placed.map_or_else(String::new, |(number, worker)| format!(", placement {number} on {worker}"));
    paragraph(text, &format!("{kind} {id} in workspace {workspace}{placed}"), "");
    told(text, verdict, now, coloured);
}

fn told(text: &mut String, verdict: &Verdict, now: Timestamp, coloured: bool) {
    let colour = match verdict.state {
        State::Healthy => Colour::Green,
        State::Broken => Colour::Red,
        State::InFlight => Colour::Yellow,
    };
    let state = output::paint(word(verdict.state), colour, coloured);
    let since = verdict.since.map_or_else(String::new, |since| format!(", since {} ago", ago(since, now)));
    line(text, format_args!("{state} at {}: {}{since}", verdict.hop.as_str(), verdict.code.as_str()));
    paragraph(text, &format!("  {}", sentence(&verdict.sentence)), "  ");
    if !verdict.remedy.is_empty() {
        paragraph(text, &format!("→ {}", printable(&verdict.remedy)), "  ");
    }
}

fn timeline(text: &mut String, steps: &[Step], traces: &Traces, coloured: bool) {
    if steps.is_empty() {
        return;
    }
    let column = clock(steps.first().map(|step| step.time), output::width()).chars().count();
    line(text, format_args!("\n{:>7} {:<column$} {:>9}  {:<9} outcome", "seq", "time (UTC)", "after", "hop"));
    let mut trace_before = None;
    for step in steps {
        let outcome = outcome_in_words(step.outcome, coloured);
        let after = step.after_ms.map_or_else(String::new, |ms| format!("+{}", output::spell_ms(ms)));
        let hop = step.hop.as_str();
        let at = clock(Some(step.time), output::width());
        line(text, format_args!("{:>7} {at} {after:>9}  {hop:<9} {outcome}", step.sequence));
        let told: Vec<String> = step.reason.map(str::to_owned).into_iter().chain([step.says.clone()]).collect();
        let told = told.iter().filter(|part| !part.is_empty()).map(String::as_str).collect::<Vec<_>>().join(": ");
        if !told.is_empty() {
            paragraph(text, &format!("        {told}"), "          ");
        }
        let version = step.version.as_ref().map_or_else(String::new, |version| format!(" {version}"));
        let actor = step.actor.as_ref().map_or_else(String::new, |actor| format!(" for {actor}"));
        paragraph(text, &format!("        by {}{version}{actor}", step.service), "          ");
        // A trace goes over several hops: it is told where it begins.
        if let Some(trace_id) = step.trace_id.as_ref().filter(|trace_id| trace_before != Some(*trace_id)) {
            // Addresses and ids are left whole, so that they can be copied.
            let trace = traces.link(trace_id).unwrap_or_else(|| trace_id.clone());
            line(text, format_args!("        trace {trace}"));
            trace_before = Some(trace_id);
        }
    }
}

fn outcome_in_words(outcome: StepOutcome, coloured: bool) -> String {
    let (outcome, colour) = match outcome {
        StepOutcome::Done => ("done", Colour::Green),
        StepOutcome::Skipped => ("skipped", Colour::Yellow),
        StepOutcome::Failed => ("failed", Colour::Red),
        StepOutcome::Withdrawn => ("withdrawn", Colour::Yellow),
        StepOutcome::Ignored => ("not believed", Colour::Red),
    };
    output::paint(outcome, colour, coloured)
}

/// Lines of the smallest terminal, less the prompt.
const SCREEN: usize = 23;

/// The verdict and one line a hop, the newest hops, on one screen.
pub(super) fn render_short(explanation: &Explanation, now: Timestamp, coloured: bool) -> String {
    let mut text = String::new();
    headline(&mut text, explanation, now, coloured);
    let more = explanation.notes.len().saturating_add(explanation.earlier.len());
    let room = SCREEN.saturating_sub(text.lines().count()).saturating_sub(usize::from(more > 0));
    let hidden = explanation.timeline.len().saturating_sub(room);
    for step in explanation.timeline.iter().skip(hidden) {
        let at = clock(Some(step.time), 60);
        let before = format!("{:>7} {at} {:<9} ", step.sequence, step.hop.as_str());
        let outcome = outcome_in_words(step.outcome, false);
        let left = output::width().saturating_sub(before.chars().count());
        let said = printable(&format!("{outcome} {}", step.reason.unwrap_or(&step.says)));
        let said: String = match said.chars().count() > left {
            true => said.chars().take(left.saturating_sub(1)).chain(['…']).collect(),
            false => said,
        };
        let said = said.replacen(&outcome, &outcome_in_words(step.outcome, coloured), 1);
        line(&mut text, format_args!("{before}{said}"));
    }
    if more > 0 {
        line(&mut text, format_args!("{more} notes and earlier placements more, without --short"));
    }
    text.trim_end().to_owned()
}

fn line(text: &mut String, line: std::fmt::Arguments<'_>) {
    // Writing to a String cannot fail.
    let _ = writeln!(text, "{line}");
}

/// What others wrote into the log is in most of them.
pub(crate) fn paragraph(text: &mut String, words: &str, indent: &str) {
    let words = printable(words);
    let options = textwrap::Options::new(output::width()).subsequent_indent(indent);
    line(text, format_args!("{}", textwrap::fill(&words, options)));
}

fn word(state: State) -> &'static str {
    match state {
        State::Healthy => "HEALTHY",
        State::Broken => "BROKEN",
        State::InFlight => "IN FLIGHT",
    }
}

/// Begins with a capital, ends with a full stop.
pub(crate) fn sentence(words: &str) -> String {
    let mut characters = words.chars();
    let first = characters.next().map(|first| first.to_uppercase().to_string()).unwrap_or_default();
    format!("{first}{}.", characters.as_str().trim_end_matches('.'))
}

/// A time in a table: without its date where that would not fit.
fn clock(at: Option<Timestamp>, width: usize) -> String {
    let text = at.map(time).unwrap_or_default();
    if width < 72 { text.split_once(' ').map_or(text.clone(), |(_, clock)| clock.to_owned()) } else { text }
}

/// Date and time to the millisecond.
pub(crate) fn time(at: Timestamp) -> String {
    let text = at.to_string();
    let (date, rest) = text.split_once('T').unwrap_or((&text, ""));
    let (clock, fraction) = rest.trim_end_matches('Z').split_once('.').unwrap_or((rest.trim_end_matches('Z'), ""));
    let milliseconds: String = fraction.chars().chain("000".chars()).take(3).collect();
    format!("{date} {clock}.{milliseconds}")
}

fn ago(since: Timestamp, now: Timestamp) -> String {
    let elapsed: Duration = (now.instant() - since.instant()).try_into().unwrap_or_default();
    output::spell_ms(i64::try_from(elapsed.as_millis()).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_one_width() {
        for (text, shown) in [
            ("2026-01-31T12:00:00Z", "2026-01-31 12:00:00.000"),
            ("2026-01-31T12:00:00.5Z", "2026-01-31 12:00:00.500"),
            ("2026-01-31T12:00:00.123456789Z", "2026-01-31 12:00:00.123"),
        ] {
            assert_eq!(time(text.parse().unwrap()), shown);
        }
    }

    #[test]
    fn words_of_others_cannot_control_the_terminal() {
        let cases = [
            (sentence("it's \"denied\" \u{1b}[31m\n"), "It's \"denied\" \\u{1b}[31m\\n.\n"),
            ("by /waybill/worker 1\u{1b}]0;x\u{7}".to_owned(), "by /waybill/worker 1\\u{1b}]0;x\\u{7}\n"),
        ];
        for (words, shown) in cases {
            let mut text = String::new();
            paragraph(&mut text, &words, "");
            assert_eq!(text, shown);
        }
    }
}
