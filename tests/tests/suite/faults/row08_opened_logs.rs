//! Somebody who has the log's files and every key file opens no login from them.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};

use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD},
};
use memchr::memmem;
use nkeys::XKey;
use serde_json::json;
use waybill_tests::{
    canary::Canary,
    login::Login,
    process::command,
    require,
    stack::{Plan, Recorded, Service, Stack},
    wait::eventually,
};

use super::{PATIENCE, contract, private_registry};

/// How every sealed text begins.
const MAGIC: &[u8] = b"xkv1";
/// Letters of a key's text: a seed has `SX` and 56 more, a public key `X` and 55 more.
const SEED_LETTERS: usize = 58;
const PUBLIC_LETTERS: usize = 56;

/// A thief with files: keys that open, and keys of whoever may have sealed.
struct Thief {
    keys: Vec<XKey>,
    senders: Vec<XKey>,
    files: Vec<Vec<u8>>,
}

impl Thief {
    /// Takes every key below one folder and every file below the others.
    fn with(keys: &Path, folders: &[PathBuf]) -> Self {
        let files: Vec<Vec<u8>> = folders.iter().flat_map(|folder| read_below(folder)).collect();
        let words = |files: &[Vec<u8>], length| -> BTreeSet<String> {
            let runs = files.iter().flat_map(|file| runs(file, |byte| matches!(byte, b'A'..=b'Z' | b'2'..=b'7')));
            runs.filter(|run| run.len() == length).map(|run| String::from_utf8(run.to_vec()).unwrap()).collect()
        };
        let seeds = words(&read_below(keys), SEED_LETTERS);
        let keys: Vec<XKey> = seeds.iter().filter_map(|seed| XKey::from_seed(seed).ok()).collect();
        let known = words(&files, PUBLIC_LETTERS).into_iter().chain(keys.iter().map(XKey::public_key));
        let known: BTreeSet<String> = known.collect();
        let senders = known.iter().filter_map(|public| XKey::from_public_key(public).ok()).collect();
        Self { keys, senders, files }
    }

    /// Everything that some key opens.
    fn opened(&self) -> Vec<Vec<u8>> {
        let boxes: BTreeSet<Vec<u8>> = self.files.iter().flat_map(|file| sealed_texts(file)).collect();
        let open = |sealed: &Vec<u8>| {
            let pairs = self.keys.iter().flat_map(|key| self.senders.iter().map(move |sender| (key, sender)));
            pairs.filter_map(|(key, sender)| key.open(sealed, sender).ok()).next()
        };
        boxes.iter().filter_map(open).collect()
    }

    /// Names of the logins that are found.
    fn finds(&self, logins: &[&Canary]) -> Vec<String> {
        let opened = self.opened();
        let is_in = |canary: &Canary, text: &[u8]| memmem::find(text, canary.value().as_bytes()).is_some();
        let found = logins.iter().filter(|login| opened.iter().any(|text| is_in(login, text)));
        found.map(|login| login.label().to_owned()).collect()
    }
}

/// Contents of all files below a folder.
fn read_below(folder: &Path) -> Vec<Vec<u8>> {
    let entries = std::fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let paths = entries.map(|entry| entry.unwrap().path());
    paths
        .flat_map(|path| match (path.is_dir(), path.is_file()) {
            (true, _) => read_below(&path),
            // A running server replaces its files.
            (_, true) => match std::fs::read(&path) {
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => Vec::new(),
                read => vec![read.unwrap()],
            },
            _ => Vec::new(),
        })
        .collect()
}

fn runs(bytes: &[u8], wanted: impl Fn(&u8) -> bool) -> Vec<&[u8]> {
    bytes.split(|byte| !wanted(byte)).filter(|run| !run.is_empty()).collect()
}

/// Sealed texts in a file: in base64 anywhere, and as bytes to the end of a message in a block of nats-server's.
fn sealed_texts(file: &[u8]) -> Vec<Vec<u8>> {
    let encoded = runs(file, |byte| byte.is_ascii_alphanumeric() || b"+/-_".contains(byte));
    let decoded = encoded
        .into_iter()
        .filter(|run| run.len() >= 32)
        .filter_map(|run| STANDARD_NO_PAD.decode(run).or_else(|_| URL_SAFE_NO_PAD.decode(run)).ok());
    let decoded = decoded.filter(|bytes| bytes.starts_with(MAGIC));
    let plain = messages(file).filter_map(|message| Some(message[memmem::find(message, MAGIC)?..].to_vec()));
    decoded.chain(plain).collect()
}

/// The ends of a block's records, without their checksums: length (4 bytes, little endian, the highest bit says that there
/// are headers), sequence (8), time (8), length of the subject (2), subject, headers, message, checksum (8).
fn messages(mut block: &[u8]) -> impl Iterator<Item = &[u8]> {
    std::iter::from_fn(move || {
        let length = u32::from_le_bytes(block.get(..4)?.try_into().unwrap()) & 0x7fff_ffff;
        let record = block.get(..usize::try_from(length).unwrap())?;
        block = &block[record.len()..];
        record.get(22..record.len().checked_sub(8)?)
    })
}

/// A log with two versions of an image's credentials, both attached to a container.
async fn with_two_versions(stack: &Stack, reference: &str, [first, second]: [&Canary; 2]) {
    let credentials = |canary: &Canary| contract::credentials(&Login::new("puller", canary.value()));
    assert_eq!(stack.build("acme", "img", reference, credentials(first)).await.status, 201);
    stack.container("acme", "c-1", "img", "w1").await;
    stack.wait_for_outcome("c-1").await;
    let second = Login::new("puller", second.value());
    assert_eq!(contract::rotate(stack, "img", &second).await.status, 201);
    stack.container("acme", "c-2", "img", "w1").await;
    stack.wait_for_outcome("c-2").await;
}

async fn stop_all(stack: &mut Stack) {
    for service in [Service::Gateway, Service::Scheduler, Service::Worker("w1".to_owned())] {
        stack.stop(&service).await;
    }
    stack.nats().stop().await.unwrap();
}

#[tokio::test]
async fn the_log_with_every_key_gives_no_login() {
    let (first, second) = (Canary::new("first"), Canary::new("second"));
    let (registry, reference) = private_registry("stolen log", &[]);
    let mut stack = require!(Plan::default().plain_http(&[&registry.host()]).start().await);
    with_two_versions(&stack, &reference, [&first, &second]).await;
    stop_all(&mut stack).await;
    let thief = Thief::with(&stack.home().join("keys"), &[contract::log_store(&stack)]);
    // The gateway keeps none: each version is sealed with a key that is made for it.
    assert!(thief.keys.len() >= 2, "the keys of scheduler and worker are taken");
    assert_eq!(thief.finds(&[&first, &second]), [""; 0], "logins opened from the log");
}

#[tokio::test]
async fn a_shredded_login_opens_with_no_key_from_any_file() {
    let (first, second) = (Canary::new("first"), Canary::new("second"));
    let (registry, reference) = private_registry("shredded", &[]);
    let mut stack = require!(Plan::default().plain_http(&[&registry.host()]).start().await);
    with_two_versions(&stack, &reference, [&first, &second]).await;
    let thief = Thief::with(&stack.home().join("keys"), &[stack.home().to_owned()]);
    assert_eq!(thief.finds(&[&first, &second]).len(), 2, "with vault and keys both open");
    let shredded = contract::shred(&stack, "img").await;
    assert!(shredded.status.is_success(), "{shredded:?}");
    stack.container("acme", "c-after", "img", "w1").await;
    stack.wait_for_outcome("c-after").await;
    super::fleet::verify(&stack).await;
    stop_all(&mut stack).await;
    let thief = Thief::with(&stack.home().join("keys"), &[stack.home().to_owned()]);
    assert_eq!(thief.finds(&[&first, &second]), [""; 0], "logins opened after they were shredded");
}

/// The versions in a copy of the vault open with the scheduler's key of then, and nothing else that a scheduler has.
#[tokio::test]
async fn a_retired_key_closes_every_older_copy_of_the_vault() {
    let (first, second, third) = (Canary::new("first"), Canary::new("second"), Canary::new("third"));
    let (registry, reference) = private_registry("retired", &[]);
    let mut stack = require!(Plan::default().plain_http(&[&registry.host()]).start().await);
    with_two_versions(&stack, &reference, [&first, &second]).await;
    let (copy, keys) = (stack.dir().join("copy"), contract::scheduler_keys(&stack));
    copy_folder(&contract::vault_store(&stack), &copy);
    let before = Thief::with(&keys, std::slice::from_ref(&copy));
    assert_eq!(before.finds(&[&first, &second]).len(), 2, "the present key opens the copy");

    let rotated = stack.run(&["keys", "rotate"]).await;
    assert!(rotated.status.success(), "{}{}", rotated.stdout, rotated.stderr);
    let foretold = async |expected: bool| {
        let told = eventually(PATIENCE, "the forecast", async || {
            let said = stack.run(&["forecast", "--all", "--json"]).await;
            (said.stdout.contains("\"key_replaced\"") == expected).then_some(())
        });
        told.await.unwrap_or_else(|error| panic!("{expected}: {error}\n{}", stack.logs()));
    };
    foretold(true).await;
    let retired = eventually(PATIENCE, "the end of the old key", async || {
        let said = stack.run(&["keys", "retire", "--published-for", "0"]).await;
        assert!([Some(0), Some(1)].contains(&said.status.code()), "{}{}", said.stdout, said.stderr);
        let left = std::fs::read_dir(&keys).unwrap().count();
        (said.status.success() && left == 1).then_some(())
    });
    retired.await.unwrap_or_else(|error| panic!("{error}\n{}", stack.logs()));
    foretold(false).await;

    // Nobody notices: what was saved before is attached and replaced, and a worker starts anew.
    stack.sigkill(&Service::Worker("w1".to_owned()));
    stack.start_all().await.unwrap();
    let requested = stack.container("acme", "c-3", "img", "w1").await;
    assert_eq!(requested.status, 202, "{requested:?}");
    let provided = stack.wait_for_event("CredentialProviderAttached", "c-3").await;
    assert_eq!(provided.data["version"], 2, "{}", provided.line);
    let rotated = contract::rotate(&stack, "img", &Login::new("puller", third.value())).await;
    assert_eq!(rotated.status, 201, "{rotated:?}");
    stack
        .wait_for("the rotation at the worker", |events| {
            let applied = |event: &&Recorded| event.name == "SecretRenewalApplied" && event.data["version"] == 3;
            events.iter().find(applied).map(|_| ())
        })
        .await;
    super::fleet::verify(&stack).await;
    stop_all(&mut stack).await;
    assert_eq!(Thief::with(&keys, &[copy]).finds(&[&first, &second]), [""; 0], "opened with the keys of today");
    let now = Thief::with(&keys, &[contract::vault_store(&stack)]);
    assert_eq!(now.finds(&[&second, &third]).len(), 2, "the keys of today open the vault of today");
}

fn copy_folder(from: &Path, to: &Path) {
    assert!(command("cp").arg("-a").args([from, to]).status().unwrap().success());
}

/// The thief of these tests finds what is there.
#[test]
fn the_thief_opens_what_its_keys_open() {
    let (sender, recipient) = (XKey::new(), XKey::new());
    let canary = Canary::new("sealed");
    let sealed = sender.seal(canary.value().as_bytes(), &recipient).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let keys = folder.path().join("keys");
    std::fs::create_dir(&keys).unwrap();
    std::fs::write(keys.join("one.xkey"), recipient.seed().unwrap()).unwrap();
    let length = u32::try_from(22 + 3 + sealed.len() + 8).unwrap();
    let record = [&length.to_le_bytes()[..], &[0; 16], &3_u16.to_le_bytes(), b"a.b", &sealed, &[0; 8]].concat();
    let event = json!({ "sender": sender.public_key(), "text": STANDARD_NO_PAD.encode(&sealed) }).to_string();
    for (name, content) in [("block", record), ("event", event.into_bytes())] {
        let files = folder.path().join(name);
        std::fs::create_dir(&files).unwrap();
        std::fs::write(files.join("1.blk"), content).unwrap();
        std::fs::write(files.join("sender"), sender.public_key()).unwrap();
        assert_eq!(Thief::with(&keys, &[files]).finds(&[&canary]).len(), 1, "{name}");
    }
}
