//! A test whose real part is missing says so loudly; where `CI` is set, it fails.

use std::io::Write;

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
pub fn found<T, E: Into<StartError>>(here: &str, started: Result<T, E>) -> Option<T> {
    // Straight to the descriptor: what goes through `eprintln!` is captured, and a passing test's is not shown.
    decide(test_name(here), started.map_err(Into::into), is_ci(), &mut std::io::stderr())
}

#[expect(clippy::panic, reason = "a test that cannot start what it tests has failed")]
fn decide<T>(test: &str, started: Result<T, StartError>, ci: bool, out: &mut impl Write) -> Option<T> {
    match started {
        Ok(part) => Some(part),
        Err(StartError::Missing(missing)) if ci => panic!("{test}: {missing} (CI is set: nothing may be skipped)"),
        Err(StartError::Missing(missing)) => {
            // Nobody can be told that standard error is closed.
            let _ = writeln!(out, "SKIPPED: {test}: {missing}");
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

    fn missing() -> Result<(), StartError> {
        Err(Missing::new("a moon", "wait for the night").into())
    }

    #[test]
    fn a_missing_part_is_skipped_aloud() {
        let mut out = Vec::new();
        assert_eq!(decide("suite::moon", missing(), false, &mut out), None);
        assert_eq!(out, b"SKIPPED: suite::moon: a moon is missing: wait for the night\n");
    }

    #[test]
    #[should_panic(expected = "suite::moon: a moon is missing: wait for the night (CI is set")]
    fn a_missing_part_fails_in_ci() {
        decide("suite::moon", missing(), true, &mut Vec::new());
    }

    #[test]
    #[should_panic(expected = "suite::moon: cannot set up a tide: out of water")]
    fn any_other_failure_fails_with_its_causes() {
        let dry = StartError::setup("a tide")(std::io::Error::other("out of water"));
        decide("suite::moon", Err::<(), _>(dry), false, &mut Vec::new());
    }
}
