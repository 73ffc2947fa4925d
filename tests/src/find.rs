//! Finds programs: on `PATH`, in the checkout's `.tools`, and those that this workspace builds.

use std::path::{Path, PathBuf};

use crate::error::Missing;

/// The folder that `infra/justw` fills with programs, whether or not it is on `PATH`.
fn tools() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../.tools")
}

/// Every file called `program` in the folders of `PATH`, then the one in `.tools/bin`.
pub fn candidates(program: &str) -> Vec<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut folders: Vec<PathBuf> = std::env::split_paths(&path).collect();
    folders.push(tools().join("bin"));
    folders.into_iter().map(|folder| folder.join(program)).filter(|file| file.is_file()).collect()
}

/// The first of [`candidates`]; when there is none, `remedy` says how to get it.
pub fn program(program: &str, remedy: &str) -> Result<PathBuf, Missing> {
    candidates(program).into_iter().next().ok_or_else(|| Missing::new(program, remedy))
}

/// The Python interpreters to try, in order: `WAYBILL_TEST_PYTHON`, those in `.tools`, the machine's `python3`.
pub fn pythons() -> Vec<PathBuf> {
    let named = std::env::var_os("WAYBILL_TEST_PYTHON").map(PathBuf::from);
    let ours = ["venv/bin/python", "python"].map(|file| tools().join(file));
    named.into_iter().chain(ours.into_iter().filter(|file| file.is_file())).chain(candidates("python3")).collect()
}

/// A binary of this workspace, as `cargo build --workspace --bins` left it beside the running test or demo.
pub fn workspace_binary(name: &str) -> Result<PathBuf, Missing> {
    let missing = || Missing::new(format!("the binary {name}"), "run `cargo build --workspace --bins`");
    let running = std::env::current_exe().map_err(|_| missing())?;
    let folder = running.parent().ok_or_else(missing)?;
    let folder = if folder.ends_with("deps") { folder.parent().ok_or_else(missing)? } else { folder };
    Some(folder.join(name)).filter(|file| file.is_file()).ok_or_else(missing)
}
