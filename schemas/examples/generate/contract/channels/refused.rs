//! Channels of refused requests: one for each thing that a request may be about.

use waybill_schemas::EventType::RequestRefused;

use super::{Channel, GATEWAY, OPERATOR, Operation, SCHEDULER, receive, send};

/// Channels on which the gateway says what it refused. The last message of one is the answer that holds.
pub(in super::super) const REFUSED: [Channel; 5] = [
    channel(
        "refusedContainer",
        "waybill.events.refused.container.w.c",
        "Requests about a container that the gateway refused: to place it, or to end it. No decision depends on it.",
        &[report("refuseContainer"), explain("readRefusedContainer")],
    ),
    channel(
        "refusedImage",
        "waybill.events.refused.image.w.i",
        "Builds of an image that the gateway refused. No decision depends on it.",
        &[report("refuseImage"), explain("readRefusedImage")],
    ),
    channel(
        "refusedSecret",
        "waybill.events.refused.secret.w.s",
        "Requests about a secret that the gateway refused: to save, rotate, revoke or shred it. No decision depends on it.",
        &[report("refuseSecret"), explain("readRefusedSecret")],
    ),
    channel(
        "refusedWorkspace",
        "waybill.events.refused.workspace.w",
        "Requests of a workspace that the gateway refused and that name no thing, such as one that is not JSON.",
        &[report("refuseWorkspace"), explain("readRefusedWorkspace")],
    ),
    channel(
        "refusedUnowned",
        "waybill.events.refused.unowned",
        "Requests that the gateway refused and that are of no workspace: without a valid token, or an operator's that names none. \
         What they claim to be about is not recorded.",
        &[report("refuseUnowned"), explain("readRefusedUnowned")],
    ),
];

const fn channel(
    name: &'static str,
    sample: &'static str,
    about: &'static str,
    operations: &'static [Operation],
) -> Channel {
    Channel { name, sample, about, operations }
}

const fn report(name: &'static str) -> Operation {
    send(
        name,
        &[GATEWAY],
        &[RequestRefused],
        "The gateway has refused a request. Once for an answer until it changes, within a budget; it expects nothing.",
    )
}

const fn explain(name: &'static str) -> Operation {
    receive(
        name,
        &[GATEWAY, SCHEDULER, OPERATOR],
        "The gateway and the operator read it to explain; the scheduler passes over it.",
    )
}
