//! A canary is found wherever it was planted, and only there.

use waybill_tests::canary::{Canary, Finding, Search, process_tree};
use waybill_tests::login::Login;
use waybill_tests::process::{Process, command};
use waybill_tests::scratch::Scratch;
use waybill_tests::wait::eventually;

use super::PATIENCE;

#[test]
fn found_in_files_and_their_names() {
    let (planted, absent) = (Canary::new("planted"), Canary::new("absent"));
    let scratch = Scratch::new("canary").unwrap();
    let store = scratch.folder("store/deep").unwrap();
    scratch.file("clean.txt", "nothing here").unwrap();
    scratch.file("store/deep/raw.bin", [b"\0\xff", planted.value().as_bytes(), b"\0"].concat()).unwrap();
    scratch.file("header.txt", Login::new("ada", planted.value()).basic()).unwrap();
    scratch.file(&format!("{}.txt", planted.value()), "").unwrap();
    std::os::unix::fs::symlink("/proc/self/environ", store.join("link")).unwrap();

    let (mut findings, searched) = Search::new([&planted, &absent]).in_dir(scratch.path()).unwrap();
    findings.sort_by_key(|found| found.place.len());
    let forms: Vec<_> = findings.iter().map(|found| (found.label.as_str(), found.form)).collect();
    assert_eq!(forms, [("planted", "base64"), ("planted", "raw"), ("planted", "raw")]);
    assert_eq!(searched.files, 4);
    assert!(searched.bytes > 40);

    let clean = Search::new([&absent]).assert_absent_in_dir(scratch.path());
    assert_eq!(clean, searched);
    let shout = || Search::new([&planted]).assert_absent_in_dir(scratch.path());
    let message = *std::panic::catch_unwind(shout).unwrap_err().downcast::<String>().unwrap();
    assert!(message.contains("canary `planted` (base64) in") && message.contains("header.txt"), "{message}");
}

#[tokio::test]
async fn found_in_arguments_and_environment_of_a_tree() {
    let (argument, variable) = (Canary::new("argument"), Canary::new("variable"));
    let scratch = Scratch::new("canary").unwrap();
    let mut parent = command("sh");
    parent.args(["-c", "sh -c 'sleep 60; :' inner $SECRET; :"]).env("SECRET", variable.value());
    parent.arg(argument.value());
    let parent = Process::spawn("parent", parent, scratch.path()).unwrap();

    let search = Search::new([&argument, &variable]);
    // A process between fork and exec has no environment to show yet.
    let count = |found: &[Finding], label, what| {
        found.iter().filter(|one| one.label == label && one.place.ends_with(what)).count()
    };
    let all = eventually(PATIENCE, "three processes with the variable", async || {
        let tree = process_tree(parent.pid()).unwrap();
        let found: Vec<Finding> = tree.iter().flat_map(|pid| search.in_process(*pid).unwrap_or_default()).collect();
        (tree.len() == 3 && count(&found, "variable", "environ") == 3).then_some(found)
    });
    let found = all.await.unwrap();
    assert_eq!(count(&found, "argument", "cmdline"), 1);
    assert_eq!(count(&found, "variable", "cmdline"), 1);
    search.assert_absent_in_process(std::process::id());
    // The parent ends with this test; those below it would outlive it.
    let tree: Vec<String> = process_tree(parent.pid()).unwrap().iter().map(u32::to_string).collect();
    assert!(std::process::Command::new("kill").args(&tree).status().unwrap().success());
}

#[test]
fn debug_keeps_the_secret() {
    let canary = Canary::new("token");
    assert_eq!(format!("{canary:?}"), r#"Canary("token")"#);
    Search::new([&canary])
        .assert_absent_in_bytes("a search", format!("{:?}", Login::new("u", canary.value())).as_bytes());
}
