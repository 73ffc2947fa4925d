//! A folder that is written beside its place and moved there when it is whole.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

/// A folder under way; dropped before it is whole, it goes.
pub(super) struct Scratch {
    path: PathBuf,
    place: PathBuf,
}

impl Scratch {
    /// An empty folder beside `place`. What a killed process left of an earlier one is removed.
    pub(super) fn beside(place: &Path) -> io::Result<Self> {
        let scratch = Self { path: place.with_extension("part"), place: place.to_owned() };
        remove(&scratch.path)?;
        fs::create_dir_all(&scratch.path)?;
        Ok(scratch)
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Moves it to its place, in the stead of what was there.
    pub(super) fn move_into_place(self) -> io::Result<()> {
        let old = self.place.with_extension("old");
        remove(&old)?;
        match fs::rename(&self.place, &old) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        fs::rename(&self.path, &self.place)?;
        remove(&old)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // What cannot be removed now is removed by the next one.
        let _ = remove(&self.path);
    }
}

fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_or_not_at_all() {
        let dir = tempfile::tempdir().unwrap();
        let place = dir.path().join("acme/c-1");
        let names = || {
            let mut names: Vec<_> =
                fs::read_dir(dir.path().join("acme")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
            names.sort();
            names
        };
        let scratch = Scratch::beside(&place).unwrap();
        fs::write(scratch.path().join("file"), "1").unwrap();
        scratch.move_into_place().unwrap();
        assert_eq!((fs::read_to_string(place.join("file")).unwrap(), names()), ("1".to_owned(), vec!["c-1".into()]));

        let scratch = Scratch::beside(&place).unwrap();
        fs::write(scratch.path().join("file"), "2").unwrap();
        drop(scratch);
        assert_eq!((fs::read_to_string(place.join("file")).unwrap(), names()), ("1".to_owned(), vec!["c-1".into()]));

        fs::create_dir_all(place.with_extension("part")).unwrap();
        fs::write(place.with_extension("part").join("stale"), "killed").unwrap();
        let scratch = Scratch::beside(&place).unwrap();
        fs::write(scratch.path().join("file"), "3").unwrap();
        scratch.move_into_place().unwrap();
        assert_eq!((fs::read_to_string(place.join("file")).unwrap(), names()), ("3".to_owned(), vec!["c-1".into()]));
        assert!(!place.join("stale").exists());
    }
}
