//! A case: a question with everything that its answer rests on. Explaining it again, anywhere, gives the same answer.

use waybill_schemas::{ContainerId, ImageId, SecretName, Timestamp, WorkspaceId};

use super::{Explanation, History, Readers, explain_container, explain_image, explain_secret};

/// What is asked about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Asked {
    /// What a container that asks for the image would find.
    Image(ImageId),
    /// What became of the container's newest placement.
    Container(ContainerId),
    /// Whether a secret may be used, and whether its workers took the newest version.
    Secret(SecretName),
}

impl Asked {
    /// The kind as one word, and the id.
    pub fn parts(&self) -> (&'static str, &str) {
        match self {
            Self::Image(id) => ("image", id.as_str()),
            Self::Container(id) => ("container", id.as_str()),
            Self::Secret(name) => ("secret", name.as_str()),
        }
    }
}

/// A question, and what was found for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Case {
    /// Owner of what is asked about.
    pub workspace: WorkspaceId,
    /// What is asked about.
    pub asked: Asked,
    /// What the log holds about it.
    pub history: History,
    /// How far the readers that it waits for are.
    pub readers: Readers,
    /// When it was asked.
    pub now: Timestamp,
}

impl Case {
    /// The answer.
    pub fn explain(&self) -> Explanation {
        let Self { workspace, asked, history, readers, now } = self;
        match asked {
            Asked::Image(id) => explain_image(history, workspace, id, *now),
            Asked::Container(id) => explain_container(history, workspace, id, readers, *now),
            Asked::Secret(name) => explain_secret(history, workspace, name, *now),
        }
    }
}
