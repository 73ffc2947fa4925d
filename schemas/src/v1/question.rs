//! What programs of a node ask a worker's socket, and what they get.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::words;
use crate::{ContainerId, WorkerId, WorkspaceId};

words! {
    /// What a program asks for.
    Question {
        /// A login for a registry or an image.
        Login = "login",
        /// The registries that there are logins for.
        List = "list",
        /// That a container's end is recorded.
        End = "end",
    }
}

words! {
    /// By what the asker is known.
    AskedWith {
        /// The access key of one container.
        ContainerKey = "container_key",
        /// The access key of a workspace.
        WorkspaceKey = "workspace_key",
        /// A pod's service account token that was verified.
        PodToken = "pod_token",
        /// Nothing that is good for anything: an unknown key, a token that is refused, or a question that cannot be read.
        Nothing = "nothing",
    }
}

words! {
    /// Why a program of the node gets no answer.
    LoginRefusal {
        /// The question is not of a known form.
        BadRequest = "bad_request",
        /// The key is nobody's, or nobody's any more; or this user may not ask.
        NoAccess = "no_access",
        /// The pod's token is not accepted: its issuer, audience, signature or time.
        TokenRefused = "token_refused",
        /// No rule of the worker gives the pod's service account a workspace.
        NoRule = "no_rule",
        /// There are no credentials for that host.
        NotFound = "not_found",
        /// Containers of the workspace have different logins for that host.
        Ambiguous = "ambiguous",
        /// The credentials have run out.
        Expired = "expired",
        /// The container's credentials cannot be used: they were withheld, or cannot be opened or read.
        Unusable = "unusable",
        /// The credentials are not accepted, or nobody could be asked.
        ExchangeFailed = "exchange_failed",
        /// The login is no user name and password.
        NotExpressible = "not_expressible",
        /// The worker cannot tell now.
        Unavailable = "unavailable",
    }
}

/// The service account that a verified token names.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PodIdentity {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub service_account: String,
}

/// One question and its answer. The login is given where there is no `reason`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LoginQuestion {
    /// What was asked for.
    pub question: Question,
    /// By what the asker was known.
    pub asked_with: AskedWith,
    /// Name of the program that asked.
    pub program: String,
    /// Its process id, as the worker sees it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pid: Option<u32>,
    /// Name of the program that started it, where that is known: `kubelet`, `podman`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run_by: Option<String>,
    /// The service account, where a token was verified.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub identity: Option<PodIdentity>,
    /// Registry host that was asked about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub registry: Option<String>,
    /// Image that was asked about, where one was named.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<String>,
    /// Why it was refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<LoginRefusal>,
    /// More words for people, without secrets.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    /// How often the same was asked and answered since the last such event, where it was: at most one a minute is recorded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub repeated: Option<u64>,
}

/// A program of the node asked for a container's login. Published by the worker.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ContainerLoginAsked {
    /// Owner of the container.
    pub workspace: WorkspaceId,
    /// The container whose login was asked for.
    pub container_id: ContainerId,
    /// Its placement: the stream sequence of the request.
    pub placement: u64,
    /// The worker that was asked.
    pub worker_id: WorkerId,
    /// The question and its answer.
    pub asked: LoginQuestion,
}

/// A program of the node asked, and no one container is meant: the key or the token is a whole workspace's, or nobody's.
/// Published by the worker.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NodeLoginAsked {
    /// The worker that was asked.
    pub worker_id: WorkerId,
    /// The workspace that the asker speaks for, where that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workspace: Option<WorkspaceId>,
    /// The question and its answer.
    pub asked: LoginQuestion,
}
