//! The scheduler's private keys: the present one seals, each opens what was sealed to it.

use waybill_domain::credentials::Secret;
use waybill_schemas::{PublicSealingKey, Sealed};

use super::{Binding, KeyError, PrivateKey, PublicKey, SealError, Senders, UnsealError, open, seal};

/// Private keys of one owner, newest first. Always holds at least one.
#[derive(Debug)]
pub struct KeyRing {
    present: PrivateKey,
    present_public: PublicKey,
    earlier: Vec<(PublicSealingKey, PrivateKey)>,
}

impl KeyRing {
    /// A ring of the present key and earlier ones, newest first.
    ///
    /// # Errors
    /// [`KeyError`], which private keys never give.
    pub fn new(present: PrivateKey, earlier: Vec<PrivateKey>) -> Result<Self, KeyError> {
        let present_public = present.public()?;
        let earlier = earlier.into_iter().map(|key| Ok((key.public()?.text().clone(), key)));
        let earlier = earlier.collect::<Result<_, KeyError>>()?;
        Ok(Self { present, present_public, earlier })
    }

    /// The public half of the present key.
    pub fn present(&self) -> &PublicKey {
        &self.present_public
    }

    /// Public halves of the earlier keys, newest first.
    pub fn earlier(&self) -> Vec<PublicSealingKey> {
        self.earlier.iter().map(|(public, _)| public.clone()).collect()
    }

    /// True if a sealed box is for the present key.
    pub fn is_present(&self, sealed: &Sealed) -> bool {
        sealed.recipient == *self.present_public.text()
    }

    /// Opens a box with the key that it is sealed to. Its digest in the log vouches for the sender.
    ///
    /// # Errors
    /// [`UnsealError`]; `Recipient` when it is sealed to none of these keys.
    pub fn open(&self, binding: &Binding, sealed: &Sealed) -> Result<Secret, UnsealError> {
        let earlier = || self.earlier.iter().find(|(public, _)| *public == sealed.recipient).map(|(_, key)| key);
        let own = if self.is_present(sealed) { Some(&self.present) } else { earlier() };
        open(own.ok_or(UnsealError::Recipient)?, Senders::Any, binding, sealed)
    }

    /// Seals with the present key.
    ///
    /// # Errors
    /// [`SealError`] when the recipient's key is a point that nothing can be sealed to.
    pub fn seal(&self, to: &PublicKey, binding: &Binding, credentials: &Secret) -> Result<Sealed, SealError> {
        seal(&self.present, to, binding, credentials)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sealing::seal_once;

    #[test]
    fn each_key_opens_what_was_sealed_to_it() {
        let [new, old, foreign] = [0; 3].map(|_| PrivateKey::generate());
        let keys = [&new, &old, &foreign].map(|key| key.public().unwrap());
        let ring = KeyRing::new(new, vec![old]).unwrap();
        let place = Binding::Secret {
            workspace: "ws".parse().unwrap(),
            secret: "s".parse().unwrap(),
            version: 1,
            registry: "a.b".to_owned(),
        };
        let [to_new, to_old, to_foreign] = keys.map(|to| seal_once(&to, &place, &Secret::new("canary")).unwrap());
        assert!(ring.is_present(&to_new) && !ring.is_present(&to_old));
        assert_eq!(ring.open(&place, &to_new).unwrap().expose(), "canary");
        assert_eq!(ring.open(&place, &to_old).unwrap().expose(), "canary");
        assert_eq!(ring.open(&place, &to_foreign).unwrap_err(), UnsealError::Recipient);
    }
}
