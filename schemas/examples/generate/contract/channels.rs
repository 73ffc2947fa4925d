//! The channels of the log, one for each form of subject, and what each program does on it.

mod refused;

use waybill_schemas::{
    EventType::{self, *},
    Subject,
};

pub(super) use refused::REFUSED;

const GATEWAY: &str = "gateway";
const ORCHESTRATOR: &str = "orchestrator";
const SCHEDULER: &str = "scheduler";
const WORKER: &str = "worker";
const OPERATOR: &str = "operator";
const ISSUER: &str = "issuer";

/// A form of subject as clients see it.
pub(super) struct Channel {
    /// Key in the document.
    pub(super) name: &'static str,
    /// A subject of this form.
    sample: &'static str,
    /// What stands here, and what the last message says.
    pub(super) about: &'static str,
    pub(super) operations: &'static [Operation],
}

impl Channel {
    /// A subject of this form, whose ids mean nothing; every sample is one (`tests/contract.rs`).
    pub(super) fn subject(&self) -> Option<Subject> {
        self.sample.parse().ok()
    }
}

/// What programs do on a channel.
pub(super) struct Operation {
    /// Key in the document.
    pub(super) name: &'static str,
    pub(super) by: &'static [&'static str],
    pub(super) exchange: Exchange,
    pub(super) summary: &'static str,
}

/// Which way events go.
pub(super) enum Exchange {
    /// Publishes these events.
    Send(&'static [EventType]),
    /// Reads every event of the channel.
    Receive,
}

const fn send(
    name: &'static str,
    by: &'static [&'static str],
    events: &'static [EventType],
    summary: &'static str,
) -> Operation {
    Operation { name, by, exchange: Exchange::Send(events), summary }
}

const fn receive(name: &'static str, by: &'static [&'static str], summary: &'static str) -> Operation {
    Operation { name, by, exchange: Exchange::Receive, summary }
}

/// Every channel. "Expects" is the value of `Nats-Expected-Last-Subject-Sequence`.
pub(super) const CHANNELS: [Channel; 16] = [
    Channel {
        name: "secret",
        sample: "waybill.events.secret.w.s",
        about: "Every version, the revocation and the shredding of a secret. The last message says how the secret stands: \
                its newest version, its registry and account, and whether it is active, revoked or shredded.",
        operations: &[
            send(
                "saveSecret",
                &[GATEWAY],
                &[CredentialSecretSaved, CredentialSecretRotated],
                "The gateway has put a new version into the vault. It expects the last sequence that it read here, 0 for a new \
                 secret.",
            ),
            send(
                "revokeSecret",
                &[GATEWAY],
                &[CredentialSecretRevoked, CredentialSecretShredded],
                "The gateway withdraws the secret, on somebody's order. It expects the last sequence that it read here.",
            ),
            receive(
                "readSecret",
                &[GATEWAY, SCHEDULER, OPERATOR],
                "The scheduler and the operator read it in the log's order; the gateway reads the last message.",
            ),
        ],
    },
    Channel {
        name: "image",
        sample: "waybill.events.image.w.i.b",
        about: "What one build said of its image. What containers pull is decided by the image's newest build.",
        operations: &[
            send(
                "describeImage",
                &[GATEWAY],
                &[ImageSecretNamed, CredentialSecretSkipped],
                "The gateway tells which secret a build's image is pulled with, or why it has none. It expects 0. A version that \
                 the build brought is saved before.",
            ),
            receive(
                "readImage",
                &[GATEWAY, SCHEDULER, OPERATOR],
                "The scheduler and the operator read it in the log's order; the gateway reads it to explain an image.",
            ),
        ],
    },
    Channel {
        name: "container",
        sample: "waybill.events.container.w.c.r",
        about: "One request for a container, which makes a placement, and the end that an orchestrator gave it.",
        operations: &[
            send(
                "requestContainer",
                &[ORCHESTRATOR, GATEWAY],
                &[ContainerRequested],
                "An orchestrator of the workspace, or the gateway for one, has placed a container on a worker. It expects 0; the \
                 sequence in the acknowledgement is the placement.",
            ),
            send(
                "endContainer",
                &[ORCHESTRATOR, GATEWAY],
                &[ContainerEnded],
                "An orchestrator of the workspace, or the gateway for one, ends the placement, on the subject of its request. It \
                 expects the placement.",
            ),
            receive(
                "readContainer",
                &[ORCHESTRATOR, GATEWAY, SCHEDULER, OPERATOR],
                "The scheduler and the operator read it in the log's order; the gateway, and orchestrators of the workspace, read \
                 the last message of a subject.",
            ),
        ],
    },
    Channel {
        name: "containerDecision",
        sample: "waybill.events.decision.n.container.w.c.1",
        about: "The scheduler's decision about a placement, and its withdrawal: each at most once.",
        operations: &[
            send(
                "decideContainer",
                &[SCHEDULER],
                &[ContainerCredentialsAttached, ContainerCredentialsSkipped],
                "The scheduler answers a request. It expects 0. A worker's grant is in the vault before.",
            ),
            send(
                "withdrawContainer",
                &[SCHEDULER],
                &[ContainerCredentialsWithdrawn],
                "The scheduler takes a placement's credentials away. It expects the sequence of the answer.",
            ),
            receive(
                "readContainerDecision",
                &[WORKER, ORCHESTRATOR, GATEWAY, SCHEDULER, OPERATOR],
                "The worker reads it from its consumer `worker-<worker_id>`, orchestrators from \
                 `orchestrator-<workspace>-decisions`; the others read it to verify and to explain.",
            ),
        ],
    },
    Channel {
        name: "secretDecision",
        sample: "waybill.events.decision.n.secret.w.s.1",
        about: "A worker's new grant of a secret, for every placement on it that has the secret.",
        operations: &[
            send(
                "renewSecret",
                &[SCHEDULER],
                &[WorkerCredentialsRenewed],
                "The scheduler has sealed a version to the worker. It expects 0, and after the worker's key changed the last \
                 sequence here.",
            ),
            receive(
                "readSecretDecision",
                &[WORKER, GATEWAY, SCHEDULER, OPERATOR],
                "The worker reads it from its consumer `worker-<worker_id>`; the others read it to verify and to explain.",
            ),
        ],
    },
    Channel {
        name: "containerOutcome",
        sample: "waybill.events.outcome.n.w.c.1",
        about: "What a worker reports of a placement, in order: provider, pull, end. The last message says how far it is.",
        operations: &[
            send(
                "reportProvider",
                &[WORKER],
                &[CredentialProviderAttached, CredentialProviderFailed],
                "The worker has a credential provider for the container, or could build none. It expects 0.",
            ),
            send(
                "reportPull",
                &[WORKER],
                &[ImagePullSucceeded, ImagePullFailed],
                "The worker has pulled the image, or could not. It expects the sequence of the provider's outcome.",
            ),
            send(
                "reportEnd",
                &[WORKER],
                &[ContainerEnded],
                "The container has ended on its node. The worker expects the last sequence here, 0 where it reported nothing.",
            ),
            receive(
                "readContainerOutcome",
                &[ORCHESTRATOR, SCHEDULER, WORKER, GATEWAY, OPERATOR],
                "Orchestrators read it from `orchestrator-<workspace>-outcomes`, the scheduler and the operator in the log's \
                 order; the worker reads its own last message, the gateway reads it to explain.",
            ),
        ],
    },
    Channel {
        name: "secretOutcome",
        sample: "waybill.events.outcome.n.secret.w.s.1",
        about: "What a worker reports of a renewal.",
        operations: &[
            send(
                "reportRenewal",
                &[WORKER],
                &[SecretRenewalApplied, SecretRenewalFailed],
                "The worker uses the new grant, or cannot. It expects 0, and after its key changed the last sequence here.",
            ),
            receive(
                "readSecretOutcome",
                &[SCHEDULER, WORKER, GATEWAY, OPERATOR],
                "The scheduler and the operator read it in the log's order; the worker reads its own last message, the gateway \
                 reads it to explain.",
            ),
        ],
    },
    Channel {
        name: "containerQuestion",
        sample: "waybill.events.outcome.n.question.w.c.1",
        about: "Who asked the worker's socket for a placement's login, and what it got. No decision depends on it.",
        operations: &[
            send(
                "reportContainerQuestion",
                &[WORKER],
                &[ContainerLoginAsked],
                "A program of the node has asked. At most once a minute for each program and answer; it expects nothing.",
            ),
            receive(
                "readContainerQuestion",
                &[GATEWAY, SCHEDULER, OPERATOR],
                "The gateway and the operator read it to explain; the scheduler passes over it.",
            ),
        ],
    },
    Channel {
        name: "nodeQuestion",
        sample: "waybill.events.outcome.n.question",
        about: "Questions that are of no one container: with a workspace's key, a pod's identity, or nothing that opens anything.",
        operations: &[
            send(
                "reportNodeQuestion",
                &[WORKER],
                &[NodeLoginAsked],
                "A program of the node has asked. At most once a minute for each asker, program and answer; it expects nothing.",
            ),
            receive(
                "readNodeQuestion",
                &[GATEWAY, SCHEDULER, OPERATOR],
                "The gateway and the operator read it to explain; the scheduler passes over it.",
            ),
        ],
    },
    Channel {
        name: "worker",
        sample: "waybill.events.worker.n",
        about: "Registrations of a worker. The last one owns the worker id.",
        operations: &[
            send(
                "registerWorker",
                &[WORKER],
                &[WorkerRegistered],
                "The worker has started: its instance, and the key that grants are sealed to.",
            ),
            receive(
                "readWorker",
                &[WORKER, SCHEDULER, GATEWAY, OPERATOR],
                "A worker reads the last message of its own subject, and stops when a later instance stands there; the scheduler \
                 and the operator read it in the log's order, the gateway reads it to explain.",
            ),
        ],
    },
    Channel {
        name: "workerIdentity",
        sample: "waybill.events.identity.worker.n",
        about: "That a worker joined, with the key of its user, and that it retired. The last message says which.",
        operations: &[
            send(
                "admitWorker",
                &[ISSUER],
                &[WorkerJoined, WorkerRetired],
                "The issuer gives a worker credentials, or ends them. It expects the last sequence here.",
            ),
            receive(
                "readWorkerIdentity",
                &[ISSUER, SCHEDULER, GATEWAY, OPERATOR],
                "The scheduler withdraws what was placed on a worker that retired; the issuer reads what it said before.",
            ),
        ],
    },
    Channel {
        name: "workspace",
        sample: "waybill.events.identity.workspace.w",
        about: "That there is a workspace.",
        operations: &[
            send("addWorkspace", &[ISSUER], &[WorkspaceAdded], "There is a workspace more. The issuer expects 0."),
            receive(
                "readWorkspace",
                &[ISSUER, SCHEDULER, GATEWAY, OPERATOR],
                "The scheduler makes the consumers of the workspace's orchestrators.",
            ),
        ],
    },
    Channel {
        name: "token",
        sample: "waybill.events.identity.token.t",
        about: "A bearer token, by a hash of its hash, and its revocation. The last message says which.",
        operations: &[
            send(
                "changeToken",
                &[ISSUER],
                &[TokenCreated, TokenRevoked],
                "There is a token, or it is good no more. The issuer expects the last sequence here.",
            ),
            receive(
                "readToken",
                &[ISSUER, GATEWAY, SCHEDULER, OPERATOR],
                "Gateways read the last message of each token to know who asks.",
            ),
        ],
    },
    Channel {
        name: "schedulerKeys",
        sample: "waybill.events.scheduler.keys",
        about: "The scheduler's public keys. The last message holds those of now.",
        operations: &[
            send("publishSchedulerKeys", &[SCHEDULER], &[SchedulerKeyPublished], "The scheduler's keys have changed."),
            receive(
                "readSchedulerKeys",
                &[GATEWAY, WORKER, SCHEDULER, OPERATOR],
                "The gateway reads the last message to seal a version, a worker to accept a grant's sealer.",
            ),
        ],
    },
    Channel {
        name: "quarantine",
        sample: "waybill.events.quarantine.1",
        about: "What the operator says of a message that could not be read.",
        operations: &[
            send(
                "answerQuarantine",
                &[OPERATOR],
                &[QuarantineRetried, QuarantineDiscarded],
                "The operator has the message read again, or gives it up.",
            ),
            receive(
                "readQuarantine",
                &[SCHEDULER, GATEWAY, OPERATOR],
                "The scheduler and the operator read it in the log's order; the gateway reads it to explain.",
            ),
        ],
    },
    Channel {
        name: "archive",
        sample: "waybill.events.archive.1",
        about: "Which messages left the log for an archive: those of placements that are over, in one run. A sequence that is \
                missing from the log and stands in no complete run was lost.",
        operations: &[
            send(
                "archivePlacements",
                &[OPERATOR],
                &[PlacementsArchived],
                "The operator's archive has the messages, which may be deleted once the run is complete. It expects 0, and from \
                 the second part on the sequence of the part before.",
            ),
            receive(
                "readArchive",
                &[SCHEDULER, OPERATOR],
                "Whoever reads every message reads these first, to tell what left from what was lost.",
            ),
        ],
    },
];
