//! Programs of a node use a container's credentials without knowing Waybill.

mod docker;
mod ecr;
mod ended;
mod kubelet;
mod pods;
mod pulls;
mod rotation;

use std::{
    io::Write as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use serde_json::json;
use waybill_tests::{
    error::StartError,
    find,
    login::Login,
    process::command,
    stack::{Plan, Service, Stack},
    wait::eventually,
};

/// A stack whose worker serves its node, and the node's folder.
struct Node {
    stack: Stack,
    dir: tempfile::TempDir,
}

/// A placement with credentials.
struct Placement {
    number: u64,
    /// The secret that its image uses.
    secret: String,
}

/// What a program said.
pub(crate) struct Said {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Node {
    async fn start(plan: Plan) -> Result<Self, StartError> {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("node");
        let plan = plan.workspaces(&["acme", "umbrella"]);
        let stack = plan.setting("WAYBILL_WORKER_NODE_DIR", root.to_str().unwrap()).start().await?;
        Ok(Self { stack, dir })
    }

    fn root(&self) -> PathBuf {
        self.dir.path().join("node")
    }

    /// The access file of `workspace` or `workspace/container`.
    fn access(&self, owner: &str) -> PathBuf {
        self.root().join(owner).join("access")
    }

    /// Has credentials attached to a container, waits until it has its key, and returns its placement.
    async fn attach(&self, workspace: &str, container: &str, reference: &str, login: &Login) -> Placement {
        let credentials = json!({ "USERNAME": login.user(), "PASSWORD": login.password() });
        self.attach_any(workspace, container, reference, credentials).await
    }

    async fn attach_any(
        &self,
        workspace: &str,
        container: &str,
        reference: &str,
        credentials: serde_json::Value,
    ) -> Placement {
        let image = format!("img-{container}");
        let saved = self.stack.build(workspace, &image, reference, credentials).await;
        assert_eq!(saved.status, 201, "{saved:?}");
        let secret = saved.text("secret_name").to_owned();
        let requested = self.stack.container(workspace, container, &image, "w1").await;
        assert_eq!(requested.status, 202, "{requested:?}");
        let number = requested.placement();
        let file = self.access(&format!("{workspace}/{container}"));
        // The key names its placement.
        let there = eventually(Duration::from_secs(30), "the access file", async || {
            std::fs::read_to_string(&file).ok()?.starts_with(&format!("{number}.")).then_some(())
        });
        there.await.unwrap_or_else(|error| panic!("{error}\n{}", self.stack.logs()));
        Placement { number, secret }
    }

    /// A program of this workspace that asks on the owner's behalf.
    fn program(&self, name: &str, owner: &str) -> Command {
        let mut child = command(find::workspace_binary(name).unwrap());
        self.on_behalf(&mut child, owner);
        child
    }

    fn on_behalf(&self, child: &mut Command, owner: &str) {
        child.env("WAYBILL_SOCKET", self.root().join("waybill.sock")).env("WAYBILL_ACCESS_FILE", self.access(owner));
    }

    fn docker(&self, owner: &str, action: &str, input: &str) -> Said {
        let mut child = self.program("docker-credential-waybill", owner);
        child.arg(action);
        run(child, input)
    }

    /// A subcommand of `waybill` about a container, by its name.
    fn waybill(&self, subcommand: &str, workspace: &str, container: &str) -> Said {
        let mut child = self.stack.waybill();
        child.args([subcommand, "--workspace", workspace, "--container", container]);
        run(child, "")
    }

    /// Everything logged so far, once this is in it.
    async fn logs_with(&self, words: &str) -> String {
        let logged = eventually(Duration::from_secs(30), words, async || {
            Some(self.stack.logs()).filter(|logs| logs.contains(words))
        });
        logged.await.unwrap_or_else(|error| panic!("{error}"))
    }

    async fn restart(&mut self) {
        let worker = Service::Worker("w1".to_owned());
        self.stack.sigkill(&worker);
        self.stack.start_all().await.unwrap();
    }
}

pub(crate) fn run(mut child: Command, input: &str) -> Said {
    let mut running = child.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    // A program that has ended already needs no input.
    let _ = running.stdin.take().unwrap().write_all(input.as_bytes());
    let output = running.wait_with_output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    Said { code: output.status.code().unwrap_or(-1), stdout: text(&output.stdout), stderr: text(&output.stderr) }
}

fn mode(path: &Path) -> u32 {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::metadata(path).unwrap().permissions().mode() & 0o7777
}
