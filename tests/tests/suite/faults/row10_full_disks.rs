//! A full disk under nats-server: every light says so, no service ends, and all go on by themselves once the server has
//! room and is started again.

use std::{path::PathBuf, process::Command};

use waybill_tests::{
    error::Missing,
    find,
    process::{Process, command},
    require,
    stack::{Plan, Service, Stack},
    wait::eventually,
};

use super::{
    PATIENCE,
    contract::{self, WORKSPACE},
    fleet::verify,
    row10_full_accounts::{assert_recovered, doctor_findings, explained_as_full, request_until_full, until_says},
};

const DISK: &str = "32m";
/// Mounts a disk over a folder (`$1`) in a mount namespace of its own, which goes with its last process.
const MOUNT: &str = r#"cp -a "$1" "$1.full" && mount -t tmpfs -o size="$2" tmpfs "$1" && cp -a "$1.full/." "$1" && echo mounted && exec sleep infinity"#;
/// Fills the disk at `$1` but for some dozens of requests.
const FILL: &str = r#"cat /dev/zero > "$1/ballast" 2>/dev/null; truncate -s -65536 "$1/ballast""#;
const EMPTY: &str = r#"rm "$1/ballast""#;

/// The log's server on a small disk that nobody else sees.
struct SmallDisk {
    namespace: Process,
    server: Option<Process>,
    store: PathBuf,
}

impl SmallDisk {
    /// Moves the stack's log to a small disk, with a server there at the same address.
    async fn under(stack: &mut Stack) -> Self {
        stack.nats().stop().await.unwrap();
        let store = stack.home().join("data/nats");
        let mut mount = command("unshare");
        mount.args(["--mount", "sh", "-c", MOUNT, "sh"]).arg(&store).arg(DISK);
        let namespace = Process::spawn("small-disk", mount, stack.dir()).unwrap();
        namespace.wait_for_line(PATIENCE, |line| line == "mounted").await.unwrap();
        let mut disk = Self { namespace, server: None, store };
        disk.restart(stack).await;
        disk
    }

    /// Starts the server, again if one runs.
    async fn restart(&mut self, stack: &mut Stack) {
        self.server = None;
        let program = find::program("nats-server", "run `infra/justw test`").unwrap();
        let mut server = self.inside(r#"cd "$1" && shift && exec "$@""#);
        server.arg(stack.home()).arg(program).arg("--config").arg(stack.home().join("nats-server.conf"));
        server.args(["--addr", "127.0.0.1", "--port", &stack.nats().port().to_string()]);
        self.server = Some(Process::spawn("nats-server-on-small-disk", server, stack.dir()).unwrap());
        let connected = eventually(PATIENCE, "a gateway that is connected", async || {
            stack.readiness(&Service::Gateway).await?.status.is_success().then_some(())
        });
        connected.await.unwrap();
    }

    /// A shell script in the disk's mount namespace.
    fn inside(&self, script: &str) -> Command {
        let mut child = command("nsenter");
        child.args(["--mount", "--target", &self.namespace.pid().to_string(), "sh", "-c", script, "sh"]);
        child
    }

    fn run(&self, script: &str) {
        assert!(self.inside(script).arg(&self.store).status().unwrap().success(), "{script}");
    }
}

fn mounting() -> Result<(), Missing> {
    let mut attempt = command("unshare");
    attempt.args(["--mount", "true"]);
    let works = attempt.output().is_ok_and(|output| output.status.success());
    works.then_some(()).ok_or_else(|| Missing::new("a mount namespace", "run the tests as root, with util-linux"))
}

#[tokio::test]
async fn a_full_disk_is_said_and_passes_by_itself() {
    require!(mounting());
    let plan = Plan::default().setting("WAYBILL_GATEWAY_APPEND_SECONDS", "2");
    let mut stack = require!(plan.start().await);
    stack.container(WORKSPACE, "c-before", "img", "w1").await;
    stack.wait_for_outcome("c-before").await;
    let mut disk = SmallDisk::under(&mut stack).await;
    stack.stop(&Service::Scheduler).await;
    disk.run(FILL);
    let taken = request_until_full(&stack).await;
    stack.spawn(&Service::Scheduler).unwrap();
    until_says(&mut stack, &Service::Scheduler, contract::says_unwritable).await;
    until_says(&mut stack, &Service::Gateway, contract::says_unwritable).await;
    let findings = doctor_findings(&stack).await;
    assert!(contract::says_unwritable(&findings), "the doctor finds: {findings}");
    let (_, waiting) = taken.last().unwrap();
    explained_as_full(&stack, waiting).await;

    // After a failed write nats-server acknowledges nothing more on the stream until it is started again.
    disk.run(EMPTY);
    disk.restart(&mut stack).await;
    assert_recovered(&mut stack, &taken).await;
    verify(&stack).await;
}
