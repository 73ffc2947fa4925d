//! JSON as people read it: one field a line, wrapped to the terminal, no control characters.

use std::io::Write;

use serde_json::Value;

use crate::{Failure, output};

/// Name of a member below a field.
pub(crate) fn path(field: &str, member: &str) -> String {
    if field.is_empty() { member.to_owned() } else { format!("{field}.{member}") }
}

/// Every member that is no object, by its path with dots.
pub(crate) fn leaves(value: &Value) -> Vec<(String, Value)> {
    let mut found = Vec::new();
    descend("", value, &mut found);
    found
}

fn descend(field: &str, value: &Value, found: &mut Vec<(String, Value)>) {
    match value {
        Value::Object(members) => members.iter().for_each(|(name, member)| descend(&path(field, name), member, found)),
        other => found.push((field.to_owned(), other.clone())),
    }
}

/// As [`leaves`], as text, without those that are null.
pub(crate) fn flatten(value: &Value) -> Vec<(String, String)> {
    // One order, whatever `serde_json` was compiled with.
    let mut sorted = value.clone();
    sorted.sort_all_objects();
    let set = leaves(&sorted).into_iter().filter(|(_, value)| !value.is_null());
    set.map(|(name, value)| (name, plain(&value))).collect()
}

/// One value: text without quotes, anything else as JSON.
pub(crate) fn plain(value: &Value) -> String {
    printable(&value.as_str().map_or_else(|| value.to_string(), str::to_owned))
}

/// Control characters must not reach a terminal. What is printable already stays as it is.
pub(crate) fn printable(text: &str) -> String {
    let mut shown = String::new();
    for character in text.chars() {
        if character.is_control() { shown.extend(character.escape_default()) } else { shown.push(character) }
    }
    shown
}

/// A heading, bold on a terminal.
pub(crate) fn title(out: &mut impl Write, coloured: bool, text: &str) -> Result<(), Failure> {
    let mut lines = Vec::new();
    wrapped(&mut lines, "", "    ", text)?;
    let lines = String::from_utf8(lines)?;
    for line in lines.lines() {
        if coloured { writeln!(out, "\u{1b}[1m{line}\u{1b}[0m")? } else { writeln!(out, "{line}")? }
    }
    Ok(())
}

/// Fields below each other, their values in one column.
pub(crate) fn fields(out: &mut impl Write, indent: usize, fields: &[(String, String)]) -> Result<(), Failure> {
    let longest = fields.iter().map(|(name, _)| name.chars().count()).max().unwrap_or(0);
    let column = indent.saturating_add(longest).saturating_add(2);
    for (name, value) in fields {
        let first = format!("{:indent$}{name:<width$}", "", width = longest.saturating_add(2));
        wrapped(out, &first, &format!("{:column$}", ""), value)?;
    }
    Ok(())
}

/// Text after a beginning, in as many lines as it takes; those after the first begin with `next`. Much of it is what others
/// wrote into the log.
pub(crate) fn wrapped(out: &mut impl Write, first: &str, next: &str, text: &str) -> Result<(), Failure> {
    let (first, text) = (printable(first), printable(text));
    let options = textwrap::Options::new(output::width()).initial_indent(&first).subsequent_indent(next);
    for line in textwrap::wrap(&text, options) {
        writeln!(out, "{}", line.trim_end())?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn values_are_plain_and_fit() {
        let value = json!({ "a": { "b": "x\u{1b}[31m\n" }, "n": 7, "none": null, "long": "word ".repeat(60) });
        let flat = flatten(&value);
        assert_eq!(flat[0], ("a.b".to_owned(), "x\\u{1b}[31m\\n".to_owned()));
        assert_eq!(flat.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(), ["a.b", "long", "n"]);
        let mut out = Vec::new();
        fields(&mut out, 4, &flat).unwrap();
        let text = String::from_utf8(out).unwrap();
        assert!(text.lines().count() > 3 && text.lines().all(|line| line.chars().count() <= output::width()), "{text}");
    }

    #[test]
    fn nothing_that_is_printed_controls_the_terminal() {
        let hostile = "a\u{1b}[2J\nb";
        let mut out = Vec::new();
        title(&mut out, false, hostile).unwrap();
        fields(&mut out, 2, &[(hostile.to_owned(), hostile.to_owned())]).unwrap();
        wrapped(&mut out, hostile, "", hostile).unwrap();
        let text = String::from_utf8(out).unwrap();
        assert_eq!(text.lines().count(), 3, "{text:?}");
        assert!(text.lines().all(|line| !line.contains(char::is_control)), "{text:?}");
    }
}
