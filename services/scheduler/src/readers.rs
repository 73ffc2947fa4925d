//! Workspaces whose orchestrators read the log: a setting, and a file that `waybill init` writes and that is looked at while the
//! scheduler runs.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};

use waybill_schemas::WorkspaceId;

/// Where the workspaces are named.
#[derive(Debug, Clone, Default)]
pub struct Readers {
    /// Those of the setting.
    pub fixed: Vec<WorkspaceId>,
    /// The file.
    pub file: Option<PathBuf>,
}

impl Readers {
    /// All of them now.
    ///
    /// # Errors
    /// In words, when the file cannot be read or a line of it is no workspace.
    pub fn read(&self) -> Result<BTreeSet<WorkspaceId>, String> {
        let mut workspaces: BTreeSet<WorkspaceId> = self.fixed.iter().cloned().collect();
        if let Some(file) = &self.file {
            workspaces.extend(read_file(file)?);
        }
        Ok(workspaces)
    }
}

/// One workspace a line; empty lines and those that begin with `#` say nothing.
fn read_file(file: &Path) -> Result<Vec<WorkspaceId>, String> {
    let text = match std::fs::read_to_string(file) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        text => text.map_err(|error| format!("{} cannot be read: {error}", file.display()))?,
    };
    let lines = text.lines().map(str::trim).enumerate();
    let lines = lines.filter(|(_, line)| !line.is_empty() && !line.starts_with('#'));
    let parse = |(at, line): (usize, &str)| {
        line.parse().map_err(|error| format!("{}, line {}: {error}", file.display(), at.saturating_add(1)))
    };
    lines.map(parse).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_names_one_workspace_a_line() {
        let home = tempfile::tempdir().unwrap();
        let file = home.path().join("readers");
        let readers = Readers { fixed: vec!["fixed".parse().unwrap()], file: Some(file.clone()) };
        let names =
            |readers: &Readers| readers.read().map(|all| all.iter().map(ToString::to_string).collect::<Vec<_>>());
        assert_eq!(names(&readers).unwrap(), ["fixed"], "the file may come later");
        std::fs::write(&file, "# orchestrators\n\nacme\n  team-1 \n").unwrap();
        assert_eq!(names(&readers).unwrap(), ["acme", "fixed", "team-1"]);
        std::fs::write(&file, "acme\na.b\n").unwrap();
        assert!(names(&readers).unwrap_err().contains("line 2"));
    }
}
