//! What can be asked for, what cannot, and what is left behind: nothing.

use std::os::unix::fs::PermissionsExt as _;

use serde_json::{Value, json};
use waybill_tests::{
    process::Process,
    require,
    stack::{Plan, Service},
};

use super::{SOON, json, text};

#[tokio::test]
async fn ranges_and_arguments() {
    let stack = require!(Plan::default().start().await);
    for container in ["c-1", "c-2"] {
        stack.container("acme", container, "img", "w1").await;
        stack.wait_for_outcome(container).await;
    }
    let events = stack.events().await;
    let last = events.len();

    let all = json(&stack, &["replay"]).await.remove(0);
    assert_eq!((&all["events"], &all["requests"], &all["open"]), (&json!(last), &json!(2), &json!({})), "{all}");
    assert_eq!(all["decisions"], json!({ "skipped: no_secret_for_image": 2 }));
    assert_eq!(all["position"]["sequence"], last);
    assert!(all.get("verified").is_none());
    let future = json(&stack, &["replay", "--until-time", "2999-01-01T00:00:00Z"]).await.remove(0);
    assert_eq!(future["events"], last);
    let third = events[2].line["recordedtime"].as_str().unwrap();
    let until = json(&stack, &["replay", "--until-time", third]).await.remove(0);
    assert_eq!(until["events"], 3, "what was recorded at that very time counts");
    for nothing in [["--until-sequence", "0"], ["--until-time", "2000-01-01T00:00:00Z"]] {
        let empty = json(&stack, &["replay", nothing[0], nothing[1]]).await.remove(0);
        assert_eq!((&empty["events"], &empty["position"]), (&json!(0), &Value::Null), "{nothing:?}");
    }
    assert!(json(&stack, &["projection", "--at", "2000-01-01T00:00:00Z"]).await.is_empty());
    let people = text(&stack, &["replay"]).await;
    assert!(people.stdout.contains("skipped: no_secret_for_image: 2"), "{}", people.stdout);
    assert!(!people.stderr.contains(['\r', '%']), "no progress into a pipe: {}", people.stderr);

    let beyond = (last + 1).to_string();
    for arguments in [
        ["replay", "--until-sequence", &beyond].as_slice(),
        &["replay", "--diff", "1", &beyond],
        &["projection", "--at", &beyond],
    ] {
        let refused = text(&stack, arguments).await;
        assert_eq!(refused.status.code(), Some(2), "{arguments:?}");
        assert!(refused.stderr.contains(&format!("the log ends at sequence {last}")), "{}", refused.stderr);
        assert!(refused.stdout.is_empty(), "{}", refused.stdout);
    }
    let none = text(&stack, &["projection", "images", "--key", "acme/none"]).await;
    assert_eq!(none.status.code(), Some(2));
    assert!(none.stderr.contains("no row with the key \"acme/none\""), "{}", none.stderr);
    for arguments in [
        ["replay", "--until-sequence", "x"].as_slice(),
        &["replay", "--until-sequence", "1", "--until-time", third],
        &["replay", "--until-time", "yesterday"],
        &["replay", "--diff", "1"],
        &["replay", "--diff", "1", "yesterday"],
        &["replay", "--diff", "1", "2", "--verify"],
        &["replay", "--diff", "1", "2", "--out", "x"],
        &["projection", "rooms"],
        &["projection", "--at", "yesterday"],
    ] {
        let refused = stack.run(arguments).await;
        assert_eq!(refused.status.code(), Some(2), "{arguments:?}: {}", refused.stderr);
    }
}

#[tokio::test]
async fn a_log_without_events_or_without_a_stream() {
    let mut stack = require!(Plan::default().start().await);
    for service in [Service::Worker("w1".to_owned()), Service::Scheduler] {
        stack.stop(&service).await;
    }
    stack.nats().stop().await.unwrap();
    std::fs::remove_dir_all(stack.home().join("data/nats")).unwrap();
    stack.nats().restart().await.unwrap();
    for arguments in [["replay"].as_slice(), &["projection", "--at", "0"], &["replay", "--diff", "0", "0"]] {
        let told = text(&stack, arguments).await;
        assert_eq!(told.status.code(), Some(2), "{arguments:?}");
        assert!(told.stderr.contains("the stream WAYBILL does not exist"), "{}", told.stderr);
    }
    // Nothing makes an empty log where one was lost, but whoever removes what was folded from it.
    std::fs::remove_file(stack.home().join("data/scheduler/projection.redb")).unwrap();
    stack.spawn(&Service::Scheduler).unwrap();
    stack.until_ready(&Service::Scheduler).await.unwrap();
    let all = json(&stack, &["replay", "--verify"]).await.remove(0);
    assert_eq!((&all["events"], &all["requests"]), (&json!(1), &json!(0)), "the scheduler's key only: {all}");
    assert!(text(&stack, &["replay", "--until-sequence", "0"]).await.stdout.contains("before the first event"));
    for arguments in
        [["projection", "--at", "0"].as_slice(), &["replay", "--diff", "0", "0"], &["projection", "images"]]
    {
        assert!(json(&stack, arguments).await.is_empty(), "{arguments:?}");
    }
}

#[tokio::test]
async fn nothing_stays_but_what_was_asked_for() {
    let stack = require!(Plan::default().start().await);
    stack.container("acme", "c-1", "img", "w1").await;
    stack.wait_for_outcome("c-1").await;
    let folder = stack.dir().join("temporary");
    std::fs::create_dir(&folder).unwrap();
    let out = folder.join("kept.redb");
    let run = async |arguments: &[&str]| {
        let mut command = stack.waybill();
        command.env("TMPDIR", &folder).args(arguments);
        Process::run("replay", command, stack.dir(), SOON).await.unwrap()
    };
    let left = || std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect::<Vec<_>>();
    for arguments in [["replay"].as_slice(), &["replay", "--diff", "0", "2"], &["projection", "--at", "2"]] {
        assert!(run(arguments).await.status.success(), "{arguments:?}");
        assert!(left().is_empty(), "{arguments:?} left {:?}", left());
    }
    let keep = ["replay", "--out", out.to_str().unwrap()];
    assert!(run(&[&keep[..], &["--until-sequence", "99"]].concat()).await.status.code() == Some(2));
    assert!(left().is_empty(), "nothing is made for what cannot be asked: {:?}", left());
    assert!(run(&keep).await.status.success());
    assert_eq!(left(), std::slice::from_ref(&out));
    assert_eq!(std::fs::metadata(&out).unwrap().permissions().mode() & 0o777, 0o600);
    // As the help says.
    let help = run(&["replay", "--help"]).await.stdout;
    assert!(help.contains("WAYBILL_SCHEDULER_PROJECTION=$PWD/then.redb waybill projection"), "{help}");
    let mut shown = stack.waybill();
    shown.env("WAYBILL_SCHEDULER_PROJECTION", &out).args(["projection", "--json"]);
    let shown = Process::run("projection", shown, stack.dir(), SOON).await.unwrap();
    let last = stack.events().await.len().to_string();
    assert_eq!(shown.stdout, run(&["projection", "--at", &last, "--json"]).await.stdout, "{}", shown.stderr);
    assert_eq!(left(), std::slice::from_ref(&out));
    let kept = std::fs::read(&out).unwrap();
    let again = run(&keep).await;
    assert_eq!(again.status.code(), Some(2));
    assert!(again.stderr.contains("must not be there yet"), "{}", again.stderr);
    assert_eq!(std::fs::read(&out).unwrap(), kept, "a file that is there is not touched");
    let nowhere = stack.waybill().env("TMPDIR", folder.join("none")).arg("replay").output().unwrap();
    assert!(String::from_utf8_lossy(&nowhere.stderr).contains("TMPDIR"), "{nowhere:?}");
}
