//! What each service says at `/readyz`, and whether the collector takes spans and metrics.

use std::{collections::BTreeMap, time::Duration};

use futures_util::future::join_all;
use reqwest::{Client, StatusCode, Url, header::CONTENT_TYPE};
use serde::Deserialize;
use tokio::{net::TcpStream, time::timeout};
use waybill_platform::{
    chain,
    telemetry::{Otlp, Transport},
};

use super::{finding::Finding, home::Home};

const LIMIT: Duration = Duration::from_secs(3);
/// How long a service may take to say whether the log has room.
const ROOM_LIMIT: Duration = Duration::from_millis(300);
/// The part of a service that is not ready while the log takes no events.
const ROOM: &str = "log has room";

/// What goes to a collector.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Signal {
    Spans,
    Metrics,
}

impl Signal {
    fn name(self) -> &'static str {
        match self {
            Self::Spans => "spans",
            Self::Metrics => "metrics",
        }
    }

    /// What to do about a collector that has no place for it.
    fn remedy(self) -> &'static str {
        match self {
            Self::Spans => "name an OTLP/HTTP receiver (port 4318) in OTEL_EXPORTER_OTLP_ENDPOINT",
            Self::Metrics => {
                "give the collector a pipeline for metrics, name another in OTEL_EXPORTER_OTLP_METRICS_ENDPOINT, or \
                 set OTEL_METRICS_EXPORTER=none"
            }
        }
    }
}

/// What a service answered.
#[derive(Debug, Clone, Default, Deserialize)]
struct Readiness {
    ready: bool,
    components: BTreeMap<String, String>,
}

/// A client for short questions.
///
/// # Errors
/// Those of the TLS set-up.
pub(super) fn client() -> Result<Client, reqwest::Error> {
    // A certificate names the host that clients use, and this machine asks itself. Nothing secret is sent.
    Client::builder()
        .tls_danger_accept_invalid_certs(true)
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        .timeout(LIMIT)
        .build()
}

/// Asks every service whose address is configured.
pub(super) async fn services(client: &Client, home: &Home) -> Vec<Finding> {
    let addresses = home.roles.iter().filter_map(|(role, settings)| Some((role, settings.health.as_deref()?)));
    join_all(addresses.map(async |(role, address)| judge_service(role, address, &readiness(client, address).await)))
        .await
}

/// What the first service says that finds no room in the log.
pub(super) async fn no_room(client: &Client, home: &Home) -> Option<String> {
    let addresses = home.roles.values().filter_map(|settings| settings.health.as_deref());
    // A service that stands still found out nothing, and nobody waits for it.
    let answers = join_all(addresses.map(|address| timeout(ROOM_LIMIT, readiness(client, address)))).await;
    answers
        .into_iter()
        .flatten()
        .flatten()
        .find_map(|mut answer| answer.components.remove(ROOM).filter(|says| says != "ready"))
}

async fn readiness(client: &Client, address: &str) -> Result<Readiness, String> {
    let answer = client.get(format!("{address}/readyz")).send().await;
    let answer = answer.map_err(reason)?;
    let status = answer.status();
    answer.json().await.map_err(|_| format!("something else answers there, with status {status}"))
}

fn judge_service(role: &str, address: &str, answer: &Result<Readiness, String>) -> Finding {
    let check = format!("health {role}");
    let start = match role.strip_prefix("worker-") {
        Some(id) => format!("waybill worker --id {id}"),
        None => format!("waybill {role}"),
    };
    match answer {
        Ok(Readiness { ready: true, .. }) => Finding::ok(check, format!("ready at {address}")),
        Ok(Readiness { components, .. }) => {
            let waiting = components.iter().filter(|(_, says)| *says != "ready");
            let waiting: Vec<String> = waiting.map(|(part, says)| format!("{part}: {says}")).collect();
            let remedy = match components.get(ROOM).is_some_and(|says| says != "ready") {
                true => {
                    "make room on the NATS server, on its disk or in its limits. Where its disk was full, restart it then: it keeps \
                     the failed write and acknowledges nothing until it is started again. What waits is written by itself"
                        .to_owned()
                }
                false => format!("see to what it names, and what its log says ({start})"),
            };
            Finding::attention(check, format!("not ready; {}", waiting.join("; ")), remedy)
        }
        Err(why) => Finding::attention(
            check,
            format!("does not answer at {address}: {why}"),
            format!("start it: {start}; where it runs on another machine, run the doctor there"),
        ),
    }
}

/// An export of nothing to every collector that a role is told of.
pub(super) async fn collectors(client: &Client, home: &Home) -> Vec<Finding> {
    let told = home.roles.values().flat_map(|role| &role.collectors);
    let collectors: BTreeMap<(Signal, &str), &Otlp> =
        told.map(|(signal, otlp)| ((*signal, otlp.endpoint.as_str()), otlp)).collect();
    if collectors.is_empty() {
        return vec![Finding::ok("otlp", "not configured; spans stay here")];
    }
    let asked = collectors.iter().map(async |((signal, endpoint), otlp)| match otlp.transport {
        Transport::Http => judge_collector(*signal, &shown(endpoint), &export(client, otlp).await),
        Transport::Grpc => judge_connection(*signal, &shown(endpoint), &connect(endpoint).await),
    });
    join_all(asked).await
}

/// No bytes are an empty `ExportTraceServiceRequest`, and an empty `ExportMetricsServiceRequest`.
async fn export(client: &Client, otlp: &Otlp) -> Result<StatusCode, String> {
    let mut request = client.post(&otlp.endpoint).header(CONTENT_TYPE, "application/x-protobuf").body(Vec::new());
    for (name, value) in otlp.headers() {
        request = request.header(name, value);
    }
    request.send().await.map(|answer| answer.status()).map_err(reason)
}

/// Whether a gRPC server's port takes connections; what it says to an export is in the services' own logs.
async fn connect(endpoint: &str) -> Result<(), String> {
    let url: Url = endpoint.parse().map_err(|_| "it is no address".to_owned())?;
    let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']);
    let connecting = TcpStream::connect((host, url.port_or_known_default().unwrap_or(4317)));
    match timeout(LIMIT, connecting).await {
        Ok(connected) => connected.map(drop).map_err(|error| error.to_string()),
        Err(_) => Err(format!("no connection within {} s", LIMIT.as_secs())),
    }
}

fn judge_connection(signal: Signal, endpoint: &str, connected: &Result<(), String>) -> Finding {
    match connected {
        Ok(()) => Finding::ok("otlp", format!("{endpoint} takes connections for {}", signal.name())),
        Err(why) => judge_collector(signal, endpoint, &Err(why.clone())),
    }
}

fn judge_collector(signal: Signal, endpoint: &str, answer: &Result<StatusCode, String>) -> Finding {
    let (check, name) = ("otlp", signal.name());
    match answer {
        Ok(status) if status.is_success() => Finding::ok(check, format!("{endpoint} takes {name}")),
        Ok(status) if [StatusCode::UNAUTHORIZED, StatusCode::FORBIDDEN].contains(status) => {
            let says = format!("{endpoint} refuses {name} with status {status}");
            Finding::attention(check, says, "put its key into OTEL_EXPORTER_OTLP_HEADERS")
        }
        Ok(status) => {
            let says = format!("{endpoint} answers {name} with status {status}");
            Finding::attention(check, says, signal.remedy())
        }
        Err(why) => Finding::attention(
            check,
            format!("{endpoint} does not answer: {why}"),
            format!(
                "start the collector, or correct OTEL_EXPORTER_OTLP_ENDPOINT; {name} are lost meanwhile, events are not"
            ),
        ),
    }
}

/// An address without what could be a key: no user, no query.
fn shown(endpoint: &str) -> String {
    let Ok(mut url) = endpoint.parse::<Url>() else { return "the endpoint".to_owned() };
    // Only addresses that have no user anyway refuse to have none.
    let _ = (url.set_username(""), url.set_password(None));
    url.set_query(None);
    url.to_string()
}

/// Why there is no answer, without the address, which may hold a key.
fn reason(error: reqwest::Error) -> String {
    let timed_out = error.is_timeout();
    if timed_out { "no answer in time".to_owned() } else { chain(&error.without_url()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::finding::Status::{Attention, Ok as Well};

    #[test]
    fn services() {
        let said = |ready, components: &[(&str, &str)]| {
            let components = components.iter().map(|(part, says)| ((*part).to_owned(), (*says).to_owned()));
            Ok(Readiness { ready, components: components.collect() })
        };
        let cases = [
            ("gateway", said(true, &[("event log", "ready")]), Well, "ready at http://127.0.0.1:1", ""),
            (
                "scheduler",
                said(false, &[("event log", "ready"), ("fold", "catching up")]),
                Attention,
                "not ready; fold: catching up",
                "waybill scheduler",
            ),
            ("gateway", said(false, &[(ROOM, "no space left on device")]), Attention, "no space left", "make room"),
            ("worker-w1", Err("refused".to_owned()), Attention, "does not answer", "waybill worker --id w1"),
        ];
        for (role, answer, status, says, remedy) in cases {
            let finding = judge_service(role, "http://127.0.0.1:1", &answer);
            assert_eq!(finding.status, status, "{answer:?}");
            assert!(finding.says.contains(says), "{finding:?}");
            assert!(finding.remedy.unwrap_or_default().contains(remedy));
        }
    }

    #[test]
    fn collectors() {
        let cases = [
            (Signal::Spans, Ok(StatusCode::OK), Well, "takes spans", ""),
            (Signal::Metrics, Ok(StatusCode::OK), Well, "takes metrics", ""),
            (Signal::Spans, Ok(StatusCode::UNAUTHORIZED), Attention, "spans with status 401", "HEADERS"),
            (Signal::Spans, Ok(StatusCode::NOT_FOUND), Attention, "spans with status 404", "4318"),
            (Signal::Metrics, Ok(StatusCode::NOT_FOUND), Attention, "metrics with status 404", "OTEL_METRICS_EXPORTER"),
            (
                Signal::Metrics,
                Err("connection refused".to_owned()),
                Attention,
                "connection refused",
                "metrics are lost",
            ),
        ];
        for (signal, answer, status, says, remedy) in cases {
            let finding = judge_collector(signal, "http://c:4318/v1/x", &answer);
            assert_eq!(finding.status, status, "{answer:?}");
            assert!(finding.says.contains(says), "{finding:?}");
            assert!(finding.remedy.unwrap_or_default().contains(remedy), "{signal:?} {answer:?}");
        }
    }

    #[test]
    fn an_address_is_shown_without_keys() {
        let cases = [
            ("http://c:4318/v1/traces", "http://c:4318/v1/traces"),
            ("https://user:canary@c/v1/traces?key=canary", "https://c/v1/traces"),
            ("canary", "the endpoint"),
        ];
        for (endpoint, expected) in cases {
            assert_eq!(shown(endpoint), expected);
        }
    }
}
