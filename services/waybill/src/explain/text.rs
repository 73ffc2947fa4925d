//! An explanation for people: the verdict first, at most 80 columns.

use std::{fmt::Write as _, time::Duration};

use waybill_domain::explain::{Earlier, Explanation, State, Step, StepOutcome};
use waybill_schemas::Timestamp;

use super::Traces;
use crate::{
    output::{self, Colour, WIDTH},
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

fn headline(text: &mut String, explanation: &Explanation, now: Timestamp, coloured: bool) {
    let verdict = &explanation.verdict;
    let Explanation { kind, id, workspace, .. } = explanation;
    let placed = explanation.placement.zip(explanation.worker_id.as_ref());
    let placed = placed.map_or_else(String::new, |(number, worker)| format!(", placement {number} on {worker}"));
    paragraph(text, &format!("{kind} {id} in workspace {workspace}{placed}"), "");
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
    line(text, format_args!("\n{:>7} {:<23} {:>9}  {:<9} outcome", "seq", "time (UTC)", "after", "hop"));
    let mut trace_before = None;
    for step in steps {
        let (outcome, colour) = match step.outcome {
            StepOutcome::Done => ("done", Colour::Green),
            StepOutcome::Skipped => ("skipped", Colour::Yellow),
            StepOutcome::Failed => ("failed", Colour::Red),
            StepOutcome::Withdrawn => ("withdrawn", Colour::Yellow),
            StepOutcome::Ignored => ("not believed", Colour::Red),
        };
        let outcome = output::paint(outcome, colour, coloured);
        let after = step.after_ms.map_or_else(String::new, |ms| format!("+{}", output::spell_ms(ms)));
        let hop = step.hop.as_str();
        line(text, format_args!("{:>7} {} {after:>9}  {hop:<9} {outcome}", step.sequence, time(step.time)));
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

fn line(text: &mut String, line: std::fmt::Arguments<'_>) {
    // Writing to a String cannot fail.
    let _ = writeln!(text, "{line}");
}

/// What others wrote into the log is in most of them.
fn paragraph(text: &mut String, words: &str, indent: &str) {
    let words = printable(words);
    let options = textwrap::Options::new(WIDTH).subsequent_indent(indent);
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
fn sentence(words: &str) -> String {
    let mut characters = words.chars();
    let first = characters.next().map(|first| first.to_uppercase().to_string()).unwrap_or_default();
    format!("{first}{}.", characters.as_str().trim_end_matches('.'))
}

/// Date and time to the millisecond.
fn time(at: Timestamp) -> String {
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
