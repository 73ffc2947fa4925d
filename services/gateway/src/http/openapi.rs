//! The OpenAPI document, and a page to browse it that needs nothing from elsewhere.

use axum::Router;
use utoipa::{
    Modify, OpenApi,
    openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme},
};
use utoipa_swagger_ui::SwaggerUi;

use super::{builds, containers, problem::Problem};

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Waybill gateway",
        description = "Builds and container requests come in here and become events in the log. A request is answered when the log has acknowledged its event."
    ),
    paths(builds::post, containers::post),
    components(schemas(Problem, builds::Credentials)),
    modifiers(&Bearer)
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

/// The document of this version.
pub fn document() -> utoipa::openapi::OpenApi {
    Document::openapi()
}

pub(super) fn routes() -> Router {
    SwaggerUi::new("/docs").url("/openapi.json", document()).into()
}
