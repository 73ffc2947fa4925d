//! What no service of this version writes: events and vault entries in the name of a role.

use serde_json::{Value, json};
use uuid::Uuid;
use waybill_domain::credentials::Secret;
use waybill_platform::sealing::{Binding, PrivateKey, PublicKey, digest, seal};
use waybill_tests::stack::{Stack, event_headers};

/// Registry of every forged secret.
pub(crate) const REGISTRY: &str = "a.b";

/// Publishes an event with the user of a role, under a fresh id, and returns its sequence.
pub(crate) async fn publish(stack: &Stack, role: &str, subject: &str, event: &str, body: impl Into<Vec<u8>>) -> u64 {
    let id = Uuid::new_v4().to_string();
    let ce_type = format!("waybill.v1.{event}");
    let stored = stack.user(role).await.publish(subject, &event_headers(&id, &ce_type), body).await;
    stored.unwrap_or_else(|| panic!("{role} could not publish on {subject}"))
}

/// A message that cannot be read, where a build of image `torn` would stand.
pub(crate) async fn publish_torn(stack: &Stack) -> u64 {
    publish(stack, "gateway", "waybill.events.image.acme.torn.b-1", "ImageSecretNamed", "{").await
}

/// The scheduler's public key.
pub(crate) fn scheduler_key(stack: &Stack) -> PublicKey {
    waybill_scheduler::read_keys(&stack.home().join("keys/scheduler")).unwrap().present().clone()
}

/// A first version of a secret of workspace `acme`, and an image of the same name that names it.
pub(crate) struct Forged<'f> {
    /// Name of the secret and of the image.
    pub(crate) name: &'f str,
    /// Kind of the credentials, as the event has it.
    pub(crate) cred_type: &'f str,
    /// What is sealed.
    pub(crate) credentials: &'f str,
    /// Whom it is sealed to.
    pub(crate) to: PublicKey,
}

impl<'f> Forged<'f> {
    /// Basic credentials that the scheduler can open.
    pub(crate) fn new(stack: &Stack, name: &'f str, credentials: &'f str) -> Self {
        Self { name, cred_type: "basic", credentials, to: scheduler_key(stack) }
    }

    /// Writes the vault's entry and both events, as a gateway would.
    pub(crate) async fn save(&self, stack: &Stack) {
        let sealed = self.write_version(stack).await;
        self.write_events(stack, &sealed).await;
    }

    /// Writes the vault's entry, and returns the digest of what is sealed.
    pub(crate) async fn write_version(&self, stack: &Stack) -> String {
        let binding = Binding::Secret {
            workspace: "acme".parse().unwrap(),
            secret: self.name.parse().unwrap(),
            version: 1,
            registry: REGISTRY.to_owned(),
        };
        let sealed = seal(&PrivateKey::generate(), &self.to, &binding, &Secret::new(self.credentials)).unwrap();
        let entry = json!({ "sealed": sealed, "mac": "0".repeat(64) });
        let key = format!("$KV.WAYBILL_VAULT.secret.acme.{}.1", self.name);
        let stored = stack.user("gateway").await.publish(&key, &[], entry.to_string()).await;
        assert!(stored.is_some(), "the vault takes {key}");
        digest(&sealed)
    }

    /// Writes the events of a version whose sealed bytes have a digest, and of the image.
    pub(crate) async fn write_events(&self, stack: &Stack, digest: &str) {
        let saved = json!({
            "workspace": "acme", "secret_name": self.name, "image_id": self.name,
            "stored": {
                "version": 1, "registry": REGISTRY, "cred_type": self.cred_type,
                "credentials_length": self.credentials.len(), "digest": digest,
            },
        });
        let subject = format!("waybill.events.secret.acme.{}", self.name);
        publish(stack, "gateway", &subject, "CredentialSecretSaved", saved.to_string()).await;
        name_image(stack, self.name, self.name).await;
    }
}

/// Has an image name a secret.
pub(crate) async fn name_image(stack: &Stack, image_id: &str, secret_name: &str) -> u64 {
    let named = json!({
        "workspace": "acme", "image_id": image_id, "image_ref": format!("{REGISTRY}/app:1"), "registry": REGISTRY,
        "secret_name": secret_name, "source": "from_registry",
    });
    let subject = format!("waybill.events.image.acme.{image_id}.{}", Uuid::new_v4().simple());
    publish(stack, "gateway", &subject, "ImageSecretNamed", named.to_string()).await
}

/// Puts a grant of a version 1 into the vault with the scheduler's user.
pub(crate) async fn write_grant(stack: &Stack, worker: &str, secret_name: &str, entry: &Value) {
    let key = format!("$KV.WAYBILL_VAULT.grant.{worker}.acme.{secret_name}.1");
    let stored = stack.user("scheduler").await.publish(&key, &[], entry.to_string()).await;
    assert!(stored.is_some(), "the vault takes {key}");
}
