//! Where to look: files below a folder, and the processes that a process has started.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};

/// All regular files below a folder. What vanishes meanwhile is left out.
pub(super) fn files_below(dir: &Path) -> io::Result<Vec<PathBuf>> {
    let (mut files, mut folders) = (Vec::new(), vec![dir.to_owned()]);
    std::fs::metadata(dir)?;
    while let Some(folder) = folders.pop() {
        let Some(entries) = unless_vanished(std::fs::read_dir(&folder))? else { continue };
        for entry in entries {
            let entry = entry?;
            let Some(kind) = unless_vanished(entry.file_type())? else { continue };
            if kind.is_dir() {
                folders.push(entry.path());
            } else if kind.is_file() {
                files.push(entry.path());
            }
        }
    }
    files.sort();
    Ok(files)
}

/// None for what is not there any more: a server removes files while they are looked for.
pub(super) fn unless_vanished<T>(read: io::Result<T>) -> io::Result<Option<T>> {
    match read {
        Ok(value) => Ok(Some(value)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// This process and all that descend from it, by id.
pub fn process_tree(root: u32) -> io::Result<BTreeSet<u32>> {
    let parents = parents()?;
    let mut tree = BTreeSet::from([root]);
    loop {
        let children = parents.iter().filter(|(_, parent)| tree.contains(parent)).map(|(&pid, _)| pid);
        let grown: BTreeSet<u32> = tree.iter().copied().chain(children).collect();
        if grown.len() == tree.len() {
            return Ok(tree);
        }
        tree = grown;
    }
}

/// The parent of every running process.
fn parents() -> io::Result<BTreeMap<u32, u32>> {
    let mut parents = BTreeMap::new();
    for entry in std::fs::read_dir("/proc")? {
        let Some(pid) = entry?.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        // One that ended meanwhile has no parent any more.
        let Ok(stat) = std::fs::read_to_string(format!("/proc/{pid}/stat")) else { continue };
        parents.extend(parent(&stat).map(|parent| (pid, parent)));
    }
    Ok(parents)
}

/// The fourth field of proc_pid_stat(5); the second is the name in parentheses, and may itself contain any character.
fn parent(stat: &str) -> Option<u32> {
    stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parents_of_odd_names() {
        for (stat, expected) in [("12 (cat) S 7 12 12", Some(7)), ("12 (a) b (c) R 8 1", Some(8)), ("12", None)] {
            assert_eq!(parent(stat), expected, "{stat}");
        }
    }
}
