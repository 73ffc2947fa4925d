//! Few file descriptors: the soft limit is raised, and idle connections shut nobody out.

use std::process::Command;

use tokio::net::TcpStream;
use waybill_tests::{
    error::Missing,
    process::{Process, command},
    require,
    stack::{Plan, Service},
    wait::eventually,
};

use super::PATIENCE;

fn prlimit() -> Result<(), Missing> {
    let found = command("prlimit").arg("--version").output().is_ok_and(|output| output.status.success());
    found.then_some(()).ok_or_else(|| Missing::new("prlimit", "install util-linux"))
}

/// The soft limit of open files of a process (proc_pid_limits(5)).
fn open_files(pid: u32) -> u64 {
    let limits = std::fs::read_to_string(format!("/proc/{pid}/limits")).unwrap();
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files")).unwrap();
    line.split_whitespace().next().unwrap().parse().unwrap()
}

fn limited(child: &Command, limits: &str) -> Command {
    let mut limited = command("prlimit");
    limited.arg(format!("--nofile={limits}")).arg("--").arg(child.get_program()).args(child.get_args());
    for (key, value) in child.get_envs() {
        match value {
            Some(value) => limited.env(key, value),
            None => limited.env_remove(key),
        };
    }
    limited
}

#[tokio::test]
async fn idle_connections_shut_nobody_out() {
    require!(prlimit());
    let mut stack = require!(Plan::default().start().await);
    stack.stop(&Service::Gateway).await;
    let mut child = stack.waybill();
    child.arg("gateway");
    // A soft limit of 64 that may be raised to 512.
    let mut gateway = Process::spawn("limited-gateway", limited(&child, "64:512"), stack.dir()).unwrap();
    let url = stack.health_url(&Service::Gateway);
    let ready = async || reqwest::get(&url).await.ok().filter(|answer| answer.status().is_success()).map(drop);
    eventually(PATIENCE, "a ready gateway", ready).await.unwrap();
    assert_eq!(open_files(gateway.pid()), 512);
    let address = stack.gateway_url().trim_start_matches("http://").to_owned();
    let mut idle = Vec::new();
    for _ in 0..700 {
        idle.extend(TcpStream::connect(&address).await.ok());
    }
    assert!(idle.len() > 512, "{}", idle.len());
    eventually(PATIENCE, "an answer behind the idle ones", ready).await.unwrap();
    assert!(gateway.exit_status().is_none());
}
