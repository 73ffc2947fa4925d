//! The gateway as a NATS service (ADR-32): `nats micro ls|info|stats`, and its explanations as endpoints.
//!
//! Who may ask is decided by the accounts that `waybill init` writes, and not here: the operator, who reads the whole log.

use async_nats::{
    Client,
    service::{Request, ServiceExt as _, error::Error as Refusal},
};
use futures_util::StreamExt as _;
use serde::Serialize;
use tokio_util::sync::CancellationToken;
use waybill_domain::explain::Asked;
use waybill_platform::{chain, explain::Explainer, health::HealthState};
use waybill_schemas::{ID_PATTERN, SERVICE_PREFIX};

/// Most explanations at once; each reads the log.
const CONCURRENCY: usize = 16;

/// Answers until shutdown. A server that refuses the subscriptions takes nothing else from the gateway.
pub(crate) async fn serve(client: Client, explainer: Explainer, health: HealthState, stop: CancellationToken) {
    if let Err(error) = answer_all(client, &explainer, &health, &stop).await {
        tracing::warn!(%error, "the gateway cannot be found as a NATS service");
    }
}

async fn answer_all(
    client: Client,
    explainer: &Explainer,
    health: &HealthState,
    stop: &CancellationToken,
) -> Result<(), async_nats::Error> {
    let service = client
        .service_builder()
        .description(
            "Takes builds, secrets and container requests over HTTP, and explains over NATS what became of them",
        )
        .start("waybill-gateway", env!("CARGO_PKG_VERSION"))
        .await?;
    let group = service.group(SERVICE_PREFIX);
    let ready = group.endpoint_builder().name("ready").add("ready").await?;
    let explain = group.endpoint_builder().name("explain").add("explain.*.*.*").await?;
    tokio::select! {
        () = stop.cancelled() => {}
        () = ready.for_each(async |request| respond(&request, Ok(health.readiness())).await) => {}
        () = explain.for_each_concurrent(CONCURRENCY, async |request| {
            respond(&request, explain_subject(explainer, &request.message.subject).await).await;
        }) => {}
    }
    service.stop().await
}

/// Explains what the last three tokens of a subject name: `container`, `image` or `secret`, its workspace, its id.
async fn explain_subject(explainer: &Explainer, subject: &str) -> Result<impl Serialize + use<>, Refusal> {
    let mut tokens = subject.rsplit('.');
    let (id, workspace, kind) = (tokens.next(), tokens.next(), tokens.next());
    let malformed = || Refusal { status: format!("workspace and id must match {ID_PATTERN}"), code: 400 };
    let workspace = workspace.and_then(|token| token.parse().ok()).ok_or_else(malformed)?;
    let id = id.unwrap_or_default();
    let asked = match kind {
        Some("container") => id.parse().map(Asked::Container),
        Some("image") => id.parse().map(Asked::Image),
        // A name's dots are written as in the subjects of the log.
        Some("secret") => id.replace('=', ".").parse().map(Asked::Secret),
        _ => return Err(Refusal { status: "there are container, image and secret to explain".to_owned(), code: 404 }),
    };
    let explained = explainer.explain(&workspace, &asked.map_err(|_| malformed())?).await;
    explained.map_err(|error| Refusal { status: format!("the log does not answer: {}", chain(&error)), code: 503 })
}

async fn respond(request: &Request, answer: Result<impl Serialize, Refusal>) {
    let failed = |error: serde_json::Error| Refusal { status: error.to_string(), code: 500 };
    let body = answer.and_then(|answer| serde_json::to_vec(&answer).map_err(failed)).map(Into::into);
    if let Err(error) = request.respond(body).await {
        tracing::debug!(%error, "a question over NATS cannot be answered");
    }
}
