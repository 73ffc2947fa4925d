//! `waybill archive`: what is over leaves the log, is read from the archive, and changes nothing.

use std::{fs, path::PathBuf, time::Duration};

use async_nats::{ConnectOptions, HeaderMap};
use serde_json::{Value, json};
use waybill_scheduler::projection::{Projection, Row};
use waybill_tests::{
    image::TinyImage,
    login::Login,
    moto::Moto,
    process::{Finished, Process},
    registry::{Registry, Scheme},
    require,
    stack::{Plan, Service, Stack, User},
    wait::eventually,
};

const PATIENCE: Duration = Duration::from_secs(120);
const LIMIT: Duration = Duration::from_secs(2);

/// A stack, its registry, and the folder of its archive.
struct Bench {
    stack: Stack,
    _registry: Registry,
    folder: PathBuf,
}

/// Containers that ran: c-1 to c-3 have ended, c-4 goes on; the secret got a new version meanwhile.
async fn bench() -> Result<Bench, waybill_tests::error::StartError> {
    let login = Login::new("puller", "pass");
    let registry = Registry::start(Scheme::Basic).unwrap();
    registry.accounts().allow(&login);
    let reference = registry.serve("team/app", "1", &TinyImage::new("archive").unwrap());
    let stack = Plan::default().plain_http(&[&registry.host()]).start().await?;
    let credentials = json!({ "USERNAME": login.user(), "PASSWORD": login.password() });
    assert_eq!(stack.build("acme", "img", &reference, credentials).await.status, 201);
    for container in ["c-1", "c-2", "c-3", "c-4"] {
        request(&stack, container).await;
    }
    let secret = stack.wait_for_event("ContainerCredentialsAttached", "c-1").await.text("secret_name").to_owned();
    let again = json!({ "credentials": { "USERNAME": "puller", "PASSWORD": "other" } });
    let rotated = stack.change_secret("acme", &secret, "rotate", &again).await;
    assert!(rotated.status.is_success(), "{rotated:?}");
    stack
        .wait_for("the renewal", |events| {
            events.iter().find(|event| event.name.starts_with("SecretRenewal")).map(|_| ())
        })
        .await;
    for container in ["c-1", "c-2", "c-3"] {
        end(&stack, container).await;
    }
    // The last message of the log stays: it is none of theirs.
    assert_eq!(stack.build("acme", "other", &reference, Value::Null).await.status, 200);
    let folder = stack.dir().join("archive");
    Ok(Bench { stack, _registry: registry, folder })
}

async fn request(stack: &Stack, container: &str) {
    assert!(stack.container("acme", container, "img", "w1").await.status.is_success());
    stack.wait_for_outcome(container).await;
}

async fn end(stack: &Stack, container: &str) {
    let placement = stack.wait_for_event("ContainerRequested", container).await.sequence;
    assert!(stack.end("acme", container, placement).await.status.is_success());
    stack.wait_for_event("ContainerCredentialsWithdrawn", container).await;
}

impl Bench {
    async fn archive(&self, more: &[&str]) -> Finished {
        let folder = self.folder.to_str().unwrap();
        self.stack.run(&[&["archive", "--older-than", "0s", "--to", folder, "--json"], more].concat()).await
    }

    /// Archives once the workers are done with what is over.
    async fn archive_all(&self, placements: u64) -> Value {
        let ready = eventually(PATIENCE, "the worker's acknowledgements", async || {
            let plan = document(&self.archive(&["--dry-run"]).await);
            (plan["placements"] == placements).then_some(())
        });
        ready.await.unwrap();
        document(&self.archive(&[]).await)
    }

    async fn replay(&self, with_archive: bool) -> Finished {
        let archive = ["--archive", self.folder.to_str().unwrap()];
        let arguments: &[&str] = if with_archive { &archive } else { &[] };
        self.stack.run(&[&["replay", "--verify", "--json"], arguments].concat()).await
    }

    async fn verified(&self, with_archive: bool) -> Value {
        let replay = document(&self.replay(with_archive).await);
        assert_eq!(replay["verified"]["divergences"], json!([]), "{replay}");
        replay
    }

    fn rows(&self) -> Vec<Row> {
        let file = self.stack.home().join("data/scheduler/projection.redb");
        Projection::open(&file).unwrap().rows().unwrap()
    }

    /// Stops the scheduler, and has it fold the log anew: the rows are those of before.
    async fn rebuild_and_compare(&mut self) {
        self.stack.stop(&Service::Scheduler).await;
        let live = self.rows();
        self.stack.spawn_with(&Service::Scheduler, &["--rebuild"]).unwrap();
        self.stack.until_ready(&Service::Scheduler).await.unwrap();
        self.stack.stop(&Service::Scheduler).await;
        assert_eq!(self.rows(), live);
        self.stack.spawn(&Service::Scheduler).unwrap();
        self.stack.until_ready(&Service::Scheduler).await.unwrap();
    }

    /// How many messages the server holds.
    async fn messages(&self) -> u64 {
        let operator = self.stack.user("operator").await;
        let info = operator.ask("$JS.API.STREAM.INFO.WAYBILL", HeaderMap::new(), "").await.unwrap();
        info["state"]["messages"].as_u64().unwrap()
    }

    fn segments(&self) -> Vec<PathBuf> {
        fs::read_dir(&self.folder).unwrap().map(|entry| entry.unwrap().path()).collect()
    }

    /// A user that may do everything with the log.
    async fn log_admin(&self) -> User {
        let file = self.stack.dir().join("admin.creds");
        let made = self.stack.run(&["creds", "log-admin", "--out", file.to_str().unwrap()]).await;
        assert!(made.status.success(), "{}", made.stderr);
        let options = ConnectOptions::with_credentials_file(file).await.unwrap();
        let options = options.custom_inbox_prefix("_INBOX_log-admin").request_timeout(Some(LIMIT));
        User { client: options.connect(self.stack.nats_url()).await.unwrap() }
    }
}

fn document(finished: &Finished) -> Value {
    assert!(finished.status.success(), "{}{}", finished.stdout, finished.stderr);
    serde_json::from_str(&finished.stdout).unwrap()
}

fn sequences(lines: &str) -> Vec<String> {
    let sequence = |line: &str| serde_json::from_str::<Value>(line).unwrap()["sequence"].as_str().unwrap().to_owned();
    lines.lines().map(sequence).collect()
}

#[tokio::test]
async fn what_is_over_leaves_and_is_read_from_the_archive() {
    let mut bench = require!(bench().await);
    let folder = bench.folder.to_str().unwrap().to_owned();
    let ask = ["explain", "container", "c-1", "--json"];
    let listed = ["events", "--container", "c-1", "--workspace", "acme", "--json"];
    let verdict = |finished: &Finished| serde_json::from_str::<Value>(&finished.stdout).unwrap()["verdict"].clone();
    let before = bench.stack.run(&[&ask[..], &["--workspace", "acme"]].concat()).await;
    let events_before = sequences(&bench.stack.run(&listed).await.stdout);
    let all = bench.messages().await;

    let archived = bench.archive_all(3).await;
    assert_eq!((&archived["run"], &archived["placements"]), (&json!(1), &json!(3)), "{archived}");
    let left = archived["events"].as_u64().unwrap();
    // Request, decision, provider, pull, end and withdrawal of each; the renewal is the open one's as well.
    assert_eq!(left, 18, "{archived}");
    assert_eq!(bench.segments().len(), 1);
    assert_eq!(bench.messages().await, all - left + 1, "and one event says so");

    // What is there is exact, and what is not is said.
    let replay = bench.verified(false).await;
    assert_eq!((&replay["absent"]["events"], &replay["absent"]["placements"]), (&json!(left), &json!(3)), "{replay}");
    assert_eq!(replay["absent"]["archives"], json!([folder]));
    let told = bench.stack.run(&["replay", "--verify"]).await;
    assert!(told.stdout.contains("18 events of 3 placements left the log"), "{}", told.stdout);
    let replay = bench.verified(true).await;
    assert_eq!((&replay["events"], replay.get("absent")), (&json!(all + 1), None), "{replay}");

    // The container is explained as before from both, and the log alone says where to look.
    let asked = bench.stack.run(&[&ask[..], &["--workspace", "acme", "--archive", &folder]].concat()).await;
    assert_eq!(verdict(&asked)["code"], verdict(&before)["code"], "{}", asked.stdout);
    let alone = bench.stack.run(&[&ask[..], &["--workspace", "acme"]].concat()).await;
    assert_eq!(verdict(&alone)["code"], "not_requested", "{}", alone.stdout);
    let alone: Value = serde_json::from_str(&alone.stdout).unwrap();
    let note = alone["notes"].to_string();
    assert!(note.contains("3 placements that were over were archived") && note.contains(&folder), "{note}");
    assert!(sequences(&bench.stack.run(&listed).await.stdout).is_empty());
    let events = bench.stack.run(&[&listed[..], &["--archive", &folder]].concat()).await;
    assert_eq!(sequences(&events.stdout), events_before, "{}", events.stderr);

    // Everything goes on: a rebuild, a gateway that reads the log from its start, new placements, and the next run.
    bench.rebuild_and_compare().await;
    bench.stack.stop(&Service::Gateway).await;
    bench.stack.start_all().await.unwrap();
    request(&bench.stack, "c-5").await;
    end(&bench.stack, "c-4").await;
    assert!(bench.stack.container("acme", "c-6", "img", "w1").await.status.is_success());
    bench.stack.wait_for_outcome("c-6").await;
    let again = bench.archive_all(1).await;
    assert_eq!((&again["run"], &again["placements"]), (&json!(2), &json!(1)), "{again}");
    bench.verified(false).await;
    let both = bench.verified(true).await;
    let gone = left + again["events"].as_u64().unwrap();
    assert_eq!(both["events"].as_u64().unwrap(), bench.messages().await + gone);
    assert_eq!(document(&bench.archive(&[]).await)["events"], 0, "nothing leaves twice");
    bench.rebuild_and_compare().await;
}

#[tokio::test]
async fn loss_and_damage_are_told() {
    let bench = require!(bench().await);
    bench.archive_all(3).await;
    let [segment] = bench.segments().try_into().unwrap();
    let whole = fs::read(&segment).unwrap();
    let name = segment.file_name().unwrap().to_str().unwrap().to_owned();
    let mut changed = whole.clone();
    changed[whole.len() / 2] ^= 1;
    for (bytes, says) in [(Some(&changed), "it was changed or cut short"), (None, "cannot use")] {
        match bytes {
            Some(bytes) => fs::write(&segment, bytes).unwrap(),
            None => fs::remove_file(&segment).unwrap(),
        }
        for finished in [
            bench.replay(true).await,
            bench
                .stack
                .run(&[
                    "explain",
                    "container",
                    "c-1",
                    "--workspace",
                    "acme",
                    "--archive",
                    bench.folder.to_str().unwrap(),
                ])
                .await,
        ] {
            assert_eq!(finished.status.code(), Some(2), "{}", finished.stdout);
            assert!(finished.stderr.contains(&name) && finished.stderr.contains(says), "{}", finished.stderr);
        }
    }
    fs::write(&segment, &whole).unwrap();
    bench.verified(true).await;

    // Somebody deletes a message by hand: of the placement that goes on, in the middle of the log.
    let lost = bench.stack.wait_for_event("ContainerRequested", "c-4").await.sequence;
    let admin = bench.log_admin().await;
    let deleted =
        admin.ask("$JS.API.STREAM.MSG.DELETE.WAYBILL", HeaderMap::new(), json!({ "seq": lost }).to_string()).await;
    assert_eq!(deleted.unwrap()["success"], true);
    for with_archive in [false, true] {
        let replay = bench.replay(with_archive).await;
        assert_eq!(replay.status.code(), Some(2), "{}", replay.stdout);
        let says = format!("sequence {lost} is missing");
        assert!(
            replay.stderr.contains(&says) && replay.stderr.contains("were deleted from the log"),
            "{}",
            replay.stderr
        );
    }
    let refused = bench.archive(&[]).await;
    assert_eq!(refused.status.code(), Some(2), "a log with a loss is not archived: {}", refused.stdout);
}

/// The log says what leaves before anything is deleted. Where deleting is interrupted, all of it has left for every reader.
#[tokio::test]
async fn what_is_said_to_leave_has_left() {
    let mut bench = require!(bench().await);
    let admin = bench.log_admin().await;
    let info = admin.ask("$JS.API.STREAM.INFO.WAYBILL", HeaderMap::new(), "").await.unwrap();
    let mut config = info["config"].clone();
    config["deny_delete"] = true.into();
    let changed = admin.ask("$JS.API.STREAM.UPDATE.WAYBILL", HeaderMap::new(), config.to_string()).await.unwrap();
    assert_eq!(changed["config"]["deny_delete"], true, "{changed}");
    let ready = eventually(PATIENCE, "the worker's acknowledgements", async || {
        (document(&bench.archive(&["--dry-run"]).await)["placements"] == 3).then_some(())
    });
    ready.await.unwrap();
    let messages = bench.messages().await;
    let refused = bench.archive(&[]).await;
    assert_eq!(refused.status.code(), Some(2), "{}", refused.stdout);
    let replay = bench.verified(false).await;
    assert_eq!(replay["absent"]["events"], 18, "{replay}");
    assert_eq!(bench.messages().await, messages + 1, "nothing could be deleted");
    assert_eq!(replay["events"].as_u64().unwrap(), messages + 1 - 18, "what left is not read: {replay}");
    assert_eq!(bench.verified(true).await["events"], messages + 1);
    bench.rebuild_and_compare().await;
}

/// A scheduler that was stopped for longer than events are kept has read requests whose ends it will never read.
#[tokio::test]
async fn a_scheduler_that_missed_what_left_is_rebuilt() {
    let mut bench = require!(bench().await);
    request(&bench.stack, "c-5").await;
    let file = bench.stack.home().join("data/scheduler/projection.redb");
    let kept = file.with_extension("kept");
    bench.stack.stop(&Service::Scheduler).await;
    fs::copy(&file, &kept).unwrap();
    bench.stack.start_all().await.unwrap();
    end(&bench.stack, "c-5").await;
    request(&bench.stack, "c-6").await;
    bench.archive_all(4).await;
    bench.stack.stop(&Service::Scheduler).await;
    let live = bench.rows();
    fs::rename(&kept, &file).unwrap();
    let refused = bench.stack.run(&["scheduler"]).await;
    assert_eq!(refused.status.code(), Some(1), "{}", refused.stdout);
    assert!(refused.stderr.contains("left the log") && refused.stderr.contains("--rebuild"), "{}", refused.stderr);
    bench.stack.spawn_with(&Service::Scheduler, &["--rebuild"]).unwrap();
    bench.stack.until_ready(&Service::Scheduler).await.unwrap();
    bench.stack.stop(&Service::Scheduler).await;
    assert_eq!(bench.rows(), live);
}

#[tokio::test]
async fn an_object_store_is_an_archive() {
    let moto = require!(Moto::start().await);
    let bench = require!(bench().await);
    let made = reqwest::Client::new().put(format!("{}/archive", moto.endpoint())).send().await.unwrap();
    assert!(made.status().is_success(), "{made:?}");
    let run = async |arguments: &[&str]| {
        let mut child = bench.stack.waybill();
        let endpoint = moto.endpoint();
        let settings = [
            ("AWS_ENDPOINT", endpoint.as_str()),
            ("AWS_ALLOW_HTTP", "true"),
            ("AWS_REGION", "us-east-1"),
            ("AWS_ACCESS_KEY_ID", "key"),
            ("AWS_SECRET_ACCESS_KEY", "hunter2"),
            ("WAYBILL_ARCHIVE", "s3://archive/waybill"),
        ];
        child.args(arguments).envs(settings);
        Process::run("archive", child, bench.stack.dir(), PATIENCE).await.unwrap()
    };
    let archived = eventually(PATIENCE, "the worker's acknowledgements", async || {
        let archived = document(&run(&["archive", "--older-than", "0s", "--json"]).await);
        (archived["events"] != 0).then_some(archived)
    });
    assert_eq!(archived.await.unwrap()["archive"], "s3://archive/waybill");
    let replay = document(&run(&["replay", "--verify", "--json"]).await);
    assert_eq!((&replay["verified"]["divergences"], replay.get("absent")), (&json!([]), None), "{replay}");
    let alone = bench.verified(false).await;
    assert_eq!(alone["absent"]["archives"], json!(["s3://archive/waybill"]));
}

/// Killed at many moments; whatever was done by then, nothing is lost or doubled, and the next run completes it.
#[tokio::test]
async fn a_killed_archive_loses_nothing() {
    let mut bench = require!(bench().await);
    bench.archive_all(3).await;
    let mut all = bench.verified(true).await["events"].as_u64().unwrap();
    for (round, moment) in ["segment", "record", "deletion"].into_iter().enumerate() {
        let container = format!("d-{round}");
        request(&bench.stack, &container).await;
        end(&bench.stack, &container).await;
        request(&bench.stack, &format!("e-{round}")).await;
        let ready = eventually(PATIENCE, "the worker's acknowledgements", async || {
            (document(&bench.archive(&["--dry-run"]).await)["placements"] == 1).then_some(())
        });
        ready.await.unwrap();
        all = all.max(bench.verified(true).await["events"].as_u64().unwrap());
        let (files, messages) = (bench.segments().len(), bench.messages().await);
        let mut child = bench.stack.waybill();
        child.args(["archive", "--older-than", "0s", "--to", bench.folder.to_str().unwrap()]);
        let mut process = Process::spawn("archive", child, bench.stack.dir()).unwrap();
        let reached = eventually(PATIENCE, moment, async || {
            let reached = match moment {
                "segment" => bench.segments().len() > files,
                "record" => bench.messages().await != messages,
                _ => bench.messages().await < messages,
            };
            (reached || process.exit_status().is_some()).then_some(())
        });
        reached.await.unwrap();
        process.sigkill();
        let now = bench.verified(true).await["events"].as_u64().unwrap();
        assert!((all..=all + 1).contains(&now), "{moment}: {now} of {all}");
        bench.verified(false).await;
        document(&bench.archive(&[]).await);
        all = bench.verified(true).await["events"].as_u64().unwrap();
        let (there, replay) = (bench.messages().await, bench.verified(false).await);
        assert_eq!(there + replay["absent"]["events"].as_u64().unwrap(), all, "all that left is deleted: {moment}");
    }
    bench.rebuild_and_compare().await;
}
