//! Who gets which login.

use futures_util::future::BoxFuture;
use serde_json::json;
use waybill_domain::{
    credentials::{Credentials, RegistryToken},
    fold::ContainerKey,
    provider::CustomPlan,
};
use waybill_registry::provider::{CloudConfig, Provider, TokenCache};

use super::*;
use crate::{
    node::{Attachments, NodeDir, Placed, identity::tests::identities},
    testing::cluster::Cluster,
};

/// Credentials for an image and a placement; the password is `pw-` and the user's name.
pub(in crate::node) fn attachment(image: &str, user: &str, placement: u64) -> Attachment {
    let password = Secret::new(format!("pw-{user}"));
    of(image, Credentials::Basic(BasicLogin { username: user.to_owned(), password }), placement)
}

pub(in crate::node) fn placed(workspace: &str, container: &str, number: u64) -> Placed {
    let container = ContainerKey { workspace: workspace.parse().unwrap(), container_id: container.parse().unwrap() };
    Placed { container, number }
}

fn of(image: &str, credentials: Credentials, placement: u64) -> Attachment {
    let image = ImageReference::parse(image).unwrap();
    let plan = CustomPlan { registry: image.registry().clone(), credentials };
    let provider = Provider::new(plan, &"ws".parse().unwrap(), &TokenCache::new(CloudConfig::default()));
    Attachment { provider, image, expires_at: None, placement }
}

struct Node {
    _scratch: tempfile::TempDir,
    answerer: Answerer,
    attachments: Attachments,
}

impl Node {
    fn new() -> Self {
        let attachments = Attachments::default();
        Self::with(attachments.clone(), attachments)
    }

    fn with(attachments: Attachments, attached: impl Attached) -> Self {
        let scratch = tempfile::tempdir().unwrap();
        let running = Running::open(NodeDir::open(scratch.path(), None).unwrap()).unwrap();
        Self { _scratch: scratch, answerer: Answerer::new(running, Arc::new(attached)), attachments }
    }

    fn put(&self, workspace: &str, container: &str, new: Attachment) {
        let placed = placed(workspace, container, new.placement);
        self.answerer.running.admit(&placed).unwrap();
        self.attachments.put(placed, new);
    }

    /// The key of `workspace` or `workspace/container`.
    fn key(&self, owner: &str) -> Secret {
        let root = self.answerer.running.dir().root();
        Secret::new(std::fs::read_to_string(root.join(owner).join("access")).unwrap())
    }

    /// `user password` or the code.
    async fn get(&self, access: &Secret, registry: Option<&str>, image: Option<&str>) -> String {
        let (registry, image) = (registry.map(str::to_owned), image.map(str::to_owned));
        let request = Request::Get { access: access.clone(), registry, image };
        match self.answerer.answer(&request).await {
            Answer::Login(given) => format!("{} {} {}", given.registry, given.username, given.password.expose()),
            Answer::Error { error } => error.code.to_string(),
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn a_key_gives_its_own_container_s_login_for_its_own_host() {
    let node = Node::new();
    node.put("ws", "c1", attachment("a.b/app:1", "u1", 1));
    node.put("ws", "c2", attachment("a.b/app:1", "u2", 2));
    node.put("other", "c1", attachment("a.b/app:1", "u3", 3));
    node.put("ws", "hub", attachment("ubuntu", "u4", 4));
    node.put(
        "ws",
        "bearer",
        of("a.b/app:1", Credentials::Token(RegistryToken { username: None, token: Secret::from("t") }), 5),
    );
    let cases = [
        ("ws/c1", Some("a.b"), None, "a.b u1 pw-u1"),
        ("ws/c1", None, None, "a.b u1 pw-u1"),
        (
            "ws/c1",
            None,
            Some("a.b/another@sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"),
            "a.b u1 pw-u1",
        ),
        ("ws/c2", Some("A.B"), None, "a.b u2 pw-u2"),
        ("other/c1", Some("a.b"), None, "a.b u3 pw-u3"),
        ("ws/hub", Some("index.docker.io"), None, "docker.io u4 pw-u4"),
        ("ws/hub", None, Some("library/ubuntu"), "docker.io u4 pw-u4"),
        ("ws/c1", Some("c.d"), None, "not_found"),
        ("ws/c1", Some("a.b:443"), None, "not_found"),
        ("ws/c1", None, Some("ubuntu"), "not_found"),
        ("ws/c1", Some("a b"), None, "bad_request"),
        ("ws/c1", Some("a.b"), Some("a.b/c"), "bad_request"),
        ("ws/bearer", Some("a.b"), None, "not_expressible"),
    ];
    for (owner, registry, image, expected) in cases {
        assert_eq!(node.get(&node.key(owner), registry, image).await, expected, "{owner} {registry:?} {image:?}");
    }
    for unknown in ["", "x", &"A".repeat(43)] {
        assert_eq!(node.get(&Secret::from(unknown), Some("a.b"), None).await, "no_access");
    }
}

#[tokio::test]
async fn a_workspace_s_key_gives_what_is_beyond_doubt() {
    let node = Node::new();
    node.put("ws", "c1", attachment("a.b/one:1", "u1", 1));
    node.put("ws", "c2", attachment("a.b/two:1", "u2", 2));
    node.put("ws", "c3", attachment("c.d/one:1", "u3", 3));
    node.put("ws", "c4", attachment("c.d/two:1", "u3", 4));
    node.put("other", "c1", attachment("e.f/one:1", "u5", 5));
    let cases = [
        (None, Some("a.b/one:7"), "a.b u1 pw-u1"),
        (None, Some("a.b/two"), "a.b u2 pw-u2"),
        (None, Some("a.b/three"), "ambiguous"),
        (Some("a.b"), None, "ambiguous"),
        (None, Some("c.d/three"), "c.d u3 pw-u3"),
        (Some("c.d"), None, "c.d u3 pw-u3"),
        (None, Some("e.f/one:1"), "not_found"),
        (None, None, "bad_request"),
    ];
    for (registry, image, expected) in cases {
        assert_eq!(node.get(&node.key("ws"), registry, image).await, expected, "{registry:?} {image:?}");
    }
    let Answer::Logins { logins } = node.answerer.answer(&Request::List { access: node.key("ws") }).await else {
        panic!("no list");
    };
    assert_eq!(logins, BTreeMap::from([("c.d".to_owned(), "u3".to_owned())]));
}

#[tokio::test]
async fn a_newer_placement_has_a_key_of_its_own_and_the_end_leaves_nothing() {
    let node = Node::new();
    node.put("ws", "c1", attachment("a.b/app:1", "old", 5));
    let old = node.key("ws/c1");
    node.put("ws", "c1", attachment("a.b/app:1", "renewed", 5));
    assert_eq!(node.get(&old, None, None).await, "a.b renewed pw-renewed", "the key stays over a renewal");
    node.put("ws", "c1", attachment("a.b/app:1", "new", 9));
    node.put("ws", "c1", attachment("a.b/app:1", "late", 7));
    let key = node.key("ws/c1");
    assert_eq!(node.get(&key, None, None).await, "a.b new pw-new");
    assert_eq!(node.get(&old, None, None).await, "no_access", "an older placement's key opens nothing");
    node.answerer.running.remove(&placed("ws", "c1", 5)).unwrap();
    assert_eq!(node.get(&key, None, None).await, "a.b new pw-new", "another placement's end removes nothing");

    let folder = node.answerer.running.dir().root().join("ws/c1");
    std::fs::write(folder.join("auth.json"), "{}").unwrap();
    let of_workspace = node.answerer.answer(&Request::End { access: node.key("ws") }).await;
    assert!(matches!(of_workspace, Answer::Error { error } if error.code == Code::BadRequest));
    let ended = node.answerer.answer(&Request::End { access: key.clone() }).await;
    assert!(matches!(ended, Answer::Ended { ended: true }), "{ended:?}");
    assert!(!folder.exists());
    assert_eq!(node.get(&key, None, None).await, "no_access");
    assert_eq!(node.get(&node.key("ws"), None, Some("a.b/app:1")).await, "not_found");
    node.put("ws", "c1", attachment("a.b/app:1", "again", 10));
    assert_eq!(node.get(&key, None, None).await, "no_access", "the old key never opens again");
    assert_eq!(node.get(&node.key("ws/c1"), None, None).await, "a.b again pw-again");
}

/// A placement without credentials has a key, and hears that there are none.
#[tokio::test]
async fn a_placement_without_credentials_has_a_key() {
    let node = Node::new();
    node.answerer.running.admit(&placed("ws", "c1", 1)).unwrap();
    assert_eq!(node.get(&node.key("ws/c1"), None, None).await, "not_found");
    assert_eq!(node.get(&node.key("ws"), Some("a.b"), None).await, "not_found");
}

/// Credentials that are withdrawn while their login is exchanged: after they were looked at once.
struct WithdrawnMeanwhile(Attachments);

impl Attached for WithdrawnMeanwhile {
    fn attached<'a>(&'a self, placed: &'a Placed) -> BoxFuture<'a, Result<Attachment, Error>> {
        Box::pin(async move {
            let found = self.0.attached(placed).await;
            self.0.remove(placed);
            found
        })
    }

    fn ended<'a>(&'a self, placed: &'a Placed) -> BoxFuture<'a, Result<(), Error>> {
        self.0.ended(placed)
    }
}

#[tokio::test]
async fn what_is_withdrawn_during_an_exchange_is_not_handed_out() {
    for owner in ["ws/c1", "ws"] {
        let attachments = Attachments::default();
        let node = Node::with(attachments.clone(), WithdrawnMeanwhile(attachments));
        node.put("ws", "c1", attachment("a.b/app:1", "u", 5));
        assert_eq!(node.get(&node.key(owner), Some("a.b"), None).await, "not_found", "{owner}");
    }
}

/// A log that takes no ends.
struct NoEnds(Attachments);

impl Attached for NoEnds {
    fn attached<'a>(&'a self, placed: &'a Placed) -> BoxFuture<'a, Result<Attachment, Error>> {
        self.0.attached(placed)
    }

    fn ended<'a>(&'a self, _: &'a Placed) -> BoxFuture<'a, Result<(), Error>> {
        Box::pin(async { Err(Error::because(Code::Unavailable, "down")) })
    }
}

#[tokio::test]
async fn an_end_that_is_not_recorded_is_said_again() {
    let attachments = Attachments::default();
    let node = Node::with(attachments.clone(), NoEnds(attachments));
    node.put("ws", "c1", attachment("a.b/app:1", "u", 5));
    let ended = node.answerer.answer(&Request::End { access: node.key("ws/c1") }).await;
    assert!(matches!(ended, Answer::Error { error } if error.code == Code::Unavailable));
    assert_eq!(node.get(&node.key("ws/c1"), None, None).await, "a.b u pw-u", "the key is there to say it again");
}

#[tokio::test]
async fn credentials_end_when_they_say() {
    let node = Node::new();
    let now = OffsetDateTime::now_utc();
    let until = |hours: i64| Some((now + time::Duration::hours(hours)).into());
    node.put("ws", "over", Attachment { expires_at: until(-1), ..attachment("a.b/app:1", "u", 1) });
    node.put("ws", "good", Attachment { expires_at: until(1), ..attachment("c.d/app:1", "u", 2) });
    assert_eq!(node.get(&node.key("ws/over"), Some("a.b"), None).await, "expired");
    assert_eq!(node.get(&node.key("ws/over"), Some("c.d"), None).await, "not_found");
    let request = Request::Get { access: node.key("ws/good"), registry: None, image: None };
    let Answer::Login(given) = node.answerer.answer(&request).await else { panic!("no login") };
    assert_eq!(given.expires_at, until(1));
}

/// Two service accounts of one node have different logins for one registry, and a third has none.
#[tokio::test]
async fn a_pod_has_the_login_that_its_rule_names() {
    let (mut node, cluster, scratch) = (Node::new(), Cluster::new("k1"), tempfile::tempdir().unwrap());
    node.put("ws", "c1", attachment("a.b/app:1", "u1", 1));
    node.put("ws", "c2", attachment("a.b/app:1", "u2", 2));
    node.put("other", "c3", attachment("a.b/one:1", "u3", 3));
    node.put("other", "c4", attachment("a.b/two:1", "u4", 4));
    let rules = json!([
        { "namespace": "shop", "service_account": "web", "workspace": "ws", "container": "c1" },
        { "namespace": "shop", "service_account": "api", "workspace": "ws", "container": "{annotation:c}" },
        { "namespace": "other", "workspace": "{namespace}" },
    ]);
    let pod = |account: &str, annotations: &[(&str, &str)], image: &str| Request::Pod {
        token: cluster.token(account.split_once('/').unwrap().0, account.split_once('/').unwrap().1).into(),
        annotations: annotations.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect(),
        image: image.to_owned(),
    };
    let unknown = pod("shop/web", &[], "a.b/app:1");
    let Answer::Error { error } = node.answerer.answer(&unknown).await else {
        panic!("a worker without rules answers")
    };
    assert!(error.code == Code::TokenRefused && error.message.contains("WAYBILL_WORKER_POD_IDENTITIES"), "{error}");

    let identities = identities(scratch.path(), &[cluster.jwk()], &rules);
    node.answerer = node.answerer.with_identities(Some(Arc::new(identities)));
    type Annotations<'a> = &'a [(&'a str, &'a str)];
    let cases: [(&str, Annotations<'_>, &str, &str, Option<&str>); 12] = [
        ("shop/web", &[], "a.b/app", "a.b u1 pw-u1", Some("ws/c1")),
        ("shop/web", &[], "a.b/another", "a.b u1 pw-u1", Some("ws/c1")),
        ("shop/web", &[], "c.d/app", "not_found", Some("ws/c1")),
        ("shop/web", &[], "no image", "bad_request", None),
        ("shop/api", &[("c", "c2")], "a.b/app", "a.b u2 pw-u2", Some("ws/c2")),
        ("shop/api", &[("c", "c9")], "a.b/app", "not_found", Some("ws")),
        ("shop/api", &[], "a.b/app", "no_rule", None),
        ("shop/third", &[], "a.b/app", "no_rule", None),
        ("other/any", &[], "a.b/one", "a.b u3 pw-u3", Some("other/c3")),
        ("other/any", &[], "a.b/two", "a.b u4 pw-u4", Some("other/c4")),
        ("other/any", &[], "a.b/three", "ambiguous", Some("other")),
        ("other/any", &[], "c.d/app", "not_found", Some("other")),
    ];
    for (account, annotations, image, expected, about) in cases {
        let request = pod(account, annotations, image);
        let mut asked = Asked::new(Some(&request));
        let answer = match node.answerer.answer_noting(&request, &mut asked).await {
            Answer::Login(given) => format!("{} {} {}", given.registry, given.username, given.password.expose()),
            Answer::Error { error } => error.code.to_string(),
            other => panic!("{other:?}"),
        };
        let placed = asked.placed.as_ref().map(|placed| Owner::from(&placed.container));
        let noted = placed.or(asked.workspace.map(Owner::Workspace)).map(|owner| owner.to_string());
        assert_eq!((answer.as_str(), noted.as_deref()), (expected, about), "{account} {annotations:?} {image}");
        let identity = asked.asked.identity.map(|found| format!("{}/{}", found.namespace, found.service_account));
        assert_eq!(identity.as_deref(), (expected != "bad_request").then_some(account), "{account} {image}");
    }
    // Its container has ended: the pod's identity opens nothing.
    node.answerer.running.remove(&placed("ws", "c1", 1)).unwrap();
    let late = node.answerer.answer(&pod("shop/web", &[], "a.b/app")).await;
    assert!(matches!(&late, Answer::Error { error } if error.code == Code::NotFound), "{late:?}");
}
