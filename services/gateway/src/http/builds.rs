//! `POST /v1/builds`: a build is done; save what its image needs to be pulled, or say why not.

use std::sync::Arc;

use axum::{body::Body, extract::State, http::HeaderMap, response::Response};
use serde::Deserialize;
use utoipa::ToSchema;
use waybill_domain::{
    credentials::CredentialInput,
    save::{BuildDecision, BuildError, BuildRequest, decide_build},
};
use waybill_platform::trace;
use waybill_schemas::v1::TokenRole;

use super::{
    App,
    answer::{SavedAnswer, UnsavedAnswer, answer_build, count_build, log_build},
    body, json,
    openapi::Problems,
    problem::Problem,
    request, verify,
};
use crate::{
    builds::{Build, record_build},
    tokens::Holder,
};

/// A finished build.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct BuildBody {
    /// Owner of the image.
    #[schema(example = "acme", pattern = "^[A-Za-z0-9_-]{1,128}$")]
    workspace: String,
    /// The image that was built.
    #[schema(example = "img-1", pattern = "^[A-Za-z0-9_-]{1,128}$")]
    image_id: String,
    /// An existing image that the build took as it is. It goes before `base_image`.
    #[schema(example = "registry.example.com/team/app:1")]
    existing_image_uri: Option<String>,
    /// Credentials for `existing_image_uri`.
    #[schema(value_type = Option<Credentials>)]
    existing_image_creds: Option<CredentialInput>,
    /// Name of the secret: with credentials, the one that they become a version of; alone, the one that the image uses.
    #[schema(example = "team-registry", pattern = "^[A-Za-z0-9_.-]{0,128}$")]
    existing_image_secret: Option<String>,
    /// The image that the build started from.
    #[schema(example = "registry.example.com/team/base:1")]
    base_image: Option<String>,
    /// Credentials for `base_image`.
    #[schema(value_type = Option<Credentials>)]
    base_image_creds: Option<CredentialInput>,
    /// As `existing_image_secret`, for `base_image`.
    #[schema(example = "team-registry", pattern = "^[A-Za-z0-9_.-]{0,128}$")]
    base_image_secret: Option<String>,
    /// Whether the build changed the image, so that its result is pulled from elsewhere.
    #[serde(default)]
    modified: bool,
    /// Whether to try the credentials at the registry before they are saved. What it says is recorded with them; credentials that
    /// it refuses never replace ones that it took. A repeated request tries nothing.
    #[serde(default)]
    verify: bool,
}

/// Registry credentials in one of four forms: an object of environment-style keys such as `AWS_ACCESS_KEY_ID` or
/// `USERNAME`; a Docker configuration file with `auths`, as an object or as text; the JSON text
/// `{"registry", "type", "credentials"}`; or `user:password`.
#[derive(ToSchema)]
#[schema(examples(json!({"USERNAME": "puller", "PASSWORD": "…"}), json!("puller:…")))]
#[serde(untagged)]
#[expect(dead_code, reason = "describes CredentialInput in the OpenAPI document")]
pub(super) enum Credentials {
    /// Environment-style keys.
    Keys(std::collections::BTreeMap<String, Option<String>>),
    /// A Docker configuration file, of which the entry for the image's registry counts.
    Docker {
        /// Entries by registry, as `docker login` writes them.
        #[schema(value_type = Object)]
        auths: std::collections::BTreeMap<String, std::collections::BTreeMap<String, String>>,
    },
    /// JSON text or `user:password`.
    Text(String),
}

/// Records what a build's image needs to be pulled.
///
/// Credentials become a version of a secret, sealed to the scheduler before they leave the gateway; the image uses the secret's
/// newest version from then on. Answers when the log has acknowledged that.
#[utoipa::path(
    post,
    path = "/v1/builds",
    operation_id = "recordBuild",
    tag = "builds",
    request_body(content = BuildBody, examples(
        ("user and password" = (value = json!({
            "workspace": "acme", "image_id": "img-1",
            "existing_image_uri": "registry.example.com/team/app:1", "existing_image_creds": "puller:…"
        }))),
        ("a secret by its name" = (value = json!({
            "workspace": "acme", "image_id": "img-4",
            "base_image": "registry.example.com/team/base:1", "base_image_secret": "team-registry"
        }))),
        ("AWS keys" = (value = json!({
            "workspace": "acme", "image_id": "img-2",
            "base_image": "123456789012.dkr.ecr.eu-west-1.amazonaws.com/app:1",
            "base_image_creds": {"AWS_ACCESS_KEY_ID": "AKIA…", "AWS_SECRET_ACCESS_KEY": "…"}
        }))),
        ("a public image" = (value = json!({
            "workspace": "acme", "image_id": "img-3", "base_image": "docker.io/library/alpine:3"
        }))),
    )),
    security(("bearer" = [])),
    params((
        "Idempotency-Key" = Option<String>, Header,
        description = "1 to 128 visible ASCII characters. The same key again, in the same workspace about the same image, \
                       is the same event. The values of credentials are not compared: use a new key for new ones.",
    )),
    responses(
        (
            status = 201, description = "The credentials are the secret's newest version", body = SavedAnswer,
            headers(("Idempotent-Replayed" = bool, description = "An earlier request with the same key recorded it")),
        ),
        (
            status = 200, description = "A secret named, or nothing saved, and why", body = UnsavedAnswer,
            headers(("Idempotent-Replayed" = bool, description = "An earlier request with the same key recorded it")),
        ),
        (
            status = 409, body = Problem, content_type = "application/problem+json",
            description = "Every default name of the registry's secret is taken: name it in the build",
        ),
        Problems,
    )
)]
pub(super) async fn post(State(app): State<Arc<App>>, headers: HeaderMap, body: Body) -> Result<Response, Problem> {
    let holder = request::identify(&app, &headers)?;
    // The body before all that may be refused: a refusal says what it was about.
    let body = body::receive(&headers, body, app.limits).await;
    request::require(&holder, TokenRole::Builder)?;
    let key = request::idempotency_key(&headers)?;
    let body: BuildBody = json::parse(&body?)?;
    let verifies = verify::wanted(&app, body.verify, "verify")?;
    let build = read(body, &holder)?;
    log_received(&build);
    let decision = decide_build(&build, trace::now()).map_err(|error| unreadable(&error))?;
    log_decided(&build, &decision);
    let build = Build {
        workspace: build.workspace,
        image_id: build.image_id,
        request: request::subject_token("builds", key.as_ref())?,
        repeatable: key.is_some(),
        decision,
        verifies,
    };
    let (recorder, actor) = (app.recorder.clone(), holder.actor());
    let recording = async move {
        let recorded = record_build(&recorder, &actor, &build).await?;
        log_build(&recorded.receipt);
        count_build(&recorded.receipt);
        Ok(recorded)
    };
    answer_build(app.see_through(recording).await?)
}

fn read(body: BuildBody, holder: &Holder) -> Result<BuildRequest, Problem> {
    Ok(BuildRequest {
        workspace: request::authorize(body.workspace, holder)?,
        image_id: request::id(body.image_id)?,
        existing_image_uri: body.existing_image_uri,
        existing_image_creds: body.existing_image_creds,
        existing_image_secret: request::optional_name("existing_image_secret", body.existing_image_secret)?,
        base_image: body.base_image,
        base_image_creds: body.base_image_creds,
        base_image_secret: request::optional_name("base_image_secret", body.base_image_secret)?,
        modified: body.modified,
    })
}

/// References are left out until they are parsed: people paste logins into them.
fn log_received(build: &BuildRequest) {
    tracing::debug!(
        image_id = %build.image_id,
        existing_image_uri = build.existing_image_uri.is_some(),
        existing_image_creds_count = build.existing_image_creds.as_ref().map_or(0, CredentialInput::count),
        base_image = build.base_image.is_some(),
        base_image_creds_count = build.base_image_creds.as_ref().map_or(0, CredentialInput::count),
        modified = build.modified,
        "build received"
    );
}

fn log_decided(build: &BuildRequest, decision: &BuildDecision) {
    let image_id = &build.image_id;
    match decision {
        BuildDecision::Save(plan) => tracing::debug!(
            %image_id,
            cred_type = %plan.new.cred_type,
            registry = plan.new.registry,
            source = %plan.target.source,
            "credential type detected"
        ),
        BuildDecision::Name { target, secret_name } => tracing::debug!(
            %image_id,
            %secret_name,
            registry = target.registry(),
            source = %target.source,
            "build names a secret"
        ),
        BuildDecision::Skip(skip) => tracing::debug!(
            %image_id,
            cred_type = skip.cred_type.map(tracing::field::display),
            registry = skip.target.as_ref().map(|target| target.registry()),
            reason = %skip.reason,
            detail = skip.detail,
            "nothing to save"
        ),
    }
}

fn unreadable(error: &BuildError) -> Problem {
    let cause = std::error::Error::source(error).map(|cause| format!(": {cause}")).unwrap_or_default();
    let problem = Problem::invalid(error.field(), format!("{error}{cause}"));
    // An error of a reference holds nothing of it; one of credentials may name hosts.
    if matches!(error, BuildError::Reference { .. }) {
        problem.in_own_words()
    } else {
        problem.remedy(PASS_CREDENTIALS)
    }
}

const PASS_CREDENTIALS: &str = "pass an object of keys, user:password, a Docker configuration with auths, or the JSON text \
                                {\"registry\", \"type\", \"credentials\"}";
