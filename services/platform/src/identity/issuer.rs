//! What is asked of the issuer over NATS, and what it answers, as JSON.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use serde::{Deserialize, Serialize};
use waybill_domain::credentials::Secret;
use waybill_schemas::{
    PublicSealingKey, Timestamp, TokenId, WorkerId, WorkspaceId,
    v1::{TokenCreated, TokenRole},
};

use crate::{log::EventLog, sealing::sha256_hex};

/// Subject of [`Ask`]. Only gateways may publish there.
pub const ASK: &str = "waybill.issuer.ask";
/// Prefix of `<kind>.<name>`: who may publish there is that user, so that the subject says who asks for new credentials.
pub const RENEW: &str = "waybill.issuer.renew";

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// How long credentials of a kind of role are good. Nodes come and go, and ask for new ones by themselves; what is installed by
/// hand lasts; who may do everything, a day.
pub fn lifetime(kind: &str) -> Duration {
    match kind {
        "worker" => 7 * DAY,
        "log-admin" => DAY,
        _ => 365 * DAY,
    }
}

/// What a client shows in the place of a bearer token: its SHA-256, in hex. The log holds only the [hash](recorded_hash) of
/// that, so that whoever reads the log can show nothing.
pub fn proof(token: &Secret) -> String {
    sha256_hex(token.expose().trim().as_bytes())
}

/// What is recorded of a token.
pub fn recorded_hash(proof: &str) -> String {
    sha256_hex(proof.as_bytes())
}

/// How somebody proves that they may.
#[derive(Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum By {
    /// The [proof] of a bearer token.
    Proof(String),
    /// A service account's token of Kubernetes, made for Waybill.
    ServiceAccount(String),
}

/// Neither is shown.
impl std::fmt::Debug for By {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Proof(_) => "Proof(redacted)",
            Self::ServiceAccount(_) => "ServiceAccount(redacted)",
        })
    }
}

/// A token that is to be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NewToken {
    /// Its name.
    pub token_id: TokenId,
    /// What it is for.
    pub roles: Vec<TokenRole>,
    /// Workspaces that it is for; none for every workspace.
    #[serde(default)]
    pub workspaces: Vec<WorkspaceId>,
    /// When it ends.
    #[serde(default)]
    pub ends_at: Option<Timestamp>,
    /// How many workers may join by it.
    #[serde(default)]
    pub uses: Option<u64>,
    /// What their ids begin with.
    #[serde(default)]
    pub worker_prefix: Option<WorkerId>,
}

/// A request.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ask {
    /// Credentials for a worker with a key of its own.
    Join {
        /// By which right.
        by: By,
        /// Which worker it wants to be; a service account's token says it itself.
        worker_id: Option<WorkerId>,
        /// Public half of its user's key.
        user_key: String,
    },
    /// The end of a worker.
    Retire {
        /// By which right.
        by: By,
        /// The worker.
        worker_id: WorkerId,
    },
    /// A workspace more, and credentials for an orchestrator of it.
    AddWorkspace {
        /// By which right.
        by: By,
        /// The workspace.
        workspace: WorkspaceId,
        /// Public half of the orchestrator's key; none if no credentials are wanted.
        user_key: Option<String>,
    },
    /// A bearer token more.
    CreateToken {
        /// By which right.
        by: By,
        /// What it is for.
        token: NewToken,
        /// [Proof](proof) of the token itself.
        proof: String,
    },
    /// The end of a bearer token.
    RevokeToken {
        /// By which right.
        by: By,
        /// Its name.
        token_id: TokenId,
    },
}

/// What a node needs beside its own keys.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Admission {
    /// The token of its user.
    pub token: String,
    /// When that ends, in Unix seconds.
    pub ends_at: i64,
    /// Which worker it is; none for an orchestrator.
    #[serde(default)]
    pub worker_id: Option<WorkerId>,
    /// Addresses of the servers, comma separated.
    pub servers: String,
    /// The servers' certificate authority, as PEM.
    #[serde(default)]
    pub ca: Option<String>,
    /// The scheduler's public key, once there is one.
    #[serde(default)]
    pub scheduler_key: Option<PublicSealingKey>,
}

/// The issuer does not do it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{detail}")]
pub struct Refusal {
    /// Why, as one word: `not_allowed`, `not_found`, `conflict`, `invalid`, `unavailable`.
    pub code: String,
    /// Why, and what to do.
    pub detail: String,
}

impl Refusal {
    /// A refusal in words.
    pub fn new(code: &str, detail: impl Into<String>) -> Self {
        Self { code: code.to_owned(), detail: detail.into() }
    }
}

/// An answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// Credentials.
    Admitted(Box<Admission>),
    /// The log holds it.
    Recorded {
        /// Stream sequence of the event.
        sequence: u64,
    },
    /// Nothing was done.
    Refused(Refusal),
}

/// Asks the issuer. Only gateways may.
///
/// # Errors
/// In words, when nobody answers in time.
pub async fn ask_issuer(log: &EventLog, ask: &Ask) -> Result<Answer, String> {
    let body = serde_json::to_vec(ask).map_err(|error| error.to_string())?;
    let answer = log.client().request(ASK, body.into()).await.map_err(|error| error.to_string())?;
    serde_json::from_slice(&answer.payload).map_err(|_| "the answer cannot be read".to_owned())
}

/// What `waybill init` made before there was a log: the issuer records it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Seed {
    /// Workers, with the public keys of their users.
    pub workers: BTreeMap<WorkerId, String>,
    /// Workspaces.
    pub workspaces: BTreeSet<WorkspaceId>,
    /// Bearer tokens.
    pub tokens: Vec<TokenCreated>,
}
