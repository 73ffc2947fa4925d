//! `waybill explain`: every situation is made for real, and the answer names it, for people, for programs and by its exit status.

mod aborted;
mod asof;
mod builds;
mod connections;
mod fleet;
mod forecast;
mod forged;
mod lookups;
mod open;
mod past;
mod pulls;
mod refused;
mod rest;
mod together;
mod withdrawals;
mod workers;

use serde_json::Value;
use waybill_tests::{process::Finished, stack::Stack};

/// What is expected of an answer: exit status, hop, code, words of the sentence.
type Expected<'e> = (i32, &'e str, &'e str, &'e str);

/// What `waybill explain … --json` says, with its exit status.
async fn asked(stack: &Stack, question: &[&str]) -> (i32, Value) {
    let finished = stack.run(&[&["explain", "--json"], question].concat()).await;
    let answer = serde_json::from_str(&finished.stdout).unwrap_or_else(|_| panic!("{}", finished.stderr));
    (finished.status.code().unwrap(), answer)
}

/// Asks as a program, over HTTP and as a person, and compares. The person's answer fits a terminal of 80 columns.
pub(crate) async fn expect(stack: &Stack, question: [&str; 2], expected: Expected<'_>) {
    let answer = expect_without_gateway(stack, question, expected).await;
    let url = format!("{}/v1/{}s/acme/{}/explain", stack.gateway_url(), question[0], question[1]);
    let over_http = reqwest::Client::new().get(url).bearer_auth(stack.token("acme")).send().await.unwrap();
    assert_eq!(over_http.status(), 200, "{question:?}");
    let body: Value = over_http.json().await.unwrap();
    assert_eq!(body["timeline"], answer["timeline"], "{question:?}");
    // Nothing is told of another workspace, and how far readers are may have changed.
    match expected.2 {
        "other_workspace" => assert_eq!(body["verdict"]["code"], "nothing_built", "{question:?}"),
        _ if of_readers(&answer["verdict"]) => {
            for field in ["state", "hop", "code", "sequence", "since"] {
                assert_eq!(body["verdict"][field], answer["verdict"][field], "{question:?}: {field}");
            }
        }
        _ => assert_eq!(body["verdict"], answer["verdict"], "{question:?}"),
    }
}

/// As [`expect`], where the gateway is down.
async fn expect_without_gateway(stack: &Stack, question: [&str; 2], expected: Expected<'_>) -> Value {
    let (status, hop, code, words) = expected;
    let (found, answer) = asked(stack, &question).await;
    let verdict = &answer["verdict"];
    let told = (found, verdict["hop"].as_str().unwrap(), verdict["code"].as_str().unwrap());
    assert_eq!(told, (status, hop, code), "{question:?}: {answer:#}");
    assert!(verdict["sentence"].as_str().unwrap().contains(words), "{question:?}: {verdict:#}");
    let state = ["healthy", "broken", "", "in_flight"][usize::try_from(status).unwrap()];
    assert_eq!(verdict["state"], state);
    assert!(status != 1 || !verdict["remedy"].as_str().unwrap().is_empty(), "no remedy: {verdict:#}");

    let people = stack.run(&[&["explain"], &question[..]].concat()).await;
    assert_eq!(people.status.code(), Some(status), "{}", people.stdout);
    readable(&people);
    let shown = squeezed(&people.stdout);
    for part in for_people(question, expected, &answer) {
        assert!(shown.contains(&squeezed(&part)), "{part} is missing:\n{}", people.stdout);
    }
    answer
}

/// What a person must be shown of an answer.
fn for_people([kind, id]: [&str; 2], (status, hop, code, words): Expected<'_>, answer: &Value) -> Vec<String> {
    let verdict = &answer["verdict"];
    let word = ["HEALTHY", "BROKEN", "", "IN FLIGHT"][usize::try_from(status).unwrap()];
    let since = if verdict["since"].is_null() { "" } else { ", since " };
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let mut parts = vec![format!("{kind} {id} in workspace acme"), format!("{word} at {hop}: {code}{since}")];
    parts.push(if of_readers(verdict) { words[1..].to_owned() } else { text(&verdict["sentence"])[1..].to_owned() });
    if !text(&verdict["remedy"]).is_empty() {
        parts.push(format!("→ {}", text(&verdict["remedy"])));
    }
    for step in answer["timeline"].as_array().unwrap() {
        parts.push(format!("{} by {} {}", text(&step["says"]), text(&step["service"]), text(&step["version"])));
        parts.extend(step["reason"].as_str().map(str::to_owned));
        parts.push(text(&step["trace_id"]));
    }
    parts.extend(answer["notes"].as_array().unwrap().iter().map(|note| format!("note: {}", text(note))));
    parts
}

/// Whether a verdict tells how far readers are, which may be otherwise a moment later.
fn of_readers(verdict: &Value) -> bool {
    verdict["state"] == "in_flight" || verdict["code"].as_str().unwrap().starts_with("lost_by_")
}

/// Without what wrapping adds.
fn squeezed(text: &str) -> String {
    text.split_whitespace().collect()
}

/// Fits 80 columns, and holds no colour codes when piped.
pub(crate) fn readable(finished: &Finished) {
    for line in finished.stdout.lines() {
        assert!(line.chars().count() <= 80, "{} columns: {line}", line.chars().count());
        assert!(!line.contains('\u{1b}'), "a colour code in a pipe: {line:?}");
    }
}

/// Every exit status, hop and code of the domain's tables has its situation on real servers in this folder, or beside the
/// commands that make it.
#[test]
fn every_verdict_has_its_scenario() {
    let suite = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/suite");
    let files = std::fs::read_dir(suite.join("explain")).unwrap().map(|file| file.unwrap().path());
    let files =
        files.filter(|file| !file.ends_with("mod.rs")).chain([suite.join("secrets.rs"), suite.join("identities.rs")]);
    let scenarios: String = files.map(|file| std::fs::read_to_string(file).unwrap()).collect();
    let scenarios = squeezed(&scenarios);
    let missing: Vec<_> = verdicts()
        .into_iter()
        .filter(|(status, hop, code)| !scenarios.contains(&format!("({status},\"{hop}\",\"{code}\",")))
        .collect();
    assert!(missing.is_empty(), "no scenario makes {missing:?}");
}

/// Those of the tables, and of open hops.
fn verdicts() -> std::collections::BTreeSet<(u8, String, String)> {
    let tables = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../services/domain/tests/testdata");
    let status = |state: &str| ["healthy", "broken", "", "in_flight"].iter().position(|word| *word == state).unwrap();
    let verdict =
        |state: &str, hop: &str, code: &str| (u8::try_from(status(state)).unwrap(), hop.to_owned(), code.to_owned());
    let mut verdicts: std::collections::BTreeSet<_> =
        [("attached", "lost_by_scheduler"), ("provider", "lost_by_worker")]
            .map(|(hop, code)| verdict("broken", hop, code))
            .into();
    for table in ["explain.txt", "explain_image.txt", "explain_secret.txt"] {
        let text = std::fs::read_to_string(tables.join(table)).unwrap();
        for row in text.lines().filter(|line| line.contains('|') && !line.starts_with('#')) {
            let cells: Vec<&str> = row.split('|').map(str::trim).collect();
            verdicts.insert(verdict(cells[2], cells[3], cells[4]));
        }
    }
    verdicts
}
