//! What changed between two moments of one id.

use serde::Serialize;
use waybill_schemas::WorkspaceId;

use super::{Explanation, Step, Verdict};

/// Two explanations of one id, held against each other.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// `container`, `image` or `secret`.
    pub kind: &'static str,
    /// Its owner.
    pub workspace: WorkspaceId,
    /// Id of the container or image, or name of the secret.
    pub id: String,
    /// True if the verdict is another one.
    pub changed: bool,
    /// The verdict then.
    pub before: Verdict,
    /// The verdict afterwards.
    pub after: Verdict,
    /// What happened in between, in the order of the log.
    pub steps: Vec<Step>,
    /// Facts that are new.
    pub notes: Vec<String>,
}

impl Difference {
    /// What an explanation says that an earlier one of the same id did not.
    pub fn between(before: &Explanation, after: Explanation) -> Self {
        let Explanation { kind, workspace, id, verdict, timeline, notes, .. } = after;
        let is_new = |step: &Step| !before.timeline.iter().any(|known| known.sequence == step.sequence);
        Self {
            kind,
            workspace,
            id,
            changed: (before.verdict.state, before.verdict.code) != (verdict.state, verdict.code),
            before: before.verdict.clone(),
            after: verdict,
            steps: timeline.into_iter().filter(is_new).collect(),
            notes: notes.into_iter().filter(|note| !before.notes.contains(note)).collect(),
        }
    }
}
