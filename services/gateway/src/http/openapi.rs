//! The OpenAPI document, and a page to browse it that needs nothing from elsewhere.

use std::collections::BTreeMap;

use axum::{
    Router,
    http::StatusCode,
    middleware::map_response,
    response::{IntoResponse as _, Response},
};
use utoipa::{
    IntoResponses, Modify, OpenApi, ToSchema,
    openapi::{
        ObjectBuilder, RefOr,
        schema::Type,
        security::{HttpAuthScheme, HttpBuilder, SecurityScheme},
    },
};
use utoipa_swagger_ui::{Config, SwaggerUi};
use waybill_domain::explain::{Code, State};
use waybill_schemas::{EventType, ID_PATTERN, SECRET_NAME_PATTERN};

use super::{
    builds, containers, events, explain, failures, fleet, forecast, identities, now,
    problem::{Problem, no_such_route},
    request, secret_list, secrets, withdrawals,
};

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Waybill gateway",
        description = "Builds, secrets and container requests come in here and become events in the log. A request is \
                       answered when the log has acknowledged its event. What became of it is explained from the log."
    ),
    paths(
        builds::post, fleet::containers, containers::post, containers::ended, events::list, now::show, failures::list, forecast::list,
        secret_list::list, secret_list::get, secrets::put, secrets::rotate,
        withdrawals::revoke, withdrawals::shred, withdrawals::delete,
        explain::image, explain::container, explain::secret,
        identities::join, identities::retire, identities::add_workspace, identities::create_token,
        identities::list_tokens, identities::revoke_token, healthz, readyz, metrics, openapi_json
    ),
    components(schemas(Problem, builds::Credentials, failures::CauseAnswer, fleet::ListedAnswer, forecast::BreakAnswer)),
    modifiers(&Bearer, &Patterns)
)]
struct Document;

struct Bearer;

impl Modify for Bearer {
    fn modify(&self, document: &mut utoipa::openapi::OpenApi) {
        let bearer = SecurityScheme::Http(
            HttpBuilder::new()
                .scheme(HttpAuthScheme::Bearer)
                .description(Some("One token a workspace, as `waybill init` writes them to tokens/<workspace>.token"))
                .build(),
        );
        document.components.get_or_insert_default().add_security_scheme("bearer", bearer);
    }
}

/// A sequence or a time.
const PLACE: &str = "[0-9]{1,18}|[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\\.[0-9]{1,9})?Z";

fn text(pattern: &str) -> ObjectBuilder {
    ObjectBuilder::new().schema_type(Type::String).pattern(Some(pattern))
}

fn integer(least: usize) -> ObjectBuilder {
    ObjectBuilder::new().schema_type(Type::Integer).minimum(Some(least))
}

fn any(words: impl Iterator<Item = &'static str>) -> String {
    words.collect::<Vec<_>>().join("|")
}

/// What a parameter may hold, by its name: a client that is made from the document refuses the rest before it is sent.
struct Patterns;

impl Modify for Patterns {
    fn modify(&self, document: &mut utoipa::openapi::OpenApi) {
        let operations =
            document.paths.paths.values_mut().flat_map(|item| {
                [&mut item.get, &mut item.put, &mut item.post, &mut item.delete].into_iter().flatten()
            });
        for parameter in operations.flat_map(|operation| operation.parameters.iter_mut().flatten()) {
            let RefOr::T(parameter) = parameter else { continue };
            let schema = match parameter.name.as_str() {
                "workspace" | "id" | "worker" | "image" | "container" => text(ID_PATTERN),
                "name" | "secret" | "after" => text(SECRET_NAME_PATTERN),
                "Idempotency-Key" => text("^[!-~]{1,128}$"),
                "trace" => text("^[0-9A-Fa-f]{32}$"),
                "from" | "until" | "as_of" | "diff" => text(&format!("^({PLACE})$")),
                "since" => text(&format!("^([1-9][0-9]{{0,4}}[smhd]|{PLACE})$")),
                "state" => text(&format!("^({})$", any(State::ALL.iter().map(|state| state.as_str())))),
                "code" => text(&format!("^({})$", any(Code::ALL.iter().map(|code| code.as_str())))),
                "within" => text("^[1-9][0-9]{0,4}[smhd]$"),
                "order" => text("^(oldest|newest)$"),
                "type" => {
                    let types = any(EventType::ALL.iter().map(|kind| kind.as_str()));
                    text(&format!("^({types})(,({types}))*$"))
                }
                "reason" => text("^[^\\u0000-\\u001f\\u007f-\\u009f]{0,200}$"),
                "limit" => integer(1).maximum(Some(request::LARGEST_PAGE)),
                "up_to" | "if_version" | "Last-Event-ID" => integer(0),
                _ => continue,
            };
            parameter.schema = Some(schema.build().into());
        }
    }
}

/// What can be wrong with a request that records something.
#[derive(IntoResponses)]
#[expect(dead_code, reason = "describes Problem in the OpenAPI document")]
pub(super) enum Problems {
    /// The body is not a JSON object in UTF-8, or a header is malformed; nothing was published
    #[response(status = 400, content_type = "application/problem+json")]
    BadRequest(Problem),
    /// No valid bearer token; nothing was published
    #[response(status = 401, content_type = "application/problem+json", headers(("WWW-Authenticate" = String, description = "`Bearer`")))]
    Unauthenticated(Problem),
    /// The token is for another workspace; nothing was published
    #[response(status = 403, content_type = "application/problem+json")]
    Forbidden(Problem),
    /// The body did not arrive in time; nothing was published
    #[response(status = 408, content_type = "application/problem+json")]
    Timeout(Problem),
    /// The body, or the event it would become, is too large; nothing was published
    #[response(status = 413, content_type = "application/problem+json")]
    TooLarge(Problem),
    /// The body is not application/json; nothing was published
    #[response(status = 415, content_type = "application/problem+json")]
    MediaType(Problem),
    /// A field, which is named, cannot be used, or the Idempotency-Key was used for something else; nothing was published
    #[response(status = 422, content_type = "application/problem+json")]
    Invalid(Problem),
    /// The log refuses the event, or the gateway failed
    #[response(status = 500, content_type = "application/problem+json")]
    Failed(Problem),
    /// The log did not acknowledge in time, or has no room; send the same request again
    #[response(status = 503, content_type = "application/problem+json", headers(("Retry-After" = u32, description = "Seconds to wait")))]
    Unavailable(Problem),
}

/// What can be wrong with a request without a body that records something.
#[derive(IntoResponses)]
#[expect(dead_code, reason = "describes Problem in the OpenAPI document")]
pub(super) enum StoredProblems {
    /// A header is malformed; nothing was published
    #[response(status = 400, content_type = "application/problem+json")]
    BadRequest(Problem),
    /// No valid bearer token; nothing was published
    #[response(status = 401, content_type = "application/problem+json", headers(("WWW-Authenticate" = String, description = "`Bearer`")))]
    Unauthenticated(Problem),
    /// The token is for another workspace; nothing was published
    #[response(status = 403, content_type = "application/problem+json")]
    Forbidden(Problem),
    /// A part of the path, which is named, cannot be used, or the Idempotency-Key was used for something else
    #[response(status = 422, content_type = "application/problem+json")]
    Invalid(Problem),
    /// The log refuses the event, or the gateway failed
    #[response(status = 500, content_type = "application/problem+json")]
    Failed(Problem),
    /// The log did not acknowledge in time, or has no room; send the same request again
    #[response(status = 503, content_type = "application/problem+json", headers(("Retry-After" = u32, description = "Seconds to wait")))]
    Unavailable(Problem),
}

/// What can be wrong with a question.
#[derive(IntoResponses)]
#[expect(dead_code, reason = "describes Problem in the OpenAPI document")]
pub(super) enum ReadProblems {
    /// No valid bearer token
    #[response(status = 401, content_type = "application/problem+json", headers(("WWW-Authenticate" = String, description = "`Bearer`")))]
    Unauthenticated(Problem),
    /// The token is for another workspace
    #[response(status = 403, content_type = "application/problem+json")]
    Forbidden(Problem),
    /// A part of the path cannot be used
    #[response(status = 422, content_type = "application/problem+json")]
    Invalid(Problem),
    /// The log does not answer
    #[response(status = 503, content_type = "application/problem+json", headers(("Retry-After" = u32, description = "Seconds to wait")))]
    Unavailable(Problem),
}

/// Whether the process lives.
#[utoipa::path(get, path = "/healthz", operation_id = "checkLiveness", tag = "health", responses(
    (status = 200, description = "It does", body = String, content_type = "text/plain"),
))]
#[expect(dead_code, reason = "describes a route of the platform's")]
fn healthz() {}

/// Whether each part can do its work.
#[utoipa::path(get, path = "/readyz", operation_id = "checkReadiness", tag = "health", responses(
    (status = 200, description = "Every part can", body = Readiness),
    (status = 503, description = "Some part cannot, and why", body = Readiness),
))]
#[expect(dead_code, reason = "describes a route of the platform's")]
fn readyz() {}

/// What the gateway counts, for Prometheus. Nothing in it names a workspace, an image or a container.
#[utoipa::path(get, path = "/metrics", operation_id = "readMetrics", tag = "health", responses(
    (status = 200, description = "Text format, version 0.0.4", body = String, content_type = "text/plain"),
))]
#[expect(dead_code, reason = "describes a route of the platform's")]
fn metrics() {}

/// This document.
#[utoipa::path(get, path = "/openapi.json", operation_id = "readDocument", tag = "documentation", responses(
    (status = 200, description = "OpenAPI 3.1; `/docs` shows it as a page", body = serde_json::Value),
))]
#[expect(dead_code, reason = "describes a route of the page's")]
fn openapi_json() {}

/// The parts of the gateway.
#[derive(ToSchema)]
#[expect(dead_code, reason = "describes the platform's answer in the OpenAPI document")]
struct Readiness {
    /// Whether every part is ready.
    ready: bool,
    /// Each part with `ready`, or why it is not.
    components: BTreeMap<String, String>,
}

/// The document of this version.
pub fn document() -> utoipa::openapi::OpenApi {
    Document::openapi()
}

/// The document and the page. The page's scripts are in the binary; the validator, which is on the internet, is off.
pub(super) fn routes() -> Router {
    let page = SwaggerUi::new("/docs").url("/openapi.json", document()).config(Config::default().validator_url("none"));
    Router::from(page).layer(map_response(missing_file))
}

async fn missing_file(response: Response) -> Response {
    if response.status() == StatusCode::NOT_FOUND { no_such_route().into_response() } else { response }
}
