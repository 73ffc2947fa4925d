//! What the documents say can be done: commands exist, paths lead somewhere.

use std::{fs, path::Path, process::Command};

use waybill_tests::{find, require};

const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");

/// What people read.
const DOCUMENTS: [&str; 4] =
    ["README.md", "ARCHITECTURE.md", "services/waybill/DEBUGGING.md", "services/waybill/REGISTRIES.md"];

fn document(name: &str) -> String {
    fs::read_to_string(Path::new(ROOT).join(name)).unwrap()
}

/// What a document has of our commands: indented lines, without the comment behind them, and words between backticks.
pub(crate) fn commands(text: &str) -> Vec<String> {
    let indented = text.lines().filter_map(|line| line.strip_prefix("    ")?.split(" #").next());
    let ticked = text.split('`').skip(1).step_by(2);
    let lines = indented.chain(ticked).map(|command| command.trim().replace('\n', " "));
    lines.filter(|command| command.starts_with("waybill ")).collect()
}

/// Words of a command line, of which those in single quotes are one.
pub(crate) fn words(command: &str) -> Vec<String> {
    let parts = command.split('\'').enumerate();
    let split = parts.flat_map(|(number, part)| match number % 2 {
        0 => part.split_whitespace().map(str::to_owned).collect(),
        _ => vec![part.to_owned()],
    });
    split.collect()
}

#[test]
fn commands_are_found_wherever_they_stand() {
    let text = "Say `waybill dev`, `nats-server` or\n\n    waybill init    # first\n    curl x\n\nthen `waybill\nsecrets list`.";
    assert_eq!(commands(text), ["waybill init", "waybill dev", "waybill secrets list"]);
}

#[test]
fn every_command_is_one_that_the_binary_takes() {
    let binary = require!(find::workspace_binary("waybill"));
    let commands: Vec<String> = DOCUMENTS.iter().flat_map(|name| commands(&document(name))).collect();
    assert!(commands.len() >= 5, "{commands:?}");
    for command in commands {
        // Options are parsed before help is shown: one that does not exist is refused.
        let output = Command::new(&binary).args(&words(&command)[1..]).arg("--help").output().unwrap();
        assert!(output.status.success(), "{command}: {}", String::from_utf8_lossy(&output.stderr));
    }
}

#[test]
fn every_path_leads_somewhere() {
    for name in DOCUMENTS {
        let text = document(name);
        let links = text.split("](").skip(1).filter_map(|rest| rest.split(')').next());
        let ticked = text.split('`').skip(1).step_by(2).filter(|word| word.contains('/'));
        let folders = ["infra/", "schemas/", "services/", "tests/"];
        let paths: Vec<&str> =
            links.chain(ticked).filter(|path| folders.iter().any(|folder| path.starts_with(folder))).collect();

        for path in paths {
            let file = path.split(' ').next().unwrap();
            assert!(Path::new(ROOT).join(file).exists(), "{name} names {file}, which is not there");
        }
    }
}

/// Nothing but what a newcomer expects at the top.
#[test]
fn the_top_level_stays_small() {
    let files = ["Cargo.toml", "Cargo.lock", "justfile", "README.md", "ARCHITECTURE.md", "LICENSE"];
    let folders = ["services", "schemas", "infra", "tests", "target"];
    for entry in fs::read_dir(ROOT).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        let expected = name.starts_with('.') || files.contains(&name.as_str()) || folders.contains(&name.as_str());
        assert!(expected, "{name} does not belong at the top level");
    }
}

/// A file is one idea; past 400 lines there is a second one in it.
#[test]
fn sources_stay_readable() {
    let mut seen = 0;
    for folder in ["services", "schemas", "tests"] {
        visit(&Path::new(ROOT).join(folder), &mut |path, text| {
            seen += 1;
            assert!(text.starts_with("//!"), "{} does not say what it is", path.display());
            assert!(text.lines().count() <= 400, "{} has {} lines", path.display(), text.lines().count());
        });
    }
    assert!(seen > 100, "only {seen} sources");
}

pub(crate) fn visit(folder: &Path, look: &mut impl FnMut(&Path, &str)) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            visit(&path, look);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            look(&path, &fs::read_to_string(&path).unwrap());
        }
    }
}
