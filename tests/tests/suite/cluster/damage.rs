//! Bytes of the log that changed on disk: the server drops what follows them without a word, and everybody else tells, with
//! the way back.

use std::{
    fs,
    path::{Path, PathBuf},
};

use waybill_tests::{
    require,
    stack::{Plan, Service},
    wait::eventually,
};

use super::{
    PATIENCE, build,
    drill::{back_up, restore},
    findings, request_until_decided,
};

/// The file that holds the newest messages of the log.
fn last_block(folder: &Path) -> Option<PathBuf> {
    let entries = fs::read_dir(folder).ok()?.flatten().map(|entry| entry.path());
    let mut paths: Vec<PathBuf> = entries.collect();
    paths.sort();
    if folder.ends_with("WAYBILL/msgs") {
        return paths.into_iter().rfind(|path| path.extension().is_some_and(|extension| extension == "blk"));
    }
    paths.iter().filter(|path| path.is_dir()).find_map(|path| last_block(path))
}

#[tokio::test]
async fn changed_bytes_are_told_and_a_backup_is_the_way_back() {
    let mut stack = require!(Plan::default().setting("WAYBILL_LOG", "info").start().await);
    build(&stack).await;
    for number in 0..10 {
        stack.container("acme", &format!("c-{number}"), "img", "w1").await;
    }
    request_until_decided(&stack, "c-last").await;
    stack.wait_for_outcome("c-last").await;
    for service in stack.services() {
        stack.stop(&service).await;
    }
    let files = back_up(&stack, "whole").await;
    stack.nats().sigkill();
    let block = last_block(&stack.home().join("data/nats")).expect("a block of messages");
    let mut bytes = fs::read(&block).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&block, bytes).unwrap();
    stack.nats().restart().await.unwrap();

    let told = eventually(PATIENCE, "a doctor that names the way back", async || {
        let told = findings(&stack).await;
        told.into_iter().find(|finding| finding.starts_with("scheduler:") && finding.contains("waybill restore log"))
    });
    told.await.unwrap();
    stack.spawn(&Service::Scheduler).unwrap();
    let refused = eventually(PATIENCE, "a scheduler that refuses", async || {
        let process = stack.process(&Service::Scheduler);
        if process.exit_status().is_some() { Some(process.last_lines().await) } else { None }
    });
    let words = refused.await.unwrap();
    assert!(words.contains("messages were lost") && words.contains("restore"), "{words}");

    stack.nats().stop().await.unwrap();
    fs::remove_dir_all(stack.home().join("data/nats")).unwrap();
    stack.nats().restart().await.unwrap();
    restore(&stack, &files, "").await;
    for service in stack.services() {
        stack.sigkill(&service);
    }
    stack.start_all().await.unwrap();
    request_until_decided(&stack, "c-after").await;
    let verified = stack.run(&["replay", "--verify"]).await;
    assert!(verified.status.success(), "{}{}", verified.stdout, verified.stderr);
}
