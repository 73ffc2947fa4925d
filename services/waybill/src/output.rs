//! What people see: errors once with their causes, colour only on a terminal.

use std::{
    error::Error,
    io::{self, IsTerminal, Write},
    sync::LazyLock,
};

use crate::text::printable;

/// Standard output, buffered by line. A reader that has gone away ends the command quietly.
pub(crate) fn stdout() -> impl Write {
    io::stdout().lock()
}

/// Whether standard output shows colours: a terminal, and `NO_COLOR` is not set (<https://no-color.org>).
pub(crate) fn coloured() -> bool {
    io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// Columns of everything that is no terminal, and of what is laid out for 80.
pub(crate) const WIDTH: usize = 80;

/// Columns that lines are wrapped to: the terminal's, within reason.
pub(crate) fn width() -> usize {
    static COLUMNS: LazyLock<usize> = LazyLock::new(|| match io::stdout().is_terminal() {
        true => textwrap::termwidth().clamp(60, 160),
        false => WIDTH,
    });
    *COLUMNS
}

/// Colours of a terminal.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Colour {
    Red,
    Green,
    Yellow,
}

/// The text in a colour, or as it is.
pub(crate) fn paint(text: &str, colour: Colour, coloured: bool) -> String {
    let code = match colour {
        Colour::Red => 31,
        Colour::Green => 32,
        Colour::Yellow => 33,
    };
    if coloured { format!("\u{1b}[{code}m{text}\u{1b}[0m") } else { text.to_owned() }
}

/// A duration of milliseconds in the one or two units that matter to a person.
pub(crate) fn spell_ms(milliseconds: i64) -> String {
    let (seconds, minutes, hours) = (milliseconds / 1000, milliseconds / 60_000, milliseconds / 3_600_000);
    match milliseconds {
        i64::MIN..1_000 => format!("{milliseconds}ms"),
        1_000..60_000 => format!("{seconds}.{}s", milliseconds / 100 % 10),
        60_000..3_600_000 => format!("{minutes}m{}s", seconds % 60),
        3_600_000..86_400_000 => format!("{hours}h{}m", minutes % 60),
        _ => format!("{}d{}h", hours / 24, hours % 24),
    }
}

/// Prints an error and what caused it, one line each; a terminal gets them in lines that it can show.
pub(crate) fn error(error: &(dyn Error + 'static)) {
    if is_broken_pipe(error) {
        return;
    }
    let width = io::stderr().is_terminal().then_some(WIDTH);
    // Nothing is left to be told when standard error is gone as well.
    let _ = writeln!(io::stderr().lock(), "{}", told(error, width));
}

/// An error and what caused it, in lines of at most `width`.
fn told(error: &(dyn Error + 'static), width: Option<usize>) -> String {
    let text = format!("error: {}", waybill_platform::links(error).join("\n  because: "));
    let Some(width) = width else { return text };
    let options = textwrap::Options::new(width).subsequent_indent("    ");
    // Some errors list problems in lines of their own; what a server said may hold anything.
    let lines = text.lines().map(|line| textwrap::fill(&printable(line), &options));
    lines.collect::<Vec<_>>().join("\n")
}

fn is_broken_pipe(error: &(dyn Error + 'static)) -> bool {
    error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_fit_a_terminal_and_stay_whole_in_a_pipe() {
        let long = format!("{}\u{1b}[2J", "word ".repeat(30));
        let cause = io::Error::other(io::Error::other("server said\nno"));
        let cases: [(Box<dyn Error>, Option<usize>, usize); 4] = [
            (long.clone().into(), None, 1),
            (long.into(), Some(WIDTH), 3),
            (Box::new(cause), Some(WIDTH), 2),
            ("short".into(), Some(WIDTH), 1),
        ];
        for (error, width, lines) in cases {
            let text = told(error.as_ref(), width);
            assert_eq!(text.lines().count(), lines, "{text}");
            assert!(text.starts_with("error: ") && (width.is_none() || !text.contains('\u{1b}')), "{text}");
            assert!(text.lines().all(|line| width.is_none_or(|width| line.chars().count() <= width)), "{text}");
        }
    }
}
