//! JSON as people read it: one field a line, wrapped to 80 columns, no control characters.

use std::io::Write;

use serde_json::Value;

use crate::Failure;

const COLUMNS: usize = 80;

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
    let set = leaves(value).into_iter().filter(|(_, value)| !value.is_null());
    set.map(|(name, value)| (name, plain(&value))).collect()
}

/// One value: text without quotes, anything else as JSON. Control characters must not reach a terminal.
pub(crate) fn plain(value: &Value) -> String {
    let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
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

/// Text after a beginning, in as many lines as it takes; those after the first begin with `next`.
pub(crate) fn wrapped(out: &mut impl Write, first: &str, next: &str, text: &str) -> Result<(), Failure> {
    let room = COLUMNS.saturating_sub(first.chars().count().max(next.chars().count())).max(8);
    let mut begin = first;
    for line in lines(text, room) {
        writeln!(out, "{}", format!("{begin}{line}").trim_end())?;
        begin = next;
    }
    Ok(())
}

/// Breaks between words where it can, within them where it must.
fn lines(text: &str, room: usize) -> Vec<String> {
    let mut lines = Vec::new();
    let mut line = String::new();
    let mut length = 0_usize;
    for word in text.split(' ') {
        let mut word: Vec<char> = word.chars().collect();
        if length > 0 && length.saturating_add(1).saturating_add(word.len()) > room {
            lines.push(std::mem::take(&mut line));
            length = 0;
        }
        if length > 0 {
            line.push(' ');
            length = length.saturating_add(1);
        }
        while word.len() > room {
            let rest = word.split_off(room);
            lines.push(word.into_iter().collect());
            word = rest;
        }
        length = length.saturating_add(word.len());
        line.extend(word);
    }
    lines.push(line);
    lines
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn text_is_broken_between_words_or_within_them() {
        let cases = [
            ("", 5, vec![""]),
            ("a b", 5, vec!["a b"]),
            ("aaa bbb", 5, vec!["aaa", "bbb"]),
            ("aaaaaaa b", 3, vec!["aaa", "aaa", "a b"]),
            ("a bbbbbbb", 3, vec!["a", "bbb", "bbb", "b"]),
            ("éééé", 3, vec!["ééé", "é"]),
        ];
        for (text, room, expected) in cases {
            assert_eq!(lines(text, room), expected, "{text:?} in {room}");
        }
    }

    #[test]
    fn values_are_plain_and_fit() {
        let value = json!({ "a": { "b": "x\u{1b}[31m\n" }, "n": 7, "none": null, "long": "word ".repeat(60) });
        let flat = flatten(&value);
        assert_eq!(flat[0], ("a.b".to_owned(), "x\\u{1b}[31m\\n".to_owned()));
        assert_eq!(flat.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(), ["a.b", "long", "n"]);
        let mut out = Vec::new();
        fields(&mut out, 4, &flat).unwrap();
        let text = String::from_utf8(out).unwrap();
        assert!(text.lines().count() > 3 && text.lines().all(|line| line.chars().count() <= COLUMNS), "{text}");
    }
}
