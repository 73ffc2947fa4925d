//! The signing keys, the accounts' tokens, and how running servers come to know of a change.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use async_nats::Client;
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
            let failed = |reason: String| AccountsError::Push { name: name.clone(), reason };
            let lookup = format!("$SYS.REQ.ACCOUNT.{}.CLAIMS.LOOKUP", wanted.sub);
            let present = system.request(lookup, "".into()).await.map_err(|error| failed(error.to_string()))?;
            let present = Claims::read(&String::from_utf8_lossy(&present.payload));
            if present.is_ok_and(|present| present.says_the_same(wanted)) {
                continue;
            }
            let token = wanted.clone().sign(&self.signing)?;
            // Every open connection is checked again before the server answers: half a second for two thousand.
            let answer = system.request("$SYS.REQ.CLAIMS.UPDATE", token.into()).await;
            let answer = answer.map_err(|error| failed(error.to_string()))?;
            let answer: Value = serde_json::from_slice(&answer.payload).unwrap_or_default();
            if answer.pointer("/data/code").and_then(Value::as_u64) != Some(200) {
                let said = answer.pointer("/error/description").and_then(Value::as_str);
                return Err(failed(said.unwrap_or("no reason was given").to_owned()));
            }
            tracing::info!(account = name, "the servers have the account as it is to be");
        }
        Ok(())
    }
}
