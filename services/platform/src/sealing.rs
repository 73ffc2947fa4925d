//! Sealing: NATS xkeys (curve25519, `xkv1` boxes) around credentials and the place that they are bound to.
//!
//! The sealed text repeats workspace, image or container, and registry. The opener compares them, and the sender, so that a
//! box moved to another event does not open.

use std::{fmt, str::FromStr};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use nkeys::XKey;
use serde::{Deserialize, Serialize};
use waybill_domain::credentials::Secret;
use waybill_schemas::{ContainerId, ImageId, PublicSealingKey, Sealed, WorkspaceId};
use zeroize::Zeroizing;

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
    /// From the gateway to the scheduler: an image's credentials.
    Image {
        /// Owner of the image.
        workspace: WorkspaceId,
        /// The image.
        image_id: ImageId,
        /// Host that the credentials are for.
        registry: String,
    },
    /// From the scheduler to a worker: a container's credentials.
    Container {
        /// Owner of the container.
        workspace: WorkspaceId,
        /// The container.
        container_id: ContainerId,
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
    /// Sealed by somebody else than the configured sender.
    #[error("sealed by another key than the configured sender's")]
    Sender,
    /// Sealed to another key than this one.
    #[error("sealed to another key than this process has; was the key replaced?")]
    Recipient,
    /// Not an intact box between these two keys.
    #[error("the ciphertext is damaged or was not made with these keys")]
    Ciphertext,
    /// Sealed for another workspace, image, container or registry.
    #[error("sealed for another place than the event that carries it")]
    Binding,
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

/// Opens what `from` sealed to `own` for this place.
///
/// # Errors
/// [`UnsealError`] says which of the four did not fit.
pub fn open(own: &PrivateKey, from: &PublicKey, binding: &Binding, sealed: &Sealed) -> Result<Secret, UnsealError> {
    if sealed.sender != from.text {
        return Err(UnsealError::Sender);
    }
    if sealed.recipient.as_str() != own.0.public_key() {
        return Err(UnsealError::Recipient);
    }
    let ciphertext = STANDARD.decode(&sealed.ciphertext).map_err(|_| UnsealError::Ciphertext)?;
    // The crate indexes into the box without looking at its length first.
    if ciphertext.len() < MIN_BOX_BYTES {
        return Err(UnsealError::Ciphertext);
    }
    let plaintext = own.0.open(&ciphertext, &from.key).map(Zeroizing::new).map_err(|_| UnsealError::Ciphertext)?;
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

    fn image(workspace: &str, registry: &str) -> Binding {
        Binding::Image {
            workspace: workspace.parse().unwrap(),
            image_id: "i".parse().unwrap(),
            registry: registry.to_owned(),
        }
    }

    #[test]
    fn what_is_sealed_opens_at_its_place_only() {
        let [gateway, scheduler, other] = [0; 3].map(|_| PrivateKey::generate());
        let to = scheduler.public().unwrap();
        let place = image("ws", "a.b");
        let sealed = seal(&gateway, &to, &place, &Secret::new(CANARY.to_owned())).unwrap();
        assert!(!format!("{sealed:?}{gateway:?}{scheduler:?}").contains(CANARY));
        let from = gateway.public().unwrap();
        assert_eq!(open(&scheduler, &from, &place, &sealed).unwrap().expose(), CANARY);

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
        let container = Binding::Container {
            workspace: "ws".parse().unwrap(),
            container_id: "i".parse().unwrap(),
            registry: "a.b".to_owned(),
        };
        let cases = [
            ("another reader", open(&other, &from, &place, &sealed), UnsealError::Recipient),
            ("another sender", open(&scheduler, &from, &place, &forged), UnsealError::Sender),
            ("a sender's name on another's box", open(&scheduler, &from, &place, &claimed), UnsealError::Ciphertext),
            ("another workspace", open(&scheduler, &from, &image("w2", "a.b"), &sealed), UnsealError::Binding),
            ("another registry", open(&scheduler, &from, &image("ws", "a-b"), &sealed), UnsealError::Binding),
            ("a container", open(&scheduler, &from, &container, &sealed), UnsealError::Binding),
            ("a flipped bit", open(&scheduler, &from, &place, &flipped), UnsealError::Ciphertext),
            ("another nonce", open(&scheduler, &from, &place, &nonce), UnsealError::Ciphertext),
            ("another version", open(&scheduler, &from, &place, &version), UnsealError::Ciphertext),
            ("cut short", open(&scheduler, &from, &place, &short), UnsealError::Ciphertext),
            ("empty", open(&scheduler, &from, &place, &empty), UnsealError::Ciphertext),
            ("not base64", open(&scheduler, &from, &place, &text), UnsealError::Ciphertext),
        ];
        for (name, outcome, error) in cases {
            assert_eq!(outcome.unwrap_err(), error, "{name}");
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
