//! Saving a version of a secret: the vault first, then the event that says so, decided from the secret's head.
//!
//! Nothing is locked. Who loses the race for a head reads it again and decides anew; a version number that somebody else has
//! taken in the vault, or that an attempt before this one left there, is skipped: numbers grow, without having to be dense.

use std::time::Duration;

use uuid::Uuid;
use waybill_domain::{
    credentials::Secret,
    fold::SecretState,
    secret::{Naming, NewVersion, SecretHead, SecretRefusal, decide_new_version, is_same_account},
};
use waybill_platform::{
    log::{Expect, NewEvent},
    sealing::{Binding, PrivateKey, PublicKey, digest, seal},
    vault::{SecretEntry, VaultEntry},
};
use waybill_schemas::{
    Event, ImageId, Recorded, RecordedEvent, Sealed, SecretName, Subject, VaultKey, WorkspaceId,
    v1::{CredentialSecretRotated, CredentialSecretSaved, SecretVersion, Verified},
};

use crate::record::{Cause, Receipt, RecordError, Session, Written};

/// How often a lost race is tried again.
pub(crate) const ROUNDS: u32 = 16;
const PAUSE: Duration = Duration::from_millis(10);
/// Default names that are tried for a build's secret.
const NAMES: u32 = 128;
/// Largest credentials JSON, in bytes: sealed twice and encoded, it fits into a message.
pub(crate) const LARGEST_CREDENTIALS: usize = 256 * 1024;

/// A version to save.
pub(crate) struct VersionRequest<'a> {
    pub(crate) workspace: &'a WorkspaceId,
    pub(crate) naming: &'a Naming,
    pub(crate) new: &'a NewVersion,
    /// What the registry said of the credentials, where it was asked.
    pub(crate) verified: Option<&'a Verified>,
    pub(crate) origin: Origin<'a>,
}

/// The event by which a build names the version for its image, which follows from the version's own event.
pub(crate) type NamesImage<'a> = dyn Fn(&SecretName, &SecretVersion, Cause) -> NewEvent + Sync + 'a;

/// Who brings a version.
pub(crate) enum Origin<'a> {
    /// A build. Its events' ids follow from its subject.
    Build { image_id: &'a ImageId, subject: &'a Subject },
    /// An operation on the secret, with the id of its event.
    Operation { event_id: Uuid, if_version: Option<u64> },
}

/// What became of a version.
pub(crate) enum Saved {
    /// It is the secret's newest.
    New {
        secret_name: SecretName,
        stored: SecretVersion,
        /// Receipt of the secret's event.
        receipt: Receipt,
        /// What became of the event that names it, where that went with it.
        named: Option<Written>,
    },
    /// The secret has these credentials already.
    Unchanged { secret_name: SecretName, stored: SecretVersion, receipt: Receipt },
    /// The secret belongs to another registry.
    BoundElsewhere { secret_name: SecretName, bound_to: String },
    /// The registry refused the credentials, and took the version that is saved.
    Refused { secret_name: SecretName },
}

/// A secret's head, with its event.
pub(crate) struct Head {
    pub(crate) head: SecretHead,
    pub(crate) recorded: Recorded<RecordedEvent>,
}

impl Head {
    /// The head that an event leaves; none for an event about something else.
    pub(crate) fn from_recorded(recorded: Recorded<RecordedEvent>) -> Option<Self> {
        let head = SecretHead::from_event(recorded.sequence, &recorded.value.event)?;
        Some(Self { head, recorded })
    }

    /// True if the event has this id.
    pub(crate) fn has_id(&self, id: Uuid) -> bool {
        self.recorded.value.envelope.id == id
    }

    pub(crate) fn receipt(&self, replayed: bool) -> Receipt {
        Receipt::from_recorded(&self.recorded, replayed)
    }

    /// The newest version, while it may be used.
    fn active(&self) -> Option<&SecretVersion> {
        self.head.stored.as_ref().filter(|_| self.head.state == SecretState::Active)
    }
}

/// Reads the head of a secret.
pub(crate) async fn read_head(session: &Session, subject: &Subject) -> Result<Option<Head>, RecordError> {
    Ok(session.last(subject).await?.and_then(Head::from_recorded))
}

/// Subject of a secret.
pub(crate) fn secret_subject(workspace: &WorkspaceId, secret: &SecretName) -> Subject {
    Subject::Secret { workspace: workspace.clone(), secret: secret.clone() }
}

/// Saves a version, unless the secret has these credentials already, belongs elsewhere, or has better ones.
pub(crate) async fn save_version(session: &Session, request: &VersionRequest<'_>) -> Result<Saved, RecordError> {
    save_and_name(session, request, None).await
}

/// As [`save_version`]; with a new version goes the event that names it.
pub(crate) async fn save_and_name(
    session: &Session,
    request: &VersionRequest<'_>,
    naming: Option<&NamesImage<'_>>,
) -> Result<Saved, RecordError> {
    let length = request.new.credentials.expose().len();
    if length > LARGEST_CREDENTIALS {
        return Err(RecordError::CredentialsTooLarge(length));
    }
    let mac = session.recorder.hash_key.mac(request.new.credentials.expose().as_bytes());
    let account = account_hash(session, request.new);
    // The lowest number that may still be free in the vault.
    let mut free = 1;
    for round in 0..ROUNDS {
        if round > 1 {
            session.pause(PAUSE.saturating_mul(round)).await;
        }
        let (secret_name, head) = choose_name(session, request, account.as_deref()).await?;
        let subject = secret_subject(request.workspace, &secret_name);
        if let Some(settled) = settle_without_version(session, request, &secret_name, head.as_ref()).await? {
            return Ok(settled);
        }
        let registry = &request.new.registry;
        let next = match decide_new_version(head.as_ref().map(|head| &head.head), registry, request.if_version()) {
            Ok(next) => next,
            Err(SecretRefusal::RegistryMismatch { bound_to }) => {
                return Ok(Saved::BoundElsewhere { secret_name, bound_to });
            }
            Err(refusal) => return Err(refusal.into()),
        };
        let version = next.version.max(free);
        let sealed = seal_version(session, request, &secret_name, version).await?;
        let stored = SecretVersion {
            version,
            registry: registry.clone(),
            cred_type: request.new.cred_type,
            account: account.clone(),
            expires_at: request.new.expires_at,
            credentials_length: u64::try_from(length).unwrap_or(u64::MAX),
            digest: digest(&sealed),
            note: request.new.note.clone(),
            verified: request.verified.cloned(),
        };
        free = version.saturating_add(1);
        let (workspace, secret) = (request.workspace.clone(), secret_name.clone());
        let key = VaultKey::Secret { workspace, secret, version };
        let entry = VaultEntry::Secret(SecretEntry { sealed, mac: mac.clone() });
        if !session.create_entry(&key, &entry).await? {
            continue;
        }
        let event = request.event(&secret_name, head.is_none(), stored.clone());
        let new = NewEvent { envelope: session.envelope(request.event_id(&subject), None), subject, event };
        let cause = Cause { event_id: new.envelope.id, correlation_id: new.envelope.correlation_id };
        let expect = Expect::Last(next.after);
        let (written, named) = match naming {
            Some(naming) => session.append_followed(new, expect, naming(&secret_name, &stored, cause)).await?,
            None => (session.append(new, expect).await?, None),
        };
        if let Written::Stored(receipt) = written {
            // With a duplicate it is the version of the attempt before.
            let stored = receipt.event.stored_version().cloned();
            let stored = stored.ok_or_else(|| crate::record::unacknowledged("the event is not what was appended"))?;
            return Ok(Saved::New { secret_name, stored, receipt: *receipt, named });
        }
    }
    Err(RecordError::Contended)
}

impl VersionRequest<'_> {
    fn if_version(&self) -> Option<u64> {
        match self.origin {
            Origin::Build { .. } => None,
            Origin::Operation { if_version, .. } => if_version,
        }
    }

    fn event_id(&self, secret: &Subject) -> Uuid {
        match self.origin {
            Origin::Build { subject, .. } => crate::idempotency::saved_event_id(subject, secret),
            Origin::Operation { event_id, .. } => event_id,
        }
    }

    fn event(&self, secret_name: &SecretName, first: bool, stored: SecretVersion) -> Event {
        let (workspace, secret_name) = (self.workspace.clone(), secret_name.clone());
        match self.origin {
            Origin::Build { image_id, .. } => {
                CredentialSecretSaved { workspace, secret_name, image_id: Some(image_id.clone()), stored }.into()
            }
            Origin::Operation { .. } if first => {
                CredentialSecretSaved { workspace, secret_name, image_id: None, stored }.into()
            }
            Origin::Operation { .. } => CredentialSecretRotated { workspace, secret_name, stored }.into(),
        }
    }
}

/// Keyed hash of the account's name, where the credentials have one that stays.
fn account_hash(session: &Session, new: &NewVersion) -> Option<String> {
    let identity = new.identity.as_deref()?;
    Some(session.recorder.hash_key.account(new.cred_type.as_str(), identity))
}

/// The first name that is free, or belongs to the account; a name that was given is taken as it is.
async fn choose_name(
    session: &Session,
    request: &VersionRequest<'_>,
    account: Option<&str>,
) -> Result<(SecretName, Option<Head>), RecordError> {
    let given = matches!(request.naming, Naming::Given(_));
    for name in (0..NAMES).map_while(|index| request.naming.candidate(index)) {
        let head = read_head(session, &secret_subject(request.workspace, &name)).await?;
        if given || is_same_account(head.as_ref().map(|head| &head.head), &request.new.registry, account) {
            return Ok((name, head));
        }
    }
    Err(RecordError::NoFreeName)
}

/// What becomes of the request where it makes no version.
async fn settle_without_version(
    session: &Session,
    request: &VersionRequest<'_>,
    secret_name: &SecretName,
    head: Option<&Head>,
) -> Result<Option<Saved>, RecordError> {
    let Some(head) = head else { return Ok(None) };
    let Some(stored) = head.active() else { return Ok(None) };
    let (secret_name, stored) = (secret_name.clone(), stored.clone());
    let subject = secret_subject(request.workspace, &secret_name);
    if head.has_id(request.event_id(&subject)) {
        // An attempt before this one got as far as here.
        let replayed = matches!(request.origin, Origin::Operation { .. });
        if replayed && (stored.registry != request.new.registry || stored.cred_type != request.new.cred_type) {
            return Err(RecordError::KeyReused);
        }
        return Ok(Some(Saved::New { secret_name, stored, receipt: head.receipt(replayed), named: None }));
    }
    if stored.registry != request.new.registry {
        return Ok(Some(Saved::BoundElsewhere { secret_name, bound_to: stored.registry }));
    }
    let (workspace, secret) = (request.workspace.clone(), secret_name.clone());
    let key = VaultKey::Secret { workspace, secret, version: stored.version };
    if session.entry(&key).await?.is_some_and(|kept| holds(session, &kept.entry, &request.new.credentials)) {
        check_if_version(request, stored.version)?;
        return Ok(Some(Saved::Unchanged { secret_name, stored, receipt: head.receipt(false) }));
    }
    let refused = request.verified.is_some_and(|verified| verified.digest.is_none());
    if refused && head.head.is_verified() {
        check_if_version(request, stored.version)?;
        return Ok(Some(Saved::Refused { secret_name }));
    }
    Ok(None)
}

/// True if a vault entry is of these credentials.
fn holds(session: &Session, entry: &VaultEntry, credentials: &Secret) -> bool {
    let VaultEntry::Secret(entry) = entry else { return false };
    session.recorder.hash_key.matches(credentials.expose().as_bytes(), &entry.mac)
}

fn check_if_version(request: &VersionRequest<'_>, present: u64) -> Result<(), RecordError> {
    match request.if_version() {
        Some(asked) if asked != present => Err(SecretRefusal::VersionConflict { present, asked }.into()),
        _ => Ok(()),
    }
}

/// Seals credentials to the scheduler's present key, with a key that is made for this and discarded: nobody but the scheduler
/// can open them.
async fn seal_version(
    session: &Session,
    request: &VersionRequest<'_>,
    secret_name: &SecretName,
    version: u64,
) -> Result<Sealed, RecordError> {
    let scheduler = scheduler_key(session).await?;
    let binding = Binding::Secret {
        workspace: request.workspace.clone(),
        secret: secret_name.clone(),
        version,
        registry: request.new.registry.clone(),
    };
    seal(&PrivateKey::generate(), &scheduler, &binding, &request.new.credentials)
        .map_err(|error| RecordError::Unsealable(error.to_string()))
}

async fn scheduler_key(session: &Session) -> Result<PublicKey, RecordError> {
    let recorded = session.last(&Subject::SchedulerKeys).await?;
    match recorded.map(|recorded| recorded.value.event) {
        Some(Event::SchedulerKeyPublished(published)) => {
            published.sealing_key.as_str().parse().map_err(|_| RecordError::Unsealable("not a key".to_owned()))
        }
        _ => Err(RecordError::NoSchedulerKey),
    }
}
