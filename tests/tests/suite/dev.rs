//! `waybill init` and `waybill dev` as a person runs them.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use waybill_tests::{
    canary::{Canary, process_tree},
    error::StartError,
    find,
    nats::NatsServer,
    port::Port,
    process::{Finished, Process, Signal, command},
    python::Python,
    require,
    scratch::Scratch,
    stack::{Plan, Service, Stack},
    wait::eventually,
};

use super::documents::{commands, words};

const PATIENCE: Duration = Duration::from_secs(60);

/// A home folder with ports of its own.
struct Home {
    scratch: Scratch,
    binary: PathBuf,
    ports: [Port; 4],
}

impl Home {
    /// Needs a nats-server, which the tests below start through `waybill dev`.
    async fn new() -> Result<Self, StartError> {
        drop(NatsServer::start().await?);
        let port = || Port::reserve().map_err(StartError::setup("a free port"));
        let ports = [port()?, port()?, port()?, port()?];
        Ok(Self { scratch: Scratch::new("dev")?, binary: find::workspace_binary("waybill")?, ports })
    }

    fn path(&self) -> PathBuf {
        self.scratch.path().join("home")
    }

    fn waybill(&self, arguments: &[&str]) -> Command {
        let mut child = command(&self.binary);
        child.arg("--home").arg(self.path()).args(arguments);
        child
    }

    async fn run(&self, arguments: &[&str]) -> Finished {
        Process::run("waybill", self.waybill(arguments), self.scratch.path(), PATIENCE).await.unwrap()
    }

    async fn init(&self, more: &[&str]) -> Finished {
        let [nats, gateway, health, worker] = &self.ports;
        let (nats, gateway, health) = (nats.host(), gateway.host(), health.number().to_string());
        let mut arguments =
            vec!["init", "--nats-listen", &nats, "--gateway-listen", &gateway, "--health-port", &health];
        arguments.extend(more);
        let finished = self.run(&arguments).await;
        // The worker's health port follows the scheduler's, and may be another test's.
        let settings = self.path().join("worker-worker-1.env");
        if let Ok(text) = fs::read_to_string(&settings) {
            let lines = text.lines().map(|line| match line.split_once('=') {
                Some(("WAYBILL_WORKER_HEALTH_LISTEN", _)) => {
                    format!("WAYBILL_WORKER_HEALTH_LISTEN={}\n", worker.host())
                }
                _ => format!("{line}\n"),
            });
            fs::write(&settings, lines.collect::<String>()).unwrap();
        }
        finished
    }

    /// Starts `waybill dev` and waits until it says that it is ready.
    async fn dev(&self) -> Process {
        let dev = Process::spawn("dev", self.waybill(&["dev"]), self.scratch.path()).unwrap();
        dev.wait_for_line(PATIENCE, |line| line.contains("Ctrl-C stops everything")).await.unwrap();
        dev
    }
}

fn files(folder: &Path, found: &mut BTreeMap<PathBuf, (u32, Vec<u8>)>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let mode = fs::metadata(&path).unwrap().permissions().mode() & 0o777;
        if path.is_dir() {
            found.insert(path.clone(), (mode, Vec::new()));
            files(&path, found);
        } else {
            found.insert(path.clone(), (mode, fs::read(&path).unwrap()));
        }
    }
}

fn is_gone(pid: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.is_empty() || stat.rsplit(')').next().is_some_and(|rest| rest.trim_start().starts_with('Z'))
}

async fn all_gone(pids: &BTreeSet<u32>) {
    let gone =
        eventually(PATIENCE, "the end of every process", async || pids.iter().all(|pid| is_gone(*pid)).then_some(()));
    gone.await.unwrap();
}

#[tokio::test]
async fn init_keeps_what_there_is_and_adds_what_is_missing() {
    let home = require!(Home::new().await);
    let first = home.init(&[]).await;
    assert!(first.status.success(), "{}", first.stderr);
    let mut before = BTreeMap::new();
    files(&home.path(), &mut before);
    for (path, (mode, _)) in &before {
        assert_eq!(*mode, if path.is_dir() { 0o700 } else { 0o600 }, "{}", path.display());
    }
    let again = home.run(&["init", "--worker", "node-2"]).await;
    assert!(again.status.success(), "{}", again.stderr);
    let mut after = BTreeMap::new();
    files(&home.path(), &mut after);
    for (path, (_, content)) in &before {
        let kept = path.ends_with("identities.json") || after[path].1 == *content;
        assert!(kept, "{} was changed", path.display());
    }
    for name in ["keys/worker-node-2.creds", "keys/worker-node-2.xkey", "worker-node-2.env"] {
        assert!(after.contains_key(&home.path().join(name)), "{name}");
    }
    let conf = fs::read_to_string(home.path().join("nats-server.conf")).unwrap();
    assert!(conf.contains("sync_interval: always") && !conf.contains("node-2"), "{conf}");

    let said = again.stdout;
    for part in ["wrote ", "worker-node-2.env keys/worker-node-2.creds"] {
        assert!(said.contains(part), "{part}: {said}");
    }
    assert!(!said.contains("restart nats") && first.stdout.contains(" dev"), "{said}");
}

/// The compose file is for the folder that the README's own line makes.
#[tokio::test]
async fn the_readme_makes_the_folder_that_the_compose_file_mounts() {
    let home = require!(Home::new().await);
    let readme = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../README.md")).unwrap();
    let line = commands(&readme).into_iter().find(|line| line.starts_with("waybill init ")).unwrap();
    let words = words(&line);
    let arguments: Vec<&str> = words.iter().skip(2).map(String::as_str).collect();
    let finished = home.init(&arguments).await;
    assert!(finished.status.success(), "{}", finished.stderr);

    let python = require!(Python::with_modules(&["yaml"]));
    let check = concat!(env!("CARGO_MANIFEST_DIR"), "/../infra/check.py");
    let checked = python.run(Path::new(check), &["--home", home.path().to_str().unwrap()], &[], PATIENCE).await;
    checked.unwrap();
}

#[tokio::test]
async fn dev_leaves_nothing_behind() {
    let home = require!(Home::new().await);
    assert!(home.init(&[]).await.status.success());
    let mut dev = home.dev().await;
    let said = std::fs::read_to_string(dev.log_file()).unwrap();
    for place in [format!("http://{}/v1/builds", home.ports[1].host()), format!("nats://{}", home.ports[0].host())] {
        assert!(said.contains(&place), "{place}: {said}");
    }
    let tree = process_tree(dev.pid()).unwrap();
    assert_eq!(tree.len(), 6, "dev, nats-server, issuer, scheduler, worker, gateway: {tree:?}");
    dev.signal(Signal::Interrupt).unwrap();
    assert!(dev.wait(PATIENCE).await.unwrap().success());
    all_gone(&tree).await;

    let mut dev = home.dev().await;
    let tree = process_tree(dev.pid()).unwrap();
    assert_eq!(tree.len(), 6, "{tree:?}");
    dev.sigkill();
    all_gone(&tree).await;

    // One part that dies takes the rest down, and is named.
    let mut dev = home.dev().await;
    let tree = process_tree(dev.pid()).unwrap();
    let gateway = tree.iter().find(|pid| command_line(**pid).contains("gateway")).unwrap();
    assert!(Command::new("kill").args(["-KILL", &gateway.to_string()]).status().unwrap().success());
    assert_eq!(dev.wait(PATIENCE).await.unwrap().code(), Some(1));
    assert!(std::fs::read_to_string(dev.log_file()).unwrap().contains("gateway stopped by itself"));
    all_gone(&tree).await;
}

fn command_line(pid: u32) -> String {
    fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default().replace('\0', " ")
}

#[tokio::test]
async fn what_dev_cannot_start_is_named() {
    let home = require!(Home::new().await);
    assert!(home.init(&[]).await.status.success());
    let missing = home.run(&["dev", "--nats-server", "/nonexistent/nats-server"]).await;
    assert_eq!(missing.status.code(), Some(1));
    assert!(missing.stderr.contains("--nats-server"), "{}", missing.stderr);

    let taken = std::net::TcpListener::bind(home.ports[1].host()).unwrap();
    let refused = home.run(&["dev"]).await;
    assert_eq!(refused.status.code(), Some(1), "{}", refused.stderr);
    let named = format!("{}, where gateway is to listen, is taken", home.ports[1].host());
    assert!(refused.stderr.contains(&named), "{}", refused.stderr);
    drop(taken);

    // Whatever runs here already would answer for what a second one starts.
    let first = home.dev().await;
    let second = home.run(&["dev"]).await;
    assert_eq!(second.status.code(), Some(1), "{}{}", second.stdout, second.stderr);
    assert!(second.stderr.contains("is taken") && !second.stdout.contains("is ready"), "{}", second.stderr);
    let tree = process_tree(first.pid()).unwrap();
    assert_eq!(tree.len(), 6, "the first one runs on: {tree:?}");
    drop(first);
    all_gone(&tree).await;
    assert!(std::net::TcpListener::bind(home.ports[0].host()).is_ok(), "nats-server is gone as well");
}

/// Whoever is in another folder than they think is told so first, and no password of an address is shown.
#[tokio::test]
async fn a_wrong_folder_and_a_login_in_an_address_are_told() {
    let home = require!(Home::new().await);
    for arguments in [["explain", "container", "c"].as_slice(), &["events"], &["quarantine", "retry", "1"]] {
        let finished = home.run(arguments).await;
        assert_eq!(finished.status.code(), Some(2), "{arguments:?}");
        let named = format!("there is no folder {}", home.path().display());
        assert!(finished.stderr.contains(&named) && finished.stderr.contains("waybill init"), "{}", finished.stderr);
    }
    assert!(home.init(&[]).await.status.success());
    let canary = Canary::new("NATS password");
    for arguments in [["events"].as_slice(), &["gateway"], &["doctor"], &["dev"]] {
        let mut child = home.waybill(arguments);
        child.env("WAYBILL_NATS_URL", format!("nats://user:{}@127.0.0.1:9", canary.value()));
        let finished = Process::run("waybill", child, home.scratch.path(), PATIENCE).await.unwrap();
        let said = format!("{}{}", finished.stdout, finished.stderr);
        assert!(said.contains("WAYBILL_NATS_CREDS_FILE") && !said.contains(canary.value()), "{arguments:?}: {said}");
    }
}

#[tokio::test]
async fn settings_that_are_wrong_are_all_named_at_once() {
    let home = require!(Home::new().await);
    assert!(home.init(&[]).await.status.success());
    let mut child = home.waybill(&["gateway"]);
    child.env("WAYBILL_GATEWAY_LISTEN", "nowhere").env("WAYBILL_GATEWAY_HASH_KEY_FILE", "keys/none");
    fs::set_permissions(home.path().join("keys/gateway.creds"), fs::Permissions::from_mode(0o644)).unwrap();
    let finished = Process::run("gateway", child, home.scratch.path(), PATIENCE).await.unwrap();
    assert_eq!(finished.status.code(), Some(1));
    for part in ["WAYBILL_GATEWAY_LISTEN", "WAYBILL_GATEWAY_HASH_KEY_FILE", "chmod 600"] {
        assert!(finished.stderr.contains(part), "{part}: {}", finished.stderr);
    }
}

/// A worker and a workspace join a system that runs, by what `init` says and nothing else.
#[tokio::test]
async fn who_is_added_joins_after_what_init_says() {
    let mut stack = require!(Plan::default().start().await);
    let said = stack.run(&["init", "--workspace", "beta", "--worker", "w2"]).await.stdout;
    for part in ["restart the gateway", "the issuer records", "keys/worker-w2.creds keys/worker-w2.xkey"] {
        assert!(said.contains(part), "{part}: {said}");
    }
    assert!(!said.contains("nats-server"), "users that a known key signed need no change of the server: {said}");
    stack.stop(&Service::Gateway).await;
    stack.start_all().await.unwrap();
    let built = stack.build("beta", "img", "a.b/app:1", "u:p".into()).await;
    assert_eq!(built.text("outcome"), "saved", "{built:?}");

    let port = Port::reserve().unwrap();
    let mut child = stack.waybill();
    child.args(["worker", "--id", "w2"]).env("WAYBILL_WORKER_HEALTH_LISTEN", port.host());
    let worker = Process::spawn("w2", child, stack.dir()).unwrap();
    stack.container("beta", "c-1", "img", "w2").await;
    registered(&stack, "w2").await;
    drop(worker);
}

async fn registered(stack: &Stack, worker: &str) {
    let is_it = |event: &waybill_tests::stack::Recorded| event.text("worker_id") == worker;
    let found = |events: &[waybill_tests::stack::Recorded]| {
        events.iter().any(|event| event.name == "WorkerRegistered" && is_it(event)).then_some(())
    };
    stack.wait_for("the registration", found).await;
}
