//! Who may do what: workers that join and retire, workspaces, and bearer tokens. Published by the issuer.

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, de::Error as _};

use super::words;
use crate::{Timestamp, TokenId, WorkerId, WorkspaceId};

words! {
    /// What a bearer token is for.
    TokenRole {
        /// Saves, rotates and withdraws secrets, and reports builds.
        Builder = "builder",
        /// Requests and ends containers.
        Orchestrator = "orchestrator",
        /// Reads explanations and lists.
        Reader = "reader",
        /// Adds workspaces, retires workers, makes and revokes tokens.
        Admin = "admin",
        /// Lets a worker join.
        Join = "join",
    }
}

/// There is a bearer token from now on. What is recorded opens nothing: the token itself is random and nowhere kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TokenCreated {
    /// Its name.
    pub token_id: TokenId,
    /// What it is for.
    pub roles: Vec<TokenRole>,
    /// SHA-256, in hex, of the SHA-256 of the token, in hex.
    #[serde(deserialize_with = "digits")]
    #[schemars(regex(pattern = "^[0-9a-f]{64}$"))]
    pub hash: String,
    /// Workspaces that it is for; none for every workspace.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub workspaces: Vec<WorkspaceId>,
    /// When it ends.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ends_at: Option<Timestamp>,
    /// How many workers may join by it; none for any number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uses: Option<u64>,
    /// What the ids of workers that join by it begin with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub worker_prefix: Option<WorkerId>,
}

/// A bearer token is good no more.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TokenRevoked {
    /// Its name.
    pub token_id: TokenId,
    /// What was recorded of it.
    #[serde(deserialize_with = "digits")]
    #[schemars(regex(pattern = "^[0-9a-f]{64}$"))]
    pub hash: String,
}

/// A workspace whose orchestrators read what becomes of their requests.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct WorkspaceAdded {
    /// The workspace.
    pub workspace: WorkspaceId,
}

/// A worker has credentials for a key of its own. An earlier key of the same worker is good no more. The last event about a
/// worker names every key of it that a server may still have to refuse.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct WorkerJoined {
    /// The worker.
    pub worker_id: WorkerId,
    /// Public half of its user's key (`U…`, NATS nkeys encoding).
    #[serde(deserialize_with = "user_key")]
    #[schemars(regex(pattern = "^U[A-Z2-7]{55}$"))]
    pub user_key: String,
    /// Name of the token by which it joined.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token_id: Option<TokenId>,
    /// Earlier keys, good no more.
    #[serde(default, deserialize_with = "user_keys", skip_serializing_if = "Vec::is_empty")]
    pub revoked_keys: Vec<String>,
}

/// A worker is no more: its credentials have ended, and whatever was placed on it is withdrawn.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct WorkerRetired {
    /// The worker.
    pub worker_id: WorkerId,
    /// Name of the token by which it had joined.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token_id: Option<TokenId>,
    /// Its keys, good no more.
    #[serde(default, deserialize_with = "user_keys", skip_serializing_if = "Vec::is_empty")]
    pub revoked_keys: Vec<String>,
}

fn digits<'de, D: Deserializer<'de>>(input: D) -> Result<String, D::Error> {
    let text = String::deserialize(input)?;
    let fits = text.len() == 64 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    if fits { Ok(text) } else { Err(D::Error::custom("not 64 hexadecimal digits")) }
}

/// True if the text has the form of a user's public key.
pub fn is_user_key(text: &str) -> bool {
    let is_base32 = |byte: u8| matches!(byte, b'A'..=b'Z' | b'2'..=b'7');
    text.len() == 56 && text.starts_with('U') && text.bytes().all(is_base32)
}

fn user_key<'de, D: Deserializer<'de>>(input: D) -> Result<String, D::Error> {
    let text = String::deserialize(input)?;
    if is_user_key(&text) { Ok(text) } else { Err(D::Error::custom("not a public user key")) }
}

fn user_keys<'de, D: Deserializer<'de>>(input: D) -> Result<Vec<String>, D::Error> {
    let texts = Vec::<String>::deserialize(input)?;
    if texts.iter().all(|text| is_user_key(text)) { Ok(texts) } else { Err(D::Error::custom("not public user keys")) }
}
