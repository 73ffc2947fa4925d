//! `POST /v1/secrets/rotate` and `/revoke`: new credentials in place of saved ones, or none any more.

use std::{sync::Arc, time::Duration};

use axum::{
    body::Body,
    extract::State,
    http::{HeaderMap, StatusCode},
    response::Response,
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use waybill_domain::{
    credentials::CredentialInput,
    rotate::{InUse, RotateError, decide_rotation, in_use},
};
use waybill_platform::trace;
use waybill_schemas::{
    Event, EventType, ImageId, Recorded, Subject, Timestamp, WorkspaceId,
    v1::{CredentialSecretRevoked, CredentialSecretRotated, CredentialSecretSaved, MAX_REASON},
};

use super::{
    App,
    answer::{self, Place},
    body,
    builds::Credentials,
    fact,
    openapi::Problems,
    problem::{self, Problem},
    request,
};
use crate::{
    idempotency::IdempotencyKey,
    record::{Before, Receipt, Recorder},
};

/// New credentials for an image that has some.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RotateBody {
    /// Owner of the image.
    #[schema(example = "acme", pattern = "^[A-Za-z0-9_-]{1,128}$")]
    workspace: String,
    /// The image.
    #[schema(example = "img-1", pattern = "^[A-Za-z0-9_-]{1,128}$")]
    image_id: String,
    /// The new credentials, for the registry of the image.
    #[schema(value_type = Credentials)]
    credentials: CredentialInput,
}

/// Credentials that nobody may use any more.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RevokeBody {
    /// Owner of the image.
    #[schema(example = "acme", pattern = "^[A-Za-z0-9_-]{1,128}$")]
    workspace: String,
    /// The image.
    #[schema(example = "img-1", pattern = "^[A-Za-z0-9_-]{1,128}$")]
    image_id: String,
    /// Why, for whoever reads the log: one line of at most 200 characters, without secrets.
    #[schema(example = "the account was closed", max_length = 200)]
    reason: Option<String>,
}

/// What took the place of what, or was withdrawn.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ChangedAnswer {
    /// `rotated` or `revoked`.
    #[schema(example = "rotated")]
    outcome: &'static str,
    /// Sequence of the event whose credentials are replaced or withdrawn.
    #[schema(minimum = 1)]
    before: u64,
    /// Registry host that they are bound to.
    #[schema(example = "registry.example.com")]
    registry: String,
    /// Label of the secret.
    #[schema(example = "oci-registry-registry-example-com")]
    secret_name: String,
    /// When the new ones stop working, where they say so.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, value_type = String, format = DateTime)]
    expires_at: Option<Timestamp>,
    #[serde(flatten)]
    place: Place,
}

/// Replaces an image's credentials.
///
/// Containers asked for later get the new ones. Those that have the old ones are given the new ones too.
#[utoipa::path(
    post,
    path = "/v1/secrets/rotate",
    tag = "secrets",
    request_body(content = RotateBody, example = json!({
        "workspace": "acme", "image_id": "img-1", "credentials": "puller:…"
    })),
    security(("bearer" = [])),
    params((
        "Idempotency-Key" = Option<String>, Header,
        description = "1 to 128 visible ASCII characters. The same key again, in the same workspace about the same image, \
                       is the same event. The values of credentials are not compared: use a new key for new ones.",
    )),
    responses(
        (
            status = 201, description = "The new credentials are recorded", body = ChangedAnswer,
            headers(("Idempotent-Replayed" = bool, description = "An earlier request with the same key recorded it")),
        ),
        (
            status = 409, body = Problem, content_type = "application/problem+json",
            description = "The image became another one in the meantime: the rotation is recorded, and changes nothing",
        ),
        Problems,
    )
)]
pub(super) async fn rotate(State(app): State<Arc<App>>, headers: HeaderMap, body: Body) -> Result<Response, Problem> {
    let of_token = request::authenticate(&app, &headers)?;
    let key = request::idempotency_key(&headers)?;
    let body: RotateBody = body::read(&headers, body, app.limits).await?;
    let image = image(body.workspace, body.image_id, of_token)?;
    let present = present(&app, &image, EventType::CredentialSecretRotated, key.as_ref()).await?;
    let Present { secret: Recorded { sequence: replaces, at, value: saved }, recorded } = present;
    // What is recorded was good then. It is decided again to be compared, and may have expired since.
    let now = if recorded { at } else { trace::now() };
    let plan = decide_rotation(&saved, &body.credentials, now).map_err(|error| refused(&error))?;
    let credentials = fact::sealed(&app, (&image.0, &image.1), &saved.registry, &plan.credentials)?;
    let (cred_type, expires_at) = (plan.cred_type, plan.expires_at);
    let secret = CredentialSecretSaved { cred_type, expires_at, credentials, ..saved };
    record(&app, CredentialSecretRotated { replaces, secret }.into(), key).await
}

/// Withdraws an image's credentials.
///
/// No container gets them any more, and the workers of those that have them are told to drop them. What was withdrawn at
/// the registry itself is not the gateway's business: do that too.
#[utoipa::path(
    post,
    path = "/v1/secrets/revoke",
    tag = "secrets",
    request_body(content = RevokeBody, example = json!({
        "workspace": "acme", "image_id": "img-1", "reason": "the account was closed"
    })),
    security(("bearer" = [])),
    params((
        "Idempotency-Key" = Option<String>, Header,
        description = "1 to 128 visible ASCII characters. The same key again, in the same workspace about the same image, \
                       is the same event.",
    )),
    responses(
        (
            status = 200, description = "The revocation is recorded", body = ChangedAnswer,
            headers(("Idempotent-Replayed" = bool, description = "An earlier request with the same key recorded it")),
        ),
        Problems,
    )
)]
pub(super) async fn revoke(State(app): State<Arc<App>>, headers: HeaderMap, body: Body) -> Result<Response, Problem> {
    let of_token = request::authenticate(&app, &headers)?;
    let key = request::idempotency_key(&headers)?;
    let body: RevokeBody = body::read(&headers, body, app.limits).await?;
    let image = image(body.workspace, body.image_id, of_token)?;
    let reason = body.reason.filter(|reason| !reason.is_empty());
    let fits = |text: &String| text.chars().count() <= MAX_REASON && !text.chars().any(char::is_control);
    if reason.as_ref().is_some_and(|reason| !fits(reason)) {
        return Err(Problem::invalid(
            "reason",
            format!("the reason is not one line of at most {MAX_REASON} characters"),
        ));
    }
    let present = present(&app, &image, EventType::CredentialSecretRevoked, key.as_ref()).await?;
    let Recorded { sequence: revokes, value: saved, .. } = present.secret;
    let CredentialSecretSaved { workspace, image_id, image_ref, registry, secret_name, .. } = saved;
    let event = CredentialSecretRevoked { workspace, image_id, revokes, image_ref, registry, secret_name, reason };
    record(&app, event.into(), key).await
}

type Image = (WorkspaceId, ImageId);

fn image(workspace: String, image_id: String, of_token: &WorkspaceId) -> Result<Image, Problem> {
    Ok((request::authorize(workspace, of_token)?, request::id(image_id)?))
}

/// The operation's name in ids derived from idempotency keys.
const OPERATION: &str = "secrets";

/// The credentials that a change is about.
struct Present {
    secret: Recorded<CredentialSecretSaved>,
    /// Whether an earlier request with the same key changed them.
    recorded: bool,
}

/// The credentials that the image has now, or those that the event of the key is about.
async fn present(
    app: &App,
    (workspace, image_id): &Image,
    event: EventType,
    key: Option<&IdempotencyKey>,
) -> Result<Present, Problem> {
    let subject = Subject::Image { workspace: workspace.clone(), image_id: image_id.clone(), event };
    let Before { events, own } = app.recorder.before(OPERATION, &subject, key).await?;
    let sequence = match &own {
        Some(Event::CredentialSecretRotated(rotated)) => Some(rotated.replaces),
        Some(Event::CredentialSecretRevoked(revoked)) => Some(revoked.revokes),
        _ => in_use(events.iter().map(|event| (event.sequence, &event.value))).map(|(sequence, _)| sequence),
    };
    let secret = events.iter().filter(|event| Some(event.sequence) == sequence).find_map(|event| {
        let value = event.value.saved()?.clone();
        Some(Recorded { sequence: event.sequence, at: event.at, value })
    });
    secret.map(|secret| Present { secret, recorded: own.is_some() }).ok_or_else(|| {
        Problem::invalid("image_id", format!("no credentials are saved for image {image_id}, or they were revoked"))
            .remedy("report the build with its credentials to POST /v1/builds")
    })
}

/// How often, and after which pause, a replica that is behind is asked again.
const REPLICA_TRIES: u32 = 5;
const REPLICA_PAUSE: Duration = Duration::from_millis(50);

/// Sequence of the event that came between the look at the log and a rotation, where the rotation counts for nothing for it.
async fn overtaken_by(recorder: &Recorder, receipt: &Receipt) -> Option<u64> {
    if receipt.event.event_type() != EventType::CredentialSecretRotated {
        return None;
    }
    // Recorded it is, whether the log answers now or not. A replica that does not have it yet is asked again.
    let mut events = recorder.up_to(receipt).await.ok()?;
    for _ in 0..REPLICA_TRIES {
        if events.iter().any(|event| event.sequence == receipt.sequence) {
            break;
        }
        tokio::time::sleep(REPLICA_PAUSE).await;
        events = recorder.up_to(receipt).await.ok()?;
    }
    let (mut present, mut newest) = (InUse::default(), None);
    for event in &events {
        let changes = present.take(event.sequence, &event.value);
        if event.sequence == receipt.sequence {
            return newest.filter(|_| !changes);
        }
        newest = Some(event.sequence).filter(|_| changes).or(newest);
    }
    None
}

fn overtaken(receipt: &Receipt, by: u64) -> Problem {
    let detail = format!(
        "the rotation is recorded at sequence {} and changes nothing: since sequence {by} the image is another one",
        receipt.sequence
    );
    Problem::new(StatusCode::CONFLICT, "overtaken", detail)
        .remedy("ask again with a new Idempotency-Key, if the credentials are for the image as it is now")
}

fn refused(error: &RotateError) -> Problem {
    Problem::invalid("credentials", waybill_platform::chain(error))
}

async fn record(app: &App, event: Event, key: Option<IdempotencyKey>) -> Result<Response, Problem> {
    let recorder = app.recorder.clone();
    let recording = async move {
        let receipt = recorder.record(OPERATION, event, key.as_ref()).await?;
        tell(&receipt);
        match overtaken_by(&recorder, &receipt).await {
            Some(by) => Err(overtaken(&receipt, by)),
            None => Ok(receipt),
        }
    };
    answer(&app.see_through(recording).await?)
}

fn tell(receipt: &Receipt) {
    let (sequence, replayed) = (receipt.sequence, receipt.replayed.then_some(true));
    match &receipt.event {
        Event::CredentialSecretRotated(CredentialSecretRotated { replaces, secret }) => tracing::info!(
            image_id = %secret.image_id,
            secret_name = %secret.secret_name,
            registry = %secret.registry,
            cred_type = %secret.cred_type,
            workspace = %secret.workspace,
            replaces,
            sequence,
            replayed,
            "credential secret rotated"
        ),
        Event::CredentialSecretRevoked(revoked) => tracing::info!(
            image_id = %revoked.image_id,
            secret_name = %revoked.secret_name,
            registry = %revoked.registry,
            workspace = %revoked.workspace,
            revokes = revoked.revokes,
            sequence,
            replayed,
            "credential secret revoked"
        ),
        other => tracing::error!(event = %other.event_type(), "not what a secret's change becomes"),
    }
}

fn answer(receipt: &Receipt) -> Result<Response, Problem> {
    let place = Place::of(receipt);
    let (status, answer) = match &receipt.event {
        Event::CredentialSecretRotated(CredentialSecretRotated { replaces, secret }) => {
            let (registry, secret_name) = (secret.registry.clone(), secret.secret_name.clone());
            let expires_at = secret.expires_at;
            let answer =
                ChangedAnswer { outcome: "rotated", before: *replaces, registry, secret_name, expires_at, place };
            (StatusCode::CREATED, answer)
        }
        Event::CredentialSecretRevoked(revoked) => {
            let (registry, secret_name) = (revoked.registry.clone(), revoked.secret_name.clone());
            let before = revoked.revokes;
            let answer = ChangedAnswer { outcome: "revoked", before, registry, secret_name, expires_at: None, place };
            (StatusCode::OK, answer)
        }
        _ => return Err(problem::internal()),
    };
    Ok(answer::with(receipt, status, answer))
}
