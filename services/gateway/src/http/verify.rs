//! `verify: true` of a build: the registry is asked about the credentials, and what it says is recorded.

use std::sync::Arc;

use serde::Serialize;
use utoipa::ToSchema;
use waybill_domain::save::SaveDecision;
use waybill_schemas::{Derivation, Event, WorkspaceId, v1::CredentialSecretVerified};

use super::problem::Problem;
use crate::{
    port::{NotAccepted, Unverified, Verifies, VerifyFailure},
    record::{Receipt, Recorder},
};

/// What the registry said of the credentials when they were saved.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct VerifiedAnswer {
    /// Whether the registry gave the image's manifest for them.
    accepted: bool,
    /// Its digest.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    digest: Option<String>,
    /// Why not, as the worker's events have it: `unauthorized`, `token_exchange_failed`, `unreachable` …
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, example = "unauthorized")]
    reason: Option<&'static str>,
    /// More words, without secrets.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    detail: Option<String>,
}

impl VerifiedAnswer {
    fn of(event: &CredentialSecretVerified) -> Self {
        let exchange = event.provider_failure.map(|reason| reason.as_str());
        Self {
            accepted: event.digest.is_some(),
            digest: event.digest.clone(),
            reason: exchange.or(event.pull_failure.map(|reason| reason.as_str())),
            detail: event.detail.clone(),
        }
    }
}

/// A verification that was asked for.
pub(super) struct Wanted {
    verifies: Arc<dyn Verifies>,
    asked: Unverified,
}

/// What to verify: nothing unless it was asked for and there are credentials.
pub(super) fn wanted(
    verifies: Option<&Arc<dyn Verifies>>,
    verify: bool,
    workspace: &WorkspaceId,
    decision: &SaveDecision,
) -> Result<Option<Wanted>, Problem> {
    if !verify {
        return Ok(None);
    }
    let verifies = verifies.ok_or_else(|| {
        Problem::invalid("verify", "this gateway asks no registries")
            .remedy("leave verify out, or have the operator set WAYBILL_GATEWAY_VERIFY=on")
    })?;
    let SaveDecision::Save(plan) = decision else { return Ok(None) };
    let (image, credentials) = (plan.target.reference.clone(), plan.credentials.clone());
    let asked = Unverified { workspace: workspace.clone(), image, credentials };
    Ok(Some(Wanted { verifies: verifies.clone(), asked }))
}

impl Wanted {
    /// Asks the registry and records the answer. For a repeated request it is what was recorded then, or none: the credentials
    /// of this request need not be those that are saved.
    pub(super) async fn settle(&self, recorder: &Recorder, saved: &Receipt) -> Result<Option<VerifiedAnswer>, Problem> {
        if saved.replayed {
            let followed = recorder.followed(saved, Derivation::Verification).await?;
            return Ok(match followed {
                Some(Event::CredentialSecretVerified(event)) => Some(VerifiedAnswer::of(&event)),
                _ => None,
            });
        }
        let Some(secret) = saved.event.saved() else { return Err(super::problem::internal()) };
        let said = self.verifies.verify(&self.asked).await;
        let (digest, refused) = match said {
            Ok(digest) => (Some(digest), None),
            Err(refused) => (None, Some(refused)),
        };
        let failure = refused.as_ref().map(|NotAccepted { failure, .. }| *failure);
        let event = CredentialSecretVerified {
            workspace: secret.workspace.clone(),
            image_id: secret.image_id.clone(),
            saved_by: saved.sequence,
            digest,
            provider_failure: match failure {
                Some(VerifyFailure::Provider(reason)) => Some(reason),
                _ => None,
            },
            pull_failure: match failure {
                Some(VerifyFailure::Pull(reason)) => Some(reason),
                _ => None,
            },
            detail: refused.map(|refused| refused.detail),
        };
        let answer = VerifiedAnswer::of(&event);
        tracing::info!(
            image_id = %event.image_id,
            accepted = answer.accepted,
            reason = answer.reason,
            saved_by = saved.sequence,
            "credentials tried at the registry"
        );
        recorder.follow(saved, Derivation::Verification, event.into()).await?;
        Ok(Some(answer))
    }
}
