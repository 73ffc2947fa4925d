//! `waybill explain`: every situation is made for real, and the answer names it, for people, for programs and by its exit status.

mod aborted;
mod asof;
mod builds;
mod lookups;
mod open;
mod past;
mod pulls;
mod rest;
mod together;
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

/// Asks as a program, as a person and over HTTP, and compares. The person's answer fits a terminal of 80 columns.
pub(crate) async fn expect(stack: &Stack, question: [&str; 2], expected: Expected<'_>) {
    let (status, hop, code, words) = expected;
    let (found, answer) = asked(stack, &question).await;
    let (verdict, answer_timeline) = (&answer["verdict"], answer["timeline"].clone());
    let told = (found, verdict["hop"].as_str().unwrap(), verdict["code"].as_str().unwrap());
    assert_eq!(told, (status, hop, code), "{question:?}: {answer:#}");
    assert!(verdict["sentence"].as_str().unwrap().contains(words), "{question:?}: {verdict:#}");
    let state = ["healthy", "broken", "", "in_flight"][usize::try_from(status).unwrap()];
    assert_eq!(verdict["state"], state);
    assert!(status != 1 || !verdict["remedy"].as_str().unwrap().is_empty(), "no remedy: {verdict:#}");

    // A gateway that is down answers nothing; one that is up says the same, but for what is another workspace's.
    let url = format!("{}/v1/{}s/acme/{}/explain", stack.gateway_url(), question[0], question[1]);
    if let Ok(answer) = reqwest::Client::new().get(url).bearer_auth(stack.token("acme")).send().await {
        let body: Value = answer.json().await.unwrap();
        let known = if code == "other_workspace" { "nothing_built" } else { code };
        assert_eq!((&body["verdict"]["code"], &body["timeline"]), (&Value::from(known), &answer_timeline), "{body:#}");
    }

    let people = stack.run(&[&["explain"], &question[..]].concat()).await;
    assert_eq!(people.status.code(), Some(status), "{}", people.stdout);
    readable(&people);
    for part in [hop, code, question[1]] {
        assert!(people.stdout.contains(part), "{part} is missing:\n{}", people.stdout);
    }
}

/// Fits 80 columns, and holds no colour codes when piped.
pub(crate) fn readable(finished: &Finished) {
    for line in finished.stdout.lines() {
        assert!(line.chars().count() <= 80, "{} columns: {line}", line.chars().count());
        assert!(!line.contains('\u{1b}'), "a colour code in a pipe: {line:?}");
    }
}

/// Every verdict that there is has its situation in this folder, or beside the commands that make it.
#[test]
fn every_verdict_has_its_scenario() {
    let suite = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/suite");
    let files = std::fs::read_dir(suite.join("explain")).unwrap().map(|file| file.unwrap().path());
    let files = files.chain([suite.join("secrets.rs")]);
    let scenarios: String = files.map(|file| std::fs::read_to_string(file).unwrap()).collect();
    let codes = waybill_domain::explain::Code::ALL.iter().map(|code| code.as_str());
    let missing: Vec<_> = codes.filter(|code| !scenarios.contains(&format!("\"{code}\""))).collect();
    assert!(missing.is_empty(), "no scenario makes {missing:?}");
}
