//! Explaining: from what the log holds about a container, an image or a secret to the hop that broke, why, and what to do.
//!
//! The gathered events are folded with the one fold, and what is recorded is compared with what the fold comes to; the rest is
//! wording. What a new request would come to is asked of the same decision, so that a remedy knows what was put right since.
//! Only whether an open hop waits or is lost needs more: how far the readers of the log are, and the present time.

mod again;
mod asked;
mod case;
mod clocks;
mod concern;
mod container;
mod difference;
mod history;
mod image;
mod missing;
mod notes;
mod open;
mod prove;
mod provider;
mod pull;
mod readers;
mod reason;
mod refused;
mod replay;
mod secret;
mod skipped;
mod step;
mod story;
mod verdict;
mod withdrawn;

use serde::Serialize;
use waybill_schemas::{
    Timestamp, WorkerId, WorkspaceId,
    v1::{CredentialSecretSkipped, LoginQuestion},
};

pub use case::{Asked, Case};
pub use concern::Concern;
pub use container::explain_container;
pub use difference::Difference;
pub use history::{Entry, History, Seen};
pub use image::explain_image;
pub use prove::{Proof, prove_remedy};
pub(crate) use pull::wants_credentials;
pub use readers::{ReaderState, ReaderStatus, Readers};
pub use refused::describe_refusal;
pub(crate) use refused::{hop_of, refusal_remedy, refusal_sentence};
pub use secret::explain_secret;
pub use step::{Step, StepOutcome, Words, describe};
pub use verdict::{Code, Hop, State, Verdict};

/// What a build that saves nothing is explained with: a sentence and a remedy.
pub fn skip_in_words(skipped: &CredentialSecretSkipped) -> (String, String) {
    (skipped::sentence(skipped), skipped::remedy(skipped))
}

/// A question of a program of the node in words: who asked, with what, for what, and what it got.
pub fn describe_question(asked: &LoginQuestion) -> String {
    asked::describe(asked)
}

/// The answer to "what happened to this container, this image or this secret?".
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Explanation {
    /// `container`, `image` or `secret`.
    pub kind: &'static str,
    /// Its owner.
    pub workspace: WorkspaceId,
    /// Id of the container or image, or name of the secret.
    pub id: String,
    /// The container's newest placement.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub placement: Option<u64>,
    /// The worker that it is on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub worker_id: Option<WorkerId>,
    /// The first hop that broke or is still open.
    pub verdict: Verdict,
    /// What happened, in the order of the log: for a container since its newest request, with the build and the secret that
    /// it depends on.
    pub timeline: Vec<Step>,
    /// Earlier placements of the same container, oldest first.
    pub earlier: Vec<Earlier>,
    /// Further facts that a person should know.
    pub notes: Vec<String>,
}

/// An earlier placement of the same container, in short.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Earlier {
    /// Sequence of the request: the placement's number.
    pub sequence: u64,
    /// The stream's time of it.
    pub time: Timestamp,
    /// The worker that it was on.
    pub worker_id: WorkerId,
    /// What became of it.
    pub state: State,
    /// Why, as one word.
    pub code: Code,
    /// Why, in one sentence.
    pub sentence: String,
}
