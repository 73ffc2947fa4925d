//! An error and its causes on one line, for log lines and answers; no error of ours prints its own source.

use std::error::Error;

/// `outer: cause: cause of the cause`.
pub fn chain(error: &(dyn Error + 'static)) -> String {
    let mut line = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        line.push_str(": ");
        line.push_str(&cause.to_string());
        source = cause.source();
    }
    line
}
