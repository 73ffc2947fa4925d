//! From OTLP's protobuf messages to points that are easy to ask.

use std::collections::BTreeMap;

use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::metrics::v1::number_data_point::Value as Number;
use opentelemetry_proto::tonic::metrics::v1::{Metric, NumberDataPoint, ResourceMetrics};
use serde_json::Value;

use super::decode::attributes;

/// One series of a counter or a gauge.
#[derive(Debug, Clone, PartialEq)]
pub struct Point {
    /// `service.name` of the resource.
    pub service: String,
    /// Name of the metric.
    pub name: String,
    /// Its unit, in UCUM.
    pub unit: String,
    /// What tells the series apart.
    pub attributes: BTreeMap<String, Value>,
    /// The newest value.
    pub value: f64,
}

pub(super) fn points(request: ExportMetricsServiceRequest) -> impl Iterator<Item = Point> {
    request.resource_metrics.into_iter().flat_map(of_resource)
}

fn of_resource(of: ResourceMetrics) -> impl Iterator<Item = Point> {
    let resource = attributes(of.resource.unwrap_or_default().attributes);
    let service = resource.get("service.name").and_then(Value::as_str).unwrap_or_default().to_owned();
    let metrics = of.scope_metrics.into_iter().flat_map(|scope| scope.metrics);
    metrics.flat_map(move |metric| of_metric(&service, metric))
}

fn of_metric(service: &str, metric: Metric) -> Vec<Point> {
    let points: Vec<NumberDataPoint> = match metric.data {
        Some(Data::Sum(sum)) => sum.data_points,
        Some(Data::Gauge(gauge)) => gauge.data_points,
        _ => Vec::new(),
    };
    let point = |point: NumberDataPoint| Point {
        service: service.to_owned(),
        name: metric.name.clone(),
        unit: metric.unit.clone(),
        attributes: attributes(point.attributes),
        value: match point.value {
            Some(Number::AsDouble(value)) => value,
            Some(Number::AsInt(value)) => i32::try_from(value).map_or(f64::MAX, f64::from),
            None => f64::NAN,
        },
    };
    points.into_iter().map(point).collect()
}
