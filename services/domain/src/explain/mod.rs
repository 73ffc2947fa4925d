//! Explaining: from what the log holds about an image or a container to the hop that broke, why, and what to do.
//!
//! The verdict is a function of events. Only whether an open hop is waiting or lost needs more: how far the readers of the
//! log are, and the present time. Both come in as arguments.

mod attempt;
mod broken;
mod cause;
mod container;
mod history;
mod image;
mod open;
mod readers;
mod step;
mod verdict;

use serde::Serialize;

pub use container::explain_container;
pub use history::{Entry, History, Seen};
pub use image::explain_image;
pub use readers::{ReaderState, ReaderStatus, Readers};
pub use step::{Step, StepOutcome};
pub use verdict::{Code, Hop, State, Verdict};

use waybill_schemas::{Timestamp, WorkspaceId, v1::CredentialSecretSkipped};

/// What a build that saves nothing would be explained with: a sentence and a remedy.
pub fn skip_in_words(skipped: &CredentialSecretSkipped, at: Timestamp) -> (String, String) {
    let verdict = cause::skipped_build(skipped, 0, at);
    (verdict.sentence, verdict.remedy)
}

/// The answer to "what happened to this image, or this container?".
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Explanation {
    /// `image` or `container`.
    pub kind: &'static str,
    /// Whose it is.
    pub workspace: WorkspaceId,
    /// Id of the image or the container.
    pub id: String,
    /// The first hop that broke or is still open.
    pub verdict: Verdict,
    /// What happened, in the order of the log: for a container since its newest request, with the build it depends on.
    pub timeline: Vec<Step>,
    /// Earlier requests for the same container, oldest first.
    pub earlier: Vec<Earlier>,
    /// Further facts that a person should know.
    pub notes: Vec<String>,
}

/// An earlier request for the same container, in short.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Earlier {
    /// Sequence of the request.
    pub sequence: u64,
    /// The stream's time of it.
    pub time: Timestamp,
    /// How it ended.
    pub state: State,
    /// Why.
    pub code: Code,
}
