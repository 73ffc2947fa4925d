//! From text to types, with all problems told together.

use std::{
    fs,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

use waybill_domain::credentials::Secret;

use super::{ConfigError, Settings, is_setting};

/// Parses settings one by one. What cannot be parsed gets a stand-in value, which [`finish`](Self::finish) keeps from use.
#[derive(Debug)]
pub struct Reader<'s> {
    settings: &'s Settings,
    problems: Vec<String>,
}

impl<'s> Reader<'s> {
    pub(super) fn new(settings: &'s Settings) -> Self {
        Self { settings, problems: Vec::new() }
    }

    /// A setting that must be there. `parse` returns what the value must be when it is not.
    pub fn required<T: Default>(&mut self, key: &str, parse: impl FnOnce(&str) -> Result<T, &'static str>) -> T {
        self.needed(key, parse).unwrap_or_default()
    }

    /// As [`required`](Self::required), for types without a default value: none only where a problem was noted.
    pub fn needed<T>(&mut self, key: &str, parse: impl FnOnce(&str) -> Result<T, &'static str>) -> Option<T> {
        let value = self.optional(key, parse);
        if self.settings.get(key).is_none() {
            self.problems.push(format!("{key} is missing; `waybill init` writes it, or set it in the environment"));
        }
        value
    }

    /// A setting that may be absent.
    pub fn optional<T>(&mut self, key: &str, parse: impl FnOnce(&str) -> Result<T, &'static str>) -> Option<T> {
        let setting = self.settings.values.get(key).filter(|setting| !setting.value.is_empty())?;
        match parse(&setting.value) {
            Ok(value) => Some(value),
            Err(expected) => {
                self.problems.push(format!("{key} (from {}) must be {expected}", setting.origin));
                None
            }
        }
    }

    /// A setting with a default.
    pub fn or<T>(
        &mut self,
        key: &str,
        parse: impl FnOnce(&str) -> Result<T, &'static str>,
        default: impl FnOnce() -> T,
    ) -> T {
        self.optional(key, parse).unwrap_or_else(default)
    }

    /// The path in a setting, relative to the home folder.
    pub fn path(&mut self, key: &str) -> Option<PathBuf> {
        self.optional(key, |value| Ok(value.to_owned())).map(|value| self.settings.home.join(value))
    }

    /// As [`path`](Self::path), for a file that must be readable.
    pub fn readable_path(&mut self, key: &str) -> Option<PathBuf> {
        let path = self.path(key)?;
        if let Err(error) = fs::File::open(&path) {
            self.problems.push(format!("{key}: {} cannot be read: {error}", path.display()));
        }
        Some(path)
    }

    /// As [`path`](Self::path), for a setting that must be there.
    pub fn required_path(&mut self, key: &str) -> PathBuf {
        let value: String = self.required(key, |value| Ok(value.to_owned()));
        self.settings.home.join(value)
    }

    /// The content of the file that a setting names, trimmed. The file must be its owner's alone.
    pub fn secret_file(&mut self, key: &str) -> Secret {
        let path = self.required_path(key);
        if self.settings.get(key).is_none() {
            return Secret::new(String::new());
        }
        match read_private(&path) {
            Ok(secret) => secret,
            Err(problem) => {
                self.problems.push(format!("{key}: {problem}"));
                Secret::new(String::new())
            }
        }
    }

    /// Notes a problem that only the caller can see. A setting that has one already has the one that comes first.
    pub fn problem(&mut self, problem: String) {
        let key = |text: &str| text.split([':', ' ']).next().filter(|key| is_setting(key)).map(str::to_owned);
        let known =
            key(&problem).is_some_and(|own| self.problems.iter().any(|other| key(other).as_ref() == Some(&own)));
        if !known {
            self.problems.push(problem);
        }
    }

    /// All is well, or everything that is not.
    ///
    /// # Errors
    /// [`ConfigError`] with every problem noted so far.
    pub fn finish(self) -> Result<(), ConfigError> {
        if self.problems.is_empty() {
            return Ok(());
        }
        // Settings may all come from the environment: a folder that is not there is a problem only beside others.
        Err(ConfigError { problems: self.settings.no_home().into_iter().chain(self.problems).collect() })
    }
}

/// True if a file with this mode and owner is for the process alone. A Secret volume of Kubernetes has files of root that the
/// pod's group may read; nobody else is in that group.
pub fn is_private(mode: u32, owner: u32, process: u32) -> bool {
    let of_secret_volume = owner == 0 && process != 0 && mode & 0o037 == 0;
    mode & 0o077 == 0 || of_secret_volume
}

/// The content of a file that only this process can read, trimmed.
///
/// # Errors
/// In words, with what to do.
pub fn read_private(path: &Path) -> Result<Secret, String> {
    let shown = path.display();
    let metadata = fs::metadata(path).map_err(|error| format!("{shown} cannot be read: {error}"))?;
    if !is_private(metadata.mode(), metadata.uid(), rustix::process::geteuid().as_raw()) {
        return Err(format!("{shown} can be read by others; run: chmod 600 {shown}"));
    }
    let text = fs::read_to_string(path).map_err(|error| format!("{shown} cannot be read: {}", error.kind()))?;
    Ok(Secret::new(text.trim().to_owned()))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    const CANARY: &str = "canary-5up3r-s3cr3t";

    fn number(value: &str) -> Result<u16, &'static str> {
        value.parse().map_err(|_| "a number up to 65535")
    }

    #[test]
    fn all_problems_come_together_and_without_values() {
        let home = tempfile::tempdir().unwrap();
        let open = home.path().join("open");
        fs::write(&open, CANARY).unwrap();
        fs::set_permissions(&open, fs::Permissions::from_mode(0o644)).unwrap();
        let settings = Settings::from_pairs(
            home.path(),
            [("WAYBILL_PORT", CANARY), ("WAYBILL_OPEN_FILE", "open"), ("WAYBILL_GONE_FILE", "gone")],
        );
        let mut reader = settings.reader();
        reader.required("WAYBILL_PORT", number);
        reader.required("WAYBILL_OTHER_PORT", number);
        reader.secret_file("WAYBILL_OPEN_FILE");
        reader.secret_file("WAYBILL_GONE_FILE");
        let error = reader.finish().unwrap_err();
        let text = error.to_string();
        assert_eq!(error.problems.len(), 4, "{text}");
        for part in
            ["WAYBILL_PORT (from the caller) must be a number", "WAYBILL_OTHER_PORT is missing", "chmod 600", "gone"]
        {
            assert!(text.contains(part), "{part}: {text}");
        }
        assert!(!text.contains(CANARY) && !format!("{settings:?}").contains(CANARY), "{text}");
    }

    #[test]
    fn whose_a_file_is() {
        let cases = [
            (0o600, 1000, 1000, true),
            (0o400, 0, 0, true),
            (0o440, 0, 1000, true),
            (0o640, 0, 1000, true),
            (0o440, 0, 0, false),
            (0o440, 1000, 1000, false),
            (0o460, 0, 1000, false),
            (0o444, 0, 1000, false),
            (0o644, 0, 1000, false),
        ];
        for (mode, owner, process, expected) in cases {
            assert_eq!(is_private(mode, owner, process), expected, "{mode:o} of {owner} for {process}");
        }
    }

    #[test]
    fn a_folder_that_is_not_there_is_named_first() {
        let home = tempfile::tempdir().unwrap();
        let nowhere = home.path().join("nowhere");
        for (folder, count) in [(home.path(), 1), (&nowhere, 2)] {
            let settings = Settings::from_pairs(folder, []);
            let mut reader = settings.reader();
            reader.required("WAYBILL_PORT", number);
            let problems = reader.finish().unwrap_err().problems;
            assert_eq!(problems.len(), count, "{problems:?}");
            assert_eq!(
                problems[0].contains("waybill init") && problems[0].contains("nowhere"),
                count == 2,
                "{problems:?}"
            );
        }
        Settings::from_pairs(&nowhere, []).reader().finish().unwrap();
    }

    #[test]
    fn what_follows_from_a_problem_is_not_another_one() {
        let home = tempfile::tempdir().unwrap();
        let settings = Settings::from_pairs(home.path(), [("WAYBILL_GONE_FILE", "gone")]);
        let mut reader = settings.reader();
        reader.secret_file("WAYBILL_GONE_FILE");
        reader.problem("WAYBILL_GONE_FILE: not the seed of a key".to_owned());
        reader.problem("WAYBILL_OTHER: not the seed of a key".to_owned());
        let problems = reader.finish().unwrap_err().problems;
        assert_eq!(problems.len(), 2, "{problems:?}");
        assert!(problems[0].contains("cannot be read") && problems[1].starts_with("WAYBILL_OTHER"), "{problems:?}");
    }

    #[test]
    fn files_give_way_to_the_role_and_paths_are_relative_to_home() {
        let home = tempfile::tempdir().unwrap();
        fs::write(home.path().join("waybill.env"), "WAYBILL_TEST_A=shared\nWAYBILL_TEST_B=shared\n").unwrap();
        fs::write(home.path().join("gateway.env"), "WAYBILL_TEST_B=own\nWAYBILL_TEST_FILE=keys/a\n").unwrap();
        let settings = Settings::load(home.path(), "gateway").unwrap();
        assert_eq!(settings.get("WAYBILL_TEST_A").as_deref(), Some("shared"));
        assert_eq!(settings.get("WAYBILL_TEST_B").as_deref(), Some("own"));
        assert_eq!(settings.reader().path("WAYBILL_TEST_FILE"), Some(home.path().join("keys/a")));
        fs::write(home.path().join("waybill.env"), "PATH=/bin\n").unwrap();
        let error = Settings::load(home.path(), "gateway").unwrap_err().to_string();
        assert!(error.contains("PATH in ") && error.contains("remove it"), "{error}");
    }

    #[test]
    fn a_private_file_is_read_and_trimmed() {
        let home = tempfile::tempdir().unwrap();
        let file = home.path().join("key");
        fs::write(&file, format!("{CANARY}\n")).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
        let settings = Settings::from_pairs(home.path(), [("WAYBILL_KEY_FILE", "key")]);
        let mut reader = settings.reader();
        assert_eq!(reader.secret_file("WAYBILL_KEY_FILE").expose(), CANARY);
        reader.finish().unwrap();
    }
}
