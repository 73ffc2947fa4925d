//! Where metrics go: to a collector every now and then, and to whoever asks `/metrics`.

use std::{sync::OnceLock, time::Duration};

use opentelemetry::global;
use opentelemetry_sdk::{
    Resource,
    metrics::{PeriodicReader, SdkMeterProvider},
};
use prometheus::{Encoder as _, Registry, TextEncoder};

use crate::telemetry::{Otlp, TelemetryError};

/// What `/metrics` shows.
static REGISTRY: OnceLock<Registry> = OnceLock::new();

/// Sets up the process's metrics; shut the provider down at the end, outside any runtime.
///
/// # Errors
/// [`TelemetryError`] when an exporter does not take its settings.
pub(crate) fn provider(
    resource: Resource,
    collector: Option<&Otlp>,
    interval: Duration,
) -> Result<SdkMeterProvider, TelemetryError> {
    let registry = Registry::new();
    let prometheus = opentelemetry_prometheus::exporter().with_registry(registry.clone()).scope_info_enabled(false);
    let prometheus = prometheus.build().map_err(|error| TelemetryError::Metrics(error.to_string()))?;
    let mut builder = SdkMeterProvider::builder().with_resource(resource).with_reader(prometheus);
    if let Some(collector) = collector {
        builder = builder.with_reader(PeriodicReader::builder(collector.metrics()?).with_interval(interval).build());
    }
    let provider = builder.build();
    global::set_meter_provider(provider.clone());
    // A second call in one process is a test's; the first one stays.
    let _ = REGISTRY.set(registry);
    Ok(provider)
}

/// All metrics in Prometheus's text format, version 0.0.4; none where metrics are not set up.
pub(crate) fn text() -> Vec<u8> {
    let mut text = Vec::new();
    if let Some(registry) = REGISTRY.get()
        && let Err(error) = TextEncoder::new().encode(&registry.gather(), &mut text)
    {
        tracing::warn!(%error, "metrics cannot be shown");
    }
    text
}
