//! Keys of the operator and of each kind of role, the accounts' tokens, and credentials of users, in the home folder.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    time::Duration,
};

use nkeys::{KeyPair, KeyPairType};
use serde_json::Value;
use time::OffsetDateTime;
use waybill_domain::credentials::Secret;
use waybill_platform::identity::{Claims, Credentials, lifetime, user_claims};

use super::{
    InitError,
    accounts::{account_claims, names, operator_claims, set},
    files::Home,
    nats_conf::Account,
    role::{Role, SYSTEM_ACCOUNT},
};

/// Folder of the keys that sign accounts and users: whoever has it may become anybody.
pub(crate) const SIGNING: &str = "keys/signing";
/// Folder of the operator's and the accounts' tokens, which are no secrets.
const TOKENS: &str = "nats";

/// What signs the tokens of this folder's servers.
pub(crate) struct Signers {
    /// Signing key of each kind of role, by the kind's name.
    kinds: BTreeMap<String, KeyPair>,
    /// Public key of each account, by its name.
    accounts: BTreeMap<String, String>,
}

/// What the server's configuration needs.
pub(super) struct ServerTokens {
    pub(super) operator: String,
    pub(super) system: String,
    pub(super) accounts: Vec<Account>,
}

impl Signers {
    /// The folder's keys, made if they are missing, and the tokens of its accounts, signed again if they say something else
    /// than this version of Waybill does.
    pub(super) fn prepare(home: &mut Home) -> Result<(Self, ServerTokens), InitError> {
        let signing = signing_key(home, "accounts", KeyPairType::Operator)?;
        let mut kinds = BTreeMap::new();
        for role in Role::patterns() {
            kinds.insert(role.kind().to_owned(), signing_key(home, role.kind(), KeyPairType::Account)?);
        }
        let mut public: BTreeMap<String, String> =
            kinds.iter().map(|(kind, key)| (kind.clone(), key.public_key())).collect();
        let mut present = BTreeMap::new();
        for name in names() {
            let known = read_token(home, &token_file(name))?;
            // An account's own key signs nothing: only its public half is ever needed.
            let key =
                known.as_ref().map_or_else(|| KeyPair::new_account().public_key(), |(_, known)| known.sub.clone());
            public.insert(name.to_owned(), key);
            present.extend(known.map(|known| (name, known)));
        }
        let system = public.get(SYSTEM_ACCOUNT).cloned().unwrap_or_default();
        let operator = operator_token(home, &signing.public_key(), &system)?;
        let mut accounts = Vec::new();
        for name in names() {
            let mut wanted = account_claims(name, &public);
            let same = |known: &Claims| known.iss == signing.public_key() && bare(known).says_the_same(&wanted);
            let token = match present.remove(name) {
                Some((token, known)) if same(&known) => {
                    home.keep();
                    token
                }
                _ => {
                    // What a server starts with must not let in whom the issuer has revoked.
                    let revoked = home.read(&PathBuf::from(format!("{TOKENS}/{name}.revoked")))?;
                    if let Some(revoked) = revoked.and_then(|text| serde_json::from_slice(&text).ok()) {
                        set(&mut wanted.nats, "revocations", revoked);
                    }
                    keep_or_sign(home, &token_file(name), None, wanted.clone(), &signing)?
                }
            };
            accounts.push((name.to_owned(), wanted.sub, token));
        }
        let accounts_by_name = accounts.iter().map(|(name, key, _)| (name.clone(), key.clone())).collect();
        Ok((Self { kinds, accounts: accounts_by_name }, ServerTokens { operator, system, accounts }))
    }

    /// Reads what an earlier `init` made.
    ///
    /// # Errors
    /// [`InitError`].
    pub(crate) fn read(home: &Path) -> Result<Self, InitError> {
        Self::prepare(&mut Home::open(home)?).map(|(signers, _)| signers)
    }

    /// Credentials of a role for so long, with this key.
    ///
    /// # Errors
    /// [`InitError::Random`] where the key cannot sign.
    pub(crate) fn sign(&self, role: &Role, key: &KeyPair, lifetime: Duration) -> Result<Credentials, InitError> {
        let missing = || InitError::Key { path: format!("{SIGNING}/{}.nk", role.kind()).into() };
        let signer = self.kinds.get(role.kind()).ok_or_else(missing)?;
        let account = self.accounts.get(role.account()).ok_or_else(missing)?;
        let end = (OffsetDateTime::now_utc() + lifetime).unix_timestamp();
        let token = user_claims(account, role.user_name(), &key.public_key(), end)
            .sign(signer)
            .map_err(|_| InitError::Random)?;
        let seed = key.seed().map_err(|_| InitError::Random)?;
        Ok(Credentials::new(token, Secret::new(seed)))
    }

    /// A role's credentials file: kept while more than half of its life is left, else signed again for the same key, whose public
    /// half is returned.
    pub(super) fn keep_or_sign(&self, home: &mut Home, role: &Role) -> Result<String, InitError> {
        let path = PathBuf::from(format!("keys/{role}.creds"));
        let invalid = || InitError::Key { path: path.clone() };
        let present = home.read(&path)?.map(|text| {
            let text = Secret::new(String::from_utf8(text).map_err(|_| invalid())?);
            Credentials::parse(&text).map_err(|_| invalid())
        });
        let key = match present.transpose()? {
            Some(known) if self.is_fresh(role, &known) => {
                home.keep();
                return known.claims().map(|claims| claims.sub).map_err(|_| invalid());
            }
            Some(known) => known.key().map_err(|_| invalid())?,
            None => KeyPair::new_user(),
        };
        let credentials = self.sign(role, &key, lifetime(role.kind()))?;
        home.replace(&path, credentials.to_text().expose().as_bytes())?;
        Ok(key.public_key())
    }

    fn is_fresh(&self, role: &Role, known: &Credentials) -> bool {
        let Ok(claims) = known.claims() else { return false };
        let signer = self.kinds.get(role.kind()).map(KeyPair::public_key);
        let left = claims.exp.unwrap_or(i64::MAX).saturating_sub(OffsetDateTime::now_utc().unix_timestamp());
        let half = i64::try_from(lifetime(role.kind()).as_secs() / 2).unwrap_or(i64::MAX);
        let account = claims.nats.get("issuer_account").and_then(Value::as_str);
        signer.as_ref() == Some(&claims.iss)
            && account == self.accounts.get(role.account()).map(String::as_str)
            && claims.name == role.user_name()
            && left > half
    }
}

fn token_file(name: &str) -> PathBuf {
    PathBuf::from(format!("{TOKENS}/{name}.jwt"))
}

fn read_token(home: &Home, file: &Path) -> Result<Option<(String, Claims)>, InitError> {
    let Some(text) = home.read(file)? else { return Ok(None) };
    let token = String::from_utf8_lossy(&text).trim().to_owned();
    let claims = Claims::read(&token).map_err(|_| InitError::Key { path: file.to_owned() })?;
    Ok(Some((token, claims)))
}

/// An account's claims without its revocations, which come and go.
fn bare(known: &Claims) -> Claims {
    let mut bare = known.clone();
    if let Some(nats) = bare.nats.as_object_mut() {
        nats.remove("revocations");
    }
    bare
}

/// The operator's token. Its own key is for the day on which the signing key must be replaced, and need not be here before.
fn operator_token(home: &mut Home, signing: &str, system: &str) -> Result<String, InitError> {
    let file = token_file("operator");
    let known = read_token(home, &file)?;
    if let Some((token, known)) = &known
        && known.says_the_same(&operator_claims(&known.sub, signing, system))
    {
        home.keep();
        return Ok(token.clone());
    }
    let path = PathBuf::from(format!("{SIGNING}/root.nk"));
    if known.is_some() && home.read(&path)?.is_none() {
        return Err(InitError::Key { path });
    }
    let root = signing_key(home, "root", KeyPairType::Operator)?;
    keep_or_sign(home, &file, None, operator_claims(&root.public_key(), signing, system), &root)
}

/// The token that is there if it says what is wanted, else one that does.
fn keep_or_sign(
    home: &mut Home,
    file: &Path,
    known: Option<(String, Claims)>,
    wanted: Claims,
    signer: &KeyPair,
) -> Result<String, InitError> {
    let same = |known: &Claims| known.iss == signer.public_key() && known.says_the_same(&wanted);
    if let Some((token, known)) = known
        && same(&known)
    {
        home.keep();
        return Ok(token);
    }
    let token = wanted.sign(signer).map_err(|_| InitError::Random)?;
    home.replace(file, token.as_bytes())?;
    Ok(token)
}

fn signing_key(home: &mut Home, name: &str, of: KeyPairType) -> Result<KeyPair, InitError> {
    let path = PathBuf::from(format!("{SIGNING}/{name}.nk"));
    let prefix = if matches!(of, KeyPairType::Operator) { 'O' } else { 'A' };
    let seed = home.keep_or_write(&path, || {
        let seed = KeyPair::new(of).seed().map_err(|_| InitError::Random)?;
        Ok(seed.into_bytes())
    })?;
    let pair = KeyPair::from_seed(String::from_utf8_lossy(&seed).trim()).ok();
    pair.filter(|pair| pair.public_key().starts_with(prefix)).ok_or(InitError::Key { path })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_and_tokens_are_made_once_and_the_root_key_may_be_elsewhere() {
        let folder = tempfile::tempdir().unwrap();
        let prepare = || {
            let mut home = Home::open(folder.path()).unwrap();
            let prepared = Signers::prepare(&mut home).map(|(signers, tokens)| (signers, tokens.operator));
            (prepared, home.report())
        };
        let (first, report) = prepare();
        let (signers, operator) = first.unwrap();
        assert!(report.written.len() >= 17 && report.changed.is_empty(), "{report:?}");
        std::fs::remove_file(folder.path().join("keys/signing/root.nk")).unwrap();
        let (again, report) = prepare();
        assert_eq!((again.unwrap().1, report.written.len(), report.changed.len()), (operator, 0, 0), "{report:?}");

        let (role, key) = (Role::Worker("w1".parse().unwrap()), KeyPair::new_user());
        let made = signers.sign(&role, &key, lifetime_of(&role)).unwrap();
        assert!(signers.is_fresh(&role, &made));
        assert!(!signers.is_fresh(&Role::Worker("w2".parse().unwrap()), &made), "another name");
        assert!(!signers.is_fresh(&Role::Gateway, &made), "another kind");
        let old = signers.sign(&role, &key, lifetime_of(&role) / 2).unwrap();
        assert!(!signers.is_fresh(&role, &old), "in the second half of its life");

        std::fs::remove_file(folder.path().join("keys/signing/accounts.nk")).unwrap();
        let refused = prepare().0.map(drop).unwrap_err().to_string();
        assert!(refused.contains("root.nk"), "another signing key needs the root's signature: {refused}");
    }

    fn lifetime_of(role: &Role) -> Duration {
        lifetime(role.kind())
    }
}
