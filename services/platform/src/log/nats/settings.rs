//! What the stream's settings must be, and what each one that is not puts at risk.

use std::time::Duration;

use serde_json::{Value, json};
use waybill_schemas::Filter;

use crate::log::STREAM;

/// How long the stream remembers ids, so that retries are recognised.
const DUPLICATE_WINDOW: Duration = Duration::from_secs(15 * 60);
/// The least that it must remember.
const LEAST_DUPLICATE_WINDOW: Duration = Duration::from_secs(10 * 60);

/// One setting of the stream that is not as it must be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamProblem {
    /// Name of the setting, as JetStream's configuration has it.
    pub setting: &'static str,
    /// What is there, as JSON.
    pub found: String,
    /// What must be there.
    pub expected: String,
    /// What can go wrong meanwhile.
    pub risk: &'static str,
    /// Options of `nats stream edit` that put it right; none where the server changes it in no stream that exists.
    pub edit: Option<String>,
}

/// The log's settings: everything is kept, on disk. Single messages can be deleted, so that what is archived can leave; nobody but
/// an administrator of the log's account may. Where nothing shall ever leave, `deny_delete` can be set, for good.
pub(super) fn stream_config(replicas: usize) -> Value {
    json!({
        "name": STREAM,
        "description": "Waybill's event log",
        "subjects": [Filter::All.to_string()],
        "retention": "limits",
        "storage": "file",
        "discard": "new",
        "num_replicas": replicas,
        "max_msgs": -1,
        "max_bytes": -1,
        "max_msgs_per_subject": -1,
        "max_consumers": -1,
        "max_age": 0,
        "max_msg_size": -1,
        "duplicate_window": nanoseconds(DUPLICATE_WINDOW),
        "allow_direct": true,
        "allow_atomic": true,
        "deny_delete": false,
        "deny_purge": true,
    })
}

pub(crate) fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// A setting, what goes wrong with another value, and how to put it right.
struct Rule(&'static str, &'static str, Option<&'static str>);

/// Settings that must have exactly the value with which the scheduler makes the stream.
const RULES: [Rule; 14] = [
    Rule("subjects", "events outside these subjects are not kept", Some("--subjects=waybill.events.>")),
    Rule("storage", "events are lost when the server stops", None),
    Rule("retention", "events vanish once they are read", None),
    Rule("discard", "old events make room for new ones", Some("--discard=new")),
    Rule("max_msgs", "the log ends when it is full", Some("--max-msgs=-1")),
    Rule("max_bytes", "the log ends when it is full", Some("--max-bytes=-1")),
    Rule("max_msgs_per_subject", "earlier events of a subject vanish", Some("--max-msgs-per-subject=-1")),
    Rule("max_age", "events vanish with time", Some("--max-age=-1")),
    Rule("max_msg_size", "large events are refused", Some("--max-msg-size=-1")),
    Rule("max_consumers", "workers and readers are refused", None),
    Rule("allow_direct", "workers cannot read back what they wrote", Some("--allow-direct")),
    Rule("allow_atomic", "an event is not appended together with its check", Some("--allow-batch")),
    Rule("deny_purge", "the log can be emptied", Some("--deny-purge")),
    Rule("name", "this is another stream", None),
];

/// Settings that must not be set at all.
const FORBIDDEN: [Rule; 8] = [
    Rule("sealed", "nothing more can be appended", None),
    Rule("no_ack", "nobody learns whether an event is kept", Some("--ack")),
    Rule("allow_rollup_hdrs", "one message can replace all before it", Some("--no-allow-rollup")),
    Rule("allow_msg_ttl", "a publisher can make an event vanish", None),
    Rule("mirror", "the log is a copy that takes no events", None),
    Rule("sources", "events come from elsewhere, in no one order", Some("--no-source")),
    Rule("republish", "events are copied to where others may read them", Some("--no-republish")),
    Rule("subject_transform", "events are kept on other subjects", Some("--no-transform")),
];

/// Compares a stream's configuration, as `STREAM.INFO` gives it, with what the log must have. Replicas are a choice and
/// are not judged.
pub fn stream_problems(config: &Value) -> Vec<StreamProblem> {
    let expected = stream_config(1);
    let exact = RULES.iter().filter_map(|rule| differs(rule, field(config, rule.0), field(&expected, rule.0)));
    let unset = FORBIDDEN.iter().filter(|rule| !is_unset(field(config, rule.0)));
    let unset = unset.map(|rule| problem(rule, field(config, rule.0), "unset".to_owned()));
    exact.chain(unset).chain(window(config)).chain(persistence(config)).collect()
}

/// The value of a field; null where there is none.
fn field<'v>(config: &'v Value, name: &str) -> &'v Value {
    config.get(name).unwrap_or(&Value::Null)
}

/// A JSON value that means the same as no value.
fn is_unset(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => true,
        Value::Array(items) => items.is_empty(),
        Value::Object(fields) => fields.is_empty(),
        _ => false,
    }
}

fn differs(rule: &Rule, found: &Value, expected: &Value) -> Option<StreamProblem> {
    // The server writes "no limit" as -1 or 0, or leaves it out.
    let unlimited = |value: &Value| value.is_null() || value.as_i64().is_some_and(|limit| limit <= 0);
    let same = found == expected || (expected.is_i64() || expected.is_u64()) && unlimited(found);
    (!same).then(|| problem(rule, found, expected.to_string()))
}

fn problem(rule: &Rule, found: &Value, expected: String) -> StreamProblem {
    let Rule(setting, risk, edit) = *rule;
    let found = if found.is_null() { "unset".to_owned() } else { found.to_string() };
    StreamProblem { setting, found, expected, risk, edit: edit.map(str::to_owned) }
}

fn window(config: &Value) -> Option<StreamProblem> {
    let found = field(config, "duplicate_window").as_u64().map_or(Duration::ZERO, Duration::from_nanos);
    (found < LEAST_DUPLICATE_WINDOW).then(|| StreamProblem {
        setting: "duplicate_window",
        found: format!("{found:?}"),
        expected: format!("at least {} minutes", LEAST_DUPLICATE_WINDOW.as_secs() / 60),
        risk: "a retry after a long outage is kept twice",
        edit: Some(format!("--dupe-window={}m", DUPLICATE_WINDOW.as_secs() / 60)),
    })
}

/// Asynchronous persistence (2.12 and later) acknowledges before an event is on disk.
fn persistence(config: &Value) -> Option<StreamProblem> {
    let rule = Rule("persist_mode", "an acknowledged event can be lost", None);
    let found = field(config, "persist_mode");
    let synchronous = found.is_null() || found == "" || found == "default";
    (!synchronous).then(|| problem(&rule, found, "\"default\"".to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn changed(setting: &str, value: Value) -> Value {
        let mut config = stream_config(1);
        config[setting] = value;
        config
    }

    #[test]
    fn what_the_scheduler_asks_for_is_well() {
        for replicas in [1, 3, 5] {
            assert_eq!(stream_problems(&stream_config(replicas)), []);
        }
    }

    #[test]
    fn other_words_for_the_same_are_well() {
        let cases = [
            ("max_msgs", json!(0)),
            ("max_age", Value::Null),
            ("max_bytes", Value::Null),
            ("sealed", json!(false)),
            ("sources", json!([])),
            ("persist_mode", json!("default")),
            ("duplicate_window", json!(600_000_000_000_u64)),
            ("compression", json!("s2")),
            ("deny_delete", json!(true)),
        ];
        for (setting, value) in cases {
            assert_eq!(stream_problems(&changed(setting, value)), [], "{setting}");
        }
    }

    #[test]
    fn each_setting_that_differs_is_told() {
        let cases = [
            ("subjects", json!(["waybill.events.image.>"])),
            ("storage", json!("memory")),
            ("retention", json!("workqueue")),
            ("discard", json!("old")),
            ("max_msgs", json!(1000)),
            ("max_bytes", json!(1)),
            ("max_msgs_per_subject", json!(1)),
            ("max_age", json!(1)),
            ("max_msg_size", json!(100)),
            ("max_consumers", json!(3)),
            ("allow_direct", Value::Null),
            ("allow_atomic", json!(false)),
            ("deny_purge", Value::Null),
            ("duplicate_window", json!(120_000_000_000_u64)),
            ("persist_mode", json!("async")),
            ("sealed", json!(true)),
            ("no_ack", json!(true)),
            ("allow_msg_ttl", json!(true)),
            ("mirror", json!({ "name": "OTHER" })),
            ("republish", json!({ "src": ">", "dest": "copy.>" })),
        ];
        for (setting, value) in cases {
            let problems = stream_problems(&changed(setting, value));
            assert_eq!(problems.iter().map(|problem| problem.setting).collect::<Vec<_>>(), [setting]);
        }
    }

    #[test]
    fn nothing_at_all_is_not_well() {
        let settings: Vec<_> = stream_problems(&Value::Null).iter().map(|problem| problem.setting).collect();
        for setting in ["name", "storage", "deny_purge", "allow_atomic", "duplicate_window"] {
            assert!(settings.contains(&setting), "{setting}: {settings:?}");
        }
    }
}
