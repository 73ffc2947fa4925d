//! `waybill explain`: every situation is made for real, and the answer names it, for people, for programs and by its exit status.

mod aborted;
mod asof;
mod builds;
mod carried;
mod clocks;
mod connections;
mod exchanges;
mod fleet;
mod forecast;
mod forged;
mod lookups;
mod open;
mod past;
mod pulls;
mod refused;
mod registries;
mod rest;
mod together;
mod withdrawals;
mod workers;

use reqwest::{Client, header, redirect::Policy};
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

/// Asks as a program, as a person, over HTTP and in the console, and compares. The person's answer fits a terminal of 80 columns.
pub(crate) async fn expect(stack: &Stack, question: [&str; 2], expected: Expected<'_>) -> Value {
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
    if expected.2 != "other_workspace" {
        let page = read_page(stack, &format!("/{}s/acme/{}", question[0], question[1])).await;
        let shown = squeezed(&without_markup(&page));
        let notes = answer["notes"].as_array().unwrap().iter().map(|note| note.as_str().unwrap());
        let notes = notes.map(|note| note.chars().skip(1).collect());
        for part in of_verdict(expected, &answer["verdict"]).into_iter().chain(notes) {
            assert!(shown.contains(&squeezed(&part.replace('`', ""))), "{question:?}: {part} is missing:\n{page}");
        }
    }
    answer
}

/// Builds an image and requests a container of the same name, on worker `w1`, which ends one way or the other.
async fn build_and_run(stack: &Stack, name: &str, reference: &str, credentials: Value) {
    let built = stack.build("acme", name, reference, credentials).await;
    assert_eq!(built.status, 201, "{name}: {built:?}");
    stack.container("acme", name, name, "w1").await;
    stack.wait_for_outcome(name).await;
}

/// As [`expect`], where the words of the remedy are known as well.
async fn expect_remedy(stack: &Stack, container: &str, expected: Expected<'_>, remedy: &str) {
    let answer = expect(stack, ["container", container], expected).await;
    let told = answer["verdict"]["remedy"].as_str().unwrap();
    assert!(told.contains(remedy), "{container}: {told}");
}

/// The text of a page of the console, whose markup escapes nothing but these four.
fn without_markup(page: &str) -> String {
    let texts = page.split('<').map(|part| part.split_once('>').map_or(part, |(_, text)| text));
    let escaped = [("&lt;", "<"), ("&gt;", ">"), ("&quot;", "\""), ("&amp;", "&")];
    escaped.iter().fold(texts.collect(), |text: String, (code, character)| text.replace(code, character))
}

/// The page of a path, as somebody has it who signed in with the workspace's token.
async fn read_page(stack: &Stack, path: &str) -> String {
    let base = stack.gateway_url();
    let client = Client::builder().redirect(Policy::none()).build().unwrap();
    let form = format!("token={}", stack.token("acme"));
    let signed = client
        .post(format!("{base}/signin"))
        .header(header::ORIGIN, &base)
        .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
        .body(form)
        .send()
        .await
        .unwrap();
    let cookie = signed.headers()[header::SET_COOKIE].to_str().unwrap().split(';').next().unwrap().to_owned();
    let page = client.get(format!("{base}{path}")).header(header::COOKIE, cookie).send().await.unwrap();
    assert_eq!(page.status(), 200, "{path}");
    page.text().await.unwrap()
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

/// What is shown of a verdict wherever people look: state, hop, code, sentence, remedy.
fn of_verdict((status, hop, code, words): Expected<'_>, verdict: &Value) -> [String; 3] {
    let word = ["HEALTHY", "BROKEN", "", "IN FLIGHT"][usize::try_from(status).unwrap()];
    let text = |field: &str| verdict[field].as_str().unwrap_or_default().to_owned();
    let sentence = if of_readers(verdict) { words.to_owned() } else { text("sentence") };
    // Where it begins a line, its first letter is a capital.
    [format!("{word} at {hop}: {code}"), sentence.chars().skip(1).collect(), text("remedy")]
}

/// What a person must be shown of an answer.
fn for_people([kind, id]: [&str; 2], expected: Expected<'_>, answer: &Value) -> Vec<String> {
    let verdict = &answer["verdict"];
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let mut parts = vec![format!("{kind} {id} in workspace acme")];
    let [headline, sentence, remedy] = of_verdict(expected, verdict);
    parts.push(if verdict["since"].is_null() { headline } else { format!("{headline}, since ") });
    parts.extend([sentence, if remedy.is_empty() { remedy } else { format!("→ {remedy}") }]);
    for step in answer["timeline"].as_array().unwrap() {
        parts.push(format!("{} by {} {}", text(&step["says"]), text(&step["service"]), text(&step["version"])));
        parts.extend(step["reason"].as_str().map(str::to_owned));
        parts.push(text(&step["trace_id"]));
    }
    parts.extend(answer["notes"].as_array().unwrap().iter().map(|note| format!("note: {}", text(note))));
    parts
}

/// Whether a verdict tells how far readers are, or what a service found of the log, which may be otherwise a moment later.
fn of_readers(verdict: &Value) -> bool {
    let code = verdict["code"].as_str().unwrap();
    verdict["state"] == "in_flight" || code == "log_full" || code.starts_with("lost_by_")
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
    let scenarios = read_scenarios();
    let missing: Vec<_> = verdicts()
        .into_iter()
        .filter(|(status, hop, code)| !scenarios.contains(&format!("({status},\"{hop}\",\"{code}\",")))
        .collect();
    assert!(missing.is_empty(), "no scenario makes {missing:?}");
}

/// The sources that make them, without blanks.
fn read_scenarios() -> String {
    let suite = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/suite");
    let files = std::fs::read_dir(suite.join("explain")).unwrap().map(|file| file.unwrap().path());
    let others = ["secrets.rs", "identities.rs", "node/pods.rs"].map(|file| suite.join(file));
    let files = files.filter(|file| !file.ends_with("mod.rs")).chain(others);
    squeezed(&files.map(|file| std::fs::read_to_string(file).unwrap()).collect::<String>())
}

/// A hundred faults and more are made for real, each with its hop, cause and remedy.
#[test]
fn a_hundred_faults_are_made_for_real() {
    let scenarios = read_scenarios();
    let faults = scenarios.matches("(1,\"").count();
    assert!(faults >= 100, "{faults}");
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
    for table in ["explain.txt", "explain_asked.txt", "explain_image.txt", "explain_secret.txt"] {
        let text = std::fs::read_to_string(tables.join(table)).unwrap();
        for row in text.lines().filter(|line| line.contains('|') && !line.starts_with('#')) {
            let cells: Vec<&str> = row.split('|').map(str::trim).collect();
            verdicts.insert(verdict(cells[2], cells[3], cells[4]));
        }
    }
    verdicts
}
