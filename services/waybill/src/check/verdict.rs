//! What a check comes to: the fields of `--json`, in a fixed order.

use serde::Serialize;
use waybill_domain::{
    explain::skip_in_words,
    reference::{ImageReference, Registry, secret_name},
    save::{BuildError, BuildRequest, SavePlan, SaveSkip},
};
use waybill_registry::trial::{Given, Refused};
use waybill_schemas::{
    Timestamp,
    v1::{CredType, CredentialSecretSkipped, SaveSkipReason},
};

/// What the registry said.
pub(super) type Asked = Result<Given, Refused>;

/// The answer. A field that does not apply is null.
#[derive(Debug, Serialize)]
pub(super) struct Verdict {
    /// Nothing needs to be done.
    pub(super) good: bool,
    pub(super) image_ref: String,
    pub(super) registry: String,
    pub(super) kind: &'static str,
    pub(super) secret_name: String,
    pub(super) outcome: Outcome,
    /// Reason code of the event, or `invalid_credentials` where the gateway would refuse the request.
    pub(super) reason: Option<&'static str>,
    pub(super) cred_type: Option<CredType>,
    pub(super) missing_key: Option<String>,
    pub(super) expires_at: Option<Timestamp>,
    pub(super) detail: Option<String>,
    pub(super) remedy: Option<String>,
    /// With `--live`.
    pub(super) live: Option<Live>,
}

/// What the gateway would answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Outcome {
    /// 201
    Saved,
    /// 200
    Skipped,
    /// 422
    Refused,
}

/// What the registry answered.
#[derive(Debug, Serialize)]
#[serde(tag = "outcome", rename_all = "snake_case")]
pub(super) enum Live {
    Ok { digest: String, login_expires_at: Option<Timestamp> },
    Failed { reason: &'static str, detail: String },
}

/// Whether a skip says that there is nothing to save, so that a worker would ask without credentials.
pub(super) fn is_of_no_credentials(reason: SaveSkipReason) -> bool {
    matches!(reason, SaveSkipReason::NoCredentialsProvided | SaveSkipReason::PublicRegistry)
}

impl Verdict {
    /// The gateway would save them: good unless the registry refuses.
    pub(super) fn saved(image: &ImageReference, plan: &SavePlan, asked: Option<Asked>) -> Self {
        let live = asked.map(Live::of);
        Self {
            good: live.as_ref().is_none_or(Live::is_ok),
            secret_name: default_name(image, plan),
            cred_type: Some(plan.new.cred_type),
            detail: plan.new.note.clone(),
            expires_at: plan.new.expires_at,
            live,
            ..Self::about(image, Outcome::Saved)
        }
    }

    /// The gateway would save nothing: good where the registry gives the image to anybody, as it said or is known to.
    pub(super) fn skipped(image: &ImageReference, skip: &SaveSkip, build: &BuildRequest, asked: Option<Asked>) -> Self {
        let live = asked.map(Live::of);
        let public = live.is_none() && skip.reason == SaveSkipReason::PublicRegistry;
        let (sentence, remedy) = skip_in_words(&event(image, skip, build));
        Self {
            good: public || live.as_ref().is_some_and(Live::is_ok),
            reason: Some(skip.reason.as_str()),
            cred_type: skip.cred_type,
            missing_key: skip.missing_key.clone(),
            detail: Some(skip.detail.clone().unwrap_or(sentence)),
            remedy: Some(remedy),
            live,
            ..Self::about(image, Outcome::Skipped)
        }
    }

    /// The gateway would refuse the request.
    pub(super) fn refused(image: &ImageReference, error: &BuildError) -> Self {
        let cause = std::error::Error::source(error).map_or_else(|| error.to_string(), ToString::to_string);
        let (reason, detail) = (Some("invalid_credentials"), Some(cause));
        Self { reason, detail, ..Self::about(image, Outcome::Refused) }
    }

    fn about(image: &ImageReference, outcome: Outcome) -> Self {
        Self {
            good: false,
            image_ref: image.to_string(),
            registry: image.registry().to_string(),
            kind: kind(&image.registry().kind()),
            secret_name: secret_name(image.registry()).to_string(),
            outcome,
            reason: None,
            cred_type: None,
            missing_key: None,
            expires_at: None,
            detail: None,
            remedy: None,
            live: None,
        }
    }
}

impl Live {
    fn of(asked: Asked) -> Self {
        match asked {
            Ok(Given { digest, expires_at }) => Self::Ok { digest, login_expires_at: expires_at },
            Err(Refused { failure, detail }) => Self::Failed { reason: failure.as_str(), detail },
        }
    }

    fn is_ok(&self) -> bool {
        matches!(self, Self::Ok { .. })
    }
}

/// The event that the gateway would publish.
fn event(image: &ImageReference, skip: &SaveSkip, build: &BuildRequest) -> CredentialSecretSkipped {
    CredentialSecretSkipped {
        workspace: build.workspace.clone(),
        image_id: build.image_id.clone(),
        image_ref: Some(image.to_string()),
        registry: Some(image.registry().to_string()),
        secret_name: Some(secret_name(image.registry())),
        cred_type: skip.cred_type,
        source: skip.target.as_ref().map(|target| target.source),
        reason: skip.reason,
        missing_key: skip.missing_key.clone(),
        detail: skip.detail.clone(),
    }
}

/// The first name that the gateway tries. Keys whose account changes at each issue get a secret of the image's own.
fn default_name(image: &ImageReference, plan: &SavePlan) -> String {
    let base = secret_name(image.registry());
    match plan.new.identity {
        Some(_) => base.to_string(),
        None => format!("{base}-<image_id>"),
    }
}

fn kind(registry: &Registry) -> &'static str {
    match registry {
        Registry::Ecr(_) => "ecr",
        Registry::EcrPublic => "ecr_public",
        Registry::Gcr => "gcr",
        Registry::ArtifactRegistry { .. } => "artifact_registry",
        Registry::Acr { .. } => "acr",
        Registry::DockerHub => "docker_hub",
        Registry::Ghcr => "ghcr",
        Registry::Ngc => "ngc",
        Registry::Quay => "quay",
        Registry::Gitlab => "gitlab",
        Registry::Generic => "generic",
    }
}
