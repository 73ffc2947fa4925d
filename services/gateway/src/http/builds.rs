//! `POST /v1/builds`: a build is done; save what its image needs to be pulled, or say why not.

use std::sync::Arc;

use axum::{body::Body, extract::State, http::HeaderMap, response::Response};
use serde::Deserialize;
use utoipa::ToSchema;
use waybill_domain::{
    credentials::CredentialInput,
    save::{BuildError, BuildRequest, SaveDecision, decide_save},
};
use waybill_platform::{metrics, trace};
use waybill_schemas::{Event, WorkspaceId};

use super::{
    App,
    answer::{self, SavedAnswer, SkippedAnswer},
    body, fact,
    openapi::Problems,
    problem::Problem,
    request, verify,
};
use crate::record::Receipt;

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
    /// The image that the build started from.
    #[schema(example = "registry.example.com/team/base:1")]
    base_image: Option<String>,
    /// Credentials for `base_image`.
    #[schema(value_type = Option<Credentials>)]
    base_image_creds: Option<CredentialInput>,
    /// Whether the build changed the image, so that its result is pulled from elsewhere.
    #[serde(default)]
    modified: bool,
    /// Whether to try saved credentials at the registry before answering. They stay saved whatever it says. A repeated request
    /// tries nothing: it is answered with what was recorded, if anything was.
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
        auths: std::collections::BTreeMap<String, std::collections::BTreeMap<String, String>>,
    },
    /// JSON text or `user:password`.
    Text(String),
}

/// Records what a build's image needs to be pulled.
///
/// Answers when the log has acknowledged the event. Credentials are sealed to the scheduler before they leave the gateway.
#[utoipa::path(
    post,
    path = "/v1/builds",
    tag = "builds",
    request_body(content = BuildBody, examples(
        ("user and password" = (value = json!({
            "workspace": "acme", "image_id": "img-1",
            "existing_image_uri": "registry.example.com/team/app:1", "existing_image_creds": "puller:…"
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
            status = 201, description = "Credentials saved", body = SavedAnswer,
            headers(("Idempotent-Replayed" = bool, description = "An earlier request with the same key recorded it")),
        ),
        (
            status = 200, description = "Nothing saved, and why", body = SkippedAnswer,
            headers(("Idempotent-Replayed" = bool, description = "An earlier request with the same key recorded it")),
        ),
        Problems,
    )
)]
pub(super) async fn post(State(app): State<Arc<App>>, headers: HeaderMap, body: Body) -> Result<Response, Problem> {
    let of_token = request::authenticate(&app, &headers)?;
    let key = request::idempotency_key(&headers)?;
    let body: BuildBody = body::read(&headers, body, app.limits).await?;
    let verify = body.verify;
    let build = read(body, of_token)?;
    log_received(&build);
    let decision = decide_save(&build, trace::now()).map_err(|error| unreadable(&error))?;
    let wanted = verify::wanted(app.verifies.as_ref(), verify, &build.workspace, &decision)?;
    let detail = match &decision {
        SaveDecision::Skip(skip) => skip.detail.clone(),
        SaveDecision::Save(_) => None,
    };
    let event = fact::of(&app, build, decision)?;
    let recorder = app.recorder.clone();
    let recording = async move {
        let receipt = recorder.record("builds", event, key.as_ref()).await?;
        answer::log_build(&receipt);
        count(&receipt);
        let verified = match wanted.filter(|_| receipt.event.saved().is_some()) {
            Some(wanted) => wanted.settle(&recorder, &receipt).await?,
            None => None,
        };
        Ok((receipt, verified))
    };
    let (receipt, verified) = app.see_through(recording).await?;
    answer::of_build(&receipt, verified, detail)
}

/// Counts what is new; a repeated request was counted when it came first.
fn count(receipt: &Receipt) {
    match &receipt.event {
        _ if receipt.replayed => {}
        Event::CredentialSecretSaved(_) => metrics::save("saved", None),
        Event::CredentialSecretSkipped(skipped) => metrics::save("skipped", Some(skipped.reason.as_str())),
        _ => {}
    }
}

fn read(body: BuildBody, of_token: &WorkspaceId) -> Result<BuildRequest, Problem> {
    Ok(BuildRequest {
        workspace: request::authorize(body.workspace, of_token)?,
        image_id: request::id(body.image_id)?,
        existing_image_uri: body.existing_image_uri,
        existing_image_creds: body.existing_image_creds,
        base_image: body.base_image,
        base_image_creds: body.base_image_creds,
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

fn unreadable(error: &BuildError) -> Problem {
    let cause = std::error::Error::source(error).map(|cause| format!(": {cause}")).unwrap_or_default();
    Problem::invalid(error.field(), format!("{error}{cause}"))
}
