//! An image with a long history is built, rotated and revoked as one with a short history is: nothing of it is read.

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
/// By how much an answer may differ between two images, in bytes.
const TOLERANCE: u64 = 4096;

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
    (gateway, proxy)
}

#[tokio::test]
async fn no_history_is_read_to_append() {
    let mut stack = require!(Plan::default().start().await);
    let login = Login::new("puller", "pass");
    let reference = "registry.example.com/team/app:1";
    for image in ["img-short", "img-long"] {
        let saved = stack.build(WORKSPACE, image, reference, contract::credentials(&login)).await;
        assert_eq!(saved.status, 201, "{saved:?}");
    }
    let events = stack.events().await;
    let saved = events.iter().rfind(|event| event.text("image_id") == "img-long").unwrap();
    repeat(&stack.user("gateway").await, saved, EVENTS).await;
    let (_gateway, proxy) = behind_proxy(&mut stack).await;

    let build = |image: &str| {
        let body = json!({
            "workspace": WORKSPACE, "image_id": image, "existing_image_uri": reference,
            "existing_image_creds": contract::credentials(&login),
        });
        ("/v1/builds", body)
    };
    let rotate = |image: &str| contract::rotation(image, &login);
    let changes: [(&str, &dyn Fn(&str) -> (&'static str, Value)); 3] =
        [("build", &build), ("rotation", &rotate), ("revocation", &contract::revocation)];
    let token = stack.token(WORKSPACE);
    let mut excess = Vec::new();
    for (name, request) in changes {
        let mut read = Vec::new();
        for image in ["img-short", "img-long"] {
            let (path, body) = request(image);
            let key = format!("{name}-{image}");
            let before = proxy.received();
            let answer = stack.post_raw(path, &token, &[("Idempotency-Key", &key)], body.to_string()).await;
            read.push(proxy.received() - before);
            match answer {
                Some(answer) if answer.status.is_success() => {}
                refused => excess.push(format!("{name} of {image}: {refused:?}")),
            }
        }
        if read[1] > read[0] + TOLERANCE {
            excess.push(format!("{name}: {} bytes read for a long history, {} for a short one", read[1], read[0]));
        }
    }
    assert!(excess.is_empty(), "histories are read:\n{}", excess.join("\n"));
}
