//! The collector, as the OpenTelemetry specification's environment variables describe it.
//!
//! <https://opentelemetry.io/docs/specs/otel/protocol/exporter/>; HTTP with protobuf only.

use std::{collections::HashMap, time::Duration};

use opentelemetry_otlp::{MetricExporter, Protocol, SpanExporter, WithExportConfig as _, WithHttpConfig as _};
use opentelemetry_sdk::trace::Sampler;

use super::TelemetryError;
use crate::config::Reader;

/// Where one kind of telemetry goes.
#[derive(Clone)]
pub struct Otlp {
    /// Full address: `…/v1/traces` or `…/v1/metrics`.
    pub endpoint: String,
    /// Headers, which may hold keys.
    headers: Vec<(String, String)>,
    timeout: Duration,
}

impl std::fmt::Debug for Otlp {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Otlp").field("endpoint", &self.endpoint).finish_non_exhaustive()
    }
}

impl Otlp {
    pub(crate) fn metrics(&self) -> Result<MetricExporter, TelemetryError> {
        MetricExporter::builder()
            .with_http()
            .with_protocol(Protocol::HttpBinary)
            .with_endpoint(&self.endpoint)
            .with_headers(HashMap::from_iter(self.headers.clone()))
            .with_timeout(self.timeout)
            .build()
            .map_err(|source| TelemetryError::Exporter { endpoint: self.endpoint.clone(), source })
    }

    /// Headers of every export, which may hold keys.
    pub fn headers(&self) -> &[(String, String)] {
        &self.headers
    }

    pub(super) fn exporter(&self) -> Result<SpanExporter, TelemetryError> {
        SpanExporter::builder()
            .with_http()
            .with_protocol(Protocol::HttpBinary)
            .with_endpoint(&self.endpoint)
            .with_headers(HashMap::from_iter(self.headers.clone()))
            .with_timeout(self.timeout)
            .build()
            .map_err(|source| TelemetryError::Exporter { endpoint: self.endpoint.clone(), source })
    }
}

/// Where spans and metrics go.
#[derive(Debug, Clone, Default)]
pub(super) struct Collectors {
    pub(super) traces: Option<Otlp>,
    pub(super) metrics: Option<Otlp>,
}

/// The collectors, where an endpoint is set and the SDK is not disabled.
pub(super) fn read(reader: &mut Reader<'_>) -> Collectors {
    let protocol = |text: &str| match text {
        "http/protobuf" => Ok(()),
        _ => Err("http/protobuf, the only protocol that is built in; collectors take it on port 4318"),
    };
    reader.optional("OTEL_EXPORTER_OTLP_PROTOCOL", protocol);
    reader.optional("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", protocol);
    reader.optional("OTEL_EXPORTER_OTLP_METRICS_PROTOCOL", protocol);
    let traces = reader.optional("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", url);
    let metrics = reader.optional("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT", url);
    let base = reader.optional("OTEL_EXPORTER_OTLP_ENDPOINT", url);
    let headers = reader.or("OTEL_EXPORTER_OTLP_HEADERS", pairs, Vec::new);
    let timeout = reader.or("OTEL_EXPORTER_OTLP_TIMEOUT", milliseconds, || Duration::from_secs(10));
    let disabled = reader.or("OTEL_SDK_DISABLED", |text| Ok(text.eq_ignore_ascii_case("true")), || false);
    let wanted = |key: &'static str, reader: &mut Reader<'_>| reader.or(key, exporter, || true) && !disabled;
    let of = |own: Option<String>, kind: &str| {
        let endpoint = own.or_else(|| base.as_ref().map(|base| format!("{}/v1/{kind}", base.trim_end_matches('/'))))?;
        Some(Otlp { endpoint, headers: headers.clone(), timeout })
    };
    Collectors {
        traces: of(traces, "traces").filter(|_| wanted("OTEL_TRACES_EXPORTER", reader)),
        metrics: of(metrics, "metrics").filter(|_| wanted("OTEL_METRICS_EXPORTER", reader)),
    }
}

fn exporter(text: &str) -> Result<bool, &'static str> {
    match text {
        "otlp" => Ok(true),
        "none" => Ok(false),
        _ => Err("otlp or none; Prometheus finds the metrics at /metrics without being told"),
    }
}

/// How often metrics go to the collector (`OTEL_METRIC_EXPORT_INTERVAL`, in milliseconds).
pub(super) fn metric_interval(reader: &mut Reader<'_>) -> Duration {
    reader.or("OTEL_METRIC_EXPORT_INTERVAL", milliseconds, || Duration::from_secs(60))
}

/// The sampler, parent-based and always on unless set.
pub(super) fn sampler(reader: &mut Reader<'_>) -> Sampler {
    let ratio = reader.or("OTEL_TRACES_SAMPLER_ARG", ratio, || 1.0);
    let parse = |text: &str| match text {
        "always_on" => Ok(Sampler::AlwaysOn),
        "always_off" => Ok(Sampler::AlwaysOff),
        "traceidratio" => Ok(Sampler::TraceIdRatioBased(ratio)),
        "parentbased_always_on" => Ok(Sampler::ParentBased(Box::new(Sampler::AlwaysOn))),
        "parentbased_always_off" => Ok(Sampler::ParentBased(Box::new(Sampler::AlwaysOff))),
        "parentbased_traceidratio" => Ok(Sampler::ParentBased(Box::new(Sampler::TraceIdRatioBased(ratio)))),
        _ => Err("always_on, always_off, traceidratio, or one of these after parentbased_"),
    };
    reader.or("OTEL_TRACES_SAMPLER", parse, || Sampler::ParentBased(Box::new(Sampler::AlwaysOn)))
}

/// `key=value,key=value`.
pub(super) fn pairs(text: &str) -> Result<Vec<(String, String)>, &'static str> {
    let pair = |part: &str| {
        let (key, value) = part.split_once('=').ok_or("key=value pairs with commas between them")?;
        Ok((key.trim().to_owned(), value.trim().to_owned()))
    };
    text.split(',').map(str::trim).filter(|part| !part.is_empty()).map(pair).collect()
}

fn url(text: &str) -> Result<String, &'static str> {
    let valid = text.starts_with("http://") || text.starts_with("https://");
    if valid { Ok(text.to_owned()) } else { Err("an http:// or https:// address, such as http://127.0.0.1:4318") }
}

fn milliseconds(text: &str) -> Result<Duration, &'static str> {
    text.parse().map(Duration::from_millis).map_err(|_| "a number of milliseconds")
}

fn ratio(text: &str) -> Result<f64, &'static str> {
    text.parse().ok().filter(|ratio| (0.0..=1.0).contains(ratio)).ok_or("a number from 0 to 1")
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::Settings;

    #[test]
    fn endpoints_are_those_of_the_specification() {
        type Pairs = &'static [(&'static str, &'static str)];
        let cases: [(Pairs, Option<&str>); 6] = [
            (&[], None),
            (&[("OTEL_EXPORTER_OTLP_ENDPOINT", "http://c:4318")], Some("http://c:4318/v1/traces")),
            (&[("OTEL_EXPORTER_OTLP_ENDPOINT", "http://c:4318/")], Some("http://c:4318/v1/traces")),
            (&[("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://c:1/x")], Some("http://c:1/x")),
            (&[("OTEL_EXPORTER_OTLP_ENDPOINT", "http://c:4318"), ("OTEL_SDK_DISABLED", "true")], None),
            (
                &[("OTEL_EXPORTER_OTLP_ENDPOINT", "http://c:4318"), ("OTEL_EXPORTER_OTLP_HEADERS", "a=canary")],
                Some("http://c:4318/v1/traces"),
            ),
        ];
        for (pairs, expected) in cases {
            let settings = Settings::from_pairs(Path::new("."), pairs.iter().copied());
            let mut reader = settings.reader();
            let collectors = read(&mut reader);
            reader.finish().unwrap();
            assert_eq!(collectors.traces.as_ref().map(|otlp| otlp.endpoint.as_str()), expected, "{pairs:?}");
            assert!(!format!("{collectors:?}").contains("canary"));
        }
    }

    #[test]
    fn metrics_have_an_endpoint_and_a_switch_of_their_own() {
        let base = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://c:4318");
        for (pairs, expected) in [
            (vec![base], Some("http://c:4318/v1/metrics")),
            (vec![base, ("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT", "http://m:1/x")], Some("http://m:1/x")),
            (vec![base, ("OTEL_METRICS_EXPORTER", "none")], None),
            (vec![base, ("OTEL_SDK_DISABLED", "true")], None),
            (vec![], None),
        ] {
            let settings = Settings::from_pairs(Path::new("."), pairs.iter().copied());
            let mut reader = settings.reader();
            let metrics = read(&mut reader).metrics;
            reader.finish().unwrap();
            assert_eq!(metrics.map(|otlp| otlp.endpoint).as_deref(), expected, "{pairs:?}");
        }
    }

    #[test]
    fn what_is_not_built_in_is_refused_by_name() {
        let pairs = [("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"), ("OTEL_TRACES_SAMPLER", "sometimes")];
        let settings = Settings::from_pairs(Path::new("."), pairs);
        let mut reader = settings.reader();
        read(&mut reader);
        sampler(&mut reader);
        let error = reader.finish().unwrap_err().to_string();
        assert!(error.contains("OTEL_EXPORTER_OTLP_PROTOCOL (from the caller) must be http/protobuf"), "{error}");
        assert!(error.contains("OTEL_TRACES_SAMPLER"), "{error}");
    }
}
