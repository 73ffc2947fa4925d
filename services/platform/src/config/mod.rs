//! Configuration: `WAYBILL_*` settings from the environment, over files of KEY=VALUE lines, parsed to types once.

mod reader;

use std::{
    collections::BTreeMap,
    fmt, fs, io,
    net::IpAddr,
    path::{Path, PathBuf},
};

pub use reader::{Reader, is_private, read_private};

/// Settings as text, each with where it came from.
#[derive(Clone)]
pub struct Settings {
    home: PathBuf,
    values: BTreeMap<String, Setting>,
    problems: Vec<String>,
}

#[derive(Clone)]
struct Setting {
    value: String,
    origin: String,
}

/// Values are left out: somebody may have put a secret where it does not belong.
impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings")
            .field("home", &self.home)
            .field("keys", &self.values.keys().collect::<Vec<_>>())
            .finish_non_exhaustive()
    }
}

/// Everything that is wrong with the settings, in one error.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the configuration has {} problem(s):\n  {}", .problems.len(), .problems.join("\n  "))]
pub struct ConfigError {
    /// One sentence each, naming the key and the remedy, never a value.
    pub problems: Vec<String>,
}

/// The variables of this process's environment, but for those that are not Unicode, at which `std::env::vars` panics.
pub fn environment() -> impl Iterator<Item = (String, String)> {
    std::env::vars_os().filter_map(|(key, value)| Some((key.into_string().ok()?, value.into_string().ok()?)))
}

/// True if a host, as it stands in an address, is this machine for nobody but itself.
pub fn is_loopback(host: &str) -> bool {
    let host = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

impl Settings {
    /// The environment, over `<home>/<role>.env`, over `<home>/waybill.env`. Files may be absent.
    ///
    /// # Errors
    /// [`ConfigError`] when a file cannot be read or holds a line that is no setting.
    pub fn load(home: &Path, role: &str) -> Result<Self, ConfigError> {
        let mut settings = Self::files(home, role)?;
        for (key, value) in environment().filter(|(key, _)| is_setting(key)) {
            settings.insert(key, value, "the environment".to_owned());
        }
        Ok(settings)
    }

    /// As [`load`](Self::load), without the environment.
    ///
    /// # Errors
    /// As [`load`](Self::load).
    pub fn files(home: &Path, role: &str) -> Result<Self, ConfigError> {
        let mut settings = Self { home: home.to_owned(), values: BTreeMap::new(), problems: Vec::new() };
        for name in ["waybill.env".to_owned(), format!("{role}.env")] {
            let path = home.join(&name);
            for (key, value) in read_file(&path).map_err(|problem| ConfigError { problems: vec![problem] })? {
                settings.insert(key, value, path.display().to_string());
            }
        }
        if settings.problems.is_empty() {
            return Ok(settings);
        }
        Err(ConfigError { problems: settings.problems })
    }

    /// Settings given directly.
    pub fn from_pairs<'p>(home: &Path, pairs: impl IntoIterator<Item = (&'p str, &'p str)>) -> Self {
        let mut settings = Self { home: home.to_owned(), values: BTreeMap::new(), problems: Vec::new() };
        for (key, value) in pairs {
            settings.insert(key.to_owned(), value.to_owned(), "the caller".to_owned());
        }
        settings
    }

    fn insert(&mut self, key: String, value: String, origin: String) {
        if !is_setting(&key) {
            self.problems.push(format!("{key} in {origin} is not a WAYBILL_ or OTEL_ setting; remove it"));
            return;
        }
        self.values.insert(key, Setting { value, origin });
    }

    /// The text of a setting; an empty one counts as absent.
    pub fn get(&self, key: &str) -> Option<String> {
        self.values.get(key).map(|setting| setting.value.clone()).filter(|value| !value.is_empty())
    }

    /// That there is no home folder, and what to do, where that is so.
    pub fn no_home(&self) -> Option<String> {
        let home = self.home.display();
        let remedy = "name it with --home or WAYBILL_HOME, or make it with `waybill init`";
        (!self.home.is_dir()).then(|| format!("there is no folder {home}; {remedy}"))
    }

    /// Parses settings, collecting what is wrong until [`Reader::finish`].
    pub fn reader(&self) -> Reader<'_> {
        Reader::new(self)
    }
}

fn is_setting(key: &str) -> bool {
    key.starts_with("WAYBILL_") || key.starts_with("OTEL_")
}

/// The settings of a file; none where there is no such file.
/// Files are KEY=VALUE lines, as `docker --env-file` reads them: no quotes, no expansion, `#` begins a comment line.
fn read_file(path: &Path) -> Result<Vec<(String, String)>, String> {
    match fs::read_to_string(path) {
        Ok(text) => parse_lines(&text).map_err(|line| {
            format!("{} line {line} is not KEY=VALUE; write one setting a line, or # before a comment", path.display())
        }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(format!("{} cannot be read: {error}", path.display())),
    }
}

fn parse_lines(text: &str) -> Result<Vec<(String, String)>, usize> {
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
        assert_eq!(parse_lines(text), Err(4));
        let text = "WAYBILL_A=1\nWAYBILL_URL=nats://h:1?a=b\nWAYBILL_EMPTY=\n";
        let pair = |key: &str, value: &str| (key.to_owned(), value.to_owned());
        let expected = vec![pair("WAYBILL_A", "1"), pair("WAYBILL_URL", "nats://h:1?a=b"), pair("WAYBILL_EMPTY", "")];
        assert_eq!(parse_lines(text), Ok(expected));
        assert_eq!(parse_lines("no equals sign"), Err(1));
        assert_eq!(parse_lines("=value"), Err(1));
    }
}
