//! One container's pull: what to pull, as whom, and once more where the registry no longer took a token.

use std::time::Instant;

use tracing::{Instrument as _, field::Empty};
use waybill_domain::reference::ImageReference;
use waybill_platform::{metrics, trace};
use waybill_registry::{
    default_chain,
    provider::{Provider, ProviderError, RegistryLogin},
    pull::{PullConfig, PullError, pull},
};
use waybill_schemas::v1::PullFailure;

use crate::{
    access::{Access, NoAccess},
    view::Placed,
};

/// Pulls a placement's image, and returns the manifest's digest.
pub(crate) async fn pull_for(
    config: &PullConfig,
    image_ref: Option<&str>,
    placed: &Placed,
    access: &Access,
) -> Result<String, PullError> {
    let no_reference = "no build recorded what to pull for this image; report the build to the gateway";
    let text = image_ref.ok_or_else(|| PullError::new(PullFailure::NoImageReference, no_reference))?;
    let image = ImageReference::parse(text)
        .map_err(|error| PullError::new(PullFailure::InvalidReference, error.to_string()))?;
    let span = tracing::info_span!(
        "pull",
        otel.name = "pull image",
        otel.kind = "client",
        container.image.name = format!("{}/{}", image.registry().as_str(), image.repository()),
        server.address = image.registry().hostname(),
        server.port = image.registry().port().map(i64::from),
        oci.manifest.digest = image.digest(),
        waybill.outcome = Empty,
        error.r#type = Empty,
        otel.status_code = Empty,
        otel.status_description = Empty,
    );
    trace::set_list(&span, "container.image.tags", image.tag());
    let name = format!("{}/{}", placed.container.workspace, placed.container.container_id);
    let began = Instant::now();
    let outcome = as_whom(config, &image, access, &name).instrument(span.clone()).await;
    metrics::pull_lasted(began.elapsed(), outcome.as_ref().err().map(|error| error.reason.as_str()));
    match &outcome {
        Ok(digest) => {
            span.record("waybill.outcome", "pulled").record("oci.manifest.digest", digest);
        }
        Err(error) => {
            span.record("waybill.outcome", error.reason.as_str());
            trace::record_error(&span, error.reason.as_str(), error);
        }
    }
    outcome
}

async fn as_whom(
    config: &PullConfig,
    image: &ImageReference,
    access: &Access,
    name: &str,
) -> Result<String, PullError> {
    let (provider, issued) = match access {
        Access::DefaultChain => {
            let login = default_chain::login(config.docker_config.as_deref(), image).await?;
            return pull(config, image, &login, name).await;
        }
        Access::Custom { provider, issued, .. } => (provider, issued),
    };
    if provider.registry() != image.registry() {
        let (bound, asked) = (provider.registry().clone(), image.registry().clone());
        return Err(NoAccess::from(ProviderError::OtherHost { bound, asked }).as_pull_error());
    }
    match pull(config, image, &issued.login, name).await {
        Err(error) if issued.from_before && error.may_be_stale() => {
            tracing::debug!(detail = error.detail, "the registry refused a token from before, exchanging it again");
            provider.forget(&issued.login);
            pull(config, image, &next_login(provider, image).await?, name).await
        }
        outcome => outcome,
    }
}

async fn next_login(provider: &Provider, image: &ImageReference) -> Result<RegistryLogin, PullError> {
    let issued = provider.login(image.registry()).await;
    issued.map(|issued| issued.login).map_err(|error| NoAccess::from(error).as_pull_error())
}
