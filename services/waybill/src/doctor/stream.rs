//! Settings of the log's stream and the vault's, their copies, and whether an acknowledged event is on disk.

use serde_json::Value;
use waybill_platform::{
    log::{STREAM, StreamProblem, stream_problems},
    vault::vault_problems,
};

use super::{
    finding::Finding,
    server::{Copies, Replica, StreamInfo},
};
use crate::init::role::vault_stream;

/// How to become somebody who may change the stream: no role may.
const CHANGE: &str = "run `waybill creds log-admin --out admin.creds`, and with `nats --creds admin.creds --inbox-prefix _INBOX_log-admin` run:";
/// How to get a stream with a setting that no stream changes.
const REMAKE: &str = "no stream changes this: back the log up (nats stream backup), stop the scheduler, restore it into \
                      a stream made with the right setting, and start the scheduler with --rebuild";

/// One of the two streams.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// The event log.
    Log,
    /// The vault.
    Vault,
}

impl Kind {
    /// Name of the stream.
    pub(super) fn stream(self) -> String {
        match self {
            Self::Log => STREAM.to_owned(),
            Self::Vault => vault_stream(),
        }
    }

    fn check(self) -> &'static str {
        match self {
            Self::Log => "stream",
            Self::Vault => "vault",
        }
    }

    /// One finding for each setting that is not as it must be.
    fn judge_settings(self, config: &Value) -> Vec<Finding> {
        match self {
            Self::Log => stream_problems(config).iter().map(judge_problem).collect(),
            Self::Vault => {
                let problems = vault_problems(config);
                problems.into_iter().map(|(setting, risk)| judge_vault_problem(config, setting, risk)).collect()
            }
        }
    }

    /// What to do where it is not there.
    fn missing(self) -> &'static str {
        match self {
            Self::Log => {
                "the scheduler makes it at its first start: waybill scheduler; if there was a log before, restore the \
                 data of nats-server first"
            }
            Self::Vault => {
                "restore it from its backup; where there is none, start the scheduler, which makes an empty one, and save \
                 every secret again: waybill secrets put"
            }
        }
    }
}

/// The stream's settings, as the server has them; `stream` says why they are not known otherwise.
pub(super) fn judge(kind: Kind, stream: &Result<StreamInfo, String>, missing: bool) -> Vec<Finding> {
    match stream {
        Ok(info) => judge_config(kind, &info.config, info.cluster.as_ref()),
        Err(_) if missing => vec![Finding::attention(
            kind.check(),
            format!("the stream {} does not exist", kind.stream()),
            kind.missing(),
        )],
        Err(why) => vec![Finding::unknown(kind.check(), why.clone(), "see to the checks above first")],
    }
}

fn judge_config(kind: Kind, config: &Value, copies: Option<&Copies>) -> Vec<Finding> {
    let mut findings = kind.judge_settings(config);
    if findings.is_empty() {
        findings.push(Finding::ok(kind.check(), format!("every setting of {} is as it must be", kind.stream())));
    }
    findings.push(judge_replicas(kind, config.get("num_replicas").and_then(Value::as_u64), copies));
    findings
}

fn judge_problem(problem: &StreamProblem) -> Finding {
    let StreamProblem { setting, found, expected, risk, edit } = problem;
    let edit = edit.as_ref().map(|edit| format!("{CHANGE} nats stream edit {STREAM} {edit}"));
    let says = format!("is {found}, must be {expected}: {risk}");
    Finding::attention(format!("stream {setting}"), says, edit.unwrap_or_else(|| REMAKE.to_owned()))
}

fn judge_vault_problem(config: &Value, setting: &str, risk: &str) -> Finding {
    let found = config.get(setting).map_or_else(|| "unset".to_owned(), Value::to_string);
    let remedy = format!("{CHANGE} nats stream edit {}; `nats stream info` there shows all settings", vault_stream());
    Finding::attention(format!("vault {setting}"), format!("is {found}: {risk}"), remedy)
}

fn judge_replicas(kind: Kind, replicas: Option<u64>, copies: Option<&Copies>) -> Finding {
    let check = format!("{} replicas", kind.check());
    match (replicas, copies) {
        (None, _) => {
            let remedy = format!("ask it: nats stream info {}", kind.stream());
            Finding::unknown(check, "the server does not say how many", remedy)
        }
        (Some(1), None) => Finding::ok(check, "1: fine for development; in production 3 outlive the loss of a server"),
        (Some(_), Some(Copies { leader, .. })) if leader.is_empty() => Finding::attention(
            check,
            "has no leader: it takes nothing",
            "start the servers that are away: more than half of those that keep it have to run",
        ),
        (Some(1), Some(Copies { leader, .. })) => Finding::ok(
            check,
            format!(
                "1, on {leader}, without which nothing goes on; with three servers, `waybill replicas 3` keeps three"
            ),
        ),
        (Some(replicas), copies) => judge_followers(check, replicas, copies),
    }
}

fn judge_followers(check: String, replicas: u64, copies: Option<&Copies>) -> Finding {
    let Some(Copies { leader, replicas: followers }) = copies else { return Finding::ok(check, replicas.to_string()) };
    let behind: Vec<String> = followers
        .iter()
        .filter(|follower| follower.offline || !follower.current)
        .map(|Replica { name, offline, lag, .. }| match offline {
            true => format!("{name} is offline"),
            false => format!("{name} is {lag} operations behind"),
        })
        .collect();
    if behind.is_empty() {
        return Finding::ok(check, format!("{replicas}, all of them up to date; {leader} leads"));
    }
    let says = format!("{replicas}, of which {}; {leader} leads", behind.join(", "));
    Finding::attention(check, says, "start what is offline; what a server lacks comes from the leader by itself")
}

/// What is known of how the server writes to disk.
pub(super) struct Durability<'h> {
    /// `nats-server.conf` of the home folder, if it is there.
    pub(super) configuration: Option<&'h str>,
    /// `WAYBILL_NATS_URL`.
    pub(super) url: Option<&'h str>,
}

/// Whether an acknowledged event is on disk.
pub(super) fn judge_durability(facts: &Durability<'_>) -> Finding {
    let check = "durability";
    let ask = "check that the server's own configuration has: jetstream { sync_interval: always }";
    let Some(text) = facts.configuration else {
        return Finding::unknown(check, "nats-server.conf is not in the home folder", ask);
    };
    if facts.url.is_some_and(|url| !is_this_server(url, setting(text, "listen").as_deref())) {
        return Finding::unknown(check, "the server is another than the one that nats-server.conf is for", ask);
    }
    match setting(text, "sync_interval").as_deref() {
        Some("always") => Finding::ok(check, "nats-server.conf has sync_interval: always"),
        found => {
            let found = found.unwrap_or("unset, which means two minutes").to_owned();
            let remedy = "set jetstream { sync_interval: always } in nats-server.conf (`waybill init` writes it) and \
                          restart nats-server: until then a power cut loses acknowledged events";
            Finding::attention(check, format!("sync_interval is {found}"), remedy)
        }
    }
}

/// The value of a setting that has a line of its own, without quotes; the last one counts.
fn setting(text: &str, name: &str) -> Option<String> {
    let lines = text.lines().map(str::trim).filter(|line| !line.starts_with('#') && !line.starts_with("//"));
    let values = lines.filter_map(|line| line.trim_start_matches(['{', ' ']).strip_prefix(name));
    let mut values = values.filter(|rest| rest.starts_with([':', '=', ' ']));
    let value = values.next_back()?.trim_start_matches([':', '=', ' ']);
    let end = value.find(['#', ',', '}']).unwrap_or(value.len());
    Some(value.get(..end)?.trim().trim_matches('"').to_owned())
}

/// Whether an address is this machine's, or the one that the configuration listens on.
fn is_this_server(url: &str, listen: Option<&str>) -> bool {
    url.split(',').map(str::trim).all(|url| {
        let host = host(url);
        ["127.0.0.1", "localhost", "::1"].contains(&host) || listen.is_some_and(|listen| self::host(listen) == host)
    })
}

/// The host of `scheme://user@host:port`, all but the host optional.
fn host(address: &str) -> &str {
    let address = address.split_once("://").map_or(address, |(_, rest)| rest);
    let address = address.rsplit_once('@').map_or(address, |(_, rest)| rest);
    if let Some(v6) = address.strip_prefix('[') {
        return v6.split(']').next().unwrap_or(v6);
    }
    address.split([':', '/']).next().unwrap_or(address)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::doctor::finding::Status::{self, Attention, Ok as Well, Unknown};

    #[test]
    fn each_setting_that_differs_is_a_finding_with_a_remedy() {
        let findings =
            judge_config(Kind::Log, &json!({ "storage": "memory", "deny_purge": false, "num_replicas": 1 }), None);
        let finding = |check: &str| findings.iter().find(|finding| finding.check == check).unwrap();
        let storage = finding("stream storage");
        assert_eq!(storage.says, "is \"memory\", must be \"file\": events are lost when the server stops");
        assert!(storage.remedy.as_ref().unwrap().contains("--rebuild"));
        let purge = finding("stream deny_purge");
        assert!(purge.remedy.as_ref().unwrap().ends_with("nats stream edit WAYBILL --deny-purge"));
        assert_eq!(finding("stream replicas").status, Well);
        assert!(!findings.iter().any(|finding| finding.check == "stream"));
        let findings = judge_config(Kind::Vault, &json!({ "storage": "memory" }), None);
        assert!(findings.iter().any(|finding| finding.check == "vault storage" && finding.status == Attention));
    }

    #[test]
    fn a_stream_that_is_not_there() {
        let cases = [
            (Kind::Log, true, Attention, "WAYBILL does not exist"),
            (Kind::Vault, true, Attention, "KV_WAYBILL_VAULT does not exist"),
            (Kind::Log, false, Unknown, "why"),
        ];
        for (kind, missing, status, says) in cases {
            let findings = judge(kind, &Err("why".to_owned()), missing);
            assert_eq!(findings[0].status, status);
            assert!(findings[0].says.contains(says));
        }
    }

    #[test]
    fn replicas_are_said() {
        let copies = |leader: &str, follower: Value| {
            let follower = serde_json::from_value(follower).unwrap();
            Some(Copies { leader: leader.to_owned(), replicas: vec![follower] })
        };
        let well = json!({ "name": "n2", "current": true });
        let cases = [
            (Some(1), None, Well, "development"),
            (Some(3), None, Well, "3"),
            (None, None, Unknown, "how many"),
            (Some(3), copies("n1", well.clone()), Well, "3, all of them up to date; n1 leads"),
            (Some(1), copies("n1", well.clone()), Well, "1, on n1"),
            (Some(3), copies("", well), Attention, "no leader"),
            (Some(3), copies("n1", json!({ "name": "n2", "lag": 12 })), Attention, "n2 is 12 operations behind"),
            (Some(3), copies("n1", json!({ "name": "n2", "offline": true })), Attention, "n2 is offline"),
        ];
        for (replicas, copies, status, says) in cases {
            let finding = judge_replicas(Kind::Log, replicas, copies.as_ref());
            assert_eq!(finding.status, status, "{replicas:?} {copies:?}");
            assert!(finding.says.contains(says), "{finding:?}");
        }
    }

    #[test]
    fn durability() {
        let conf = |interval: &str| format!("listen: \"10.0.0.1:4222\"\njetstream {{\n  # on disk\n  {interval}\n}}\n");
        let here = Some("nats://127.0.0.1:4222");
        let cases: [(Option<String>, Option<&str>, Status, &str); 11] = [
            (Some(conf("sync_interval: always")), here, Well, ""),
            (Some(conf("sync_interval = \"always\" # yes")), here, Well, ""),
            (Some(conf("sync_interval always")), Some("tls://10.0.0.1:4222"), Well, ""),
            (Some(conf("sync_interval: always")), Some("nats://localhost:1,nats://[::1]:2"), Well, ""),
            (Some(conf("sync_interval: always")), None, Well, ""),
            (Some(conf("sync_interval: \"10s\"")), here, Attention, "is 10s"),
            (Some(conf("#sync_interval: always")), here, Attention, "unset"),
            (Some(conf("")), here, Attention, "unset"),
            (Some(conf("sync_interval: always")), Some("nats://far.example:4222"), Unknown, "another"),
            (Some(conf("sync_interval: always")), Some("nats://127.0.0.1:1,nats://user@far:2"), Unknown, "another"),
            (None, here, Unknown, "not in the home folder"),
        ];
        for (configuration, url, status, says) in cases {
            let finding = judge_durability(&Durability { configuration: configuration.as_deref(), url });
            assert_eq!(finding.status, status, "{configuration:?} {url:?}: {finding:?}");
            assert!(finding.says.contains(says), "{finding:?}");
        }
    }
}
