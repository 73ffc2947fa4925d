//! The log and the vault over a real nats-server.

// Tests fail by panicking, and say what they skip.
#![allow(clippy::expect_used, clippy::indexing_slicing, clippy::panic, clippy::print_stdout, clippy::unwrap_used)]

mod server;

use std::time::Duration;

use futures_util::StreamExt as _;
use server::NatsServer;
use tokio::time::timeout;
use waybill_domain::credentials::Secret;
use waybill_platform::{
    log::{
        Administration as _, Appended, EventLog, Expect, Follow, Identity, Inspector, Log as _, NatsConfig, RawMessage,
        ReadError, STREAM, stream_problems,
    },
    sealing::{Binding, PrivateKey, seal_once},
    testing::{Sample, check_log, check_vault},
    vault::{Created, SecretEntry, Vault as _, VaultEntry, vault_problems},
};
use waybill_schemas::{Filter, VaultKey};

/// A test that waits longer has failed.
const PATIENCE: Duration = Duration::from_secs(60);

async fn next(follow: &mut Follow) -> Result<RawMessage, ReadError> {
    timeout(PATIENCE, follow.next()).await.expect("a message in time").expect("a message or an error")
}

async fn append(log: &EventLog, sample: &Sample, request: &str) -> u64 {
    let appended = log.append(&sample.request("c", request), Expect::Last(0), None).await.unwrap();
    assert!(matches!(appended, Appended::Stored { duplicate: false, .. }), "{appended:?}");
    appended.sequence().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_log_and_the_vault_conform() {
    let Some(server) = NatsServer::start() else { return };
    let log = server.connect().await;
    assert!(log.stream_state().await.unwrap().is_none());
    let state = log.ensure_stream(1).await.unwrap();
    assert_eq!(log.ensure_stream(1).await.unwrap(), state, "it is there already");
    check_log(&log).await;
    check_log(&log.clone().gathering()).await;
    let vault = log.vault();
    vault.ensure(1).await.unwrap();
    vault.ensure(1).await.unwrap();
    check_vault(&vault).await;
}

/// What waits goes together, and what comes alone goes by itself: the log keeps the headers of batches.
#[tokio::test(flavor = "multi_thread")]
async fn appends_that_wait_share_batches() {
    let Some(server) = NatsServer::start() else { return };
    let log = server.connect().await;
    log.ensure_stream(1).await.unwrap();
    let (log, sample) = (log.gathering(), Sample::new());
    let alone = append(&log, &sample, "alone").await;
    let requests: Vec<_> = (0..300).map(|number| sample.request(&format!("c{number}"), "r")).collect();
    let appends = requests.iter().map(|new| log.append(new, Expect::Last(0), None));
    let outcomes = futures_util::future::join_all(appends).await;
    assert!(outcomes.iter().all(|outcome| matches!(outcome, Ok(Appended::Stored { duplicate: false, .. }))));
    let messages = log.read_page(&Filter::All, 1, 1000).await.unwrap().messages;
    let batch = |message: &RawMessage| message.headers.get("Nats-Batch-Id").map(|id| id.as_str().to_owned());
    let batches: Vec<Option<String>> = messages.iter().map(batch).collect();
    assert_eq!(batches.len(), 301);
    assert!(messages.iter().all(|message| message.sequence != alone || batch(message).is_none()));
    let singles = batches.iter().filter(|batch| batch.is_none()).count();
    assert!(singles < 100, "{singles} of 301 went by themselves");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_server_has_the_settings_that_were_asked_for() {
    let Some(server) = NatsServer::start() else { return };
    let log = server.connect().await;
    log.ensure_stream(1).await.unwrap();
    log.vault().ensure(1).await.unwrap();
    let inspector = Inspector::connect(&server.config()).await.unwrap();
    let config = async |stream: &str| {
        let reply = inspector.api(&format!("STREAM.INFO.{stream}"), &serde_json::Value::Null).await;
        let waybill_platform::log::Reply::Answer(answer) = reply else { panic!("{reply:?}") };
        answer["config"].clone()
    };
    assert_eq!(stream_problems(&config(STREAM).await), []);
    assert_eq!(vault_problems(&config("KV_WAYBILL_VAULT").await), []);
}

/// Kills, restarts and lost consumers do not end a reading, and nothing is read twice or left out.
#[tokio::test(flavor = "multi_thread")]
async fn a_reading_goes_on_over_a_restart() {
    let Some(mut server) = NatsServer::start() else { return };
    let log = server.connect().await;
    log.ensure_stream(1).await.unwrap();
    let sample = Sample::new();
    let mut all = log.follow(&Filter::All, 1, None);
    let mut filtered = log.follow(&sample.containers(None), 1, None);
    for round in 0..2 {
        let first = append(&log, &sample, &format!("r{round}a")).await;
        assert_eq!(next(&mut all).await.unwrap().sequence, first);
        assert_eq!(next(&mut filtered).await.unwrap().sequence, first);
        server.restart();
        let second = append(&log, &sample, &format!("r{round}b")).await;
        assert_eq!(next(&mut all).await.unwrap().sequence, second);
        assert_eq!(next(&mut filtered).await.unwrap().sequence, second);
    }
}

/// An older copy of the log, restored under a reader, has the same creation time and soon the same length.
#[tokio::test(flavor = "multi_thread")]
async fn an_older_copy_that_has_grown_is_noticed() {
    let Some(mut server) = NatsServer::start() else { return };
    let log = server.connect().await;
    let created = log.ensure_stream(1).await.unwrap().created;
    let sample = Sample::new();
    append(&log, &sample, "r1").await;
    server.stop();
    server.save_store();
    server.launch();
    let sequence = append(&log, &sample, "r2").await;
    let mut follow = log.follow(&Filter::All, 1, None);
    let mut at = created;
    for expected in 1..=sequence {
        let message = next(&mut follow).await.unwrap();
        assert_eq!(message.sequence, expected);
        at = message.at;
    }
    server.stop();
    server.restore_store();
    server.launch();
    // Another client fills the log before this reader looks: it has the same length now, and then more.
    let other = server.connect().await;
    for request in ["r3", "r4", "r5"] {
        append(&other, &sample, request).await;
    }
    let noticed = async {
        loop {
            match follow.next().await.expect("an error is told") {
                Ok(message) => assert!(message.sequence < sequence, "read from another log: {}", message.sequence),
                Err(error) => return error,
            }
        }
    };
    let error = timeout(PATIENCE, noticed).await.expect("told in time");
    // It may look before the other client is done.
    let shrunk = ReadError::Shrunk { last: sequence - 1, read: sequence };
    assert!(error == ReadError::Replaced { sequence } || error == shrunk, "{error}");

    let known = Identity { created, sequence, at };
    let mut again = log.follow(&Filter::All, sequence + 1, Some(known));
    assert_eq!(next(&mut again).await.unwrap_err(), ReadError::Replaced { sequence });
}

/// Whoever ends in order is not listed as somebody who has stopped reading.
#[tokio::test(flavor = "multi_thread")]
async fn a_reader_that_leaves_is_off_the_server() {
    let Some(server) = NatsServer::start() else { return };
    let log = server.connect().await;
    log.ensure_stream(1).await.unwrap();
    append(&log, &Sample::new(), "r1").await;
    let config = NatsConfig { name: "waybill-scheduler".to_owned(), ..server.config() };
    // A process of its own has a runtime of its own, which ends as soon as `main` does.
    let process = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let scheduler = EventLog::connect(config).await.unwrap();
            let mut follow = scheduler.follow(&Filter::All, 1, None);
            next(&mut follow).await.unwrap();
            assert!(scheduler.scheduler_reader().await.unwrap().is_some());
            drop(follow);
            scheduler.leave().await;
        });
    });
    process.join().unwrap();
    assert_eq!(log.scheduler_reader().await.unwrap(), None);
}

/// What is shredded is in none of the server's files any more.
#[tokio::test(flavor = "multi_thread")]
async fn erased_bytes_are_gone_from_the_server_s_files() {
    let Some(mut server) = NatsServer::start() else { return };
    let vault = server.connect().await.vault();
    vault.ensure(1).await.unwrap();
    let to = PrivateKey::generate().public().unwrap();
    let entry = |version| {
        let binding = Binding::Secret {
            workspace: "ws".parse().unwrap(),
            secret: "s".parse().unwrap(),
            version,
            registry: "a.b".to_owned(),
        };
        let sealed = seal_once(&to, &binding, &Secret::new(format!("canary-{}", "x".repeat(2_000)))).unwrap();
        VaultEntry::from(SecretEntry { sealed, mac: "00".repeat(32) })
    };
    let key = |version| VaultKey::parse(&format!("secret.ws.s.{version}")).unwrap();
    let entries: Vec<VaultEntry> = (1..=3).map(entry).collect();
    for (version, entry) in (1..).zip(&entries) {
        assert!(matches!(vault.create(&key(version), entry).await.unwrap(), Created::Stored(_)));
    }
    // Sealed anew, as after a change of the scheduler's key.
    let resealed = entry(2);
    vault.put(&key(2), &resealed).await.unwrap();
    assert_eq!(vault.erase(&key(1)).await.unwrap(), 1);
    let present = |entry: &VaultEntry| {
        let ciphertext = entry.sealed().unwrap().ciphertext.clone();
        // Any part would do whoever looks for it.
        let parts =
            [&ciphertext[..64], &ciphertext[ciphertext.len() / 2..][..64], &ciphertext[ciphertext.len() - 64..]];
        parts.map(|part| server.store_holds(part.as_bytes()))
    };
    assert_eq!(present(&entries[2]), [true; 3], "what stays is in the files");
    assert_eq!(present(&resealed), [true; 3]);
    assert_eq!(present(&entries[0]), [false; 3], "erased");
    assert_eq!(present(&entries[1]), [false; 3], "replaced");
    server.restart();
    let vault = server.connect().await.vault();
    assert_eq!(vault.get(&key(1)).await.unwrap(), None);
    assert_eq!(vault.get(&key(2)).await.unwrap().unwrap().entry, resealed);
    assert_eq!(vault.get(&key(3)).await.unwrap().unwrap().entry, entries[2]);
    assert!(!server.store_holds(&entries[0].sealed().unwrap().ciphertext.as_bytes()[..64]), "after a restart as well");
}
