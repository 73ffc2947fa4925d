//! Renewals: one new version for every placement of this worker that has the secret, reported once.

use waybill_domain::{decision::Credential, fold::SecretKey, provider::Failure};
use waybill_platform::{
    log::{Appended, Expect, NewEvent, RawMessage},
    metrics,
};
use waybill_registry::provider::ProviderError;

use crate::{
    handler::{HandleError, Handler},
    outcome::{Assignment, renewal_decided_by},
    view::{Decided, Effect, Purpose},
};

impl Handler {
    /// Makes the provider of the new version, and reports whether it can be used.
    pub(crate) async fn renew(&self, assignment: &Assignment, decided: &Decided) -> Result<(), HandleError> {
        let Some(credential) = decided.decision.credential() else { return Ok(()) };
        let secret =
            SecretKey { workspace: decided.decision.workspace.clone(), secret_name: credential.secret_name.clone() };
        self.read_placements(&secret).await?;
        if self.view().newest(&secret).is_some_and(|newest| newest.version > credential.version) {
            // The newer version's renewal is reported instead.
            return Ok(());
        }
        let outcome = self.try_version(&secret, credential).await?;
        let Some(event) = assignment.renewed(&outcome) else { return Ok(()) };
        if self.report_renewal(&event, decided.sequence).await? {
            log_renewal(&secret, credential, &outcome);
        }
        Ok(())
    }

    /// Number of placements that use the version now, or why none can.
    async fn try_version(
        &self,
        secret: &SecretKey,
        credential: &Credential,
    ) -> Result<Result<u64, Failure>, HandleError> {
        let uses = u64::try_from(self.view().uses(secret)).unwrap_or(u64::MAX);
        if uses == 0 {
            // Nobody here has it any more, so nothing is opened.
            return Ok(Ok(0));
        }
        let provider = match self.provider(secret, credential).await? {
            Ok(provider) => provider,
            Err(failure) => return Ok(Err(failure)),
        };
        let failed = |error: ProviderError| Failure { reason: error.failure(), detail: error.to_string() };
        // The provider stays where its first login fails: the next one may not.
        let login = provider.login(provider.registry()).await;
        Ok(login.map(|_| uses).map_err(failed))
    }

    /// Placements of an earlier run count as well.
    async fn read_placements(&self, secret: &SecretKey) -> Result<(), HandleError> {
        let unread = self.view().unread();
        for placed in unread.into_iter().filter(|placed| placed.container.workspace == secret.workspace) {
            let look_up = Effect::LookUp { placed, purpose: Purpose::Answer };
            self.perform_quietly(vec![look_up]).await?;
        }
        Ok(())
    }

    /// Appends the outcome of the decision at a sequence, unless it or a later one's is there. True if it was appended now.
    async fn report_renewal(&self, event: &NewEvent, decided_by: u64) -> Result<bool, HandleError> {
        let mut last = self.log.last(&event.subject).await?;
        loop {
            if is_reported(last.as_ref(), decided_by) {
                return Ok(false);
            }
            let expected = last.as_ref().map_or(0, |last| last.sequence);
            match self.log.append(event, Expect::Last(expected), None).await? {
                Appended::Stored { duplicate, .. } => return Ok(!duplicate),
                Appended::Conflict { last: now } => last = now,
            }
        }
    }
}

fn is_reported(last: Option<&RawMessage>, decided_by: u64) -> bool {
    let Some(last) = last else { return false };
    let recorded = last.decode().ok();
    // What cannot be read was said by a newer version of this worker.
    recorded.is_none_or(|recorded| renewal_decided_by(&recorded.event).is_none_or(|last| last >= decided_by))
}

fn log_renewal(secret: &SecretKey, credential: &Credential, outcome: &Result<u64, Failure>) {
    let (workspace, secret_name, version) = (&secret.workspace, &secret.secret_name, credential.version);
    match outcome {
        Ok(placements) => {
            metrics::renewal("applied", None);
            tracing::info!(%workspace, %secret_name, version, placements, "secret renewed");
        }
        Err(Failure { reason, detail }) => {
            metrics::renewal("failed", Some(reason.as_str()));
            tracing::warn!(%workspace, %secret_name, version, %reason, detail, "secret renewed, and it gives no login");
        }
    }
}
