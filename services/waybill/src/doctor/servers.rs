//! The servers themselves, each asked over the system account: durable, with room, whole, and all of them there.

use std::{collections::BTreeMap, time::Duration};

use serde::Deserialize;
use serde_json::{Value, json};
use waybill_domain::retention::Removed;
use waybill_platform::{
    config::ConfigError,
    log::{Inspector, NatsConfig, STREAM},
};

use super::finding::Finding;
use crate::init::role::vault_stream;

/// How long servers may take to answer; one that is gone takes all of it.
const WAIT: Duration = Duration::from_secs(2);
const QUESTION: &str = "$SYS.REQ.SERVER.PING.JSZ";
/// From here on a server needs attention, in hundredths of its room.
const NEARLY_FULL: u64 = 90;

/// What one server says of itself.
#[derive(Debug, Clone, Deserialize)]
struct Answer {
    server: About,
    data: JetStream,
}

#[derive(Debug, Clone, Deserialize)]
struct About {
    name: String,
    ver: String,
}

#[derive(Debug, Clone, Deserialize)]
struct JetStream {
    #[serde(default)]
    storage: u64,
    config: Config,
    #[serde(default)]
    meta_cluster: Option<MetaCluster>,
    #[serde(default)]
    account_details: Vec<Account>,
}

#[derive(Debug, Clone, Deserialize)]
struct Config {
    #[serde(default)]
    max_storage: u64,
    #[serde(default)]
    sync_always: bool,
    /// In nanoseconds.
    #[serde(default)]
    sync_interval: u64,
}

#[derive(Debug, Clone, Deserialize)]
struct MetaCluster {
    #[serde(default)]
    leader: String,
    #[serde(default)]
    replicas: Vec<Peer>,
}

#[derive(Debug, Clone, Deserialize)]
struct Peer {
    #[serde(default)]
    name: String,
}

#[derive(Debug, Clone, Deserialize)]
struct Account {
    #[serde(default)]
    stream_detail: Vec<Stream>,
}

#[derive(Debug, Clone, Deserialize)]
struct Stream {
    name: String,
    state: State,
}

#[derive(Debug, Clone, Deserialize)]
struct State {
    messages: u64,
    first_seq: u64,
    last_seq: u64,
}

/// Asks every server. None where no user of the system account is configured. `removed` is what left the log, where that is known.
pub(super) async fn check(
    system: Option<&Result<NatsConfig, ConfigError>>,
    removed: Option<&Removed>,
) -> Option<Vec<Finding>> {
    let config = match system? {
        Ok(config) => config,
        Err(error) => {
            let remedy = "put the operator's settings right";
            return Some(vec![Finding::unknown("servers", error.problems.join("; "), remedy)]);
        }
    };
    let answers = match Inspector::connect(config).await {
        Ok(inspector) => {
            let question = json!({ "accounts": true, "streams": true });
            let enough = |answers: &[Value]| answers.len() >= expected_count(answers);
            inspector.gather(QUESTION, &question, WAIT, enough).await
        }
        Err(error) => {
            return Some(vec![Finding::unknown("servers", error.to_string(), "see to the checks above first")]);
        }
    };
    let parsed = answers.into_iter().filter_map(|answer| serde_json::from_value(answer).ok());
    Some(judge(&parsed.collect::<Vec<Answer>>(), removed))
}

/// How many servers there are, by what the first of them says of the others.
fn expected_count(answers: &[Value]) -> usize {
    let others = answers.iter().find_map(|answer| answer.pointer("/data/meta_cluster/replicas")?.as_array());
    others.map_or(1, Vec::len).saturating_add(usize::from(others.is_some()))
}

fn judge(answers: &[Answer], removed: Option<&Removed>) -> Vec<Finding> {
    if answers.is_empty() {
        let remedy = "check that nats-server.conf has the system account that `waybill init` writes";
        return vec![Finding::unknown("servers", "no server answers for itself", remedy)];
    }
    let mut findings: BTreeMap<&str, Finding> = BTreeMap::new();
    let clusters = answers.iter().filter_map(|answer| answer.data.meta_cluster.as_ref());
    for name in clusters.clone().flat_map(|cluster| &cluster.replicas).map(|peer| peer.name.as_str()) {
        findings.insert(name, judge_absent(name, answers.len()));
    }
    for answer in answers {
        findings.insert(&answer.server.name, judge_present(answer, removed));
    }
    let mut findings: Vec<Finding> = findings.into_values().collect();
    if clusters.clone().next().is_some() && clusters.clone().all(|cluster| cluster.leader.is_empty()) {
        let remedy = "start the servers that are away: more than half have to run";
        findings.push(Finding::attention("servers", "have no leader: the log takes nothing", remedy));
    }
    findings
}

fn judge_absent(name: &str, present: usize) -> Finding {
    let says = format!("does not answer, while {present} do");
    let remedy = "start it, with its own configuration and data; what it missed comes from the others";
    Finding::attention(format!("server {name}"), says, remedy)
}

fn judge_present(Answer { server, data }: &Answer, removed: Option<&Removed>) -> Finding {
    let check = format!("server {}", server.name);
    let streams = || data.account_details.iter().flat_map(|account| &account.stream_detail);
    if !data.config.sync_always {
        let seconds = Duration::from_nanos(data.config.sync_interval).as_secs();
        return Finding::attention(
            check,
            format!("writes to its disk every {seconds} s only: a power cut loses acknowledged events"),
            "set jetstream { sync_interval: always } where this server's store_dir is set (a file that includes ours and \
             says `jetstream` again replaces it), then restart it",
        );
    }
    // But for what left the log, every sequence from the first to the last is there.
    let log = streams().find(|stream| stream.name == STREAM);
    let lacking = log.zip(removed).map_or(0, |(stream, removed)| missing(&stream.state, removed));
    if lacking > 0 {
        return Finding::attention(
            check,
            format!("lacks {lacking} messages of the log: its disk lost or changed them"),
            "where the other servers have them all, stop this one, remove its data folder and start it: they come from \
             the others. Otherwise restore a backup: waybill restore",
        );
    }
    let used = data.storage.saturating_mul(100).checked_div(data.config.max_storage).unwrap_or_default();
    let room = format!("{} of {} used", spell(data.storage), spell(data.config.max_storage));
    if used >= NEARLY_FULL {
        return Finding::attention(
            check,
            format!("{room}: without room the log takes no events"),
            "give it a larger disk, or raise max_file_store in its configuration",
        );
    }
    let held: Vec<String> = streams()
        .filter(|stream| stream.name == STREAM || stream.name == vault_stream())
        .map(|stream| format!("{} up to {}", stream.name, stream.state.last_seq))
        .collect();
    let held = if held.is_empty() { "no copy".to_owned() } else { held.join(", ") };
    Finding::ok(check, format!("version {}, each write is on disk, {room}; {held}", server.ver))
}

fn missing(state: &State, removed: &Removed) -> u64 {
    let all = match state.last_seq {
        0 => 0,
        last => last.saturating_sub(state.first_seq.max(1)).saturating_add(1),
    };
    let left = removed.count_between(state.first_seq, state.last_seq);
    all.saturating_sub(state.messages).saturating_sub(left)
}

fn spell(bytes: u64) -> String {
    match bytes >> 20 {
        mebibytes @ 0..1024 => format!("{mebibytes} MiB"),
        mebibytes => format!("{} GiB", mebibytes >> 10),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::finding::Status::{self, Attention, Ok as Well, Unknown};

    fn answer(name: &str, change: impl FnOnce(&mut Value)) -> Answer {
        let mut answer = json!({
            "server": { "name": name, "ver": "2.15.1" },
            "data": {
                "storage": 1 << 20,
                "config": { "max_storage": 1_u64 << 30, "sync_always": true, "sync_interval": 120_000_000_000_u64 },
                "meta_cluster": { "leader": "n1", "replicas": [{ "name": "n1" }, { "name": "n2" }, { "name": "n3" }] },
                "account_details": [{ "stream_detail": [
                    { "name": STREAM, "state": { "messages": 10, "first_seq": 1, "last_seq": 10 } },
                    { "name": vault_stream(), "state": { "messages": 2, "first_seq": 1, "last_seq": 9 } },
                ] }],
            },
        });
        change(&mut answer);
        serde_json::from_value(answer).unwrap()
    }

    #[test]
    fn each_server_is_told_of() {
        type Change = fn(&mut Value);
        let cases: [(&str, Change, Status, &str); 5] = [
            ("well", |_| {}, Well, "each write is on disk, 1 MiB of 1 GiB used; WAYBILL up to 10"),
            ("late", |it| it["data"]["config"]["sync_always"] = false.into(), Attention, "every 120 s only"),
            ("full", |it| it["data"]["storage"] = (1_u64 << 30).into(), Attention, "1 GiB of 1 GiB used"),
            (
                "damaged",
                |it| it["data"]["account_details"][0]["stream_detail"][0]["state"]["messages"] = 8.into(),
                Attention,
                "lacks 2 messages",
            ),
            ("no copy", |it| it["data"]["account_details"] = json!([]), Well, "no copy"),
        ];
        for (name, change, status, says) in cases {
            let finding = judge_present(&answer("n1", change), Some(&Removed::default()));
            assert_eq!(finding.status, status, "{name}: {finding:?}");
            assert!(finding.says.contains(says), "{name}: {finding:?}");
        }
        let two_gone =
            answer("n1", |it| it["data"]["account_details"][0]["stream_detail"][0]["state"]["messages"] = 8.into());
        let cases = [(Removed::from_ranges([[3, 4]]), Well), (Removed::from_ranges([[3, 3], [11, 12]]), Attention)];
        for (removed, status) in cases {
            assert_eq!(judge_present(&two_gone, Some(&removed)).status, status, "{removed:?}");
        }
        assert_eq!(judge_present(&two_gone, None).status, Well, "what left is not known");
    }

    #[test]
    fn a_server_that_is_away_is_named() {
        let findings = judge(&[answer("n1", |_| {}), answer("n2", |_| {})], None);
        let told: Vec<_> = findings.iter().map(|finding| (finding.check.as_str(), finding.status)).collect();
        assert_eq!(told, [("server n1", Well), ("server n2", Well), ("server n3", Attention)]);
        assert!(findings[2].says.contains("while 2 do") && !findings[2].remedy.as_ref().unwrap().contains("init"));
        let leaderless = judge(&[answer("n1", |it| it["data"]["meta_cluster"]["leader"] = "".into())], None);
        assert!(leaderless.last().unwrap().says.contains("no leader"));
        assert_eq!(judge(&[], None)[0].status, Unknown);
        assert_eq!(judge(&[answer("waybill", |it| it["data"]["meta_cluster"] = Value::Null)], None).len(), 1);
    }

    #[test]
    fn the_first_answer_says_how_many_to_wait_for() {
        let of_cluster = json!({ "data": { "meta_cluster": { "replicas": [{}, {}] } } });
        assert_eq!(expected_count(&[of_cluster]), 3);
        assert_eq!(expected_count(&[json!({ "data": {} })]), 1);
        assert_eq!(expected_count(&[]), 1);
    }
}
