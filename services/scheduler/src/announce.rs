//! From a pending decision to the event that announces it: open the saved credentials, seal them to the worker.

use waybill_domain::fold::{AttachPlan, Decision, Pending, SkipPlan};
use waybill_platform::sealing::{Binding, PrivateKey, PublicKey, open, seal};
use waybill_schemas::{
    Envelope, Event, Timestamp,
    v1::{AttachSkipReason, ContainerCredentialsAttached, ContainerCredentialsSkipped},
};

/// `ce-source` of the scheduler's events.
pub const SOURCE: &str = "/waybill/scheduler";

/// The keys that decisions are opened and sealed with.
#[derive(Debug)]
pub struct Keys {
    /// The scheduler's own.
    pub own: PrivateKey,
    /// The only sealer whose credentials are accepted.
    pub gateway: PublicKey,
}

/// The event for a decision. Its id is derived from what it is made for, so announcing twice is announcing once.
///
/// Credentials that cannot be opened become a skip with `unseal_failed`; a worker key that nothing can be sealed to
/// becomes one with `unknown_worker`.
pub(crate) fn announce(pending: &Pending, keys: &Keys) -> Event {
    match &pending.decision {
        Decision::Skip(plan) => skipped(pending, plan.clone()).into(),
        Decision::Attach(plan) => match attached(pending, plan, keys) {
            Ok(attached) => attached.into(),
            Err(reason) => skipped(pending, plan.withheld(reason)).into(),
        },
    }
}

/// What stands around the event, without the trace context of its publishing.
pub(crate) fn envelope(pending: &Pending, now: Timestamp) -> Envelope {
    Envelope {
        id: pending.decision_id(),
        source: SOURCE.to_owned(),
        source_version: None,
        time: Some(now),
        causation_id: Some(pending.cause()),
        correlation_id: Some(pending.correlation_id),
        traceparent: None,
        tracestate: None,
    }
}

fn attached(
    pending: &Pending,
    plan: &AttachPlan,
    keys: &Keys,
) -> Result<ContainerCredentialsAttached, AttachSkipReason> {
    let saved = &plan.saved;
    let request = &pending.request;
    let from = Binding::Image {
        workspace: request.workspace.clone(),
        image_id: plan.image_id.clone(),
        registry: saved.registry.clone(),
    };
    let to = Binding::Container {
        workspace: request.workspace.clone(),
        container_id: request.container_id.clone(),
        registry: saved.registry.clone(),
    };
    let credentials = open(&keys.own, &keys.gateway, &from, &saved.credentials).map_err(|error| {
        tracing::warn!(container_id = %request.container_id, image_id = %plan.image_id, saved_by = saved.sequence, %error, "saved credentials cannot be opened");
        AttachSkipReason::UnsealFailed
    })?;
    let worker: PublicKey = plan.worker_key.as_str().parse().map_err(|_| AttachSkipReason::UnknownWorker)?;
    let sealed = seal(&keys.own, &worker, &to, &credentials).map_err(|_| AttachSkipReason::UnknownWorker)?;
    Ok(ContainerCredentialsAttached {
        workspace: request.workspace.clone(),
        container_id: request.container_id.clone(),
        image_id: plan.image_id.clone(),
        worker_id: request.worker_id.clone(),
        image_ref: saved.image_ref.clone(),
        secret_name: saved.secret_name.clone(),
        registry: saved.registry.clone(),
        cred_type: saved.cred_type,
        credentials_length: u64::try_from(credentials.expose().len()).unwrap_or(u64::MAX),
        saved_by: saved.sequence,
        requested_by: pending.requested_by,
        expires_at: saved.expires_at,
        credentials: sealed,
    })
}

fn skipped(pending: &Pending, plan: SkipPlan) -> ContainerCredentialsSkipped {
    let request = &pending.request;
    ContainerCredentialsSkipped {
        workspace: request.workspace.clone(),
        container_id: request.container_id.clone(),
        image_id: request.image_id.clone(),
        worker_id: request.worker_id.clone(),
        image_ref: plan.image_ref,
        registry: plan.registry,
        reason: plan.reason,
        image_event: plan.image_event,
        requested_by: pending.requested_by,
    }
}
