//! The attach decision: what a container request gets, given what the log said before it.

use waybill_schemas::{
    Timestamp,
    v1::{AttachSkipReason, ContainerRequested},
};

use super::{AttachPlan, Decision, ImageFact, SkipPlan, WorkerFact};

/// Decides about a request made at `at` (the stream's time), from the facts before it. The first rule that applies wins.
pub fn decide_attach(
    request: &ContainerRequested,
    at: Timestamp,
    image: Option<&ImageFact>,
    worker: Option<&WorkerFact>,
) -> Decision {
    let Some(image_id) = &request.image_id else { return skip(AttachSkipReason::NoImageId, image) };
    if request.build_container {
        return skip(AttachSkipReason::BuildContainer, image);
    }
    let Some(saved) = image.and_then(|image| image.saved.as_ref()) else {
        return skip(AttachSkipReason::NoSecretForImage, image);
    };
    if saved.expires_at.is_some_and(|expiry| expiry <= at) {
        return skip(AttachSkipReason::SecretExpired, image);
    }
    let Some(worker) = worker else { return skip(AttachSkipReason::UnknownWorker, image) };
    Decision::Attach(AttachPlan {
        image_id: image_id.clone(),
        saved: saved.clone(),
        worker_key: worker.sealing_key.clone(),
    })
}

/// The skip says what the builds knew: the worker needs the reference for a pull without credentials.
fn skip(reason: AttachSkipReason, image: Option<&ImageFact>) -> Decision {
    let saved = image.and_then(|image| image.saved.as_ref());
    let skipped = image.and_then(|image| image.skipped.as_ref());
    Decision::Skip(SkipPlan {
        reason,
        image_ref: saved.map(|s| s.image_ref.clone()).or_else(|| skipped.and_then(|s| s.image_ref.clone())),
        registry: saved.map(|s| s.registry.clone()).or_else(|| skipped.and_then(|s| s.registry.clone())),
        image_event: saved.map(|s| s.sequence).or_else(|| skipped.map(|s| s.sequence)),
    })
}
