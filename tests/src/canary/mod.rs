//! Secrets that exist once in the world, and searches that prove them absent.
//!
//! A canary is looked for as it is, percent-encoded, JSON-escaped, in hexadecimal, and in every Base64 in which it may
//! be embedded, so that `Authorization: Basic base64(user:canary)` is found whatever the user.

mod forms;
mod place;

use std::fmt;
use std::io;
use std::path::Path;

use memchr::memmem::Finder;
use uuid::Uuid;

pub use place::process_tree;

/// A secret to plant; `Debug` shows its label only.
#[derive(Clone)]
pub struct Canary {
    label: String,
    value: String,
}

impl Canary {
    /// A new secret that occurs nowhere yet; `label` says in messages which one it is.
    pub fn new(label: &str) -> Self {
        Self::of(label, format!("canary-{}", Uuid::new_v4().simple()))
    }

    /// A secret that came from elsewhere, such as a token that a service issued.
    pub fn of(label: &str, value: impl Into<String>) -> Self {
        Self { label: label.to_owned(), value: value.into() }
    }

    /// The secret.
    pub fn value(&self) -> &str {
        &self.value
    }

    /// What it is called in messages.
    pub fn label(&self) -> &str {
        &self.label
    }
}

impl fmt::Debug for Canary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Canary").field(&self.label).finish()
    }
}

/// A canary found where none should be. It names the canary, and does not repeat it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// Which canary.
    pub label: String,
    /// In which form: `raw`, `base64`, ….
    pub form: &'static str,
    /// The file, process or other place.
    pub place: String,
    /// At which byte.
    pub offset: usize,
}

/// How much was searched. A test asserts on it too: nothing is absent from an empty folder.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Searched {
    /// Files read.
    pub files: usize,
    /// Bytes read.
    pub bytes: usize,
}

/// Looks for several canaries at once.
#[derive(Debug)]
pub struct Search {
    needles: Vec<Needle>,
}

#[derive(Debug)]
struct Needle {
    label: String,
    form: &'static str,
    finder: Finder<'static>,
}

impl Search {
    /// Prepares to look for these canaries, each in all its forms.
    pub fn new<'a>(canaries: impl IntoIterator<Item = &'a Canary>) -> Self {
        let needles = canaries.into_iter().flat_map(|canary| {
            let label = canary.label.clone();
            forms::forms(&canary.value).into_iter().map(move |(form, bytes)| Needle {
                label: label.clone(),
                form,
                finder: Finder::new(&bytes).into_owned(),
            })
        });
        Self { needles: needles.collect() }
    }

    /// The first place of each form of each canary in these bytes, which `place` names.
    pub fn in_bytes(&self, place: &str, bytes: &[u8]) -> Vec<Finding> {
        let found = self.needles.iter().filter_map(|needle| {
            let offset = needle.finder.find(bytes)?;
            Some(Finding { label: needle.label.clone(), form: needle.form, place: place.to_owned(), offset })
        });
        found.collect()
    }

    /// Searches the names and contents of all files below a folder, without following links.
    pub fn in_dir(&self, dir: &Path) -> io::Result<(Vec<Finding>, Searched)> {
        let (mut findings, mut searched) = (Vec::new(), Searched::default());
        for file in place::files_below(dir)? {
            let name = file.to_string_lossy();
            let Some(content) = place::unless_vanished(std::fs::read(&file))? else { continue };
            searched.files += 1;
            searched.bytes += content.len();
            findings.extend(self.in_bytes(&format!("the name of {name}"), name.as_bytes()));
            findings.extend(self.in_bytes(&name, &content));
        }
        Ok((findings, searched))
    }

    /// Searches a process's arguments and environment.
    pub fn in_process(&self, pid: u32) -> io::Result<Vec<Finding>> {
        let of = |what: &str| {
            let file = format!("/proc/{pid}/{what}");
            std::fs::read(&file).map(|content| self.in_bytes(&file, &content))
        };
        Ok([of("cmdline")?, of("environ")?].concat())
    }

    /// Panics when a canary is in these bytes.
    pub fn assert_absent_in_bytes(&self, place: &str, bytes: &[u8]) {
        report(&self.in_bytes(place, bytes));
    }

    /// Panics when a canary is below this folder, or when it cannot be read; yields how much was searched.
    #[expect(clippy::panic, reason = "an assertion")]
    pub fn assert_absent_in_dir(&self, dir: &Path) -> Searched {
        let (findings, searched) =
            self.in_dir(dir).unwrap_or_else(|error| panic!("cannot search {}: {error}", dir.display()));
        report(&findings);
        searched
    }

    /// Panics when a canary is in this process's arguments or environment, or when it has ended.
    #[expect(clippy::panic, reason = "an assertion")]
    pub fn assert_absent_in_process(&self, pid: u32) {
        report(&self.in_process(pid).unwrap_or_else(|error| panic!("cannot look into process {pid}: {error}")));
    }
}

fn report(findings: &[Finding]) {
    let line = |found: &Finding| {
        format!("canary `{}` ({}) in {}, byte {}", found.label, found.form, found.place, found.offset)
    };
    let lines: Vec<String> = findings.iter().map(line).collect();
    assert!(lines.is_empty(), "credentials in the clear:\n{}", lines.join("\n"));
}
