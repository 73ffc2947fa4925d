//! Workers, workspaces and tokens come, are used, go and are refused while everything runs: nothing is restarted.

use std::{
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use async_nats::{ConnectOptions, jetstream::consumer::pull};
use futures_util::StreamExt as _;
use reqwest::Method;
use serde_json::{Value, json};
use waybill_tests::{
    image::TinyImage,
    login::Login,
    port::Port,
    process::{Finished, Process},
    registry::{Registry, Scheme},
    require,
    stack::{Plan, Recorded, Service, Stack, event_headers},
    wait::eventually,
};

use super::accounts::sign_ahead;

const PATIENCE: Duration = Duration::from_secs(60);

/// A node with a folder of its own, which has nothing but what it is told when it joins.
struct Node {
    home: PathBuf,
    port: Port,
    process: Option<Process>,
}

impl Node {
    fn new(stack: &Stack, name: &str) -> Self {
        Self { home: stack.dir().join(name), port: Port::reserve().unwrap(), process: None }
    }

    fn command(&self, stack: &Stack, id: &str, token: &str) -> std::process::Command {
        let file = stack.dir().join(format!("{id}.join-token"));
        std::fs::write(&file, token).unwrap();
        let mut child = stack.waybill_in(&self.home);
        child.args(["worker", "join", "--id", id, "--gateway", &stack.gateway_url(), "--token-file"]).arg(file);
        child.args(["--health-port", &self.port.number().to_string()]);
        child
    }

    /// Joins and runs.
    fn start(&mut self, stack: &Stack, id: &str, token: &str) {
        self.process = Some(Process::spawn(id, self.command(stack, id, token), stack.dir()).unwrap());
    }

    /// Joins in vain.
    async fn refused(&self, stack: &Stack, id: &str, token: &str) -> String {
        let mut child = self.command(stack, id, token);
        child.arg("--only");
        let finished = Process::run("join", child, stack.dir(), PATIENCE).await.unwrap();
        assert!(!finished.status.success(), "{}", finished.stdout);
        assert!(!finished.stderr.contains(token), "the token is shown");
        finished.stderr
    }
}

async fn done(stack: &Stack, arguments: &[&str]) -> Finished {
    let finished = stack.run(arguments).await;
    assert!(finished.status.success(), "{arguments:?}: {}", finished.stderr);
    finished
}

async fn join_token(stack: &Stack, more: &[&str]) -> String {
    let arguments: Vec<&str> =
        ["join-token", "create", "--ttl", "10m"].into_iter().chain(more.iter().copied()).collect();
    done(stack, &arguments).await.stdout.trim().to_owned()
}

/// Requests that never stop, and how many failed.
struct Flow {
    stop: Arc<AtomicBool>,
    made: Arc<AtomicU64>,
    task: tokio::task::JoinHandle<Vec<String>>,
}

impl Flow {
    fn start(stack: &Stack) -> Self {
        let (stop, made) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let (client, url, token) = (reqwest::Client::new(), stack.gateway_url(), stack.token("acme"));
        let (stopping, counting) = (stop.clone(), made.clone());
        let task = tokio::spawn(async move {
            let mut failed = Vec::new();
            while !stopping.load(Ordering::Relaxed) {
                let number = counting.fetch_add(1, Ordering::Relaxed);
                let body = json!({ "workspace": "acme", "container_id": format!("flow-{number}"), "image_id": "img", "worker_id": "w1" });
                let asked = client.post(format!("{url}/v1/containers")).bearer_auth(&token).json(&body).send().await;
                match asked {
                    Ok(answer) if answer.status().is_success() => {}
                    other => failed.push(format!("{number}: {other:?}")),
                }
            }
            failed
        });
        Self { stop, made, task }
    }

    async fn stop(self) -> u64 {
        self.stop.store(true, Ordering::Relaxed);
        assert_eq!(self.task.await.unwrap(), Vec::<String>::new(), "requests that failed");
        self.made.load(Ordering::Relaxed)
    }
}

/// Waits until a worker has registered so many times.
async fn registered(stack: &Stack, worker: &str, times: usize) {
    let is = |event: &&Recorded| event.name == "WorkerRegistered" && event.text("worker_id") == worker;
    let what = format!("registration {times} of {worker}");
    stack.wait_for(&what, |events| (events.iter().filter(is).count() >= times).then_some(())).await;
}

/// Criterion 1 of issue 12, on one server.
#[tokio::test]
async fn a_worker_and_a_workspace_are_added_used_retired_and_refused_while_requests_flow() {
    let ada = Login::new("ada", "secret");
    let registry = Registry::start(Scheme::Basic).unwrap();
    registry.accounts().allow(&ada);
    let reference = registry.serve("team/app", "1", &TinyImage::new("joined").unwrap());
    let plan = Plan::default().plain_http(&[&registry.host()]);
    let mut stack = require!(plan.start().await);
    let credentials = json!({ "USERNAME": ada.user(), "PASSWORD": ada.password() });
    assert_eq!(stack.build("acme", "img", &reference, credentials.clone()).await.status, 201);
    let conf = std::fs::read(stack.home().join("nats-server.conf")).unwrap();
    let server = stack.nats().process().pid();
    let flow = Flow::start(&stack);

    // A worker joins, and is used.
    let token = join_token(&stack, &["--uses", "1", "--prefix", "node-"]).await;
    let mut node = Node::new(&stack, "node");
    let began = Instant::now();
    node.start(&stack, "node-7", &token);
    registered(&stack, "node-7", 1).await;
    stack.container("acme", "c-joined", "img", "node-7").await;
    let pulled = stack.wait_for_outcome("c-joined").await;
    assert_eq!(pulled.name, "ImagePullSucceeded", "{}", pulled.line);
    println!("from join to the first pull: {:.2} s", began.elapsed().as_secs_f64());

    // What is not allowed to join.
    let other = Node::new(&stack, "other");
    for (id, says) in [("edge-1", "node-"), ("node-7", "is there already"), ("node-8", "used up")] {
        let said = other.refused(&stack, id, &token).await;
        assert!(said.contains(says), "{id}: {said}");
    }
    let said = other.refused(&stack, "node-8", "wb_nobody").await;
    assert!(said.contains("not known"), "{said}");
    let said = other.refused(&stack, "node-8", &stack.token("acme")).await;
    assert!(said.contains("no join token"), "{said}");

    // A workspace joins, and is used.
    done(&stack, &["workspace", "add", "beta"]).await;
    let orchestrator = stack.user("orchestrator-beta").await;
    let request = json!({ "workspace": "beta", "container_id": "c-beta", "image_id": "img", "worker_id": "node-7" });
    let headers = event_headers("00000000-0000-4000-8000-000000000001", "waybill.v1.ContainerRequested");
    let sequence = orchestrator.publish("waybill.events.container.beta.c-beta.r1", &headers, request.to_string()).await;
    assert!(sequence.is_some(), "the new orchestrator may ask for containers of its workspace");
    let read = async_nats::jetstream::new(orchestrator.client.clone());
    let decided = eventually(PATIENCE, "the decision at the new orchestrator", async || {
        let consumer = read.get_consumer_from_stream::<pull::Config, _, _>("orchestrator-beta-decisions", "WAYBILL");
        let decided = consumer.await.ok()?.fetch().max_messages(1).messages().await.ok()?.next().await?.ok()?;
        decided.subject.contains("container.beta.c-beta.").then_some(())
    });
    decided.await.unwrap();

    // The worker is retired, and refused.
    let creds = node.home.join("keys/worker-node-7.creds");
    let connect = || async {
        let options = ConnectOptions::with_credentials_file(&creds).await.unwrap();
        options.custom_inbox_prefix("_INBOX_worker-node-7").connect(stack.nats_url()).await
    };
    let thief = connect().await.unwrap();
    done(&stack, &["worker", "retire", "node-7"]).await;
    let dead = eventually(PATIENCE, "the end of the connection", async || {
        let state = thief.connection_state();
        (state != async_nats::connection::State::Connected).then_some(())
    });
    dead.await.unwrap();
    assert!(connect().await.is_err(), "its credentials have ended");
    let withdrawn = stack.wait_for_event("ContainerCredentialsWithdrawn", "c-joined").await;
    assert_eq!(withdrawn.text("reason"), "worker_retired");
    let operator = stack.user("operator").await;
    let gone = eventually(PATIENCE, "the end of the consumer", async || {
        let info = operator.ask("$JS.API.CONSUMER.INFO.WAYBILL.worker-node-7", Default::default(), "").await?;
        (info["error"]["err_code"] == 10014).then_some(())
    });
    gone.await.unwrap();
    stack.container("acme", "c-late", "img", "node-7").await;
    let skipped = stack.wait_for_event("ContainerCredentialsSkipped", "c-late").await;
    assert_eq!(skipped.text("reason"), "unknown_worker");
    let retired = (1, "withdrawn", "worker_retired", "was retired at sequence");
    super::explain::expect(&stack, ["container", "c-joined"], retired).await;

    // And joins again with keys of its own.
    drop(node);
    let mut again = Node::new(&stack, "again");
    again.start(&stack, "node-7", &join_token(&stack, &[]).await);
    registered(&stack, "node-7", 2).await;
    stack.container("acme", "c-again", "img", "node-7").await;
    assert_eq!(stack.wait_for_outcome("c-again").await.name, "ImagePullSucceeded");

    assert!(flow.stop().await > 10, "requests flowed");
    assert_eq!(stack.nats().process().pid(), server, "the server was not restarted");
    assert_eq!(std::fs::read(stack.home().join("nats-server.conf")).unwrap(), conf, "nor told of anything");
    let replayed = stack.run(&["replay", "--verify"]).await;
    assert!(replayed.status.success(), "{}", replayed.stderr);
}

/// Tokens of the API: for their roles and their workspaces, until they are revoked, and nowhere in the log.
#[tokio::test]
async fn tokens_are_made_used_listed_and_revoked_while_everything_runs() {
    let stack = require!(Plan::default().workspaces(&["acme", "beta", "umbrella"]).start().await);
    let create = ["token", "create", "ci", "--role", "builder", "--workspace", "acme", "--workspace", "beta"];
    let made = done(&stack, &create).await;
    let token = made.stdout.trim().to_owned();
    let ask = async |path: &str, body: Value| {
        let answer = stack.post_raw(path, &token, &[], body.to_string()).await.unwrap();
        (answer.status.as_u16(), answer.text("code").to_owned())
    };
    let build = |workspace: &str| json!({ "workspace": workspace, "image_id": "i", "existing_image_uri": "a.b/c:1", "existing_image_creds": "u:p" });
    let taken = eventually(PATIENCE, "the token to be taken", async || {
        (ask("/v1/builds", build("acme")).await.0 < 300).then_some(())
    });
    taken.await.unwrap();
    assert!(ask("/v1/builds", build("beta")).await.0 < 300);
    assert_eq!(ask("/v1/builds", build("umbrella")).await, (403, "another_workspace".to_owned()));
    let container = json!({ "workspace": "acme", "container_id": "c", "worker_id": "w1" });
    assert_eq!(ask("/v1/containers", container).await, (403, "wrong_role".to_owned()));
    assert_eq!(ask("/v1/workers/w1/retire", Value::Null).await.0, 403, "no administrator's");

    let listed = done(&stack, &["token", "list", "--json"]).await.stdout;
    let tokens: Value = serde_json::from_str(&listed).unwrap();
    let ci = tokens.as_array().unwrap().iter().find(|token| token["token_id"] == "ci").unwrap();
    assert_eq!((&ci["roles"], &ci["workspaces"]), (&json!(["builder"]), &json!(["acme", "beta"])));
    assert!(ci["last_used_at"].is_string() && !listed.contains(&token), "{listed}");

    done(&stack, &["token", "revoke", "ci"]).await;
    let refused = eventually(PATIENCE, "the token to be refused", async || {
        (ask("/v1/builds", build("acme")).await.0 == 401).then_some(())
    });
    refused.await.unwrap();
    let events = stack.events().await;
    let is_of = |name: &str| {
        events
            .iter()
            .find(|event| event.name == name && event.data["token_id"] == "ci")
            .unwrap_or_else(|| panic!("{name}"))
    };
    for event in [is_of("TokenCreated"), is_of("TokenRevoked")] {
        assert_eq!(event.line["actor"], "token/admin", "it names who asked");
    }
    let proof = waybill_platform::identity::proof(&waybill_domain::credentials::Secret::new(token.as_str()));
    for text in [&token, &proof] {
        let is_shown = events.iter().any(|event| event.line.to_string().contains(text.as_str()));
        assert!(!is_shown && !stack.logs().contains(text.as_str()), "what opens the gateway is shown");
    }
}

/// A worker asks for new credentials of its own, and of nobody else's, and not for another key.
#[tokio::test]
async fn credentials_are_renewed_for_who_has_them() {
    let stack = require!(Plan::default().workers(&["w1", "w2"]).start().await);
    let (w1, gateway) = (stack.user("worker-w1").await, stack.user("gateway").await);
    let key = |role: &str| {
        let text = std::fs::read_to_string(stack.home().join(format!("keys/{role}.creds"))).unwrap();
        let text = waybill_domain::credentials::Secret::new(text);
        waybill_platform::identity::Credentials::parse(&text).unwrap().claims().unwrap().sub
    };
    let renewed = w1.ask("waybill.issuer.renew.worker.w1", Default::default(), key("worker-w1")).await.unwrap();
    let token = renewed["admitted"]["token"].as_str().unwrap();
    let claims = waybill_platform::identity::Claims::read(token).unwrap();
    assert_eq!((claims.sub, claims.name.as_str()), (key("worker-w1"), "w1"));
    let other = nkeys::KeyPair::new_user().public_key();
    let refused = w1.ask("waybill.issuer.renew.worker.w1", Default::default(), other).await.unwrap();
    assert_eq!(refused["refused"]["code"], "not_allowed", "a thief cannot move to a key that retiring does not know");
    for subject in ["waybill.issuer.renew.worker.w2", "waybill.issuer.renew.gateway.gateway", "waybill.issuer.ask"] {
        assert_eq!(w1.ask(subject, Default::default(), key("worker-w2")).await, None, "{subject}");
    }
    // A gateway's own key makes nobody anything: the issuer asks for the right of who asked the gateway.
    for ask in [
        json!({ "retire": { "by": { "proof": "00" }, "worker_id": "w1" } }),
        json!({ "join": { "by": { "proof": "00" }, "worker_id": "evil", "user_key": key("worker-w1") } }),
        json!({ "join": { "by": { "service_account": "e30.e30.e30" }, "worker_id": "evil", "user_key": key("worker-w1") } }),
    ] {
        let answer = gateway.ask("waybill.issuer.ask", Default::default(), ask.to_string()).await.unwrap();
        assert_eq!(answer["refused"]["code"], "not_allowed", "{ask}: {answer}");
    }
}

/// The issuer is asked for nothing while it is down, and makes up for what it had not done. The accounts may have been signed by a
/// clock that is ahead, or in this second.
#[tokio::test]
async fn a_retirement_holds_over_restarts_of_the_issuer_and_of_the_server() {
    let mut stack = require!(Plan::default().workers(&["w1", "w2"]).start().await);
    sign_ahead(&mut stack, "WORKERS", 3600).await;
    let retired = eventually(PATIENCE, "the retirement", async || {
        stack.run(&["worker", "retire", "w2"]).await.status.success().then_some(())
    });
    retired.await.unwrap();
    stack.sigkill(&Service::Issuer);
    stack.nats().stop().await.unwrap();
    stack.nats().restart().await.unwrap();
    let file = stack.home().join("keys/worker-w2.creds");
    let options = ConnectOptions::with_credentials_file(file).await.unwrap();
    assert!(options.connect(stack.nats_url()).await.is_err(), "revoked after a restart, with no issuer");
    stack.spawn(&Service::Issuer).unwrap();
    stack.until_ready(&Service::Issuer).await.unwrap();
    let said = done(&stack, &["init"]).await.stdout;
    assert!(!said.contains("changed"), "who is revoked is no change of a file that a server reads: {said}");
    let again = stack.send(Method::POST, "acme", "/v1/workers/w1/retire", None).await;
    assert_eq!(again.status, 403, "a workspace's token is no administrator's");
}
