//! From the decision about a build to the event that records it.

use axum::http::StatusCode;
use waybill_domain::{
    credentials::Secret,
    save::{BuildRequest, SaveDecision, SavePlan, SaveSkip},
};
use waybill_platform::sealing::{Binding, seal};
use waybill_schemas::{Event, ImageId, Sealed, WorkspaceId, v1};

use super::{App, problem::Problem};

/// The event of a decision; credentials are sealed to the scheduler here.
pub(super) fn of(app: &App, build: BuildRequest, decision: SaveDecision) -> Result<Event, Problem> {
    match decision {
        SaveDecision::Save(plan) => saved(app, build, plan).map(Event::from),
        SaveDecision::Skip(skip) => Ok(skipped(build, skip).into()),
    }
}

fn saved(app: &App, build: BuildRequest, plan: SavePlan) -> Result<v1::CredentialSecretSaved, Problem> {
    let registry = plan.target.registry();
    tracing::debug!(
        image_id = %build.image_id,
        cred_type = %plan.cred_type,
        registry,
        source = %plan.target.source,
        "credential type detected"
    );
    let credentials = sealed(app, (&build.workspace, &build.image_id), &registry, &plan.credentials)?;
    Ok(v1::CredentialSecretSaved {
        workspace: build.workspace,
        image_id: build.image_id,
        image_ref: plan.target.reference.to_string(),
        registry,
        secret_name: plan.target.secret_name(),
        cred_type: plan.cred_type,
        source: plan.target.source,
        expires_at: plan.expires_at,
        credentials,
    })
}

/// Seals credentials of an image to the scheduler.
pub(super) fn sealed(
    app: &App,
    (workspace, image_id): (&WorkspaceId, &ImageId),
    registry: &str,
    credentials: &Secret,
) -> Result<Sealed, Problem> {
    let binding =
        Binding::Image { workspace: workspace.clone(), image_id: image_id.clone(), registry: registry.to_owned() };
    seal(&app.sealing_key, &app.scheduler_key, &binding, credentials).map_err(|error| {
        tracing::error!(%error, "credentials cannot be sealed to the scheduler");
        Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "sealing", "the credentials cannot be sealed to the scheduler")
            .remedy("check WAYBILL_SCHEDULER_SEALING_KEY")
    })
}

fn skipped(build: BuildRequest, skip: SaveSkip) -> v1::CredentialSecretSkipped {
    let target = skip.target.as_ref();
    tracing::debug!(
        image_id = %build.image_id,
        cred_type = skip.cred_type.map(tracing::field::display),
        registry = target.map(|target| target.registry()),
        source = target.map(|target| tracing::field::display(target.source)),
        reason = %skip.reason,
        detail = skip.detail,
        "nothing to save"
    );
    v1::CredentialSecretSkipped {
        workspace: build.workspace,
        image_id: build.image_id,
        image_ref: target.map(|target| target.reference.to_string()),
        registry: target.map(|target| target.registry()),
        secret_name: target.map(|target| target.secret_name()),
        cred_type: skip.cred_type,
        source: target.map(|target| target.source),
        reason: skip.reason,
        missing_key: skip.missing_key,
    }
}
