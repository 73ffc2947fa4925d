//! What a service counts, under the names of the OpenTelemetry conventions: `messaging.*` where they have one, `waybill.*` where
//! they do not. Attributes are words of the contract: never an id, a host, or anything that somebody wrote.

mod export;

use std::{
    sync::{LazyLock, Mutex, PoisonError},
    time::Duration,
};

use opentelemetry::{
    KeyValue, global,
    metrics::{Counter, Gauge, Histogram, ObservableGauge},
};
use waybill_schemas::{Subject, Timestamp, v1::CredType};

pub(crate) use export::{provider, text};

struct Instruments {
    sent: Counter<u64>,
    consumed: Counter<u64>,
    saves: Counter<u64>,
    decisions: Counter<u64>,
    providers: Counter<u64>,
    pulls: Counter<u64>,
    exchanges: Counter<u64>,
    token_expiry: Gauge<i64>,
    _lag: ObservableGauge<u64>,
    _lag_time: ObservableGauge<f64>,
    quarantined: Gauge<u64>,
    refused: Counter<u64>,
    requests_refused: Counter<u64>,
    refusals: Counter<u64>,
    renewals: Counter<u64>,
    grants_sealed: Counter<u64>,
    log_full: Gauge<u64>,
    outbox_depth: Gauge<u64>,
    outbox_age: Gauge<f64>,
    publishing: Histogram<f64>,
    processing: Histogram<f64>,
    requests: Histogram<f64>,
    decision_delay: Histogram<f64>,
    pull_duration: Histogram<f64>,
}

/// Bounds that the conventions advise for `http.server.request.duration` and `messaging.*.duration`, in seconds.
const SECONDS: [f64; 14] = [0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0];
/// Bounds of what a registry or an outage can make longer.
const MINUTES: [f64; 12] = [0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 900.0];

/// How far the projection is behind, as it was seen last: events, and the age in seconds of the oldest of them.
static LAG: Mutex<Option<(u64, f64)>> = Mutex::new(None);

fn last_lag() -> Option<(u64, f64)> {
    *LAG.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Made with the first count, which comes after the exporters are set up.
static INSTRUMENTS: LazyLock<Instruments> = LazyLock::new(|| {
    let meter = global::meter("waybill");
    let counter = |name: &'static str, unit: &'static str, says: &'static str| {
        meter.u64_counter(name).with_unit(unit).with_description(says).build()
    };
    let gauge = |name: &'static str, unit: &'static str, says: &'static str| {
        meter.u64_gauge(name).with_unit(unit).with_description(says).build()
    };
    // No exemplars: opentelemetry_sdk 0.33 samples none, and prometheus 0.14 cannot show any.
    let durations = |name: &'static str, bounds: &[f64], says: &'static str| {
        meter.f64_histogram(name).with_unit("s").with_boundaries(bounds.to_vec()).with_description(says).build()
    };
    Instruments {
        sent: counter("messaging.client.sent.messages", "{message}", "Events appended to the log"),
        consumed: counter("messaging.client.consumed.messages", "{message}", "Events folded, or decisions received"),
        saves: counter("waybill.saves", "{build}", "Builds by what became of their credentials"),
        decisions: counter("waybill.decisions", "{decision}", "Decisions about container requests"),
        providers: counter("waybill.providers", "{provider}", "Credential providers made, and failures to make one"),
        pulls: counter("waybill.pulls", "{pull}", "Image pulls"),
        exchanges: counter("waybill.token.exchanges", "{exchange}", "Exchanges of credentials for a registry token"),
        token_expiry: meter
            .i64_gauge("waybill.token.expiry")
            .with_unit("s")
            .with_description("When the token that was issued last ends, in seconds since 1970")
            .build(),
        _lag: meter
            .u64_observable_gauge("waybill.projection.lag")
            .with_unit("{event}")
            .with_description("Events in the log that are not folded")
            .with_callback(|gauge| last_lag().into_iter().for_each(|(events, _)| gauge.observe(events, &[])))
            .build(),
        _lag_time: meter
            .f64_observable_gauge("waybill.projection.lag.time")
            .with_unit("s")
            .with_callback(|gauge| last_lag().into_iter().for_each(|(_, seconds)| gauge.observe(seconds, &[])))
            .with_description("Age of the oldest event that is not folded; 0 when all are")
            .build(),
        quarantined: gauge("waybill.quarantine.events", "{event}", "Messages that cannot be read and are not given up"),
        refused: counter(
            "waybill.decisions.refused",
            "{decision}",
            "Decisions that the log refused and that were set aside",
        ),
        requests_refused: counter("waybill.requests.refused", "{request}", "HTTP requests that were refused, by code"),
        refusals: counter(
            "waybill.refusals",
            "{request}",
            "Refused requests that would have recorded something, by what the log was told of them",
        ),
        renewals: counter("waybill.renewals", "{renewal}", "Renewals of a secret on a worker"),
        grants_sealed: counter("waybill.grants.sealed", "{grant}", "Secret versions sealed to a worker"),
        log_full: gauge("waybill.log.full", "{state}", "1 while the log takes no events for want of room, else 0"),
        outbox_depth: gauge("waybill.outbox.depth", "{decision}", "Decisions that are made and not yet in the log"),
        outbox_age: meter
            .f64_gauge("waybill.outbox.age")
            .with_unit("s")
            .with_description("Age of the oldest decision that is not yet in the log; 0 when all are")
            .build(),
        publishing: durations(
            "messaging.client.operation.duration",
            &SECONDS,
            "Time to append an event, until the log acknowledged or refused it",
        ),
        processing: durations(
            "messaging.process.duration",
            &MINUTES,
            "Time a worker takes for a decision, its pull included",
        ),
        requests: durations("http.server.request.duration", &SECONDS, "Time to answer a request"),
        decision_delay: durations(
            "waybill.decision.delay",
            &MINUTES,
            "Time from an event to the decision about it in the log, by the log's clock and the scheduler's",
        ),
        pull_duration: durations("waybill.pull.duration", &MINUTES, "Time a pull takes, exchanges of keys included"),
    }
});

fn messaging(subject: &Subject, operation: &'static str) -> [KeyValue; 3] {
    [
        KeyValue::new("messaging.system", "nats"),
        KeyValue::new("messaging.operation.name", operation),
        KeyValue::new("messaging.destination.template", subject.template()),
    ]
}

fn outcome(outcome: &'static str, reason: Option<&'static str>) -> Vec<KeyValue> {
    let reason = reason.map(|reason| KeyValue::new("reason", reason));
    [KeyValue::new("outcome", outcome)].into_iter().chain(reason).collect()
}

/// An event is in the log, for the first time.
pub fn appended(subject: &Subject) {
    INSTRUMENTS.sent.add(1, &messaging(subject, "publish"));
}

/// An event was folded, or a decision received.
pub fn consumed(subject: &Subject) {
    INSTRUMENTS.consumed.add(1, &messaging(subject, "process"));
}

/// A build was recorded: `saved`, `unchanged`, `named`, or `skipped` with the reason.
pub fn save(what: &'static str, reason: Option<&'static str>) {
    INSTRUMENTS.saves.add(1, &outcome(what, reason));
}

/// A request was decided: `attached`, or `skipped` with the reason.
pub fn decision(what: &'static str, reason: Option<&'static str>) {
    INSTRUMENTS.decisions.add(1, &outcome(what, reason));
}

/// A provider was recorded: `custom`, `default_chain`, or `failed` with the reason.
pub fn credential_provider(what: &'static str, reason: Option<&'static str>) {
    INSTRUMENTS.providers.add(1, &outcome(what, reason));
}

/// A pull was recorded: `succeeded`, or `failed` with the reason.
pub fn pull(what: &'static str, reason: Option<&'static str>) {
    INSTRUMENTS.pulls.add(1, &outcome(what, reason));
}

/// Credentials were exchanged for a token that ends then, or could not be.
pub fn token_exchange(cred_type: CredType, expires_at: Option<Timestamp>) {
    let kind = KeyValue::new("cred_type", cred_type.as_str());
    let what = KeyValue::new("outcome", if expires_at.is_some() { "succeeded" } else { "failed" });
    INSTRUMENTS.exchanges.add(1, &[kind.clone(), what]);
    if let Some(expiry) = expires_at {
        INSTRUMENTS.token_expiry.record(expiry.instant().unix_timestamp(), &[kind]);
    }
}

/// How far the projection is behind the log: events, and the age in seconds of the oldest of them. While the log does not tell,
/// none: no number is shown then, for the last one may be wrong.
pub fn lag(known: Option<(u64, f64)>) {
    LazyLock::force(&INSTRUMENTS);
    *LAG.lock().unwrap_or_else(PoisonError::into_inner) = known;
}

/// How many messages are in quarantine.
pub fn quarantined(events: u64) {
    INSTRUMENTS.quarantined.record(events, &[]);
}

/// The log refused a decision for good, and it was set aside.
pub fn decision_refused() {
    INSTRUMENTS.refused.add(1, &[]);
}

/// An HTTP request was refused, with the code of the problem.
pub fn request_refused(code: &'static str) {
    INSTRUMENTS.requests_refused.add(1, &[KeyValue::new("code", code)]);
}

/// A request that would have recorded something was refused, and that was `recorded`, `repeated` (said lately), `over_budget`
/// or `dropped` (the log did not take it in time).
pub fn refusal(what: &'static str) {
    INSTRUMENTS.refusals.add(1, &outcome(what, None));
}

/// A renewal was recorded: `decided`, `applied`, or `failed` with the reason.
pub fn renewal(what: &'static str, reason: Option<&'static str>) {
    INSTRUMENTS.renewals.add(1, &outcome(what, reason));
}

/// A secret version was sealed to a worker.
pub fn grant_sealed() {
    INSTRUMENTS.grants_sealed.add(1, &[]);
}

/// The log has no room, or has some again.
pub fn log_full(full: bool) {
    INSTRUMENTS.log_full.record(u64::from(full), &[]);
}

fn failed(error_type: Option<&'static str>) -> Option<KeyValue> {
    error_type.map(|error_type| KeyValue::new("error.type", error_type))
}

/// An event was acknowledged by the log, or could not be appended.
pub fn published(subject: &Subject, took: Duration, error_type: Option<&'static str>) {
    let attributes: Vec<KeyValue> = messaging(subject, "publish").into_iter().chain(failed(error_type)).collect();
    INSTRUMENTS.publishing.record(took.as_secs_f64(), &attributes);
}

/// A decision was handled by its worker, or comes again.
pub fn processed(subject: &Subject, took: Duration, error_type: Option<&'static str>) {
    let attributes: Vec<KeyValue> = messaging(subject, "process").into_iter().chain(failed(error_type)).collect();
    INSTRUMENTS.processing.record(took.as_secs_f64(), &attributes);
}

/// An HTTP request was answered. Method and route are words of few.
pub fn answered(method: &'static str, route: String, status: u16, took: Duration) {
    let attributes = [
        KeyValue::new("http.request.method", method),
        KeyValue::new("http.route", route),
        KeyValue::new("http.response.status_code", i64::from(status)),
        KeyValue::new("url.scheme", "http"),
    ];
    let error_type = (status >= 500).then(|| KeyValue::new("error.type", status.to_string()));
    let attributes: Vec<KeyValue> = attributes.into_iter().chain(error_type).collect();
    INSTRUMENTS.requests.record(took.as_secs_f64(), &attributes);
}

/// A decision is in the log, so long after the event that it is about.
pub fn decided_after(delay: time::Duration) {
    // The scheduler's clock may be behind that of the log's server.
    INSTRUMENTS.decision_delay.record(delay.as_seconds_f64().max(0.0), &[]);
}

/// A pull ended.
pub fn pull_lasted(took: Duration, reason: Option<&'static str>) {
    let what = if reason.is_none() { "succeeded" } else { "failed" };
    INSTRUMENTS.pull_duration.record(took.as_secs_f64(), &outcome(what, reason));
}

/// Decisions in the outbox's lane that are not yet in the log, and the age in seconds of the oldest of them.
pub fn outbox(lane: &'static str, depth: u64, age: f64) {
    let lane = [KeyValue::new("lane", lane)];
    INSTRUMENTS.outbox_depth.record(depth, &lane);
    INSTRUMENTS.outbox_age.record(age, &lane);
}
