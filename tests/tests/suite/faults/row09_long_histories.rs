//! An image and a secret with a long history are built, rotated and revoked as those with a short history are: nothing of it
//! is read.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use async_nats::{HeaderMap, Request};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};
use uuid::Uuid;
use waybill_tests::{
    login::Login,
    process::Process,
    require,
    stack::{Plan, Recorded, Service, Stack, User, event_headers},
    wait::eventually,
};

use super::{
    PATIENCE,
    contract::{self, WORKSPACE},
};

const EVENTS: usize = 20_000;
/// Messages in one atomic batch; nats-server takes at most 1000.
const BATCH: usize = 500;
const REFERENCE: &str = "registry.example.com/team/app:1";
/// By how much what is read may differ between two images, in bytes: the gateway follows the log meanwhile. A history has twenty
/// times as many.
const TOLERANCE: u64 = 48 * 1024;

/// Passes bytes between a client and nats-server, and counts those that the server sends.
struct CountingProxy {
    address: SocketAddr,
    received: Arc<AtomicU64>,
}

impl CountingProxy {
    async fn start(server: String) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let received = Arc::new(AtomicU64::new(0));
        let counter = received.clone();
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let (mut from_client, mut to_client) = client.into_split();
                let (mut from_server, mut to_server) = TcpStream::connect(&server).await.unwrap().into_split();
                tokio::spawn(async move { tokio::io::copy(&mut from_client, &mut to_server).await });
                let counter = counter.clone();
                tokio::spawn(async move {
                    let mut buffer = vec![0; 65_536];
                    while let Ok(read @ 1..) = from_server.read(&mut buffer).await {
                        counter.fetch_add(u64::try_from(read).unwrap(), Ordering::SeqCst);
                        if to_client.write_all(&buffer[..read]).await.is_err() {
                            return;
                        }
                    }
                });
            }
        });
        Self { address, received }
    }

    fn received(&self) -> u64 {
        self.received.load(Ordering::SeqCst)
    }
}

/// Appends copies of an event under new ids, in atomic batches (NATS ADR-50).
async fn repeat(gateway: &User, event: &Recorded, times: usize) {
    let text = |name: &str| event.line[name].as_str().unwrap().to_owned();
    let (subject, ce_type, body) = (text("natssubject"), text("type"), event.data.to_string());
    for _ in 0..times / BATCH {
        let batch = Uuid::new_v4().to_string();
        let mut ack = Value::Null;
        for number in 1..=BATCH {
            let (id, number) = (Uuid::new_v4().to_string(), number.to_string());
            let mut headers = HeaderMap::new();
            event_headers(&id, &ce_type).into_iter().for_each(|(name, value)| headers.insert(name, value));
            headers.insert("Nats-Batch-Id", batch.as_str());
            headers.insert("Nats-Batch-Sequence", number.as_str());
            let client = &gateway.client;
            if number == BATCH.to_string() {
                headers.insert("Nats-Batch-Commit", "1");
                let request = Request::new().headers(headers).payload(body.clone().into()).timeout(Some(PATIENCE));
                let answer = client.send_request(subject.clone(), request).await.unwrap();
                ack = serde_json::from_slice(&answer.payload).unwrap();
            } else {
                client.publish_with_headers(subject.clone(), headers, body.clone().into()).await.unwrap();
            }
        }
        assert_eq!(ack["count"], BATCH, "{ack}");
    }
}

/// Starts the gateway again, with its connection to the log going through a proxy.
async fn behind_proxy(stack: &mut Stack) -> (Process, CountingProxy) {
    stack.stop(&Service::Gateway).await;
    let proxy = CountingProxy::start(stack.nats().url().replace("nats://", "")).await;
    let mut child = stack.waybill();
    child.arg("gateway").env("WAYBILL_NATS_URL", format!("nats://{}", proxy.address));
    let gateway = Process::spawn("gateway-behind-proxy", child, stack.dir()).unwrap();
    let ready = eventually(PATIENCE, "a gateway behind the proxy", async || {
        stack.readiness(&Service::Gateway).await?.status.is_success().then_some(())
    });
    ready.await.unwrap();
    // It reads the log for its pages, whoever asks for something.
    let token = stack.token(WORKSPACE);
    let read = eventually(PATIENCE, "a gateway that has read the log", async || {
        let asked = reqwest::Client::new().get(format!("{}/v1/failures", stack.gateway_url())).bearer_auth(&token);
        asked.send().await.ok()?.status().is_success().then_some(())
    });
    read.await.unwrap();
    (gateway, proxy)
}

/// An image, the account that it is pulled with, and the secret of that account.
struct Story {
    image: &'static str,
    login: Login,
    secret: String,
}

async fn build(stack: &Stack, image: &'static str, login: Login) -> Story {
    let saved = stack.build(WORKSPACE, image, REFERENCE, contract::credentials(&login)).await;
    assert_eq!(saved.status, 201, "{saved:?}");
    Story { image, login, secret: saved.text("secret_name").to_owned() }
}

impl Story {
    /// Path and body of every change that looks at what was said before.
    fn changes(&self) -> [(&'static str, (String, Value)); 4] {
        let build = json!({
            "workspace": WORKSPACE, "image_id": self.image, "existing_image_uri": REFERENCE,
            "existing_image_creds": contract::credentials(&self.login),
        });
        let newer = |password: &str| Login::new(self.login.user(), password);
        let mut with_new_credentials = build.clone();
        with_new_credentials["existing_image_creds"] = contract::credentials(&newer("built"));
        [
            ("build", ("/v1/builds".to_owned(), build)),
            ("build with new credentials", ("/v1/builds".to_owned(), with_new_credentials)),
            ("rotation", contract::rotation(&self.secret, &newer("rotated"))),
            ("revocation", contract::revocation(&self.secret)),
        ]
    }
}

#[tokio::test]
async fn no_history_is_read_to_append() {
    let mut stack = require!(Plan::default().start().await);
    let stories = [
        build(&stack, "img-short", Login::new("puller", "pass")).await,
        build(&stack, "img-long", Login::new("puller-long", "pass")).await,
    ];
    assert_ne!(stories[0].secret, stories[1].secret, "each has a secret of its own");
    let events = stack.events().await;
    let gateway = stack.user("gateway").await;
    let of_long = |event: &&Recorded| event.text("secret_name") == stories[1].secret;
    let of_long: Vec<&Recorded> = events.iter().filter(of_long).collect();
    assert_eq!(of_long.len(), 2, "what was said of the secret and of the image");
    for event in of_long {
        repeat(&gateway, event, EVENTS).await;
    }
    let (_gateway, proxy) = behind_proxy(&mut stack).await;

    let token = stack.token(WORKSPACE);
    let mut excess = Vec::new();
    for (short, long) in stories[0].changes().into_iter().zip(stories[1].changes()) {
        let mut read = Vec::new();
        for (image, (name, (path, body))) in [("img-short", &short), ("img-long", &long)] {
            let key = format!("{name}-{image}").replace(' ', "-");
            let before = proxy.received();
            let answer = stack.post_raw(path, &token, &[("Idempotency-Key", &key)], body.to_string()).await;
            read.push(proxy.received() - before);
            match answer {
                Some(answer) if answer.status.is_success() => {}
                refused => excess.push(format!("{name} of {image}: {refused:?}")),
            }
        }
        if read[1] > read[0] + TOLERANCE {
            let name = short.0;
            excess.push(format!("{name}: {} bytes read for a long history, {} for a short one", read[1], read[0]));
        }
    }
    assert!(excess.is_empty(), "histories are read:\n{}", excess.join("\n"));
}
