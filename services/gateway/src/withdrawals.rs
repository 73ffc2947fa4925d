//! Withdrawing a secret: revoked, or shredded as well.

use uuid::Uuid;
use waybill_domain::secret::{Next, decide_withdrawal};
use waybill_platform::log::{Expect, NewEvent};
use waybill_schemas::{
    Event, SecretName, WorkspaceId,
    v1::{CredentialSecretRevoked, CredentialSecretShredded},
};

use crate::{
    record::{Receipt, RecordError, Session, Written},
    versions::{Head, ROUNDS, read_head, secret_subject},
};

/// A secret to withdraw.
pub(crate) struct Withdrawal {
    pub(crate) workspace: WorkspaceId,
    pub(crate) secret_name: SecretName,
    /// True if every version is to be erased too.
    pub(crate) shred: bool,
    pub(crate) reason: Option<String>,
    pub(crate) if_version: Option<u64>,
    pub(crate) event_id: Uuid,
}

/// Records a withdrawal, or finds that an earlier request with the same key recorded it.
pub(crate) async fn record_withdrawal(session: &Session, withdrawal: &Withdrawal) -> Result<Receipt, RecordError> {
    let subject = secret_subject(&withdrawal.workspace, &withdrawal.secret_name);
    for _ in 0..ROUNDS {
        let head = read_head(session, &subject).await?;
        if let Some(head) = head.as_ref().filter(|head| head.has_id(withdrawal.event_id)) {
            let same = reason(&head.recorded.value.event) == withdrawal.reason.as_ref();
            return if same { Ok(head.receipt(true)) } else { Err(RecordError::KeyReused) };
        }
        let next = decide_withdrawal(head.as_ref().map(|head| &head.head), withdrawal.shred, withdrawal.if_version)?;
        let Some(head) = head else { continue };
        let envelope = session.envelope(withdrawal.event_id, None);
        let new = NewEvent { subject: subject.clone(), envelope, event: event(withdrawal, next, &head) };
        if let Written::Stored(receipt) = session.append(new, Expect::Last(next.after)).await? {
            return Ok(*receipt);
        }
    }
    Err(RecordError::Contended)
}

fn event(withdrawal: &Withdrawal, next: Next, head: &Head) -> Event {
    let (workspace, secret_name) = (withdrawal.workspace.clone(), withdrawal.secret_name.clone());
    let (registry, account) = (head.head.registry.clone(), head.head.account.clone());
    let (version, reason) = (next.version, withdrawal.reason.clone());
    match withdrawal.shred {
        true => CredentialSecretShredded { workspace, secret_name, version, registry, account, reason }.into(),
        false => CredentialSecretRevoked { workspace, secret_name, version, registry, account, reason }.into(),
    }
}

fn reason(event: &Event) -> Option<&String> {
    match event {
        Event::CredentialSecretRevoked(revoked) => revoked.reason.as_ref(),
        Event::CredentialSecretShredded(shredded) => shredded.reason.as_ref(),
        _ => None,
    }
}
