//! `waybill events`: the log by subject, by place, as it grows, for people and for programs.

use std::time::Duration;

use waybill_tests::{
    process::{Process, Signal},
    require,
    scratch::Scratch,
    stack::Plan,
};

use super::explain::readable;

const PATIENCE: Duration = Duration::from_secs(30);

#[tokio::test]
async fn the_log_is_read_from_a_place_by_subject_and_as_it_grows() {
    let stack = require!(Plan::default().start().await);
    for container in ["c-1", "c-2"] {
        stack.container("acme", container, "img", "w1").await;
        stack.wait_for_outcome(container).await;
    }
    let all = stack.events().await;
    let lines = async |arguments: &[&str]| {
        let finished = stack.run(&[&["events", "--json"], arguments].concat()).await;
        assert!(finished.status.success(), "{}", finished.stderr);
        finished.stdout.lines().map(str::to_owned).collect::<Vec<_>>()
    };
    let of_one = lines(&["--subject", "waybill.events.outcome.w1.acme.c-1.*"]).await;
    assert_eq!(of_one.len(), 2, "{of_one:?}");
    assert!(of_one.iter().all(|line| line.contains("\"c-1\"")));
    let concerning = lines(&["--container", "c-1"]).await;
    assert_eq!(concerning.len(), 4, "the decision as well: {concerning:?}");
    let types = lines(&["--container", "c-1", "--type", "ContainerRequested", "--type", "ImagePullFailed"]).await;
    assert_eq!(types.len(), 2, "{types:?}");
    assert_eq!(lines(&["--type", "ContainerCredentialsSkipped"]).await.len(), 2);
    assert_eq!(lines(&["--worker", "w1"]).await.len(), 7, "its registration, two decisions and four outcomes");
    // Who may come in is said of the servers, not of a workspace's work.
    let elsewhere = ["WorkerRegistered", "SchedulerKeyPublished", "WorkspaceAdded", "TokenCreated", "WorkerJoined"];
    let expected = all.iter().filter(|event| !elsewhere.contains(&event.name.as_str())).count();
    assert_eq!(lines(&["--workspace", "acme"]).await.len(), expected);
    assert!(lines(&["--image", "img", "--workspace", "other"]).await.is_empty());
    let context = all.iter().find(|event| event.is("ContainerRequested", "c-2")).unwrap().line["traceparent"].clone();
    let trace = context.as_str().unwrap().split('-').nth(1).unwrap().to_owned();
    let traced = lines(&["--trace", &trace]).await;
    assert_eq!(traced.len(), 4, "{traced:?}");
    assert!(traced.iter().all(|line| line.contains("\"c-2\"")), "{traced:?}");
    assert_eq!(lines(&["--until", "2"]).await.len(), 2);
    assert_eq!(lines(&["--from", "2", "--until", "4"]).await.len(), 3);
    let until = all[2].line["recordedtime"].as_str().unwrap();
    assert_eq!(lines(&["--until", until]).await.len(), 3, "up to that time, and what was recorded then");
    assert_eq!(lines(&["--from", "3"]).await.len(), all.len() - 2);
    let third = all[2].line["recordedtime"].as_str().unwrap();
    assert_eq!(lines(&["--from", third]).await.len(), all.len() - 2);
    assert!(lines(&["--subject", "waybill.events.container.acme.none.>"]).await.is_empty());
    assert!(lines(&["--from", "2999-01-01T00:00:00Z"]).await.is_empty());

    let people = stack.run(&["events"]).await;
    assert!(people.stdout.contains("no_secret_for_image"), "{}", people.stdout);
    readable(&people);

    let scratch = Scratch::new("follow").unwrap();
    let mut child = stack.waybill();
    child.args(["events", "--follow", "--json", "--from", &(all.len() + 1).to_string()]);
    let mut follow = Process::spawn("follow", child, scratch.path()).unwrap();
    stack.container("acme", "c-3", "img", "w1").await;
    follow.wait_for_line(PATIENCE, |line| line.contains("ImagePullFailed") && line.contains("c-3")).await.unwrap();
    follow.signal(Signal::Interrupt).unwrap();
    assert!(follow.wait(PATIENCE).await.unwrap().success());
}

#[tokio::test]
async fn a_log_that_is_away_is_told() {
    let mut stack = require!(Plan::default().start().await);
    stack.nats().stop().await.unwrap();
    let finished = stack.run(&["events"]).await;
    assert_eq!(finished.status.code(), Some(2));
    assert!(finished.stderr.contains("does not answer"), "{}", finished.stderr);
    // 1 is kept for a log that does not lead to what was decided.
    let verified = stack.run(&["replay", "--verify"]).await;
    assert_eq!(verified.status.code(), Some(2), "{}", verified.stderr);
    let wrong = stack.run(&["events", "--from", "yesterday"]).await;
    assert_eq!(wrong.status.code(), Some(2));
    assert!(wrong.stderr.contains("neither a sequence"), "{}", wrong.stderr);
}
