//! What a registry said of credentials before they were saved, as clients get it.

use std::sync::Arc;

use serde::Serialize;
use utoipa::ToSchema;
use waybill_schemas::v1::Verified;

use super::{App, problem::Problem};
use crate::port::{Verifies, refusal_code};

/// What the registry said of the credentials.
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

impl From<Verified> for VerifiedAnswer {
    fn from(verified: Verified) -> Self {
        let reason = refusal_code(&verified);
        Self { accepted: verified.digest.is_some(), digest: verified.digest, reason, detail: verified.detail }
    }
}

/// Who asks the registry, where the request wants that; a problem with the field where this gateway asks none.
pub(super) fn wanted(app: &App, wanted: bool, field: &'static str) -> Result<Option<Arc<dyn Verifies>>, Problem> {
    if !wanted {
        return Ok(None);
    }
    let verifies = app.verifies.clone().ok_or_else(|| {
        Problem::invalid(field, "this gateway asks no registries")
            .remedy("leave the field out, or have the operator set WAYBILL_GATEWAY_VERIFY=on")
    })?;
    Ok(Some(verifies))
}
