//! Findings for people: at most 80 columns, colours only where they are seen.

use super::finding::{Finding, Report, Status};
use crate::output::{self, Colour, WIDTH};

const INDENT: &str = "           ";

/// One finding: its line, and what to do about it below.
pub(super) fn finding(finding: &Finding, coloured: bool) -> String {
    let (word, colour) = match finding.status {
        Status::Ok => ("ok", Colour::Green),
        Status::Unknown => ("unknown", Colour::Yellow),
        Status::Attention => ("ATTENTION", Colour::Red),
    };
    let word = format!("{word:<9}  ");
    let mut text = wrap(&word, INDENT, &format!("{}: {}", finding.check, finding.says));
    text = text.replacen(&word, &output::paint(&word, colour, coloured), 1);
    if let Some(remedy) = &finding.remedy {
        text.push('\n');
        text.push_str(&wrap(&format!("{INDENT}→ "), &format!("{INDENT}  "), remedy));
    }
    text
}

/// What it all amounts to.
pub(super) fn summary(report: &Report) -> String {
    let (all, attention, unknown) =
        (report.checks().len(), report.count(Status::Attention), report.count(Status::Unknown));
    match (attention, unknown) {
        (0, 0) => format!("all {all} checks are well"),
        (0, _) => format!("nothing needs attention; {unknown} of {all} checks could not be made"),
        (_, 0) => format!("{attention} of {all} checks need attention"),
        _ => format!("{attention} of {all} checks need attention, and {unknown} could not be made"),
    }
}

/// The text in lines of at most [`WIDTH`] columns, the first after `first`, the others after `next`. What comes from
/// servers may hold anything: control characters and line ends become spaces.
fn wrap(first: &str, next: &str, text: &str) -> String {
    let clean: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    let options = textwrap::Options::new(WIDTH).initial_indent(first).subsequent_indent(next);
    textwrap::wrap(&clean, options.word_splitter(textwrap::WordSplitter::NoHyphenation)).join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_short_and_say_what_to_do() {
        let long = "word ".repeat(40);
        let cases = [
            Finding::ok("nats", "fine"),
            Finding::attention("stream", long.clone(), long),
            Finding::unknown("settings", format!("/tmp/{}", "x".repeat(200)), "look"),
            Finding::attention("health", "\u{1b}[31mred\nsecond", "→ arrow"),
        ];
        for case in cases {
            let text = finding(&case, false);
            assert!(text.lines().all(|line| line.chars().count() <= WIDTH), "{text}");
            assert!(!text.contains('\u{1b}'), "{text}");
            assert_eq!(text.contains(&format!("\n{INDENT}→ ")), case.remedy.is_some(), "{text}");
        }
    }

    #[test]
    fn colours_are_for_terminals() {
        let case = Finding::ok("nats", "fine");
        assert_eq!(finding(&case, false), "ok         nats: fine");
        assert_eq!(finding(&case, true), "\u{1b}[32mok         \u{1b}[0mnats: fine");
    }

    #[test]
    fn a_summary_counts() {
        let (ok, unknown) = (Finding::ok("a", ""), Finding::unknown("b", "", ""));
        let attention = Finding::attention("c", "", "");
        let cases = [
            (vec![ok.clone()], "all 1 checks are well"),
            (vec![ok, unknown.clone()], "nothing needs attention; 1 of 2 checks could not be made"),
            (vec![attention.clone()], "1 of 1 checks need attention"),
            (vec![attention, unknown], "1 of 2 checks need attention, and 1 could not be made"),
        ];
        for (checks, expected) in cases {
            assert_eq!(summary(&Report::new(checks)), expected);
        }
    }
}
