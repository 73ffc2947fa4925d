//! A test whose real part is missing says so loudly; where `CI` is set, it fails.

use std::io::Write as _;

use crate::error::StartError;

/// Unwraps a started part. When this machine lacks it, prints `SKIPPED: <test>: <what and how to get it>` and returns
/// from the test; panics instead when `CI` is set. Any other failure to start panics.
///
/// ```ignore
/// let nats = require!(NatsServer::start().await);
/// ```
#[macro_export]
macro_rules! require {
    ($started:expr) => {{
        fn here() {}
        match $crate::require::found(::std::any::type_name_of_val(&here), $started) {
            Some(part) => part,
            None => return,
        }
    }};
}

/// What [`require!`] expands to; `here` is the path of a function inside the test.
#[expect(clippy::panic, reason = "a test that cannot start what it tests has failed")]
pub fn found<T, E: Into<StartError>>(here: &str, started: Result<T, E>) -> Option<T> {
    let test = test_name(here);
    match started.map_err(Into::into) {
        Ok(part) => Some(part),
        Err(StartError::Missing(missing)) if is_ci() => panic!("{test}: {missing} (CI is set: nothing may be skipped)"),
        Err(StartError::Missing(missing)) => {
            // Straight to the descriptor: what goes through `eprintln!` is captured, and a passing test's is not shown.
            let _ = writeln!(std::io::stderr(), "SKIPPED: {test}: {missing}");
            None
        }
        Err(other) => panic!("{test}: {}", chain(&other)),
    }
}

fn is_ci() -> bool {
    std::env::var_os("CI").is_some_and(|value| !value.is_empty())
}

/// `suite::nats::restarts::{{closure}}::here` is the test `suite::nats::restarts`.
fn test_name(here: &str) -> &str {
    let outer = here.strip_suffix("::here").unwrap_or(here);
    outer.strip_suffix("::{{closure}}").unwrap_or(outer)
}

/// An error with everything that caused it.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(source) = cause {
        text = format!("{text}: {source}");
        cause = source.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Missing;

    #[test]
    fn test_names() {
        for (here, test) in [("suite::a::here", "suite::a"), ("suite::a::{{closure}}::here", "suite::a"), ("a", "a")] {
            assert_eq!(test_name(here), test);
        }
    }

    #[test]
    fn a_missing_part_skips_or_fails() {
        let missing = || Err::<(), _>(Missing::new("a moon", "wait for the night"));
        let answer = std::panic::catch_unwind(|| found("suite::moon::here", missing()));
        assert_eq!(answer.is_err(), is_ci());
    }
}
