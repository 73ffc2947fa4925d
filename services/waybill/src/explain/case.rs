//! `waybill case`, and what is done with case files: explain one, or hold a folder of them against this version.

use std::{
    fs,
    io::Write as _,
    path::{Path, PathBuf},
    sync::Arc,
};

use clap::Args;
use waybill_platform::{
    events::Place,
    explain::{self, Explainer, Moment, ReadCase, Scope, read_case, write_case},
};
use waybill_schemas::WorkspaceId;

use super::{Told, gather};
use crate::{Failure, cli::Question, operator, output};

#[derive(Debug, Args)]
pub(crate) struct CaseArguments {
    #[command(subcommand)]
    question: Question,
    /// Whose image, container or secret it is [env: WAYBILL_WORKSPACE]
    #[arg(long, global = true, value_name = "NAME")]
    workspace: Option<WorkspaceId>,
    /// As it was at this sequence or time (RFC 3339).
    #[arg(long, global = true, value_name = "SEQUENCE|TIME")]
    at: Option<Place>,
    /// Replace names by hashes, which tell them apart within the file only, and leave out free text.
    #[arg(long, global = true)]
    redact: bool,
    /// Write to this file, and make its folder where there is none [default: standard output]
    #[arg(long, global = true, value_name = "FILE")]
    out: Option<PathBuf>,
}

/// `waybill case`.
pub(crate) fn write(home: &Path, arguments: &CaseArguments) -> Result<(), Failure> {
    let settings = operator::settings(home)?;
    let workspace = operator::workspace(&settings, arguments.workspace.as_ref())?;
    let asked = arguments.question.asked();
    let case = operator::with_log(&settings, Err("interrupted".into()), |log| async move {
        let present = Explainer { log: Arc::new(log), scope: Scope::Everything, moment: Moment::Now };
        gather(home, &present, &workspace, &asked, arguments.at).await
    })?;
    let text = write_case(&case, arguments.redact)?;
    let Some(file) = &arguments.out else { return Ok(writeln!(output::stdout(), "{text}")?) };
    let unwritable = |error: std::io::Error| format!("--out {}: {}", file.display(), error.kind());
    if let Some(folder) = file.parent() {
        fs::create_dir_all(folder).map_err(unwritable)?;
    }
    fs::write(file, text).map_err(unwritable)?;
    Ok(writeln!(output::stdout(), "wrote {}", file.display())?)
}

/// The answer that a case file leads to.
pub(super) fn explain(file: &Path, prove: bool) -> Result<Told, Failure> {
    Ok(Told::about(&read(file)?.case, prove))
}

fn read(file: &Path) -> Result<ReadCase, Failure> {
    let unreadable = |problem: String| format!("case {}: {problem}", file.display());
    let text = fs::read_to_string(file).map_err(|error| unreadable(error.kind().to_string()))?;
    Ok(read_case(&text).map_err(|error| unreadable(error.to_string()))?)
}

/// Some case is answered otherwise than when it was made.
#[derive(Debug, thiserror::Error)]
#[error("{changed} of {count} cases are answered otherwise by this version")]
pub(crate) struct CasesChanged {
    changed: usize,
    count: usize,
}

/// `waybill replay --case`: explains every case of a folder again.
pub(crate) fn replay(folder: &Path, as_json: bool) -> Result<(), Failure> {
    let entries = fs::read_dir(folder).map_err(|error| format!("--case {}: {}", folder.display(), error.kind()))?;
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.map(|entry| entry.path())).collect::<Result<_, _>>()?;
    files.retain(|file| file.extension().is_some_and(|extension| extension == "json"));
    files.sort();
    if files.is_empty() {
        return Err(format!(
            "--case {}: the folder holds no case, as `waybill case` writes them to *.json",
            folder.display()
        )
        .into());
    }
    let (mut out, mut changed) = (output::stdout(), 0_usize);
    for file in &files {
        let read = read(file)?;
        let (explanation, same) = read.explain();
        let now = explain::Told::from(&explanation.verdict);
        changed = changed.saturating_add(usize::from(!same));
        let name = file.file_name().unwrap_or_default().to_string_lossy();
        if as_json {
            let line = serde_json::json!({ "case": name, "same": same, "then": read.told, "now": now });
            writeln!(out, "{line}")?;
        } else if same {
            writeln!(out, "{name}: {} at {}", now.code, now.hop)?;
        } else {
            writeln!(out, "{name}: was {} at {}, is {} at {}", read.told.code, read.told.hop, now.code, now.hop)?;
        }
    }
    match changed {
        0 => Ok(()),
        changed => Err(CasesChanged { changed, count: files.len() }.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CASE: &str = r#"{"waybill_case":1,"kind":"container","workspace":"w","id":"c","now":"2026-01-01T00:00:00Z",
        "readers":{"scheduler":"unknown","worker":"unknown","log_full":null},"complete_from":0,"elsewhere":[],
        "verdict":{"state":"broken","hop":"requested","code":"CODE"},"messages":[]}"#;

    #[test]
    fn a_folder_of_cases_is_held_against_this_version() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, code: &str| fs::write(folder.path().join(name), CASE.replace("CODE", code)).unwrap();
        assert!(replay(folder.path(), false).unwrap_err().to_string().contains("holds no case"));
        write("a.json", "not_requested");
        write("readme.txt", "");
        assert!(replay(folder.path(), false).is_ok());
        let Told::Story(story, proof) = super::explain(&folder.path().join("a.json"), true).unwrap() else { panic!() };
        assert_eq!((story.verdict.code.as_str(), proof.is_some()), ("not_requested", true));
        write("b.json", "pulled");
        let error = replay(folder.path(), true).unwrap_err();
        assert!(error.is::<CasesChanged>() && error.to_string().starts_with("1 of 2 cases"), "{error}");
        let missing = super::explain(&folder.path().join("none.json"), false).err().unwrap().to_string();
        assert!(missing.contains("none.json"), "{missing}");
    }
}
