//! A stack with several nodes: each worker serves the programs of its own node.

use std::path::PathBuf;

use serde_json::Value;
use waybill_tests::{
    error::StartError,
    find,
    login::Login,
    process::command,
    stack::{Plan, Service, Stack},
    wait::eventually,
};

use super::{
    PATIENCE,
    contract::{self, WORKSPACE},
};
use crate::node::{Said, run};

/// A running stack whose workers have a node each.
pub(super) struct Fleet {
    pub(super) stack: Stack,
}

/// A program in a container: the socket of its node, and the access key that it was given at its start.
pub(super) struct Program {
    socket: PathBuf,
    access: PathBuf,
    registry: String,
}

impl Fleet {
    /// Starts everything, with a folder for each worker's node.
    pub(super) async fn start(plan: Plan, workers: &[&str]) -> Result<Self, StartError> {
        let mut stack = plan.workers(workers).start().await?;
        for worker in workers {
            let file = contract::worker_settings(&stack, worker);
            let settings = std::fs::read_to_string(&file).unwrap();
            let folder = format!("WAYBILL_WORKER_NODE_DIR=nodes/{worker}\n");
            std::fs::write(&file, format!("{settings}{folder}")).unwrap();
            stack.stop(&service(worker)).await;
        }
        stack.start_all().await?;
        Ok(Self { stack })
    }

    /// Reports a build with a login, and requires that it is saved.
    pub(super) async fn build(&self, image: &str, reference: &str, login: &Login) {
        let saved = self.stack.build(WORKSPACE, image, reference, contract::credentials(login)).await;
        assert_eq!(saved.status, 201, "{saved:?}");
    }

    /// Requests a container on a worker, and returns the request's stream sequence.
    pub(super) async fn request(&self, container: &str, image: &str, worker: &str) -> u64 {
        let requested = self.stack.container(WORKSPACE, container, image, worker).await;
        assert_eq!(requested.status, 202, "{requested:?}");
        requested.sequence()
    }

    /// Requests a container on a worker and waits until it is pulled.
    pub(super) async fn run_container(&self, container: &str, image: &str, worker: &str) {
        self.request(container, image, worker).await;
        let outcome = self.stack.wait_for_outcome(container).await;
        assert_eq!(outcome.name, contract::PULLED, "{}", outcome.line);
    }

    /// The program of a container on a worker's node, once the container has its access key there.
    pub(super) async fn program(&self, worker: &str, container: &str, registry: &str) -> Program {
        self.started(worker, &format!("{WORKSPACE}/{container}"), registry).await
    }

    /// A program with the key of the whole workspace on a worker's node.
    pub(super) async fn workspace_program(&self, worker: &str, registry: &str) -> Program {
        self.started(worker, WORKSPACE, registry).await
    }

    async fn started(&self, worker: &str, owner: &str, registry: &str) -> Program {
        let file = self.node(worker).join(owner).join("access");
        let there = eventually(PATIENCE, "the access key", async || std::fs::read(&file).ok());
        let key = there.await.unwrap_or_else(|error| panic!("{error}: {}\n{}", file.display(), self.stack.logs()));
        // The runtime has mounted the key: the program keeps it whatever becomes of the file.
        let access = self.stack.home().join(format!("mounted-{worker}-{}", owner.replace('/', "-")));
        std::fs::write(&access, key).unwrap();
        Program { socket: self.node(worker).join("waybill.sock"), access, registry: registry.to_owned() }
    }

    /// The folder of a worker's node.
    pub(super) fn node(&self, worker: &str) -> PathBuf {
        self.stack.home().join("nodes").join(worker)
    }

    /// Runs the hook of a node's runtime after a container has stopped there.
    pub(super) fn run_stop_hook(&self, worker: &str, container: &str) -> Said {
        let mut hook = self.stack.waybill();
        hook.args(["container-ended", "--workspace", WORKSPACE, "--container", container, "--node-dir"]);
        hook.arg(self.node(worker));
        run(hook, "")
    }

    /// Restarts a worker after a kill, and waits until it is ready.
    pub(super) async fn restart(&mut self, worker: &str) {
        self.stack.sigkill(&service(worker));
        self.stack.start_all().await.unwrap();
    }

    /// Requires that the log replays to the decisions that it holds.
    pub(super) async fn verify(&self) {
        verify(&self.stack).await;
    }
}

impl Program {
    /// The login that the node's worker gives for the program's registry; none if it refuses.
    pub(super) fn login(&self) -> Option<Login> {
        let mut helper = command(find::workspace_binary("docker-credential-waybill").unwrap());
        helper.env("WAYBILL_SOCKET", &self.socket).env("WAYBILL_ACCESS_FILE", &self.access).arg("get");
        let said = run(helper, &self.registry);
        if said.code == 0 {
            let given: Value = serde_json::from_str(&said.stdout).unwrap();
            let text = |name: &str| given[name].as_str().unwrap().to_owned();
            return Some(Login::new(text("Username"), text("Secret")));
        }
        assert!(!said.stderr.contains("no_answer"), "the worker is away: {}", said.stderr);
        None
    }

    /// Waits until the program is given this login.
    pub(super) async fn until_given(&self, login: &Login) {
        let what = format!("the login of {} at {}", login.user(), self.access.display());
        let given = eventually(PATIENCE, &what, async || (self.login().as_ref() == Some(login)).then_some(()));
        given.await.unwrap_or_else(|error| panic!("{error}"));
    }

    /// Waits until the program is given no login.
    pub(super) async fn until_refused(&self, after: &str) {
        let what = format!("refusal of the login at {} {after}", self.access.display());
        let refused = eventually(PATIENCE, &what, async || self.login().is_none().then_some(()));
        refused.await.unwrap_or_else(|error| panic!("{error}"));
    }
}

/// The service of a worker.
pub(super) fn service(worker: &str) -> Service {
    Service::Worker(worker.to_owned())
}

/// Requires that the log replays to the decisions that it holds.
pub(super) async fn verify(stack: &Stack) {
    let verified = stack.run(&["replay", "--verify"]).await;
    assert!(verified.status.success(), "{}{}", verified.stdout, verified.stderr);
}

/// What the scheduler says when it refuses its projection or the log: its last lines if it has ended, or its readiness.
/// None while it works.
pub(super) async fn refusal(stack: &mut Stack) -> Option<String> {
    let scheduler = stack.process(&Service::Scheduler);
    if scheduler.exit_status().is_some() {
        return Some(scheduler.last_lines().await);
    }
    let readiness = stack.readiness(&Service::Scheduler).await?.body.to_string();
    contract::says_rebuild(&readiness).then_some(readiness)
}

/// Replaces the scheduler by one that folds its projection anew.
pub(super) fn rebuild(stack: &mut Stack) {
    stack.sigkill(&Service::Scheduler);
    stack.spawn_with(&Service::Scheduler, &["--rebuild"]).unwrap();
}
