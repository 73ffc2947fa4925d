//! Credentials files: a user's token and the seed of its key, in the form that every NATS client takes.

use std::{
    fmt,
    path::{Path, PathBuf},
    sync::{Arc, PoisonError, RwLock},
};

use async_nats::{Auth, AuthError};
use nkeys::KeyPair;
use waybill_domain::credentials::Secret;

use super::{Claims, TokenError};
use crate::config::read_private;

/// A user's token and the seed of its key.
#[derive(Clone)]
pub struct Credentials {
    token: String,
    seed: Secret,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Credentials(redacted)")
    }
}

impl Credentials {
    /// What a token and the seed of the key that it is about make.
    pub fn new(token: String, seed: Secret) -> Self {
        Self { token, seed }
    }

    /// Reads a file's text.
    ///
    /// # Errors
    /// What the text must be; nothing of it is repeated.
    pub fn parse(text: &Secret) -> Result<Self, &'static str> {
        // Other writers differ in the number of dashes and in blank lines; what is between two lines of dashes counts.
        let mut blocks = text.expose().lines().map(str::trim).skip_while(|line| !line.starts_with("---"));
        let mut block = || {
            let mut lines = blocks.by_ref().skip_while(|line| line.starts_with("---") || line.is_empty());
            let content = lines.next().map(str::to_owned);
            blocks.by_ref().find(|line| line.starts_with("---"));
            blocks.by_ref().find(|line| line.starts_with("---"));
            content
        };
        let read = block().zip(block().map(Secret::new)).map(|(token, seed)| Self { token, seed });
        read.filter(|read| read.key().is_ok() && read.claims().is_ok())
            .ok_or("a NATS credentials file, with a user's token and the seed of its key")
    }

    /// The file's text.
    pub fn to_text(&self) -> Secret {
        Secret::new(format!(
            "-----BEGIN NATS USER JWT-----\n{}\n------END NATS USER JWT------\n\n\
             ************************* IMPORTANT *************************\n\
             NKEY Seed printed below can be used to sign and prove identity.\n\
             NKEYs are sensitive and should be treated as secrets.\n\n\
             -----BEGIN USER NKEY SEED-----\n{}\n------END USER NKEY SEED------\n\n\
             *************************************************************\n",
            self.token,
            self.seed.expose()
        ))
    }

    /// What the token says.
    ///
    /// # Errors
    /// [`TokenError`].
    pub fn claims(&self) -> Result<Claims, TokenError> {
        Claims::read(&self.token)
    }

    /// The user's key.
    ///
    /// # Errors
    /// [`TokenError::Key`] for a seed that is none of a user.
    pub fn key(&self) -> Result<KeyPair, TokenError> {
        let key = KeyPair::from_seed(self.seed.expose().trim()).map_err(|_| TokenError::Key)?;
        Some(key).filter(|key| key.public_key().starts_with('U')).ok_or(TokenError::Key)
    }

    /// As [`new`](Self::new), with this user's own key.
    #[must_use]
    pub fn with_token(&self, token: String) -> Self {
        Self { token, seed: self.seed.clone() }
    }

    fn answer(&self, nonce: &[u8]) -> Result<Auth, AuthError> {
        let mut auth = Auth::new();
        auth.signature =
            Some(self.key().and_then(|key| key.sign(nonce).map_err(|_| TokenError::Key)).map_err(AuthError::new)?);
        auth.jwt = Some(self.token.clone());
        Ok(auth)
    }
}

/// Credentials of a process, which a renewal or another writer of the file replaces while it runs.
///
/// The file is read again at each connect: a client that kept its first token would be refused for ever once that has ended.
#[derive(Clone)]
pub struct CredentialsFile {
    path: PathBuf,
    held: Arc<RwLock<Credentials>>,
}

impl fmt::Debug for CredentialsFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CredentialsFile").field("path", &self.path).finish_non_exhaustive()
    }
}

impl CredentialsFile {
    /// Opens a file that only its owner reads.
    ///
    /// # Errors
    /// In words, with what to do.
    pub fn open(path: PathBuf) -> Result<Self, String> {
        let text = read_private(&path)?;
        let held = Credentials::parse(&text).map_err(|expected| format!("{} must be {expected}", path.display()))?;
        Ok(Self { path, held: Arc::new(RwLock::new(held)) })
    }

    /// Credentials that are in no file.
    pub fn in_memory(credentials: Credentials) -> Self {
        Self { path: PathBuf::new(), held: Arc::new(RwLock::new(credentials)) }
    }

    /// Where they are kept.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The credentials that end last: those of the file, or those that are held.
    pub fn current(&self) -> Credentials {
        let held = self.held.read().unwrap_or_else(PoisonError::into_inner).clone();
        let in_file = read_private(&self.path).ok().and_then(|text| Credentials::parse(&text).ok());
        let end = |credentials: &Credentials| credentials.claims().map_or(0, |claims| claims.exp.unwrap_or(i64::MAX));
        match in_file {
            // Another user's file replaces what is held, whenever it ends: somebody put it there.
            Some(in_file) if in_file.seed.expose() != held.seed.expose() || end(&in_file) >= end(&held) => in_file,
            _ => held,
        }
    }

    /// Uses other credentials from the next connect on.
    pub fn hold(&self, credentials: Credentials) {
        *self.held.write().unwrap_or_else(PoisonError::into_inner) = credentials;
    }

    /// Answers a server's challenge.
    ///
    /// # Errors
    /// [`AuthError`] if the key cannot sign.
    pub fn answer(&self, nonce: &[u8]) -> Result<Auth, AuthError> {
        self.current().answer(nonce)
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt as _};

    use serde_json::json;

    use super::*;

    fn credentials(end: i64, key: &KeyPair) -> Credentials {
        let claims = Claims::new(&key.public_key(), "w1", json!({ "type": "user" })).ending(end);
        Credentials::new(claims.sign(&KeyPair::new_account()).unwrap(), Secret::new(key.seed().unwrap()))
    }

    #[test]
    fn a_file_is_read_as_it_is_written() {
        let key = KeyPair::new_user();
        let text = credentials(9, &key).to_text();
        let dashes = Secret::new(text.expose().replace("------END", "---END").replace('\n', "\r\n"));
        for text in [text, dashes] {
            let read = Credentials::parse(&text).unwrap();
            assert_eq!(read.claims().unwrap().sub, key.public_key());
            assert_eq!(read.key().unwrap().public_key(), key.public_key());
            assert!(!format!("{read:?}").contains(&key.seed().unwrap()));
        }
    }

    #[test]
    fn anything_else_is_refused_without_being_shown() {
        let account = KeyPair::new_account();
        let cases =
            ["", "canary", "-----\ncanary\n-----\n", "-----\nx\n-----\n\n-----\ncanary\n-----\n"].map(str::to_owned);
        for text in cases.into_iter().chain([credentials(9, &account).to_text().expose().to_owned()]) {
            let error = Credentials::parse(&Secret::new(text)).unwrap_err();
            assert!(error.contains("credentials file") && !error.contains("canary"));
        }
    }

    #[test]
    fn the_later_end_counts_and_another_user_s_file_replaces() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("w1.creds");
        let write = |credentials: &Credentials| {
            fs::write(&path, credentials.to_text().expose()).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        };
        let (own, other) = (KeyPair::new_user(), KeyPair::new_user());
        write(&credentials(100, &own));
        let file = CredentialsFile::open(path.clone()).unwrap();
        let end = || file.current().claims().unwrap().exp;
        file.hold(credentials(200, &own));
        assert_eq!(end(), Some(200), "a renewal that could not be written");
        write(&credentials(300, &own));
        assert_eq!(end(), Some(300), "somebody else wrote a later one");
        write(&credentials(50, &other));
        assert_eq!(end(), Some(50));
        fs::remove_file(&path).unwrap();
        assert_eq!(end(), Some(200), "what is held goes on");
        assert!(file.answer(b"nonce").unwrap().signature.is_some());
    }
}
