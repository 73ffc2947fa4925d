//! From a decision that is due to the event that states it, in the span of its processing, and what is logged and counted of it.

use tracing::Span;
use waybill_domain::{
    decision::{Decision, Outcome},
    fold::Pending,
};
use waybill_platform::{
    log::NewEvent,
    metrics,
    trace::{self, Delivery},
};
use waybill_schemas::{Envelope, Event, RecordedEvent, Subject, TraceParent, v1::AttachSkipReason};

use crate::SOURCE;

/// A decision ready to publish.
pub(crate) struct Announcement {
    pub(crate) event: NewEvent,
    /// The span of its processing, which its publishing is a part of.
    pub(crate) span: Span,
}

impl Announcement {
    /// The event's id is derived from what it is made for, so announcing twice is announcing once.
    pub(crate) fn new(pending: &Pending) -> Self {
        let decision = &pending.decision;
        // Building what a span says costs as much as building the event.
        let span = if trace::is_on() { process_span(pending) } else { Span::none() };
        span.in_scope(|| write_checks(decision));
        let mut envelope = Envelope::new(pending.event_id(), SOURCE);
        envelope.time = Some(trace::now());
        envelope.causation_id = Some(pending.cause.id);
        envelope.correlation_id = Some(pending.cause.correlation_id);
        if trace::is_unseen() {
            let cause = pending.cause.trace.as_ref().and_then(|trace| TraceParent::parse(&trace.traceparent));
            let delivery = Delivery::of(pending.cause.at, false);
            envelope.traceparent = trace::follow_on(cause.as_ref(), delivery, envelope.id);
        }
        Self { event: NewEvent { subject: decision.subject(), envelope, event: decision.to_event() }, span }
    }
}

/// The trace of a live cause (a request, a rotation, a revocation, an end) goes on; an old one is linked. Either way the span
/// of an attachment links to the span that saved the version.
fn process_span(pending: &Pending) -> Span {
    let cause = &pending.cause;
    let mut envelope = Envelope::new(cause.id, String::new());
    envelope.correlation_id = Some(cause.correlation_id);
    envelope.traceparent = cause.trace.as_ref().and_then(|trace| TraceParent::parse(&trace.traceparent));
    envelope.tracestate = cause.trace.as_ref().and_then(|trace| trace.tracestate.clone());
    // The span stands for the cause, and names what was decided: that is what people search for.
    let subject: Subject = cause.subject.parse().unwrap_or_else(|_| pending.decision.subject());
    let processed = RecordedEvent { subject, envelope, event: pending.decision.to_event() };
    let span = trace::process_span(&processed, Delivery::of(cause.at, false));
    let saved = pending.saved_trace.as_ref().and_then(|trace| TraceParent::parse(&trace.traceparent));
    if let (Some(saved), Some(credential)) = (saved, pending.decision.credential()) {
        trace::link_saved(&span, &saved, credential.saved_by);
    }
    span
}

/// Each check on the way to the decision.
fn write_checks(decision: &Decision) {
    match &decision.outcome {
        Outcome::Attached { placement, image, credential } => tracing::debug!(
            container_id = %placement.container_id,
            image_id = %image.image_id,
            secret_name = %credential.secret_name,
            version = credential.version,
            cred_type = credential.cred_type.as_str(),
            has_image_credentials = true,
            "secret found for image"
        ),
        Outcome::Skipped { placement, image, reason } => tracing::debug!(
            container_id = %placement.container_id,
            image_id = image.image_id.as_ref().map(tracing::field::display),
            secret_name = image.secret_name.as_ref().map(tracing::field::display),
            has_image_credentials = false,
            reason = reason.as_str(),
            "no secret for image"
        ),
        Outcome::Withdrawn { .. } | Outcome::Renewed { .. } => {}
    }
}

/// Counts a decision that is in the log for the first time.
pub(crate) fn count(event: &Event) {
    match event {
        Event::ContainerCredentialsAttached(_) => metrics::decision("attached", None),
        Event::ContainerCredentialsSkipped(skipped) => metrics::decision("skipped", Some(skipped.reason.as_str())),
        Event::ContainerCredentialsWithdrawn(withdrawn) => {
            metrics::decision("withdrawn", Some(withdrawn.reason.as_str()));
        }
        Event::WorkerCredentialsRenewed(renewed) => metrics::renewal("decided", Some(renewed.cause.as_str())),
        _ => {}
    }
}

/// People search for these messages and fields.
pub(crate) fn write_log_line(event: &Event, sequence: u64) {
    match event {
        Event::ContainerCredentialsAttached(attached) => tracing::info!(
            container_id = %attached.container_id,
            image_id = %attached.image_id,
            secret_name = %attached.secret_name,
            credentials_length = attached.credentials_length,
            version = attached.version,
            workspace = %attached.workspace,
            worker_id = %attached.worker_id,
            placement = attached.placement,
            sequence,
            "attached OCI credentials"
        ),
        Event::ContainerCredentialsSkipped(skipped) if skipped.reason == AttachSkipReason::NoSecretForImage => {
            tracing::warn!(
                container_id = %skipped.container_id,
                image_id = skipped.image_id.as_ref().map(tracing::field::display),
                workspace = %skipped.workspace,
                worker_id = %skipped.worker_id,
                placement = skipped.placement,
                sequence,
                "no credential secret found for image"
            );
        }
        Event::ContainerCredentialsSkipped(skipped) => tracing::warn!(
            container_id = %skipped.container_id,
            image_id = skipped.image_id.as_ref().map(tracing::field::display),
            secret_name = skipped.secret_name.as_ref().map(tracing::field::display),
            reason = %skipped.reason,
            workspace = %skipped.workspace,
            worker_id = %skipped.worker_id,
            placement = skipped.placement,
            sequence,
            "no credentials attached"
        ),
        Event::ContainerCredentialsWithdrawn(withdrawn) => tracing::info!(
            container_id = %withdrawn.container_id,
            secret_name = withdrawn.secret_name.as_ref().map(tracing::field::display),
            reason = %withdrawn.reason,
            workspace = %withdrawn.workspace,
            worker_id = %withdrawn.worker_id,
            placement = withdrawn.placement,
            sequence,
            "withdrew OCI credentials"
        ),
        Event::WorkerCredentialsRenewed(renewed) => tracing::info!(
            secret_name = %renewed.secret_name,
            version = renewed.version,
            cause = %renewed.cause,
            workspace = %renewed.workspace,
            worker_id = %renewed.worker_id,
            sequence,
            "renewed OCI credentials"
        ),
        _ => {}
    }
}
