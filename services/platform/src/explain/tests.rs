//! What is gathered, on a log in memory.

use time::OffsetDateTime;
use waybill_domain::{
    explain::Code,
    fold::{MemoryFacts, fold},
};
use waybill_schemas::{
    Envelope, Event, Recorded, Uuid,
    v1::{
        ContainerRequested, CredType, CredentialProviderAttached, CredentialSecretRotated, CredentialSecretSaved,
        CredentialSource, ImagePullSucceeded, ImageSecretNamed, SecretVersion, WorkerRegistered,
    },
};

use super::*;
use crate::log::{Expect, MemoryLog, NewEvent};

/// A log, and what a scheduler would publish.
struct World {
    log: MemoryLog,
    version: u64,
}

fn workspace() -> WorkspaceId {
    "ws".parse().unwrap()
}

fn worker(id: &str) -> WorkerId {
    id.parse().unwrap()
}

fn container() -> ContainerId {
    "ctr".parse().unwrap()
}

fn asked() -> Asked {
    Asked::Container(container())
}

fn secret() -> SecretName {
    "s".to_owned().try_into().unwrap()
}

impl World {
    /// A worker, a secret and an image that is pulled with it: sequences 1 to 3.
    async fn new() -> Self {
        let mut world = Self { log: MemoryLog::new(), version: 0 };
        let worker_id = worker("w1");
        let sealing_key = "XAB3NANV3M6N7AHSQP2U5FRWKKUT7EG2ZXXABV4XVXYQRJGM4S2CZGHT".parse().unwrap();
        let event = WorkerRegistered { worker_id: worker_id.clone(), instance: Uuid::new_v4(), sealing_key };
        world.append(Subject::Worker { worker_id }, event).await;
        world.rotate().await;
        world.build("ws").await;
        world
    }

    async fn append(&self, subject: Subject, event: impl Into<Event>) -> u64 {
        self.append_as(Uuid::new_v4(), subject, event).await
    }

    async fn append_as(&self, id: Uuid, subject: Subject, event: impl Into<Event>) -> u64 {
        let new = NewEvent { subject, envelope: Envelope::new(id, "/test"), event: event.into() };
        self.log.append(&new, Expect::Anything, None).await.unwrap().sequence().unwrap()
    }

    async fn rotate(&mut self) {
        self.version += 1;
        let stored = SecretVersion {
            version: self.version,
            registry: "a.b".to_owned(),
            cred_type: CredType::Basic,
            account: None,
            expires_at: None,
            credentials_length: 42,
            digest: format!("sha256:{}", "0".repeat(64)),
            note: None,
            verified: None,
        };
        let (workspace, secret_name) = (workspace(), secret());
        let event: Event = match self.version {
            1 => CredentialSecretSaved { workspace, secret_name, image_id: None, stored }.into(),
            _ => CredentialSecretRotated { workspace, secret_name, stored }.into(),
        };
        self.append(Subject::Secret { workspace: self::workspace(), secret: secret() }, event).await;
    }

    async fn build(&self, workspace: &str) {
        let workspace: WorkspaceId = workspace.parse().unwrap();
        let image_id: ImageId = "img".parse().unwrap();
        let event = ImageSecretNamed {
            workspace: workspace.clone(),
            image_id: image_id.clone(),
            image_ref: "a.b/team/app:1".to_owned(),
            registry: "a.b".to_owned(),
            secret_name: secret(),
            source: CredentialSource::FromRegistry,
            version: None,
            cred_type: None,
        };
        let build = Uuid::new_v4().simple().to_string().parse().unwrap();
        self.append(Subject::Image { workspace, image_id, build }, event).await;
    }

    async fn request(&self, workspace: &str) -> u64 {
        let workspace: WorkspaceId = workspace.parse().unwrap();
        let event = ContainerRequested {
            workspace: workspace.clone(),
            container_id: container(),
            image_id: Some("img".parse().unwrap()),
            worker_id: worker("w1"),
            build_container: false,
        };
        let request = Uuid::new_v4().simple().to_string().parse().unwrap();
        self.append(Subject::Container { workspace, container_id: container(), request }, event).await
    }

    /// Publishes what the fold has waiting, as the scheduler does.
    async fn decide(&self) -> u64 {
        let mut facts = MemoryFacts::default();
        for message in self.log.messages() {
            let Ok(value) = message.decode() else { continue };
            let folded = fold(&facts, &Recorded { sequence: message.sequence, at: message.at, value }).unwrap();
            folded.changes.into_iter().for_each(|change| facts.apply(change));
        }
        let mut last = 0;
        for pending in facts.pending.values() {
            let decision = &pending.decision;
            last = self.append_as(pending.event_id(), decision.subject(), decision.to_event()).await;
        }
        last
    }

    async fn report(&self, worker_id: &str, placement: u64, event: impl Into<Event>) {
        let (workspace, container_id) = (workspace(), container());
        let subject = Subject::ContainerOutcome { worker_id: worker(worker_id), workspace, container_id, placement };
        self.append(subject, event).await;
    }

    fn explainer(&self) -> Explainer {
        Explainer { log: Arc::new(self.log.clone()), scope: Scope::Everything, moment: Moment::Now }
    }

    async fn verdict(&self) -> Code {
        self.explainer().explain(&workspace(), &asked()).await.unwrap().verdict.code
    }
}

fn provided(worker_id: &str, placement: u64, decided_by: u64) -> CredentialProviderAttached {
    CredentialProviderAttached {
        workspace: workspace(),
        container_id: container(),
        placement,
        image_id: None,
        worker_id: worker(worker_id),
        provider_name: "creds-a.b".to_owned(),
        cred_type: None,
        registry: Some("a.b".to_owned()),
        secret_name: None,
        version: None,
        token_expires_at: None,
        decided_by,
    }
}

fn pulled(worker_id: &str, placement: u64, decided_by: u64) -> ImagePullSucceeded {
    ImagePullSucceeded {
        workspace: workspace(),
        container_id: container(),
        placement,
        image_id: None,
        worker_id: worker(worker_id),
        image_ref: "a.b/team/app:1".to_owned(),
        digest: "sha256:0".to_owned(),
        decided_by,
    }
}

#[tokio::test]
async fn a_container_is_followed_hop_by_hop() {
    let world = World::new().await;
    assert_eq!(world.verdict().await, Code::NotRequested);
    let placement = world.request("ws").await;
    assert_eq!(world.verdict().await, Code::AwaitingDecision);
    let decided = world.decide().await;
    assert_eq!(world.verdict().await, Code::AwaitingProvider);
    world.report("w1", placement, provided("w1", placement, decided)).await;
    assert_eq!(world.verdict().await, Code::AwaitingPull);
    world.report("w1", placement, pulled("w1", placement, decided)).await;
    let explained = world.explainer().explain(&workspace(), &asked()).await.unwrap();
    assert_eq!(explained.verdict.code, Code::Pulled);
    assert_eq!(explained.timeline.iter().map(|step| step.sequence).collect::<Vec<_>>(), [2, 3, 4, 5, 6, 7]);
    let past = Moment::Past { sequence: decided, at: trace::now() };
    let explainer = Explainer { moment: past, ..world.explainer() };
    let then = explainer.explain(&workspace(), &asked()).await.unwrap();
    assert_eq!(then.verdict.code, Code::AwaitingProvider);
}

/// What the decision rests on is looked up, however much was said since; others cannot crowd out the worker's outcomes.
#[tokio::test]
async fn busy_secrets_images_and_strangers_change_nothing() {
    let mut world = World::new().await;
    let placement = world.request("ws").await;
    let decided = world.decide().await;
    world.report("w1", placement, provided("w1", placement, decided)).await;
    world.report("w1", placement, pulled("w1", placement, decided)).await;
    for _ in 0..300 {
        world.rotate().await;
        world.build("ws").await;
        world.report("w2", placement, pulled("w2", placement, decided)).await;
    }
    let verdict = world.explainer().explain(&workspace(), &asked()).await.unwrap().verdict;
    assert_eq!(verdict.code, Code::AwaitingDecision, "the newest version is on its way: {verdict:?}");
    world.decide().await;
    assert_eq!(world.verdict().await, Code::AwaitingProvider);
}

#[tokio::test]
async fn an_image_and_a_secret_are_looked_up() {
    let mut world = World::new().await;
    let image: ImageId = "img".parse().unwrap();
    let explained = world.explainer().explain(&workspace(), &Asked::Image(image)).await.unwrap();
    assert_eq!((explained.verdict.code, explained.timeline.len()), (Code::Saved, 2));
    world.request("ws").await;
    world.decide().await;
    let explained = world.explainer().explain(&workspace(), &Asked::Secret(secret())).await.unwrap();
    assert_eq!(explained.verdict.code, Code::Saved);
    world.rotate().await;
    world.decide().await;
    let explained = world.explainer().explain(&workspace(), &Asked::Secret(secret())).await.unwrap();
    assert_eq!(explained.verdict.code, Code::AwaitingProvider);
    let other: SecretName = "t".to_owned().try_into().unwrap();
    let explained = world.explainer().explain(&workspace(), &Asked::Secret(other)).await.unwrap();
    assert_eq!(explained.verdict.code, Code::SecretNotFound);
}

/// Only the operator may learn that another workspace built the image.
#[tokio::test]
async fn other_workspaces_are_told_to_the_operator_only() {
    let world = World::new().await;
    world.request("acme").await;
    for (scope, code) in [(Scope::Everything, Code::OtherWorkspace), (Scope::OneWorkspace, Code::NothingBuilt)] {
        let explainer = Explainer { scope, ..world.explainer() };
        let image = explainer.explain(&"acme".parse().unwrap(), &Asked::Image("img".parse().unwrap())).await.unwrap();
        assert_eq!(image.verdict.code, code);
    }
}

#[tokio::test]
async fn what_the_operator_gave_up_is_not_told() {
    let world = World::new().await;
    let garbage = world.log.publish_raw("waybill.events.container.ws.ctr.r1", &[], b"{");
    assert_eq!(world.verdict().await, Code::Quarantined);
    let event = waybill_schemas::v1::QuarantineDiscarded { sequence: garbage, reason: None };
    world.append(Subject::Quarantine { sequence: garbage }, event).await;
    assert_eq!(world.verdict().await, Code::NotRequested);
}

/// A case file gives the same answer without the log, names or none; and none of the names is in the one without.
#[tokio::test]
async fn a_case_is_explained_again_from_its_file() {
    let mut world = World::new().await;
    let mut cases = vec![(asked(), Code::NotRequested)];
    let mut files = Vec::new();
    for step in 0..5 {
        let code = match step {
            0 => Code::NotRequested,
            1 => {
                world.request("ws").await;
                Code::AwaitingDecision
            }
            2 => {
                world.decide().await;
                Code::AwaitingProvider
            }
            3 => {
                world.report("w1", 4, provided("w1", 4, 5)).await;
                world.report("w1", 4, pulled("w1", 4, 5)).await;
                Code::Pulled
            }
            _ => {
                for _ in 0..120 {
                    world.rotate().await;
                }
                cases = vec![
                    (Asked::Image("img".parse().unwrap()), Code::Saved),
                    (Asked::Secret(secret()), Code::AwaitingDecision),
                ];
                Code::AwaitingDecision
            }
        };
        cases.push((asked(), code));
        for (asked, code) in cases.drain(..) {
            let case = world.explainer().gather(&workspace(), &asked).await.unwrap();
            let explained = case.explain();
            files.push((asked.clone(), explained.verdict.code, code));
            for redacted in [false, true] {
                let file = write_case(&case, redacted).unwrap();
                assert!(file.len() <= LARGEST_CASE, "{} bytes", file.len());
                // With what no hash, key or random id has beside it.
                let names = ["\"ws\"", ".ctr.", "\"a.b", "team/app", ".w1"];
                let named = names.iter().any(|name| file.contains(name));
                assert_eq!(named, !redacted, "{file}");
                let read = read_case(&file).unwrap();
                let (again, same) = read.explain();
                assert!(same, "{asked:?}: {:?}", again.verdict);
                assert_eq!(again.verdict.code, explained.verdict.code);
                if !redacted && step < 4 {
                    assert_eq!(again, explained);
                }
            }
        }
    }
    for (asked, found, expected) in files {
        let open = [Code::AwaitingDecision, Code::AwaitingProvider, Code::Saved];
        assert!(found == expected || open.contains(&found), "{asked:?}: {found:?}");
    }
    for (text, error) in [("{}", "no case file"), ("[", "no case file")] {
        assert!(read_case(text).unwrap_err().to_string().contains(error), "{text}");
    }
}

/// What the log told must reach as far as the reader that was given most of it.
#[test]
fn how_far_the_log_was_given_out() {
    let given = |position| {
        let (last_active, since) = (None, None);
        ReaderStatus::Present(ReaderState { behind: 0, position, acknowledged: 0, reading: true, last_active, since })
    };
    let cases = [
        (ReaderStatus::Absent, ReaderStatus::Unknown, 0),
        (given(7), ReaderStatus::Absent, 7),
        (given(7), given(9), 9),
        (given(9), given(7), 9),
    ];
    for (scheduler, worker, expected) in cases {
        let readers = Readers { scheduler, worker, log_full: None };
        assert_eq!(position_of_readers(&readers), expected, "{readers:?}");
    }
}

/// By the server's clock, from years ago as seen from here.
#[test]
fn a_reader_that_asks_or_was_given_something_lately_is_reading() {
    let at = |seconds| Timestamp::from(OffsetDateTime::from_unix_timestamp(1_000_000 + seconds).unwrap());
    let cases = [(1, None, true), (0, None, false), (0, Some(14_i64), true), (0, Some(16), false), (1, Some(16), true)];
    for (waiting, quiet_for, reading) in cases {
        let state = ConsumerState {
            filter: String::new(),
            pending: 0,
            delivered: 9,
            acknowledged: 9,
            unacknowledged: 0,
            waiting,
            last_active: quiet_for.map(|seconds| at(-seconds)),
            created: None,
            told_at: Some(at(0)),
        };
        let ReaderStatus::Present(state) = status(Some(state)) else { panic!("it is there") };
        assert_eq!(state.reading, reading, "{waiting} requests, quiet for {quiet_for:?} s");
    }
}
