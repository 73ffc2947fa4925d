//! Reads the case tables under `testdata/`: one case a line, columns separated by `|`.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};

/// A case with its line number, for messages.
pub(crate) struct Row {
    line: usize,
    columns: Vec<String>,
}

impl Row {
    /// The column as it stands in the table.
    pub(crate) fn raw(&self, column: usize) -> &str {
        self.columns.get(column).unwrap_or_else(|| panic!("{self} has no column {column}"))
    }

    /// The column's text, expanded.
    pub(crate) fn text(&self, column: usize) -> String {
        expand(self.raw(column))
    }

    /// The column's text, or `None` where the table says `-`.
    pub(crate) fn optional(&self, column: usize) -> Option<String> {
        Some(self.text(column)).filter(|text| text != "-")
    }
}

impl core::fmt::Display for Row {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "line {}: {}", self.line, self.columns.join(" | "))
    }
}

/// All cases of a table; blank lines and lines starting with `#` are for people.
pub(crate) fn rows(table: &str) -> Vec<Row> {
    let case = |(at, line): (usize, &str)| Row {
        line: at + 1,
        columns: line.split('|').map(|column| column.trim().to_owned()).collect(),
    };
    let is_case = |(_, line): &(usize, &str)| !line.trim().is_empty() && !line.starts_with('#');
    table.lines().enumerate().filter(is_case).map(case).collect()
}

/// Replaces `<text*N>` by N times text, `<U+0041>` by that character, `<jwt:N>` by a token with that `exp`, and `<>` by
/// nothing.
pub(crate) fn expand(column: &str) -> String {
    let Some((before, rest)) = column.split_once('<') else {
        return column.to_owned();
    };
    let (inside, after) = rest.split_once('>').expect("a closing >");
    let text = match (inside.strip_prefix("U+"), inside.rsplit_once('*')) {
        (None, None) if inside.starts_with("jwt:") => jwt(inside.trim_start_matches("jwt:")),
        (Some(hex), _) => {
            let code = u32::from_str_radix(hex, 16).expect("a code point in hexadecimal");
            char::from_u32(code).expect("a character").to_string()
        }
        (None, Some((text, times))) => text.repeat(times.parse().expect("a number after *")),
        (None, None) => inside.to_owned(),
    };
    format!("{before}{text}{}", expand(after))
}

/// A token of the shape of RFC 7519; its signature is a canary.
fn jwt(exp: &str) -> String {
    let part = |json: &str| URL_SAFE_NO_PAD.encode(json);
    format!("{}.{}.hunter2", part(r#"{"alg":"RS256","typ":"JWT"}"#), part(&format!(r#"{{"sub":"s","exp":{exp}}}"#)))
}

/// The name of an enum variant, from its `Debug` form.
pub(crate) fn variant(value: &impl core::fmt::Debug) -> String {
    let debug = format!("{value:?}");
    debug.split(|c: char| !c.is_alphanumeric()).next().unwrap_or_default().to_owned()
}
