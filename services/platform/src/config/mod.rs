//! Configuration: `WAYBILL_*` settings from the environment, over files of KEY=VALUE lines, parsed to types once.

mod file;
mod reader;

use std::{
    collections::BTreeMap,
    fmt,
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

impl Settings {
    /// The environment, over `<home>/<role>.env`, over `<home>/waybill.env`. Files may be absent.
    ///
    /// # Errors
    /// [`ConfigError`] when a file cannot be read or holds a line that is no setting.
    pub fn load(home: &Path, role: &str) -> Result<Self, ConfigError> {
        let mut settings = Self::files(home, role)?;
        for (key, value) in std::env::vars().filter(|(key, _)| is_setting(key)) {
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
            for (key, value) in file::read(&path).map_err(|problem| ConfigError { problems: vec![problem] })? {
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
