//! Children are heard, are told to stop, and never outlive the test.

use std::path::Path;
use std::process::Command;

use waybill_tests::process::{Process, Signal, Stream, command};
use waybill_tests::scratch::Scratch;
use waybill_tests::wait::eventually;

use super::PATIENCE;

/// Set in the process that [`a_child_dies_with_the_test`] starts and kills.
const VICTIM: &str = "WAYBILL_TEST_VICTIM";

fn shell(script: &str) -> Command {
    let mut command = command("sh");
    command.args(["-c", script]);
    command
}

fn is_running(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(')').is_some_and(|(_, rest)| !rest.trim_start().starts_with('Z'))
}

#[tokio::test]
async fn lines_are_waited_for_and_kept() {
    let scratch = Scratch::new("process").unwrap();
    let script = "echo one; echo two >&2; printf 'caf\\351\\n'; echo ready; exec sleep 1000";
    let mut process = Process::spawn("chatty", shell(script), scratch.path()).unwrap();

    let ready = process.wait_for_line(PATIENCE, |line| line == "ready").await.unwrap();
    assert_eq!(ready.stream, Stream::Stdout);
    // A line that came before counts as well.
    let two = process.wait_for_line(PATIENCE, |line| line == "two").await.unwrap();
    assert_eq!(two.stream, Stream::Stderr);
    assert_eq!(process.output().text(Stream::Stdout), "one\ncaf\u{fffd}\nready\n");
    let log = std::fs::read(process.log_file()).unwrap();
    assert!(log.windows(5).any(|part| part == b"caf\xe9\n"), "the file holds the bytes as they came");

    assert_eq!(process.exit_status(), None);
    process.sigkill();
    assert_eq!(process.exit_status().and_then(|status| status.code()), None);
}

#[tokio::test]
async fn a_line_that_cannot_come_any_more_is_not_waited_for() {
    let scratch = Scratch::new("process").unwrap();
    let process = Process::spawn("brief", shell("echo the reason >&2"), scratch.path()).unwrap();
    let error = process.wait_for_line(PATIENCE, |line| line == "never").await.unwrap_err();
    assert!(error.to_string().ends_with("it last said:\nthe reason"), "{error}");
}

#[tokio::test]
async fn sigterm_is_waited_for() {
    let scratch = Scratch::new("process").unwrap();
    let script = "trap 'echo bye; exit 7' TERM; echo up; while :; do sleep 0.05; done";
    let mut process = Process::spawn("polite", shell(script), scratch.path()).unwrap();
    process.wait_for_line(PATIENCE, |line| line == "up").await.unwrap();
    let status = process.sigterm_and_wait(PATIENCE).await.unwrap();
    assert_eq!(status.code(), Some(7));
    process.wait_for_line(PATIENCE, |line| line == "bye").await.unwrap();
    // To signal what has ended is no error and reaches nobody.
    process.signal(Signal::Interrupt).unwrap();
}

#[tokio::test]
async fn a_dropped_child_is_gone() {
    let scratch = Scratch::new("process").unwrap();
    let process = Process::spawn("sleeper", shell("exec sleep 1000"), scratch.path()).unwrap();
    let pid = process.pid();
    assert!(is_running(pid));
    drop(process);
    assert!(!is_running(pid));
}

/// The kernel's death signal follows the thread that forked, which is why the harness forks from one that stays.
#[tokio::test]
async fn a_child_outlives_the_thread_that_started_it() {
    let scratch = Scratch::new("process").unwrap();
    let script = "trap 'echo alive; exit' TERM; echo up; while :; do sleep 0.05; done";
    let spawn = || Process::spawn("orphan", shell(script), scratch.path()).unwrap();
    let mut process = std::thread::scope(|scope| scope.spawn(spawn).join().unwrap());
    process.wait_for_line(PATIENCE, |line| line == "up").await.unwrap();
    process.sigterm_and_wait(PATIENCE).await.unwrap();
    process.wait_for_line(PATIENCE, |line| line == "alive").await.unwrap();
}

#[tokio::test]
async fn a_child_dies_with_the_test() {
    let scratch = Scratch::new("process").unwrap();
    let mut command = command(std::env::current_exe().unwrap());
    command.args(["--exact", "harness::process::victim", "--nocapture"]).env(VICTIM, scratch.path());
    let mut victim = Process::spawn("victim", command, scratch.path()).unwrap();

    let marker = "its child is ";
    let line = victim.wait_for_line(PATIENCE, |line| line.contains(marker)).await.unwrap();
    let child: u32 = line.text.rsplit_once(marker).unwrap().1.parse().unwrap();
    assert!(is_running(child));
    victim.sigkill();
    eventually(PATIENCE, "the end of the child", async || (!is_running(child)).then_some(())).await.unwrap();
}

/// Not a test but the other half of the one above; does nothing unless that one starts it.
#[tokio::test]
async fn victim() {
    let Some(log_dir) = std::env::var_os(VICTIM) else { return };
    let mut child = Process::spawn("child", shell("exec sleep 1000"), Path::new(&log_dir)).unwrap();
    println!("its child is {}", child.pid());
    child.wait(PATIENCE * 10).await.unwrap();
}
