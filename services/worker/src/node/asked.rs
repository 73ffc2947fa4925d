//! One question of a program of the node: who asked, for what, and what it got. Facts for whoever looks for the reason later.

use std::fs;

use waybill_domain::fold::ContainerKey;
use waybill_registry::node::{Answer, Error, Request};
use waybill_schemas::{
    WorkspaceId,
    v1::{AskedWith, LoginQuestion, PodIdentity, Question},
};

use super::running::Asker;
use crate::view::Placed;

/// Longest name of a program that is kept.
const LONGEST_NAME: usize = 64;
/// Longest words about a refusal, in characters.
const LONGEST_DETAIL: usize = 512;

/// A question and its answer.
#[derive(Debug, Clone)]
pub struct Asked {
    /// The workspace that the asker speaks for, where that is known.
    pub workspace: Option<WorkspaceId>,
    /// The one placement whose login was asked for, where it is one.
    pub placed: Option<Placed>,
    /// The rest.
    pub asked: LoginQuestion,
}

impl Asked {
    /// A question that nothing is known of yet: one that cannot be read is one for a login.
    pub(super) fn new(request: Option<&Request>) -> Self {
        let question = match request {
            Some(Request::List { .. }) => Question::List,
            Some(Request::End { .. }) => Question::End,
            Some(Request::Get { .. } | Request::Pod { .. }) | None => Question::Login,
        };
        let asked = LoginQuestion {
            question,
            asked_with: AskedWith::Nothing,
            program: String::new(),
            pid: None,
            run_by: None,
            identity: None,
            registry: None,
            image: None,
            reason: None,
            detail: None,
            repeated: None,
        };
        Self { workspace: None, placed: None, asked }
    }

    pub(super) fn note_asker(&mut self, asker: &Asker) {
        match asker {
            Asker::Workspace(workspace) => {
                self.asked.asked_with = AskedWith::WorkspaceKey;
                self.workspace = Some(workspace.clone());
            }
            Asker::Placement(placed) => {
                self.asked.asked_with = AskedWith::ContainerKey;
                self.note_placed(placed);
            }
        }
    }

    pub(super) fn note_identity(&mut self, identity: &PodIdentity) {
        self.asked.asked_with = AskedWith::PodToken;
        self.asked.identity = Some(identity.clone());
    }

    pub(super) fn note_placed(&mut self, placed: &Placed) {
        let ContainerKey { workspace, .. } = &placed.container;
        (self.workspace, self.placed) = (Some(workspace.clone()), Some(placed.clone()));
    }

    pub(super) fn note_answer(&mut self, answer: &Answer) {
        if let Answer::Error { error: Error { code, message } } = answer {
            self.asked.reason = Some(*code);
            self.asked.detail = Some(message.chars().take(LONGEST_DETAIL).collect());
        }
    }

    pub(super) fn note_program(&mut self, program: Program) {
        let Program { pid, name, run_by } = program;
        (self.asked.pid, self.asked.program, self.asked.run_by) = (pid, name, run_by);
    }

    /// True if the log says it already: a recorded end is an event of its own.
    pub(super) fn is_told(&self) -> bool {
        self.asked.question == Question::End && self.asked.reason.is_none()
    }
}

/// A process at the other end of the socket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Program {
    pub(super) pid: Option<u32>,
    pub(super) name: String,
    pub(super) run_by: Option<String>,
}

impl Program {
    /// Looks a process up in /proc, which every user may. One of another pid namespace has no number here, and one that is
    /// gone no name.
    pub(super) fn look_up(pid: Option<i32>) -> Self {
        let pid = pid.and_then(|pid| u32::try_from(pid).ok()).filter(|pid| *pid > 0);
        let name = pid.and_then(name_of);
        let run_by = pid.and_then(parent_of).and_then(name_of);
        Self { pid, name: name.unwrap_or_else(|| "unknown".to_owned()), run_by }
    }
}

fn name_of(pid: u32) -> Option<String> {
    let short = fs::read(format!("/proc/{pid}/comm")).ok()?;
    let command = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    Some(program_name(&short, &command))
}

/// The fourth field of proc_pid_stat(5). The second is the name in parentheses, and may hold anything.
fn parent_of(pid: u32) -> Option<u32> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, rest) = stat.rsplit_once(')')?;
    rest.split_whitespace().nth(1)?.parse().ok().filter(|parent| *parent > 0)
}

/// A process's name: the kernel's, which ends after 15 bytes, made whole from the first argument where that goes on. Other
/// arguments are not looked at, for some programs are given secrets there.
fn program_name(short: &[u8], command: &[u8]) -> String {
    let short = String::from_utf8_lossy(short.trim_ascii()).into_owned();
    let first = command.split(|byte| *byte == 0).next().unwrap_or_default();
    let first = String::from_utf8_lossy(first.rsplit(|byte| *byte == b'/').next().unwrap_or_default()).into_owned();
    let whole = if !short.is_empty() && first.starts_with(&short) { first } else { short };
    // A process chooses both, and people read them in a terminal.
    let shown: String = whole.chars().filter(char::is_ascii_graphic).take(LONGEST_NAME).collect();
    if shown.is_empty() { "unknown".to_owned() } else { shown }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_is_named_as_people_know_it() {
        let long = "x".repeat(100);
        let cases: [(&str, &str, &str); 9] = [
            ("skopeo\n", "/usr/bin/skopeo\0copy\0docker://a.b/c", "skopeo"),
            ("docker-credenti\n", "/opt/bin/docker-credential-waybill\0get", "docker-credential-waybill"),
            ("waybill-credent", "waybill-credential-provider", "waybill-credential-provider"),
            ("pull.py", "/usr/bin/python3\0pull.py", "pull.py"),
            ("kubelet", "", "kubelet"),
            ("", "/bin/sh\0-c", "unknown"),
            ("a\u{1b}[2Jb c", "", "a[2Jbc"),
            ("\u{fffd}", "", "unknown"),
            (&long, "", &long[..LONGEST_NAME]),
        ];
        for (short, command, expected) in cases {
            assert_eq!(program_name(short.as_bytes(), command.as_bytes()), expected, "{short:?} {command:?}");
        }
    }

    #[test]
    fn a_process_is_looked_up() {
        let own = Program::look_up(i32::try_from(std::process::id()).ok());
        assert!(own.pid == Some(std::process::id()) && own.name != "unknown" && own.run_by.is_some(), "{own:?}");
        for nobody in [None, Some(0), Some(-1), Some(i32::MAX)] {
            let Program { name, run_by, .. } = Program::look_up(nobody);
            assert_eq!((name.as_str(), run_by), ("unknown", None), "{nobody:?}");
        }
    }
}
