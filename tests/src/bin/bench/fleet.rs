//! A fleet of workers that joined one after the other: what the server needs for all of them, and how long one takes to connect.

use std::{sync::Arc, time::Instant};

use async_nats::{Client, ConnectOptions};
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use nkeys::KeyPair;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde_json::json;
use waybill_tests::stack::{Plan, Stack};

use crate::{
    Failure,
    bench::{Scale, per_second},
    machine,
    report::{Goal, Report},
};

const IN_FLIGHT: usize = 16;

/// A worker's user: its key, and the token that the issuer signed.
struct Joined {
    worker: String,
    key: Arc<KeyPair>,
    token: String,
}

pub(crate) async fn fleet(scale: Scale, report: &mut Report) -> Result<(), Failure> {
    // Every worker is a connection of this process.
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit })?;
    let mut stack = Plan::default().setting("WAYBILL_LOG", "warn").start().await?;
    let configuration = std::fs::read(stack.home().join("nats-server.conf"))?;
    let server = stack.nats().process().pid();

    let uses = scale.workers.to_string();
    let made = stack.run(&["join-token", "create", "--ttl", "1h", "--prefix", "node-", "--uses", &uses]).await;
    if !made.status.success() {
        return Err(format!("no join token: {}", made.stderr).into());
    }
    let (shared, token) = (&stack, made.stdout.trim());
    let started = Instant::now();
    let joining = stream::iter(0..scale.workers).map(|number| join(shared, token, format!("node-{number}")));
    let joined: Vec<Joined> = joining.buffer_unordered(IN_FLIGHT).try_collect().await?;
    report.amount("workers join", "/s", &[per_second(joined.len(), started.elapsed())], Goal::Shown);

    let (mut clients, mut times) = (Vec::new(), Vec::new());
    for worker in joined {
        let started = Instant::now();
        clients.push(connect(&stack, worker).await?);
        times.push(started.elapsed().as_secs_f64() * 1000.0);
    }
    let name = format!("nats-server with {} workers connected", clients.len());
    report.amount(name, "MiB", &[machine::resident(server)], Goal::AtMost(200.0));
    report.amount("one more of them connects", "ms", &times, Goal::AtMost(3.0));
    let is_same = stack.nats().process().pid() == server
        && std::fs::read(stack.home().join("nats-server.conf"))? == configuration;
    if is_same { Ok(()) } else { Err("the server was configured or started anew".into()) }
}

async fn join(stack: &Stack, token: &str, worker: String) -> Result<Joined, Failure> {
    let key = KeyPair::new_user();
    let body = json!({ "worker_id": worker, "user_key": key.public_key() }).to_string();
    let answer = stack.post_raw("/v1/workers/join", token, &[], body).await.ok_or("the gateway does not answer")?;
    if answer.status.as_u16() != 200 {
        return Err(format!("{worker} may not join: {}", answer.body).into());
    }
    Ok(Joined { worker, key: Arc::new(key), token: answer.text("token").to_owned() })
}

async fn connect(stack: &Stack, Joined { worker, key, token }: Joined) -> Result<Client, Failure> {
    let sign = move |nonce: Vec<u8>| {
        let key = key.clone();
        async move { key.sign(&nonce).map_err(async_nats::AuthError::new) }
    };
    let options = ConnectOptions::with_jwt(token, sign).custom_inbox_prefix(format!("_INBOX_worker-{worker}"));
    Ok(options.connect(stack.nats_addresses()).await?)
}
