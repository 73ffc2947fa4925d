//! Sealing: NATS xkeys (curve25519, `xkv1` boxes) around credentials and the place that they are bound to.
//!
//! The sealed text repeats the worker, workspace, secret, version and registry that it is for. The opener compares them, and
//! the sender, so that a box moved to another key of the vault does not open.

mod hash;
mod ring;

use std::{fmt, str::FromStr};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use nkeys::XKey;
use serde::{Deserialize, Serialize};
use waybill_domain::credentials::Secret;
use waybill_schemas::{PublicSealingKey, Sealed, SecretName, WorkerId, WorkspaceId};
use zeroize::Zeroizing;

pub use hash::{HashKey, HashKeyError, digest, sha256_hex};
pub use ring::KeyRing;

/// A private sealing key.
pub struct PrivateKey(XKey);

impl fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PrivateKey({})", self.0.public_key())
    }
}

/// The text is no sealing key; it is not repeated, since it may be private.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// Not the seed of a curve key.
    #[error("not the seed of a sealing key (SX…); `waybill init` makes one")]
    Seed,
    /// Not a public curve key.
    #[error("not a public sealing key (X…); `waybill init` prints it into the settings")]
    Public,
}

impl PrivateKey {
    /// Makes a new key from the system's random numbers.
    pub fn generate() -> Self {
        Self(XKey::new())
    }

    /// Reads a seed, `SX…`.
    ///
    /// # Errors
    /// [`KeyError::Seed`].
    pub fn from_seed(seed: &Secret) -> Result<Self, KeyError> {
        XKey::from_seed(seed.expose().trim()).map(Self).map_err(|_| KeyError::Seed)
    }

    /// The seed, to be stored where only its owner reads.
    ///
    /// # Errors
    /// [`KeyError::Seed`], which a private key never gives.
    pub fn seed(&self) -> Result<Secret, KeyError> {
        self.0.seed().map(Secret::new).map_err(|_| KeyError::Seed)
    }

    /// A second handle on the key.
    ///
    /// # Errors
    /// [`KeyError::Seed`], which a private key never gives.
    pub fn try_clone(&self) -> Result<Self, KeyError> {
        Self::from_seed(&self.seed()?)
    }

    /// The public half.
    ///
    /// # Errors
    /// [`KeyError::Public`], which a private key never gives.
    pub fn public(&self) -> Result<PublicKey, KeyError> {
        self.0.public_key().parse()
    }
}

/// A public sealing key with a valid checksum.
#[derive(Clone)]
pub struct PublicKey {
    text: PublicSealingKey,
    key: XKey,
}

impl PublicKey {
    /// The key as it stands in events.
    pub fn text(&self) -> &PublicSealingKey {
        &self.text
    }
}

impl FromStr for PublicKey {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<Self, KeyError> {
        let key = XKey::from_public_key(text).map_err(|_| KeyError::Public)?;
        Ok(Self { text: text.parse().map_err(|_| KeyError::Public)?, key })
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.text.fmt(f)
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({})", self.text)
    }
}

/// The place that sealed credentials belong to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Binding {
    /// From the gateway to the scheduler: a version of a secret.
    Secret {
        /// Owner of the secret.
        workspace: WorkspaceId,
        /// The secret.
        secret: SecretName,
        /// Its version.
        version: u64,
        /// Host that the credentials are for.
        registry: String,
    },
    /// From the scheduler to a worker: a grant of a version.
    Grant {
        /// The worker.
        worker_id: WorkerId,
        /// Owner of the secret.
        workspace: WorkspaceId,
        /// The secret.
        secret: SecretName,
        /// Its version.
        version: u64,
        /// Host that the credentials are for.
        registry: String,
    },
}

#[derive(Serialize)]
struct Sealing<'a> {
    binding: &'a Binding,
    credentials: &'a str,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Opened {
    binding: Binding,
    credentials: Secret,
}

/// Credentials could not be sealed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("nothing can be sealed to this key; register the recipient again with a key from `waybill init`")]
pub struct SealError;

/// Why sealed credentials do not open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum UnsealError {
    /// Sealed by somebody else than the senders that count.
    #[error("sealed by a key that is not among the senders' keys in the log")]
    Sender,
    /// Sealed to another key than this one.
    #[error("sealed to another key than this process has; was the key replaced?")]
    Recipient,
    /// Not an intact box between these two keys.
    #[error("the ciphertext is damaged or was not made with these keys")]
    Ciphertext,
    /// Sealed for another worker, workspace, secret, version or registry.
    #[error("sealed for another place than the key that it stands at")]
    Binding,
}

impl UnsealError {
    /// The error as a word for metrics and log fields.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Sender => "sender",
            Self::Recipient => "recipient",
            Self::Ciphertext => "ciphertext",
            Self::Binding => "binding",
        }
    }
}

/// Whose boxes count.
#[derive(Debug, Clone, Copy)]
pub enum Senders<'a> {
    /// Anybody's: the sender's key was made for one box, and the box's digest in the log vouches for it.
    Any,
    /// Those of these keys.
    OneOf(&'a [PublicSealingKey]),
}

impl Senders<'_> {
    fn include(self, sender: &PublicSealingKey) -> bool {
        match self {
            Self::Any => true,
            Self::OneOf(keys) => keys.contains(sender),
        }
    }
}

/// Seals credentials for a place so that only `to` can open them.
///
/// # Errors
/// [`SealError`] when the key is a point that nothing can be sealed to.
pub fn seal(from: &PrivateKey, to: &PublicKey, binding: &Binding, credentials: &Secret) -> Result<Sealed, SealError> {
    let sealing = Sealing { binding, credentials: credentials.expose() };
    let plaintext = Zeroizing::new(serde_json::to_vec(&sealing).map_err(|_| SealError)?);
    let sealed = from.0.seal(&plaintext, &to.key).map_err(|_| SealError)?;
    let sender = from.public().map_err(|_| SealError)?;
    Ok(Sealed { sender: sender.text, recipient: to.text.clone(), ciphertext: STANDARD.encode(sealed) })
}

/// Seals credentials with a key made for them and forgotten at once: whoever sealed them cannot open them again.
///
/// # Errors
/// [`SealError`] when the key is a point that nothing can be sealed to.
pub fn seal_once(to: &PublicKey, binding: &Binding, credentials: &Secret) -> Result<Sealed, SealError> {
    seal(&PrivateKey::generate(), to, binding, credentials)
}

/// Opens what one of the senders sealed to `own` for this place.
///
/// # Errors
/// [`UnsealError`] says which of the four did not fit.
pub fn open(own: &PrivateKey, senders: Senders<'_>, binding: &Binding, sealed: &Sealed) -> Result<Secret, UnsealError> {
    if !senders.include(&sealed.sender) {
        return Err(UnsealError::Sender);
    }
    if sealed.recipient.as_str() != own.0.public_key() {
        return Err(UnsealError::Recipient);
    }
    let from = XKey::from_public_key(sealed.sender.as_str()).map_err(|_| UnsealError::Sender)?;
    let ciphertext = STANDARD.decode(&sealed.ciphertext).map_err(|_| UnsealError::Ciphertext)?;
    // The crate indexes into the box without looking at its length first.
    if ciphertext.len() < MIN_BOX_BYTES {
        return Err(UnsealError::Ciphertext);
    }
    let plaintext = own.0.open(&ciphertext, &from).map(Zeroizing::new).map_err(|_| UnsealError::Ciphertext)?;
    let opened: Opened = serde_json::from_slice(&plaintext).map_err(|_| UnsealError::Ciphertext)?;
    if opened.binding != *binding {
        return Err(UnsealError::Binding);
    }
    Ok(opened.credentials)
}

/// `xkv1`, a 24-byte nonce and a 16-byte tag.
const MIN_BOX_BYTES: usize = 4 + 24 + 16;

#[cfg(test)]
mod tests {
    use super::*;

    const CANARY: &str = "canary-5up3r-s3cr3t";

    fn secret(workspace: &str, version: u64, registry: &str) -> Binding {
        Binding::Secret {
            workspace: workspace.parse().unwrap(),
            secret: "s".parse().unwrap(),
            version,
            registry: registry.to_owned(),
        }
    }

    #[test]
    fn what_is_sealed_opens_at_its_place_only() {
        let [sender, scheduler, other] = [0; 3].map(|_| PrivateKey::generate());
        let to = scheduler.public().unwrap();
        let place = secret("ws", 1, "a.b");
        let sealed = seal(&sender, &to, &place, &Secret::new(CANARY.to_owned())).unwrap();
        assert!(!format!("{sealed:?}{sender:?}{scheduler:?}").contains(CANARY));
        let known = [other.public().unwrap().text().clone(), sender.public().unwrap().text().clone()];
        let from = Senders::OneOf(&known[1..]);
        for senders in [Senders::Any, Senders::OneOf(&known), from] {
            assert_eq!(open(&scheduler, senders, &place, &sealed).unwrap().expose(), CANARY);
        }

        let changed = |change: &dyn Fn(&mut Vec<u8>)| {
            let mut bytes = STANDARD.decode(&sealed.ciphertext).unwrap();
            change(&mut bytes);
            Sealed { ciphertext: STANDARD.encode(bytes), ..sealed.clone() }
        };
        let flipped = changed(&|bytes| *bytes.last_mut().unwrap() ^= 1);
        let nonce = changed(&|bytes| bytes[10] ^= 1);
        let version = changed(&|bytes| bytes[0] ^= 1);
        let short = changed(&|bytes| bytes.truncate(30));
        let empty = changed(&Vec::clear);
        let text = Sealed { ciphertext: "not base64!".to_owned(), ..sealed.clone() };
        let forged = seal(&other, &to, &place, &Secret::new("x".to_owned())).unwrap();
        let claimed = Sealed { sender: sealed.sender.clone(), ..forged.clone() };
        let grant = Binding::Grant {
            worker_id: "w".parse().unwrap(),
            workspace: "ws".parse().unwrap(),
            secret: "s".parse().unwrap(),
            version: 1,
            registry: "a.b".to_owned(),
        };
        let cases = [
            ("another reader", open(&other, from, &place, &sealed), UnsealError::Recipient),
            ("another sender", open(&scheduler, from, &place, &forged), UnsealError::Sender),
            ("no sender", open(&scheduler, Senders::OneOf(&[]), &place, &sealed), UnsealError::Sender),
            ("a sender's name on another's box", open(&scheduler, from, &place, &claimed), UnsealError::Ciphertext),
            ("another workspace", open(&scheduler, from, &secret("w2", 1, "a.b"), &sealed), UnsealError::Binding),
            ("another version", open(&scheduler, from, &secret("ws", 2, "a.b"), &sealed), UnsealError::Binding),
            ("another registry", open(&scheduler, from, &secret("ws", 1, "a-b"), &sealed), UnsealError::Binding),
            ("a grant", open(&scheduler, from, &grant, &sealed), UnsealError::Binding),
            ("a flipped bit", open(&scheduler, from, &place, &flipped), UnsealError::Ciphertext),
            ("another nonce", open(&scheduler, from, &place, &nonce), UnsealError::Ciphertext),
            ("another box version", open(&scheduler, from, &place, &version), UnsealError::Ciphertext),
            ("cut short", open(&scheduler, from, &place, &short), UnsealError::Ciphertext),
            ("empty", open(&scheduler, from, &place, &empty), UnsealError::Ciphertext),
            ("not base64", open(&scheduler, from, &place, &text), UnsealError::Ciphertext),
        ];
        for (name, outcome, error) in cases {
            assert_eq!(outcome.unwrap_err(), error, "{name}");
        }
    }

    #[test]
    fn a_key_made_for_one_box_is_used_for_one() {
        let scheduler = PrivateKey::generate();
        let (to, place) = (scheduler.public().unwrap(), secret("ws", 1, "a.b"));
        let boxes = [0; 2].map(|_| seal_once(&to, &place, &Secret::new(CANARY)).unwrap());
        assert_ne!(boxes[0].sender, boxes[1].sender);
        for sealed in boxes {
            assert_eq!(open(&scheduler, Senders::Any, &place, &sealed).unwrap().expose(), CANARY);
        }
    }

    #[test]
    fn keys_survive_their_text_form_and_show_no_seed() {
        let key = PrivateKey::generate();
        let again = PrivateKey::from_seed(&key.seed().unwrap()).unwrap();
        assert_eq!(key.public().unwrap().text(), again.public().unwrap().text());
        assert!(!format!("{key:?}").contains(key.seed().unwrap().expose()));
        assert_eq!(PrivateKey::from_seed(&Secret::new("SUnot".to_owned())).unwrap_err(), KeyError::Seed);
        let public = key.public().unwrap().to_string();
        let mistyped = public.replace(&public[20..21], if &public[20..21] == "A" { "B" } else { "A" });
        assert_eq!(mistyped.parse::<PublicKey>().unwrap_err(), KeyError::Public, "the checksum counts");
    }
}
