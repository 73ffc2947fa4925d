//! What people see: errors once with their causes, colour only on a terminal.

use std::{
    error::Error,
    io::{self, IsTerminal, Write},
};

/// Standard output, buffered by line. A reader that has gone away ends the command quietly.
pub(crate) fn stdout() -> impl Write {
    io::stdout().lock()
}

/// Whether standard output shows colours: a terminal, and `NO_COLOR` is not set (<https://no-color.org>).
pub(crate) fn coloured() -> bool {
    io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// Prints an error and what caused it, one line each.
pub(crate) fn error(error: &(dyn Error + 'static)) {
    if is_broken_pipe(error) {
        return;
    }
    let mut lines = vec![format!("error: {error}")];
    let mut source = error.source();
    while let Some(cause) = source {
        lines.push(format!("  because: {cause}"));
        source = cause.source();
    }
    // Nothing is left to be told when standard error is gone as well.
    let _ = writeln!(io::stderr().lock(), "{}", lines.join("\n"));
}

fn is_broken_pipe(error: &(dyn Error + 'static)) -> bool {
    error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}
