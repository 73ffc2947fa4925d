//! The server: reachable, new enough, with JetStream, its clock as this machine's.

use std::time::Duration;

use serde::Deserialize;
use serde_json::{Value, json};
use time::OffsetDateTime;
use waybill_platform::{
    config::ConfigError,
    log::{InspectError, Inspector, NatsConfig, Reply, Server, supported},
};
use waybill_schemas::{Filter, Timestamp};

use super::{finding::Finding, stream::Kind};

/// Clocks further apart than this make traces and expiries misleading.
const MOST_SKEW: Duration = Duration::from_secs(2);
const STREAM_NOT_FOUND: u64 = 10059;

/// Why nobody is connected as the operator.
#[derive(Debug)]
pub(super) enum NotConnected {
    /// There is no settings file.
    NoSettings,
    /// The settings cannot be used.
    Settings(ConfigError),
    /// The server cannot be reached, or refuses.
    Failed(InspectError),
}

/// What the server answered about the stream.
pub(super) struct Answered {
    /// Which stream was asked for.
    kind: Kind,
    /// Its answer to `STREAM.INFO`.
    pub(super) reply: Reply,
    /// Between question and answer.
    pub(super) round_trip: Duration,
    /// This machine's time in the middle of that.
    pub(super) at: OffsetDateTime,
}

/// What the doctor takes from an answer to `STREAM.INFO`.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct StreamInfo {
    /// All settings.
    pub(super) config: Value,
    /// What it holds.
    pub(super) state: StreamState,
    /// Who keeps its copies; none for a server alone.
    #[serde(default)]
    pub(super) cluster: Option<Copies>,
    /// The server's clock.
    ts: Option<Timestamp>,
}

/// Who keeps the copies of a stream.
#[derive(Debug, Clone, Default, Deserialize)]
pub(super) struct Copies {
    /// The server that takes what is published.
    #[serde(default)]
    pub(super) leader: String,
    /// The others.
    #[serde(default)]
    pub(super) replicas: Vec<Replica>,
}

/// A copy that follows the leader.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Replica {
    /// Its server.
    pub(super) name: String,
    #[serde(default)]
    pub(super) current: bool,
    #[serde(default)]
    pub(super) offline: bool,
    /// Operations that it lacks.
    #[serde(default)]
    pub(super) lag: u64,
}

/// What the stream holds.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct StreamState {
    /// Its last sequence.
    pub(super) last_seq: u64,
    /// Subjects asked for, with the number of their messages.
    #[serde(default)]
    pub(super) subjects: std::collections::BTreeMap<String, u64>,
}

/// Connects as the operator.
pub(super) async fn connect(operator: Option<&Result<NatsConfig, ConfigError>>) -> Result<Inspector, NotConnected> {
    match operator {
        None => Err(NotConnected::NoSettings),
        Some(Err(error)) => Err(NotConnected::Settings(error.clone())),
        Some(Ok(config)) => Inspector::connect(config).await.map_err(NotConnected::Failed),
    }
}

/// Asks for a stream; of the log, with the workers' registrations by subject.
pub(super) async fn ask(inspector: &Inspector, kind: Kind) -> Answered {
    let (start, at) = (std::time::Instant::now(), OffsetDateTime::now_utc());
    let filter = match kind {
        Kind::Log => json!({ "subjects_filter": Filter::Workers(None).to_string() }),
        Kind::Vault => Value::Null,
    };
    let reply = inspector.api(&format!("STREAM.INFO.{}", kind.stream()), &filter).await;
    let round_trip = start.elapsed();
    Answered { kind, reply, round_trip, at: at + round_trip / 2 }
}

impl Answered {
    /// The stream, or why nothing is known of it.
    pub(super) fn stream(&self) -> Result<StreamInfo, String> {
        match &self.reply {
            Reply::Answer(answer) if self.reply.error_code().is_none() => serde_json::from_value(answer.clone())
                .map_err(|_| "the server's answer about the stream cannot be read".to_owned()),
            reply if reply.error_code() == Some(STREAM_NOT_FOUND) => {
                Err(format!("the stream {} does not exist", self.kind.stream()))
            }
            Reply::Answer(answer) => Err(description(answer)),
            Reply::Forbidden => Err("the operator may not ask for the stream".to_owned()),
            Reply::Silence(reason) => Err(format!("the server does not answer for the stream: {reason}")),
        }
    }

    /// Whether the server knows of no such stream.
    pub(super) fn is_missing(&self) -> bool {
        self.reply.error_code() == Some(STREAM_NOT_FOUND)
    }
}

/// JetStream's words about an error.
pub(super) fn description(answer: &Value) -> String {
    let text = answer.pointer("/error/description").and_then(Value::as_str);
    text.unwrap_or("JetStream answered with an error").to_owned()
}

/// What is to be said where nobody is connected.
pub(super) fn judge_not_connected(why: &NotConnected) -> Finding {
    let check = "nats";
    match why {
        NotConnected::NoSettings => {
            Finding::unknown(check, "operator.env is not in the home folder", "run the doctor where `waybill init` ran")
        }
        NotConnected::Settings(error) => {
            let remedy = "put the operator's settings right; nothing about the log can be told before";
            Finding::unknown(check, error.problems.join("; "), remedy)
        }
        NotConnected::Failed(InspectError::Refused) => Finding::attention(
            check,
            "the server refuses the operator's credentials",
            "run `waybill init` again where keys/signing is: it signs credentials anew that end; if the server does not \
             know the operator, restart it with the nats-server.conf that is there",
        ),
        NotConnected::Failed(InspectError::Unreachable(reason)) => Finding::attention(
            check,
            format!("no server can be reached: {reason}"),
            "start nats-server with nats-server.conf (or `waybill dev`); check WAYBILL_NATS_URL and what is between",
        ),
        NotConnected::Failed(InspectError::Settings(reason)) => Finding::attention(
            check,
            format!("the settings cannot be used: {reason}"),
            "check WAYBILL_NATS_URL and the file that WAYBILL_NATS_CREDS_FILE names",
        ),
    }
}

/// The server and JetStream on it.
pub(super) fn judge(server: &Server, answered: &Answered) -> Vec<Finding> {
    let clock = answered.stream().ok().and_then(|info| info.ts).map(|there| there.instant() - answered.at);
    vec![judge_version(server, answered.round_trip), judge_jetstream(server, &answered.reply), judge_clock(clock)]
}

fn judge_version(server: &Server, round_trip: Duration) -> Finding {
    let says = format!("version {} answers in {:.1} ms", server.version, round_trip.as_secs_f64() * 1e3);
    match supported(&server.version) {
        Ok(()) => Finding::ok("nats", says),
        Err(remedy) => Finding::attention("nats", says, remedy),
    }
}

fn judge_jetstream(server: &Server, reply: &Reply) -> Finding {
    let check = "jetstream";
    let remedy = "start nats-server with the nats-server.conf that `waybill init` wrote; it turns JetStream on";
    match reply {
        _ if !server.jetstream => Finding::attention(check, "is off", remedy),
        Reply::Answer(_) if matches!(reply.error_code(), None | Some(STREAM_NOT_FOUND)) => Finding::ok(check, "is on"),
        Reply::Answer(answer) => Finding::attention(check, description(answer), remedy),
        Reply::Forbidden => Finding::attention(check, "the operator may not ask", remedy),
        Reply::Silence(reason) => Finding::attention(check, format!("does not answer: {reason}"), remedy),
    }
}

fn judge_clock(ahead: Option<time::Duration>) -> Finding {
    let check = "clock";
    let Some(ahead) = ahead else {
        return Finding::unknown(check, "the server tells its time with the stream only", "see to the stream first");
    };
    let (seconds, side) = (ahead.abs().as_seconds_f64(), if ahead.is_negative() { "behind" } else { "ahead" });
    if ahead.unsigned_abs() <= MOST_SKEW {
        return Finding::ok(check, format!("the server is {seconds:.1} s {side} of this machine"));
    }
    let says = format!("the server is {seconds:.1} s {side} of this machine");
    Finding::attention(check, says, "set both clocks by NTP; times in the log and in traces do not fit together")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::finding::Status::{Attention, Ok, Unknown};

    fn server(version: &str, jetstream: bool) -> Server {
        Server { version: version.to_owned(), jetstream }
    }

    #[test]
    fn versions() {
        for (version, status) in [("2.15.1", Ok), ("2.12.0", Attention), ("x.y", Attention)] {
            assert_eq!(judge_version(&server(version, true), Duration::ZERO).status, status, "{version}");
        }
    }

    #[test]
    fn jetstream() {
        let error = |code: u64| Reply::Answer(json!({ "error": { "err_code": code, "description": "words" } }));
        let cases = [
            (true, Reply::Answer(json!({})), Ok),
            (true, error(STREAM_NOT_FOUND), Ok),
            (false, Reply::Answer(json!({})), Attention),
            (true, error(10039), Attention),
            (true, Reply::Forbidden, Attention),
            (true, Reply::Silence("no answer in time".to_owned()), Attention),
        ];
        for (on, reply, status) in cases {
            let finding = judge_jetstream(&server("2.12.0", on), &reply);
            assert_eq!(finding.status, status, "{reply:?}: {finding:?}");
        }
    }

    #[test]
    fn clocks() {
        let cases = [
            (Some(0), Ok),
            (Some(1999), Ok),
            (Some(-2000), Ok),
            (Some(2001), Attention),
            (Some(-60_000), Attention),
            (None, Unknown),
        ];
        for (milliseconds, status) in cases {
            let finding = judge_clock(milliseconds.map(time::Duration::milliseconds));
            assert_eq!(finding.status, status, "{finding:?}");
        }
        assert!(judge_clock(Some(time::Duration::seconds(-5))).says.contains("5.0 s behind"));
    }

    #[test]
    fn not_connected() {
        let problem = ConfigError { problems: vec!["WAYBILL_NATS_URL is missing".to_owned()] };
        let cases = [
            (NotConnected::NoSettings, Unknown, "operator.env"),
            (NotConnected::Settings(problem), Unknown, "WAYBILL_NATS_URL is missing"),
            (NotConnected::Failed(InspectError::Refused), Attention, "refuses the operator's credentials"),
            (NotConnected::Failed(InspectError::Unreachable("refused".to_owned())), Attention, "no server"),
            (NotConnected::Failed(InspectError::Settings("bad".to_owned())), Attention, "bad"),
        ];
        for (why, status, says) in cases {
            let finding = judge_not_connected(&why);
            assert_eq!(finding.status, status, "{why:?}");
            assert!(finding.says.contains(says), "{finding:?}");
        }
    }
}
