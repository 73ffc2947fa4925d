//! NATS tokens (JWT with `ed25519-nkey` signatures, version 2 of the claims): written and read as nats-server does.

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use nkeys::KeyPair;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use time::OffsetDateTime;

use crate::sealing::sha256_hex;

const HEADER: &str = r#"{"typ":"JWT","alg":"ed25519-nkey"}"#;

/// Why a text is no token, or could not become one. Tokens are no secrets; their text is left out all the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// The text has another form.
    #[error("not a NATS token")]
    Form,
    /// The signature is not the issuer's.
    #[error("the token's signature is not its issuer's")]
    Signature,
    /// The key cannot sign.
    #[error("the key cannot sign")]
    Key,
}

/// What a token says.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Claims {
    /// Hash of the other claims: the server's store takes two tokens with one id for the same.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    jti: String,
    /// When it was signed, in Unix seconds. A revocation names the last second that it covers.
    pub iat: i64,
    /// Public key that signed it.
    #[serde(default)]
    pub iss: String,
    /// Public key that it is about.
    pub sub: String,
    /// Name of the operator, account or user.
    pub name: String,
    /// When it ends, in Unix seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exp: Option<i64>,
    /// What NATS makes of it.
    pub nats: Value,
}

impl Claims {
    /// Claims about a key, without an end.
    pub fn new(subject: &str, name: &str, nats: Value) -> Self {
        let (subject, name) = (subject.to_owned(), name.to_owned());
        Self { jti: String::new(), iat: 0, iss: String::new(), sub: subject, name, exp: None, nats }
    }

    /// The claims with an end, in Unix seconds.
    #[must_use]
    pub fn ending(self, at: i64) -> Self {
        Self { exp: Some(at), ..self }
    }

    /// The token, signed now.
    ///
    /// # Errors
    /// [`TokenError::Key`] for a key without its private half.
    pub fn sign(self, issuer: &KeyPair) -> Result<String, TokenError> {
        self.sign_after(issuer, 0)
    }

    /// The token, signed now, or in the second after another one was, whose clock may have been ahead: a server that starts keeps
    /// the later one of what it has and what its configuration says, and the configuration's of two of one second.
    ///
    /// # Errors
    /// As [`sign`](Self::sign).
    pub fn sign_after(mut self, issuer: &KeyPair, other: i64) -> Result<String, TokenError> {
        self.iss = issuer.public_key();
        self.iat = OffsetDateTime::now_utc().unix_timestamp().max(other.saturating_add(1));
        self.jti = String::new();
        self.jti = sha256_hex(&serde_json::to_vec(&self).map_err(|_| TokenError::Form)?);
        let claims = serde_json::to_vec(&self).map_err(|_| TokenError::Form)?;
        let encode = |bytes: &[u8]| BASE64_URL_SAFE_NO_PAD.encode(bytes);
        let signed = format!("{}.{}", encode(HEADER.as_bytes()), encode(&claims));
        let signature = issuer.sign(signed.as_bytes()).map_err(|_| TokenError::Key)?;
        Ok(format!("{signed}.{}", encode(&signature)))
    }

    /// Reads a token. Its signature is checked; whether its issuer may sign such a token is the caller's to know.
    ///
    /// # Errors
    /// [`TokenError`].
    pub fn read(token: &str) -> Result<Self, TokenError> {
        let token = token.trim();
        let (signed, signature) = token.rsplit_once('.').ok_or(TokenError::Form)?;
        let (_, claims) = signed.split_once('.').ok_or(TokenError::Form)?;
        let decode = |text: &str| BASE64_URL_SAFE_NO_PAD.decode(text).map_err(|_| TokenError::Form);
        let read: Self = serde_json::from_slice(&decode(claims)?).map_err(|_| TokenError::Form)?;
        let issuer = KeyPair::from_public_key(&read.iss).map_err(|_| TokenError::Form)?;
        issuer.verify(signed.as_bytes(), &decode(signature)?).map_err(|_| TokenError::Signature)?;
        Ok(read)
    }

    /// True if two tokens say the same of the same key, whenever and with whichever end they were signed.
    pub fn says_the_same(&self, other: &Self) -> bool {
        (&self.sub, &self.name, &self.nats) == (&other.sub, &other.name, &other.nats)
    }
}

/// Claims about a user of an account, whose permissions its signing key's template holds. The name must be an id that was
/// parsed: the server checks none, and takes `*` for every user of the kind.
pub fn user_claims(account: &str, name: &str, user_key: &str, end: i64) -> Claims {
    let nats = serde_json::json!({ "type": "user", "version": 2, "issuer_account": account });
    Claims::new(user_key, name, nats).ending(end)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_token_is_read_as_it_was_signed() {
        let (account, user) = (KeyPair::new_account(), KeyPair::new_user());
        let claims = Claims::new(&user.public_key(), "w1", json!({ "type": "user", "version": 2 })).ending(99);
        let token = claims.clone().sign(&account).unwrap();
        let read = Claims::read(&token).unwrap();
        assert!(read.says_the_same(&claims));
        assert_eq!((read.iss, read.exp), (account.public_key(), Some(99)));
        assert_eq!(read.jti.len(), 64);
        let public = KeyPair::from_public_key(&account.public_key()).unwrap();
        assert_eq!(claims.sign(&public), Err(TokenError::Key));
    }

    #[test]
    fn what_is_changed_is_refused() {
        let token = Claims::new("UX", "w1", json!({ "type": "user" })).sign(&KeyPair::new_account()).unwrap();
        let parts: Vec<&str> = token.split('.').collect();
        let other = Claims::new("UX", "w2", json!({ "type": "user" })).sign(&KeyPair::new_account()).unwrap();
        let others: Vec<&str> = other.split('.').collect();
        let cases = [
            (String::new(), TokenError::Form),
            ("a.b".to_owned(), TokenError::Form),
            (format!("{}.e30.{}", parts[0], parts[2]), TokenError::Form),
            (format!("{}.{}.{}", parts[0], others[1], parts[2]), TokenError::Signature),
            (format!("{}.{}.{}", parts[0], parts[1], others[2]), TokenError::Signature),
        ];
        for (token, expected) in cases {
            assert_eq!(Claims::read(&token), Err(expected), "{token}");
        }
    }
}
