//! Logs for people and machines on standard error, spans to an OTLP collector.

mod format;
mod ids;
mod otlp;

use std::{io::IsTerminal as _, time::Duration};

use opentelemetry::trace::TracerProvider as _;
use opentelemetry_sdk::{
    Resource,
    error::OTelSdkError,
    metrics::SdkMeterProvider,
    trace::{BatchSpanProcessor, Sampler, SdkTracerProvider},
};
use tokio::runtime::{Builder, Runtime};
use tracing::{Level, Subscriber, level_filters::LevelFilter};
use tracing_subscriber::{
    EnvFilter, Layer,
    filter::{FilterExt as _, Targets, filter_fn},
    layer::SubscriberExt as _,
    registry::LookupSpan,
};

use crate::{
    config::{ConfigError, Settings},
    metrics, trace,
};
use format::LogFormat;
use ids::InheritIds;
pub use otlp::{Otlp, Transport};

/// How logs look and where spans go.
#[derive(Debug, Clone)]
pub struct TelemetryConfig {
    /// Filter of log lines (`WAYBILL_LOG`), in the syntax of `tracing_subscriber::EnvFilter`.
    pub filter: String,
    /// JSON lines instead of lines for people (`WAYBILL_LOG_FORMAT=json`).
    pub json: bool,
    /// Service name, if another than the process's own (`OTEL_SERVICE_NAME`).
    pub service_name: Option<String>,
    /// Further resource attributes (`OTEL_RESOURCE_ATTRIBUTES`).
    pub resource: Vec<(String, String)>,
    /// Which traces are kept (`OTEL_TRACES_SAMPLER`, `OTEL_TRACES_SAMPLER_ARG`).
    pub sampler: Sampler,
    /// Where spans go, if anywhere (`OTEL_EXPORTER_OTLP_*`).
    pub otlp: Option<Otlp>,
    /// Where metrics go, besides to whoever asks `/metrics`.
    pub metrics: Option<Otlp>,
    /// How often (`OTEL_METRIC_EXPORT_INTERVAL`).
    pub metric_interval: Duration,
}

impl TelemetryConfig {
    /// Reads `WAYBILL_LOG*` and `OTEL_*`; `level` is what is logged where nothing is set.
    ///
    /// # Errors
    /// [`ConfigError`] with everything that is wrong.
    pub fn read(settings: &Settings, level: &str) -> Result<Self, ConfigError> {
        let mut reader = settings.reader();
        let filter = |text: &str| {
            let filter = own_level(text);
            EnvFilter::try_new(&filter)
                .map(|_| filter)
                .map_err(|_| "a level like debug, or a filter like waybill=debug")
        };
        let json = |text: &str| match text {
            "json" => Ok(true),
            "text" => Ok(false),
            _ => Err("json or text"),
        };
        let collectors = otlp::read(&mut reader);
        let config = Self {
            filter: reader.or("WAYBILL_LOG", filter, || own_level(level)),
            json: reader.or("WAYBILL_LOG_FORMAT", json, || false),
            service_name: reader.optional("OTEL_SERVICE_NAME", |text| Ok(text.to_owned())),
            resource: reader.or("OTEL_RESOURCE_ATTRIBUTES", otlp::pairs, Vec::new),
            sampler: otlp::sampler(&mut reader),
            otlp: collectors.traces,
            metrics: collectors.metrics,
            metric_interval: otlp::metric_interval(&mut reader),
        };
        reader.finish().map(|()| config)
    }
}

/// A level alone is Waybill's own: libraries below it can print what they send and receive.
fn own_level(text: &str) -> String {
    if text.parse::<LevelFilter>().is_ok() { format!("warn,waybill={text}") } else { text.to_owned() }
}

/// Telemetry could not be set up, or its end was not delivered.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// The exporter does not take its settings.
    #[error("cannot export to {endpoint}; check OTEL_EXPORTER_OTLP_ENDPOINT")]
    Exporter {
        /// The collector's address.
        endpoint: String,
        /// Why.
        source: opentelemetry_otlp::ExporterBuildError,
    },
    /// The metrics cannot be set up.
    #[error("metrics cannot be set up: {0}")]
    Metrics(String),
    /// Something else logs in this process.
    #[error("logging is set up already")]
    Installed(#[from] tracing::subscriber::SetGlobalDefaultError),
    /// No thread for the connections to a collector.
    #[error("the connection to the collector cannot be set up")]
    Runtime(#[source] std::io::Error),
    /// The last spans or metrics were not delivered.
    #[error("the last spans or metrics were not delivered to the collector")]
    Flush(#[source] OTelSdkError),
}

/// Keeps spans flowing; shut it down at the end, outside any runtime.
#[derive(Debug)]
pub struct TelemetryGuard {
    provider: SdkTracerProvider,
    meters: SdkMeterProvider,
    /// Where gRPC connections live, if there are any; dropped last.
    _connections: Option<Runtime>,
}

impl TelemetryGuard {
    /// Delivers what is left, and stops.
    ///
    /// # Errors
    /// [`TelemetryError::Flush`] when the collector did not take it.
    pub fn shutdown(self) -> Result<(), TelemetryError> {
        let flushed = self.provider.force_flush().and(self.meters.force_flush());
        // What could not be flushed is lost whether or not the rest stops well.
        let stopped = self.provider.shutdown().and(self.meters.shutdown());
        flushed.and(stopped).map_err(TelemetryError::Flush)
    }
}

/// Sets up logs and spans for this process. `instance` tells processes of one service apart wherever their telemetry
/// meets. Trace ids exist with or without a collector.
///
/// # Errors
/// [`TelemetryError`].
pub fn init(service: &str, instance: &str, config: &TelemetryConfig) -> Result<TelemetryGuard, TelemetryError> {
    let resource = resource(service, instance, config);
    let connections = connections(config)?;
    let _entered = connections.as_ref().map(Runtime::enter);
    let provider = provider(resource.clone(), config)?;
    let meters = metrics::provider(resource, config.metrics.as_ref(), config.metric_interval)?;
    let coloured = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    let format = LogFormat { service: service.to_owned(), json: config.json, coloured };
    let subscriber = subscriber(&provider, &config.filter, format, std::io::stderr);
    tracing::subscriber::set_global_default(subscriber)?;
    let shows_lines = filter(&config.filter).max_level_hint().is_none_or(|level| level >= LevelFilter::INFO);
    trace::set_unseen(config.otlp.is_none() && !shows_lines);
    Ok(TelemetryGuard { provider, meters, _connections: connections })
}

/// A runtime for gRPC: the service's own ends before the last export.
fn connections(config: &TelemetryConfig) -> Result<Option<Runtime>, TelemetryError> {
    let over_grpc = |otlp: &Otlp| otlp.transport == Transport::Grpc;
    if !config.otlp.iter().chain(&config.metrics).any(over_grpc) {
        return Ok(None);
    }
    let runtime = Builder::new_multi_thread().worker_threads(1).thread_name("otlp").enable_all().build();
    runtime.map(Some).map_err(TelemetryError::Runtime)
}

fn resource(service: &str, instance: &str, config: &TelemetryConfig) -> Resource {
    let name = config.service_name.clone().unwrap_or_else(|| service.to_owned());
    let attributes =
        config.resource.iter().map(|(key, value)| opentelemetry::KeyValue::new(key.clone(), value.clone()));
    Resource::builder_empty()
        .with_attribute(opentelemetry::KeyValue::new("service.instance.id", instance.to_owned()))
        // After it, so that whoever deploys several of one name can say better.
        .with_attributes(attributes)
        .with_attribute(opentelemetry::KeyValue::new("service.version", env!("CARGO_PKG_VERSION")))
        .with_service_name(name)
        .build()
}

fn provider(resource: Resource, config: &TelemetryConfig) -> Result<SdkTracerProvider, TelemetryError> {
    let builder = SdkTracerProvider::builder().with_resource(resource).with_sampler(config.sampler.clone());
    Ok(match &config.otlp {
        Some(otlp) => {
            // Attributes are added at a span's start, the batch is sent after its end: in this order.
            let batch = BatchSpanProcessor::builder(otlp.spans()?).build();
            builder.with_span_processor(InheritIds::default()).with_span_processor(batch).build()
        }
        None => builder.build(),
    })
}

/// Filters are per layer: a quiet log does not silence traces. Whatever the filter says, libraries are kept to INFO: below
/// that, some print what they send.
fn subscriber<W>(provider: &SdkTracerProvider, filter: &str, format: LogFormat, writer: W) -> impl Subscriber + use<W>
where
    W: for<'w> tracing_subscriber::fmt::MakeWriter<'w> + Send + Sync + 'static,
{
    let discreet = filter_fn(|metadata| metadata.target().starts_with("waybill") || *metadata.level() <= Level::INFO);
    let logs = tracing_subscriber::fmt::layer()
        .event_format(format)
        .with_writer(writer)
        .with_filter(self::filter(filter).and(discreet));
    tracing_subscriber::registry().with(spans(provider)).with(logs)
}

fn filter(text: &str) -> EnvFilter {
    EnvFilter::try_new(text).unwrap_or_else(|_| EnvFilter::new("info"))
}

fn spans<S>(provider: &SdkTracerProvider) -> impl Layer<S> + use<S>
where
    S: Subscriber + for<'s> LookupSpan<'s> + Send + Sync,
{
    let own = Targets::new().with_target("waybill", LevelFilter::INFO);
    tracing_opentelemetry::layer()
        .with_tracer(provider.tracer("waybill"))
        .with_location(false)
        .with_threads(false)
        .with_tracked_inactivity(false)
        .with_filter(own)
}
