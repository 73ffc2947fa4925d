//! Pods that ask by their service accounts, and what is told of each question: the real helper with the kubelet's requests.

use super::{
    kubelet::{request, response},
    *,
};
use crate::explain::expect;
use serde_json::Value;
use waybill_tests::{
    canary::{Canary, Search},
    image::TinyImage,
    kubernetes::{AUDIENCE, Cluster, ISSUER},
    registry::{Registry, Scheme},
    require,
    stack::Recorded,
};

const PROVIDER: &str = "waybill-credential-provider";

/// A node whose worker takes a cluster's tokens, by these rules.
async fn start(cluster: &Cluster, rules: Value, settings: &tempfile::TempDir) -> Result<Node, StartError> {
    let write = |name: &str, content: Value| std::fs::write(settings.path().join(name), content.to_string()).unwrap();
    write("jwks.json", json!({ "keys": [cluster.jwk()] }));
    let file = json!({ "issuer": ISSUER, "audience": AUDIENCE, "keys_file": "jwks.json", "rules": rules });
    write("pods.json", file);
    let file = settings.path().join("pods.json");
    Node::start(Plan::default().setting("WAYBILL_WORKER_POD_IDENTITIES", file.to_str().unwrap())).await
}

impl Node {
    /// What the provider answers to the kubelet's request for a pod.
    fn pod(&self, token: &str, annotations: Value, image: &str) -> Said {
        let mut asked = request(image);
        asked["serviceAccountToken"] = json!(token);
        asked["serviceAccountAnnotations"] = annotations;
        let mut child = command(find::workspace_binary(PROVIDER).unwrap());
        child.env("WAYBILL_SOCKET", self.root().join("waybill.sock")).env_remove("WAYBILL_ACCESS_FILE");
        run(child, &asked.to_string())
    }

    /// What `waybill explain` says of a container.
    async fn waybill_explain(&self, workspace: &str, container: &str) -> Value {
        let arguments = ["explain", "--json", "container", container, "--workspace", workspace];
        let finished = self.stack.run(&arguments).await;
        serde_json::from_str(&finished.stdout).unwrap_or_else(|error| panic!("{error}: {}", finished.stderr))
    }

    /// The questions in the log, once there are as many.
    async fn questions(&self, most: usize) -> Vec<Recorded> {
        let is_question = |event: &&Recorded| matches!(event.name.as_str(), "ContainerLoginAsked" | "NodeLoginAsked");
        let found = |events: &[Recorded]| {
            let questions: Vec<Recorded> = events.iter().filter(is_question).cloned().collect();
            (questions.len() >= most).then_some(questions)
        };
        self.stack.wait_for("the questions", found).await
    }
}

/// Criterion 3: two service accounts of one node have different logins, a third has none, and each question is in the log.
#[tokio::test]
async fn two_service_accounts_have_different_logins_and_a_third_has_none() {
    let (cluster, settings) = (Cluster::new("k1"), tempfile::tempdir().unwrap());
    let rules = json!([
        { "namespace": "shop", "service_account": "web", "workspace": "acme", "container": "c1" },
        { "namespace": "shop", "service_account": "api", "workspace": "umbrella", "container": "{annotation:waybill.dev/c}" },
    ]);
    let node = require!(start(&cluster, rules, &settings).await);
    let passwords = [Canary::new("ada's password"), Canary::new("eve's password")];
    node.attach("acme", "c1", "a.b/team/app:1", &Login::new("ada", passwords[0].value())).await;
    node.attach("umbrella", "c2", "a.b/team/app:1", &Login::new("eve", passwords[1].value())).await;

    let tokens = ["web", "api", "third"].map(|name| cluster.token("shop", name));
    let login = |user: &str, password: &Canary| {
        response("1m0s", &json!({ "a.b": { "username": user, "password": password.value() } }))
    };
    let annotations = json!({ "waybill.dev/c": "c2" });
    let cases = [
        (&tokens[0], json!({}), login("ada", &passwords[0])),
        (&tokens[1], annotations, login("eve", &passwords[1])),
        (&tokens[2], json!({}), response("0s", &json!({}))),
    ];
    for (token, annotations, expected) in cases {
        let said = node.pod(token, annotations, "a.b/team/app");
        assert_eq!((said.code, said.stderr.as_str()), (0, ""));
        assert_eq!(serde_json::from_str::<Value>(&said.stdout).unwrap(), expected);
    }
    let expired = cluster.sign(&json!({
        "iss": ISSUER, "aud": [AUDIENCE], "exp": 1_000_000_000, "sub": "system:serviceaccount:shop:web",
    }));
    let said = node.pod(&expired, json!({}), "a.b/team/app");
    assert_eq!((said.code, said.stdout.as_str()), (1, ""));
    assert!(said.stderr.starts_with("waybill-credential-provider: token_refused: "), "{}", said.stderr);

    let questions = node.questions(4).await;
    let told = questions.iter().map(|event| {
        let asked = &event.data["asked"];
        assert!(asked["program"] == PROVIDER && asked["pid"].is_u64() && asked["image"] == "a.b/team/app", "{asked}");
        let account = asked["identity"]["service_account"].as_str().unwrap_or_default().to_owned();
        let reason = asked["reason"].as_str().unwrap_or("given").to_owned();
        (event.text("container_id").to_owned(), account, reason)
    });
    let expected =
        [("c1", "web", "given"), ("c2", "api", "given"), ("", "third", "no_rule"), ("", "", "token_refused")];
    let expected =
        expected.map(|(container, account, reason)| (container.to_owned(), account.to_owned(), reason.to_owned()));
    assert_eq!(told.collect::<Vec<_>>(), expected);
    let explained = node.waybill_explain("acme", "c1").await;
    let steps: Vec<_> =
        explained["timeline"].as_array().unwrap().iter().filter(|step| step["hop"] == "asked").collect();
    assert!(
        steps.len() == 1 && steps[0]["says"].as_str().unwrap().contains("as service account shop/web"),
        "{explained}"
    );

    // Tokens are credentials: in no log, event or span.
    let logs = node.logs_with("login given to a program of the node").await;
    let search = Search::new(passwords.iter());
    search.assert_absent_in_bytes("the logs", logs.as_bytes());
    let everything = node.stack.run(&["events", "--json"]).await.stdout;
    for text in [&logs, &everything] {
        for token in tokens.iter().chain([&expired]) {
            let signature = token.rsplit_once('.').unwrap().1;
            assert!(!text.contains(signature), "a token is told");
        }
    }
}

/// A container without credentials has an access file too, whose answer lets a public image be pulled as nobody.
#[tokio::test]
async fn a_container_without_credentials_is_told_that_there_are_none() {
    let node = require!(Node::start(Plan::default()).await);
    let requested = node.stack.container("acme", "plain", "img-unknown", "w1").await;
    assert_eq!(requested.status, 202, "{requested:?}");
    let built = node.stack.build("acme", "img-public", "a.b/public/app:1", Value::Null).await;
    assert!(built.status.is_success(), "{built:?}");
    assert_eq!(node.stack.container("acme", "public", "img-public", "w1").await.status, 202);
    for container in ["plain", "public"] {
        let owner = format!("acme/{container}");
        let there =
            eventually(Duration::from_secs(30), "the access file", async || node.access(&owner).exists().then_some(()));
        there.await.unwrap_or_else(|error| panic!("{error}\n{}", node.stack.logs()));
        let said = node.docker(&owner, "get", "a.b");
        assert_eq!(
            (said.code, said.stdout.as_str()),
            (1, "credentials not found in native keychain\n"),
            "{}",
            said.stderr
        );
        assert_eq!(node.docker(&owner, "list", "").stdout, "{}\n");
        let said = run(node.program(PROVIDER, &owner), &request("a.b/public/app").to_string());
        assert_eq!(serde_json::from_str::<Value>(&said.stdout).unwrap(), response("0s", &json!({})), "{}", said.stderr);
    }
}

/// Whoever is refused is told of, by its own name, and by the program that ran it; what is asked again within a minute is not.
#[tokio::test]
async fn a_question_is_a_fact_and_explain_tells_it() {
    let node = require!(Node::start(Plan::default()).await);
    node.attach_any("acme", "c1", "a.b/app:1", json!({ "TOKEN": "t" })).await;
    node.attach("acme", "c2", "c.d/app:1", &Login::new("bob", "pw")).await;
    for container in ["c1", "c2"] {
        node.stack.wait_for_outcome(container).await;
    }
    for _ in 0..3 {
        assert_eq!(node.docker("acme/c1", "get", "a.b").code, 1);
    }
    assert_eq!(node.docker("acme/c2", "get", "other.example.com").code, 1);
    let questions = node.questions(2).await;
    let told = questions.iter().map(|event| {
        let asked = &event.data["asked"];
        assert!(asked["program"] == "docker-credential-waybill" && asked["asked_with"] == "container_key", "{asked}");
        assert!(asked["run_by"].is_string(), "{asked}");
        (event.text("container_id"), asked["registry"].as_str().unwrap(), asked["reason"].as_str().unwrap())
    });
    let expected = [("c1", "a.b", "not_expressible"), ("c2", "other.example.com", "not_found")];
    assert_eq!(told.collect::<Vec<_>>(), expected, "the same question is told of once a minute");
    let text = node.stack.run(&["events", "--type", "ContainerLoginAsked"]).await.stdout;
    assert!(text.contains("docker-credential-waybill"), "{text}");
}

/// The worker pulled the image; the node's own program did not get the login.
#[tokio::test]
async fn what_a_program_was_refused_is_the_verdict() {
    let registry = Registry::start(Scheme::Open).unwrap();
    let reference = registry.serve("team/app", "1", &TinyImage::new("asked").unwrap());
    let node = require!(Node::start(Plan::default().plain_http(&[&registry.host()])).await);
    node.attach_any("acme", "c1", &reference, json!({ "TOKEN": "t" })).await;
    node.stack.wait_for_event("ImagePullSucceeded", "c1").await;
    assert_eq!(node.docker("acme/c1", "get", &registry.host()).code, 1);
    node.questions(1).await;
    expect(&node.stack, ["container", "c1"], (1, "asked", "asked_and_refused", "not_expressible")).await;
}

/// The worker pulled the image whatever the node's own programs do: that they never asked is told, however that came about.
#[tokio::test]
async fn what_the_node_s_programs_did_not_do_is_noted() {
    let registry = Registry::start(Scheme::Basic).unwrap();
    let login = Login::new("ada", "pw");
    registry.accounts().allow(&login);
    let (host, reference) = (registry.host(), registry.serve("team/app", "1", &TinyImage::new("noted").unwrap()));
    let node = require!(Node::start(Plan::default().plain_http(&[&host])).await);
    for container in ["unused", "unmounted", "unreached", "used"] {
        node.attach("acme", container, &reference, &login).await;
        node.stack.wait_for_event("ImagePullSucceeded", container).await;
    }
    // Of a helper that is not on PATH, or that no rule of the runtime names, nothing is ever heard.
    for (container, variable, words) in
        [("unmounted", "WAYBILL_ACCESS_FILE", "no_access_file"), ("unreached", "WAYBILL_SOCKET", "no_answer")]
    {
        let mut helper = node.program("docker-credential-waybill", &format!("acme/{container}"));
        helper.env(variable, node.root().join("nowhere")).arg("get");
        let said = run(helper, &host);
        let text = format!("{}{}", said.stdout, said.stderr);
        assert!(said.code == 1 && text.contains(words), "{text}");
    }
    assert_eq!(node.docker("acme/used", "get", &host).code, 0);
    node.questions(1).await;
    for container in ["unused", "unmounted", "unreached", "used"] {
        let answer =
            expect(&node.stack, ["container", container], (0, "pull", "pulled", "was pulled with creds-")).await;
        let is_noted = answer["notes"].to_string().contains("nobody asked: no program of the node has asked");
        assert_eq!(is_noted, container != "used", "{answer:#}");
    }
}
