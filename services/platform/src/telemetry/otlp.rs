//! The collector, as the OpenTelemetry specification's environment variables describe it.
//!
//! <https://opentelemetry.io/docs/specs/otel/protocol/exporter/>

use std::{collections::HashMap, time::Duration};

use opentelemetry_otlp::{
    ExporterBuildError, MetricExporter, Protocol, SpanExporter, WithExportConfig, WithHttpConfig, WithTonicConfig,
};
use opentelemetry_sdk::trace::Sampler;
use percent_encoding::percent_decode_str;
use tonic::{metadata::MetadataMap, transport::ClientTlsConfig};

use super::TelemetryError;
use crate::config::Reader;

/// How telemetry travels (`OTEL_EXPORTER_OTLP_PROTOCOL`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    /// `http/protobuf`, to port 4318 of a collector.
    Http,
    /// `grpc`, to port 4317. Its connection lives in a Tokio runtime, which must outlast the exporter.
    Grpc,
}

/// Where one kind of telemetry goes.
#[derive(Clone)]
pub struct Otlp {
    /// Full address: `…/v1/traces` or `…/v1/metrics` over HTTP, the server's own over gRPC.
    pub endpoint: String,
    /// How it travels.
    pub transport: Transport,
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
    /// Headers of every export, which may hold keys.
    pub fn headers(&self) -> &[(String, String)] {
        &self.headers
    }

    pub(crate) fn metrics(&self) -> Result<MetricExporter, TelemetryError> {
        let built = match self.transport {
            Transport::Http => self.over_http(MetricExporter::builder().with_http()).build(),
            Transport::Grpc => self.over_grpc(MetricExporter::builder().with_tonic()).build(),
        };
        built.map_err(|source| self.unusable(source))
    }

    pub(super) fn spans(&self) -> Result<SpanExporter, TelemetryError> {
        let built = match self.transport {
            Transport::Http => self.over_http(SpanExporter::builder().with_http()).build(),
            Transport::Grpc => self.over_grpc(SpanExporter::builder().with_tonic()).build(),
        };
        built.map_err(|source| self.unusable(source))
    }

    fn over_http<B: WithExportConfig + WithHttpConfig>(&self, builder: B) -> B {
        let builder = builder.with_protocol(Protocol::HttpBinary).with_endpoint(&self.endpoint);
        builder.with_headers(HashMap::from_iter(self.headers.clone())).with_timeout(self.timeout)
    }

    fn over_grpc<B: WithExportConfig + WithTonicConfig>(&self, builder: B) -> B {
        let headers = self.headers.iter().filter_map(|(name, value)| Some((name.parse().ok()?, value.parse().ok()?)));
        let builder = builder.with_endpoint(&self.endpoint).with_timeout(self.timeout);
        let builder = builder.with_metadata(MetadataMap::from_headers(headers.collect()));
        if !self.endpoint.starts_with("https://") {
            return builder;
        }
        // Without roots of its own, tonic would trust nobody.
        builder.with_tls_config(ClientTlsConfig::new().with_native_roots())
    }

    fn unusable(&self, source: ExporterBuildError) -> TelemetryError {
        TelemetryError::Exporter { endpoint: self.endpoint.clone(), source }
    }
}

/// Where spans and metrics go.
#[derive(Debug, Clone, Default)]
pub(super) struct Collectors {
    pub(super) traces: Option<Otlp>,
    pub(super) metrics: Option<Otlp>,
}

/// Settings of one kind of telemetry that go before those of both.
struct Signal {
    path: &'static str,
    endpoint: &'static str,
    protocol: &'static str,
    headers: &'static str,
    timeout: &'static str,
    exporter: &'static str,
}

const TRACES: Signal = Signal {
    path: "/v1/traces",
    endpoint: "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
    protocol: "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL",
    headers: "OTEL_EXPORTER_OTLP_TRACES_HEADERS",
    timeout: "OTEL_EXPORTER_OTLP_TRACES_TIMEOUT",
    exporter: "OTEL_TRACES_EXPORTER",
};

const METRICS: Signal = Signal {
    path: "/v1/metrics",
    endpoint: "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT",
    protocol: "OTEL_EXPORTER_OTLP_METRICS_PROTOCOL",
    headers: "OTEL_EXPORTER_OTLP_METRICS_HEADERS",
    timeout: "OTEL_EXPORTER_OTLP_METRICS_TIMEOUT",
    exporter: "OTEL_METRICS_EXPORTER",
};

/// The collectors, where an endpoint is set and the SDK is not disabled.
pub(super) fn read(reader: &mut Reader<'_>) -> Collectors {
    let base = reader.optional("OTEL_EXPORTER_OTLP_ENDPOINT", url);
    let transport = reader.or("OTEL_EXPORTER_OTLP_PROTOCOL", transport, || Transport::Http);
    let headers = reader.or("OTEL_EXPORTER_OTLP_HEADERS", pairs, Vec::new);
    let timeout = reader.or("OTEL_EXPORTER_OTLP_TIMEOUT", milliseconds, || Duration::from_secs(10));
    let disabled = reader.or("OTEL_SDK_DISABLED", |text| Ok(text.eq_ignore_ascii_case("true")), || false);
    let mut signal = |signal: Signal| {
        let own = reader.optional(signal.endpoint, url);
        let transport = reader.or(signal.protocol, self::transport, || transport);
        let headers = reader.or(signal.headers, pairs, || headers.clone());
        let timeout = reader.or(signal.timeout, milliseconds, || timeout);
        let wanted = reader.or(signal.exporter, exporter, || true) && !disabled;
        // Only the endpoint of both gets a path appended, and over gRPC there is none.
        let endpoint = own.or_else(|| {
            let base = base.as_ref()?.trim_end_matches('/');
            Some(if transport == Transport::Http { format!("{base}{}", signal.path) } else { base.to_owned() })
        })?;
        wanted.then_some(Otlp { endpoint, transport, headers, timeout })
    };
    Collectors { traces: signal(TRACES), metrics: signal(METRICS) }
}

fn transport(text: &str) -> Result<Transport, &'static str> {
    match text {
        "http/protobuf" => Ok(Transport::Http),
        "grpc" => Ok(Transport::Grpc),
        _ => Err("http/protobuf, which collectors take on port 4318, or grpc, on port 4317"),
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
        // As in W3C Baggage, a value may hold anything once it is percent-encoded.
        let value = percent_decode_str(value.trim()).decode_utf8().map_err(|_| "percent-encoded UTF-8")?;
        Ok((key.trim().to_owned(), value.into_owned()))
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
        let cases: [(Pairs, Option<&str>); 8] = [
            (&[], None),
            (&[("OTEL_EXPORTER_OTLP_ENDPOINT", "http://c:4318")], Some("http://c:4318/v1/traces")),
            (&[("OTEL_EXPORTER_OTLP_ENDPOINT", "http://c:4318/")], Some("http://c:4318/v1/traces")),
            (&[("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://c:1/x")], Some("http://c:1/x")),
            (
                &[("OTEL_EXPORTER_OTLP_ENDPOINT", "http://c:4317"), ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")],
                Some("http://c:4317"),
            ),
            (
                &[
                    ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://c:4318"),
                    ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"),
                    ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "http/protobuf"),
                ],
                Some("http://c:4318/v1/traces"),
            ),
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
    fn headers_of_one_signal_go_before_those_of_both_and_are_decoded() {
        let pairs = [
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://c:4318"),
            ("OTEL_EXPORTER_OTLP_HEADERS", "tenant=both"),
            ("OTEL_EXPORTER_OTLP_TRACES_HEADERS", "authorization=Basic%20a%3D%3D,tenant=own"),
        ];
        let settings = Settings::from_pairs(Path::new("."), pairs);
        let mut reader = settings.reader();
        let Collectors { traces, metrics } = read(&mut reader);
        reader.finish().unwrap();
        let header = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        assert_eq!(traces.unwrap().headers, [header("authorization", "Basic a=="), header("tenant", "own")]);
        assert_eq!(metrics.unwrap().headers, [header("tenant", "both")]);
    }

    #[test]
    fn what_is_not_built_in_is_refused_by_name() {
        let pairs = [("OTEL_EXPORTER_OTLP_PROTOCOL", "http/json"), ("OTEL_TRACES_SAMPLER", "sometimes")];
        let settings = Settings::from_pairs(Path::new("."), pairs);
        let mut reader = settings.reader();
        read(&mut reader);
        sampler(&mut reader);
        let error = reader.finish().unwrap_err().to_string();
        assert!(error.contains("OTEL_EXPORTER_OTLP_PROTOCOL (from the caller) must be http/protobuf"), "{error}");
        assert!(error.contains("OTEL_TRACES_SAMPLER"), "{error}");
    }
}
