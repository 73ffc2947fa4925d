//! An error and its causes, for log lines and answers; no error of ours prints its own source, but some libraries' do.

use std::error::Error;

/// `outer: cause: cause of the cause`.
pub fn chain(error: &(dyn Error + 'static)) -> String {
    links(error).join(": ")
}

/// The error and its causes, each but those that the one before ends with.
pub fn links(error: &(dyn Error + 'static)) -> Vec<String> {
    let mut links = vec![error.to_string()];
    let mut source = error.source();
    while let Some(cause) = source {
        let text = cause.to_string();
        if !links.last().is_some_and(|before| before.ends_with(&text)) {
            links.push(text);
        }
        source = cause.source();
    }
    links
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("{text}")]
    struct Link {
        text: &'static str,
        source: Option<Box<Link>>,
    }

    #[test]
    fn a_cause_is_told_once() {
        let cases: [(&[&'static str], &str); 3] = [
            (&["outer", "cause"], "outer: cause"),
            (&["IO error: refused", "refused"], "IO error: refused"),
            (&["outer", "IO error: refused", "refused", "why"], "outer: IO error: refused: why"),
        ];
        for (texts, expected) in cases {
            let whole = texts.iter().rev().fold(None, |source, text| Some(Box::new(Link { text, source })));
            assert_eq!(chain(&*whole.unwrap()), expected);
        }
    }
}
