//! The signing keys, the accounts' tokens, and how running servers come to know of a change.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use async_nats::{Client, SubscribeError, Subscriber};
use futures_util::{FutureExt as _, StreamExt as _};
use nkeys::KeyPair;
use serde_json::{Value, json};
use time::OffsetDateTime;
use waybill_platform::{
    config::read_private,
    identity::{Claims, Credentials, CredentialsFile, TokenError, lifetime, user_claims},
};

/// Signs accounts.
const ACCOUNTS: &str = "accounts";
/// The account whose users are revoked.
const WORKERS: &str = "WORKERS";
/// Between two times that an account is built again.
const REBUILD: Duration = Duration::from_secs(10);
/// The claim that names keys whose users are refused.
const REVOCATIONS: &str = "revocations";
/// Kinds of role that are renewed or issued, each with its account.
const KINDS: [(&str, &str); 7] = [
    ("worker", WORKERS),
    ("orchestrator", "ORCHESTRATORS"),
    ("gateway", "GATEWAY"),
    ("scheduler", "SCHEDULER"),
    ("operator", "TOOLS"),
    ("issuer", "ISSUER"),
    ("claims", "SYS"),
];

/// Keys or tokens cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum AccountsError {
    /// A key file does not work.
    #[error("a signing key cannot be used: {0}")]
    Key(String),
    /// An account's token does not work.
    #[error("{} is no token of an account; `waybill init` writes it", .0.display())]
    Account(PathBuf),
    /// A token could not be signed.
    #[error("a token cannot be signed")]
    Sign(#[from] TokenError),
    /// A server does not take an account.
    #[error("the servers do not take account {name}: {reason}")]
    Push {
        /// The account.
        name: String,
        /// What they say.
        reason: String,
    },
}

/// What signs, and the accounts as they are to be.
pub(crate) struct Accounts {
    folder: PathBuf,
    signing: KeyPair,
    kinds: BTreeMap<&'static str, KeyPair>,
    accounts: BTreeMap<String, Claims>,
}

impl Accounts {
    /// Reads the keys and the accounts' tokens.
    pub(crate) fn read(keys: &Path, folder: &Path) -> Result<Self, AccountsError> {
        let key = |name: &str| {
            let file = keys.join(format!("{name}.nk"));
            let seed = read_private(&file).map_err(AccountsError::Key)?;
            KeyPair::from_seed(seed.expose()).map_err(|_| AccountsError::Key(format!("{} holds none", file.display())))
        };
        let mut kinds = BTreeMap::new();
        for (kind, _) in KINDS {
            kinds.insert(kind, key(kind)?);
        }
        let mut accounts = BTreeMap::new();
        for entry in std::fs::read_dir(folder).map_err(|_| AccountsError::Account(folder.to_owned()))?.flatten() {
            let path = entry.path();
            let name = path.file_stem().and_then(|name| name.to_str()).unwrap_or_default().to_owned();
            if path.extension().is_none_or(|ending| ending != "jwt") || name == "operator" {
                continue;
            }
            let text = std::fs::read_to_string(&path).map_err(|_| AccountsError::Account(path.clone()))?;
            let mut claims = Claims::read(&text).map_err(|_| AccountsError::Account(path.clone()))?;
            if let Some(nats) = claims.nats.as_object_mut() {
                nats.remove(REVOCATIONS);
            }
            accounts.insert(name, claims);
        }
        if !accounts.contains_key(WORKERS) {
            return Err(AccountsError::Account(folder.join(format!("{WORKERS}.jwt"))));
        }
        Ok(Self { folder: folder.to_owned(), signing: key(ACCOUNTS)?, kinds, accounts })
    }

    /// A token for a user of a kind, and when it ends. The name is an id that was parsed.
    pub(crate) fn sign(&self, kind: &str, name: &str, user_key: &str) -> Result<(String, i64), AccountsError> {
        let account = KINDS.iter().find(|(known, _)| *known == kind).map(|(_, account)| *account);
        let account = account.and_then(|account| self.accounts.get(account));
        let (account, key) =
            account.zip(self.kinds.get(kind)).ok_or_else(|| AccountsError::Key(format!("there is none for {kind}")))?;
        let end = (OffsetDateTime::now_utc() + lifetime(kind)).unix_timestamp();
        Ok((user_claims(&account.sub, name, user_key, end).sign(key)?, end))
    }

    /// Signs the issuer's own users anew: nobody else could.
    pub(crate) fn renew_own(&self, kind: &str, file: &CredentialsFile) -> Result<(), AccountsError> {
        let present: Credentials = file.current();
        let (token, _) = self.sign(kind, kind, &present.claims()?.sub)?;
        file.hold(present.with_token(token));
        Ok(())
    }

    /// Has the servers refuse these users; none if they do already.
    pub(crate) async fn revoke(&mut self, system: &Client, keys: &BTreeMap<String, i64>) -> Result<(), AccountsError> {
        if let Some(workers) = self.accounts.get_mut(WORKERS)
            && let Some(claims) = workers.nats.as_object_mut()
        {
            if keys.is_empty() {
                claims.remove(REVOCATIONS);
            } else {
                claims.insert(REVOCATIONS.to_owned(), json!(keys));
            }
        }
        self.publish(system).await?;
        // `waybill init`, which may sign the account again, must not forget who was revoked.
        let (file, beside) =
            (self.folder.join(format!("{WORKERS}.revoked")), self.folder.join(format!("{WORKERS}.new")));
        let written = std::fs::write(&beside, json!(keys).to_string()).and_then(|()| std::fs::rename(&beside, &file));
        if let Err(error) = written {
            tracing::warn!(%error, file = %file.display(), "revocations are not written down for `waybill init`");
        }
        Ok(())
    }

    /// Has the servers take every account that they have otherwise: after an upgrade, and after each change here.
    pub(crate) async fn publish(&self, system: &Client) -> Result<(), AccountsError> {
        for (name, wanted) in &self.accounts {
            let present = look_up_claims(system, name, &wanted.sub).await?;
            let signed_at = present.as_ref().map_or(wanted.iat, |present| present.iat.max(wanted.iat));
            if !present.is_some_and(|present| present.says_the_same(wanted)) {
                self.push(system, name, wanted, signed_at).await?;
            }
        }
        Ok(())
    }

    /// Has the servers take an account, in the place of the one that was signed at this time.
    async fn push(&self, system: &Client, name: &str, wanted: &Claims, signed_at: i64) -> Result<(), AccountsError> {
        let token = wanted.clone().sign_after(&self.signing, signed_at)?;
        // Every open connection is checked again before the server answers: half a second for two thousand.
        let answer = system.request("$SYS.REQ.CLAIMS.UPDATE", token.into()).await;
        let answer = answer.map_err(|error| push_error(name, &error))?;
        let answer: Value = serde_json::from_slice(&answer.payload).unwrap_or_default();
        if answer.pointer("/data/code").and_then(Value::as_u64) != Some(200) {
            let said = answer.pointer("/error/description").and_then(Value::as_str);
            return Err(push_error(name, &said.unwrap_or("no reason was given")));
        }
        tracing::info!(account = name, "the servers have the account as it is to be");
        Ok(())
    }

    /// Has the servers build an account again where one of them said that imports are missing, and asks all of them anew. The
    /// answers are read the next time.
    ///
    /// A server builds an account when its first user connects. Where users of two accounts connect at once, one can find the
    /// account of the streams half built, without its exports, and would be told for as long as the server runs that nobody
    /// answers.
    ///
    /// It is built again from what the servers have: whom they refuse is not known here before the log was read.
    pub(crate) async fn complete(&self, system: &Client, answers: &mut Answers) -> Result<(), AccountsError> {
        let incomplete = answers.read_incomplete();
        for (name, claims) in &self.accounts {
            if incomplete.contains(&claims.sub)
                && answers.may_rebuild(&claims.sub, Instant::now())
                && let Some(present) = look_up_claims(system, name, &claims.sub).await?
            {
                tracing::warn!(
                    account = name,
                    "a server built the account without all of its imports; it is built again"
                );
                self.push(system, name, &present, present.iat.max(claims.iat)).await?;
            }
            let ask = format!("$SYS.REQ.ACCOUNT.{}.INFO", claims.sub);
            let asked = system.publish_with_reply(ask, answers.inbox.clone(), "".into()).await;
            asked.map_err(|error| push_error(name, &error))?;
        }
        Ok(())
    }
}

/// What each server says of each account, in answer to [`Accounts::complete`].
pub(crate) struct Answers {
    inbox: String,
    received: Subscriber,
    /// When an account was built again last.
    rebuilt: BTreeMap<String, Instant>,
}

impl Answers {
    pub(crate) async fn subscribe(system: &Client) -> Result<Self, SubscribeError> {
        let inbox = system.new_inbox();
        Ok(Self { received: system.subscribe(inbox.clone()).await?, inbox, rebuilt: BTreeMap::new() })
    }

    /// Public keys of the accounts of which a server has said that imports are missing.
    fn read_incomplete(&mut self) -> BTreeSet<String> {
        let mut incomplete = BTreeSet::new();
        while let Some(Some(answer)) = self.received.next().now_or_never() {
            incomplete.extend(read_incomplete(&answer.payload));
        }
        incomplete
    }

    /// True once in a while: an account that stays without an import, since nobody exports it, is not built again all the time.
    fn may_rebuild(&mut self, account: &str, now: Instant) -> bool {
        let may = is_due(self.rebuilt.get(account).copied(), now);
        if may {
            self.rebuilt.insert(account.to_owned(), now);
        }
        may
    }
}

fn is_due(last: Option<Instant>, now: Instant) -> bool {
    last.is_none_or(|last| now.saturating_duration_since(last) >= REBUILD)
}

/// What the servers have of an account; none if they have none that can be read.
async fn look_up_claims(system: &Client, name: &str, account: &str) -> Result<Option<Claims>, AccountsError> {
    let lookup = format!("$SYS.REQ.ACCOUNT.{account}.CLAIMS.LOOKUP");
    let present = system.request(lookup, "".into()).await.map_err(|error| push_error(name, &error))?;
    Ok(Claims::read(&String::from_utf8_lossy(&present.payload)).ok())
}

fn push_error(name: &str, reason: &dyn std::fmt::Display) -> AccountsError {
    AccountsError::Push { name: name.to_owned(), reason: reason.to_string() }
}

/// Public key of the account, if a server says of it that imports are missing.
fn read_incomplete(answer: &[u8]) -> Option<String> {
    let answer: Value = serde_json::from_slice(answer).ok()?;
    let account = answer.get("data")?;
    let is_complete = account.get("complete")?.as_bool()?;
    if is_complete { None } else { Some(account.get("account_name")?.as_str()?.to_owned()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_account_is_built_again_once_in_a_while() {
        let last = Instant::now();
        let after = |seconds| is_due(Some(last), last + Duration::from_secs(seconds));
        assert_eq!((is_due(None, last), after(0), after(9), after(10)), (true, false, false, true));
    }

    #[test]
    fn accounts_that_lack_imports() {
        let cases = [
            (json!({ "server": {}, "data": { "account_name": "A1", "complete": false } }), Some("A1")),
            (json!({ "server": {}, "data": { "account_name": "A1", "complete": true } }), None),
            (json!({ "server": {}, "data": { "account_name": "A1" } }), None),
            (json!({ "server": {}, "error": { "code": 404, "description": "account not found" } }), None),
            (json!("A1"), None),
        ];
        for (answer, account) in cases {
            assert_eq!(read_incomplete(answer.to_string().as_bytes()).as_deref(), account, "{answer}");
        }
    }
}
