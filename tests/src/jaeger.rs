//! A Jaeger (v2) with its store in memory, where `JAEGER_BIN` names one: it comes from no package registry.

use std::{path::PathBuf, time::Duration};

use serde_json::{Value, json};

use crate::{
    error::{Missing, StartError},
    http,
    port::Port,
    process::{Process, command},
    ready,
    scratch::Scratch,
};

const START: Duration = Duration::from_secs(60);

/// A running Jaeger. Killed on drop.
#[derive(Debug)]
pub struct Jaeger {
    _process: Process,
    otlp: Port,
    query: Port,
    _grpc: Port,
    _scratch: Scratch,
}

impl Jaeger {
    /// Whether there is one to start.
    pub fn given() -> Option<PathBuf> {
        std::env::var_os("JAEGER_BIN").filter(|path| !path.is_empty()).map(PathBuf::from)
    }

    /// Starts it, and waits until it answers queries.
    ///
    /// # Errors
    /// [`StartError`].
    pub async fn start() -> Result<Self, StartError> {
        let binary = Self::given().ok_or_else(|| {
            Missing::new("Jaeger", "point JAEGER_BIN to the binary of a Jaeger release, 2.0 or newer")
        })?;
        let port = || Port::reserve().map_err(StartError::setup("a free port for Jaeger"));
        let (otlp, query, grpc) = (port()?, port()?, port()?);
        let scratch = Scratch::new("jaeger")?;
        // JSON is YAML.
        let config = json!({
            "service": {
                "extensions": ["jaeger_storage", "jaeger_query"],
                "pipelines": { "traces": { "receivers": ["otlp"], "exporters": ["jaeger_storage_exporter"] } },
                "telemetry": { "metrics": { "level": "none" } },
            },
            "extensions": {
                "jaeger_storage": { "backends": { "memory": { "memory": { "max_traces": 10_000 } } } },
                "jaeger_query": {
                    "storage": { "traces": "memory" },
                    "http": { "endpoint": query.host() },
                    "grpc": { "endpoint": grpc.host() },
                },
            },
            "receivers": { "otlp": { "protocols": { "http": { "endpoint": otlp.host() } } } },
            "exporters": { "jaeger_storage_exporter": { "trace_storage": "memory" } },
        });
        let config = scratch.file("jaeger.yaml", config.to_string())?;
        let mut child = command(&binary);
        child.arg("--config").arg(config);
        let mut process = Process::spawn("jaeger", child, scratch.path())?;
        let url = format!("http://{}/api/v3/services", query.host());
        ready::until_http(&mut process, START, &url, |status| status.is_success()).await?;
        Ok(Self { _process: process, otlp, query, _grpc: grpc, _scratch: scratch })
    }

    /// Where spans go.
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.otlp.host())
    }

    /// The spans of a trace as `/api/v3/traces/{id}` gives them; none where it does not know the trace.
    pub async fn spans(&self, trace_id: &str) -> Vec<Value> {
        let url = format!("http://{}/api/v3/traces/{trace_id}", self.query.host());
        let Ok(client) = http::client() else { return Vec::new() };
        let Ok(answer) = client.get(url).send().await else { return Vec::new() };
        let mut spans = Vec::new();
        collect(&answer.json().await.unwrap_or_default(), &mut spans);
        spans
    }
}

/// Every object that has a span id and a name, however deep.
fn collect(value: &Value, spans: &mut Vec<Value>) {
    match value {
        Value::Object(map) if map.contains_key("spanId") && map.contains_key("name") => spans.push(value.clone()),
        Value::Object(map) => map.values().for_each(|value| collect(value, spans)),
        Value::Array(items) => items.iter().for_each(|item| collect(item, spans)),
        _ => {}
    }
}
