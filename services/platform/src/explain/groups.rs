//! A group of failures with its sentence and remedy: those of one of its containers.

use serde::Serialize;
use waybill_domain::{
    explain::{Asked, Explanation},
    fleet::Group,
};
use waybill_schemas::{ContainerId, WorkspaceId};

use super::Explainer;
use crate::log::LogError;

/// A root cause, and what to do about it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Remedied {
    /// The failures.
    #[serde(flatten)]
    pub group: Group,
    /// Why the example failed, in one sentence.
    pub sentence: String,
    /// What to do; empty where there is nothing to do.
    pub remedy: String,
}

/// Explains a group by its example.
///
/// # Errors
/// [`LogError`] when the log does not answer.
pub async fn explain_group(explainer: &Explainer, group: Group) -> Result<Remedied, LogError> {
    if let Some((sentence, remedy)) = group.told.clone() {
        return Ok(Remedied { group, sentence, remedy });
    }
    let workspace = group.example.workspace.as_ref().and_then(|workspace| workspace.parse().ok());
    let ids: Option<(WorkspaceId, ContainerId)> = workspace.zip(group.example.id.parse().ok());
    // Ids of the log are ids.
    let Some((workspace, container)) = ids else {
        return Ok(Remedied { group, sentence: String::new(), remedy: String::new() });
    };
    let explanation = explainer.explain(&workspace, &Asked::Container(container)).await?;
    Ok(remedied(group, explanation))
}

/// The example may have been asked for again since: then its failure is told, and there is nothing left to do.
fn remedied(group: Group, explanation: Explanation) -> Remedied {
    if explanation.placement == group.example.placement {
        let verdict = explanation.verdict;
        return Remedied { group, sentence: verdict.sentence, remedy: verdict.remedy };
    }
    let earlier = explanation.earlier.into_iter().find(|earlier| Some(earlier.sequence) == group.example.placement);
    let sentence = earlier.map(|earlier| earlier.sentence).unwrap_or_default();
    Remedied { group, sentence, remedy: String::new() }
}
