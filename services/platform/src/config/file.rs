//! Files of KEY=VALUE lines, as `docker --env-file` reads them: no quotes, no expansion, `#` begins a comment line.

use std::{fs, io, path::Path};

/// The settings of a file; none where there is no such file.
pub(super) fn read(path: &Path) -> Result<Vec<(String, String)>, String> {
    match fs::read_to_string(path) {
        Ok(text) => parse(&text).map_err(|line| {
            format!("{} line {line} is not KEY=VALUE; write one setting a line, or # before a comment", path.display())
        }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(format!("{} cannot be read: {error}", path.display())),
    }
}

fn parse(text: &str) -> Result<Vec<(String, String)>, usize> {
    let lines = text.lines().enumerate().map(|(index, line)| (index.saturating_add(1), line.trim()));
    lines
        .filter(|(_, line)| !line.is_empty() && !line.starts_with('#'))
        .map(|(number, line)| {
            let (key, value) = line.split_once('=').ok_or(number)?;
            let valid =
                !key.is_empty() && key.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'_');
            if valid { Ok((key.to_owned(), value.trim().to_owned())) } else { Err(number) }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_settings_or_comments() {
        let text = "# comment\n\nWAYBILL_A=1\n  WAYBILL_B = not a key\n";
        assert_eq!(parse(text), Err(4));
        let text = "WAYBILL_A=1\nWAYBILL_URL=nats://h:1?a=b\nWAYBILL_EMPTY=\n";
        let pair = |key: &str, value: &str| (key.to_owned(), value.to_owned());
        let expected = vec![pair("WAYBILL_A", "1"), pair("WAYBILL_URL", "nats://h:1?a=b"), pair("WAYBILL_EMPTY", "")];
        assert_eq!(parse(text), Ok(expected));
        assert_eq!(parse("no equals sign"), Err(1));
        assert_eq!(parse("=value"), Err(1));
    }
}
