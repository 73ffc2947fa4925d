//! `waybill-credential-provider`, as `credentialprovider.kubelet.k8s.io/v1` has it.

use super::*;
use serde_json::Value;
use waybill_tests::require;

const API: &str = "credentialprovider.kubelet.k8s.io/v1";

fn request(image: &str) -> Value {
    json!({ "kind": "CredentialProviderRequest", "apiVersion": API, "image": image })
}

fn response(duration: &str, auth: &Value) -> Value {
    json!({
        "kind": "CredentialProviderResponse", "apiVersion": API, "cacheKeyType": "Image", "cacheDuration": duration,
        "auth": auth,
    })
}

impl Node {
    fn kubelet(&self, owner: &str, request: &str) -> Said {
        run(self.program("waybill-credential-provider", owner), request)
    }
}

#[tokio::test]
async fn the_kubelet_gets_what_it_asks_for() {
    let node = require!(Node::start(Plan::default()).await);
    for (container, image, user) in
        [("c1", "a.b:5000/one:1", "ada"), ("c2", "a.b:5000/two:1", "bob"), ("c3", "team/app", "hub")]
    {
        node.attach("acme", container, image, &Login::new(user, format!("pw-{user}"))).await;
    }
    node.attach("umbrella", "c1", "c.d/one:1", &Login::new("eve", "pw-eve")).await;

    let auth = |key: &str, user: &str| json!({ key: { "username": user, "password": format!("pw-{user}") } });
    let nothing = response("0s", &json!({}));
    let table = [
        ("acme", "a.b:5000/one", response("1m0s", &auth("a.b:5000/one", "ada"))),
        (
            "acme",
            "a.b:5000/two@sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
            response("1m0s", &auth("a.b:5000/two", "bob")),
        ),
        ("acme", "docker.io/team/app:1", response("1m0s", &auth("docker.io/team/app", "hub"))),
        ("acme", "other/app", response("1m0s", &auth("docker.io/other/app", "hub"))),
        ("acme/c1", "a.b:5000/two", response("1m0s", &auth("a.b:5000/two", "ada"))),
        ("umbrella", "c.d/any", response("1m0s", &auth("c.d/any", "eve"))),
        ("umbrella", "a.b:5000/one", nothing.clone()),
        ("acme", "c.d/one", nothing),
    ];
    for (owner, image, expected) in table {
        let said = node.kubelet(owner, &request(image).to_string());
        assert_eq!((said.code, said.stderr.as_str()), (0, ""), "{owner} {image}");
        assert_eq!(serde_json::from_str::<Value>(&said.stdout).unwrap(), expected, "{owner} {image}");
    }

    // A token of the pod's service account has no say, and must be answered for.
    let mut with_token = request("c.d/one:1");
    with_token["serviceAccountToken"] = json!("canary-token");
    with_token["serviceAccountAnnotations"] = json!({ "a": "b" });
    let said = node.kubelet("umbrella", &with_token.to_string());
    let mut expected = response("1m0s", &auth("c.d/one", "eve"));
    expected["serviceAccountTokenCacheType"] = json!("ServiceAccount");
    assert_eq!(serde_json::from_str::<Value>(&said.stdout).unwrap(), expected, "{}", said.stderr);

    let changed = |key: &str, value: &str| {
        let mut request = request("a.b:5000/one");
        request[key] = json!(value);
        request.to_string()
    };
    let refused = [
        ("acme", request("a.b:5000/three").to_string(), "ambiguous"),
        ("acme/nobody", request("a.b:5000/one").to_string(), "access file"),
        ("acme", changed("apiVersion", "credentialprovider.kubelet.k8s.io/v1beta1"), "v1beta1"),
        ("acme", changed("kind", "CredentialProviderResponse"), "CredentialProviderRequest"),
        ("acme", changed("image", "not an image"), "image: "),
        ("acme", String::new(), "apiVersion, kind and image"),
        ("acme", "{\"image\":".to_owned(), "apiVersion, kind and image"),
    ];
    for (owner, request, words) in refused {
        let said = node.kubelet(owner, &request);
        assert_eq!((said.code, said.stdout.as_str()), (1, ""), "{owner} {request}");
        assert!(said.stderr.contains(words), "{owner} {request}: {}", said.stderr);
    }
}
