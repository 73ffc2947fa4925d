//! `waybill-credential-provider`, as `credentialprovider.kubelet.k8s.io/v1` has it.

use super::*;
use serde_json::Value;
use waybill_tests::require;

pub(super) const API: &str = "credentialprovider.kubelet.k8s.io/v1";

pub(super) fn request(image: &str) -> Value {
    json!({ "kind": "CredentialProviderRequest", "apiVersion": API, "image": image })
}

pub(super) fn response(duration: &str, auth: &Value) -> Value {
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
    let identity = json!({ "auths": { "i.t": { "identitytoken": "canary-identity" } } });
    node.attach_any("umbrella", "c2", "i.t/one:1", identity).await;

    let auth = |key: &str, user: &str| json!({ key: { "username": user, "password": format!("pw-{user}") } });
    let nothing = response("0s", &json!({}));
    let table = [
        ("acme", "a.b:5000/one", response("1m0s", &auth("a.b:5000", "ada"))),
        (
            "acme",
            "a.b:5000/two@sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
            response("1m0s", &auth("a.b:5000", "bob")),
        ),
        ("acme", "docker.io/team/app:1", response("1m0s", &auth("docker.io", "hub"))),
        ("acme", "registry-1.docker.io/team/app", response("1m0s", &auth("registry-1.docker.io", "hub"))),
        ("acme", "A.B:5000/one", response("1m0s", &auth("A.B:5000", "ada"))),
        ("acme/c1", "a.b:5000/v1/app", response("1m0s", &auth("a.b:5000", "ada"))),
        ("acme", "other/app", response("1m0s", &auth("docker.io", "hub"))),
        ("acme/c1", "a.b:5000/two", response("1m0s", &auth("a.b:5000", "ada"))),
        ("umbrella", "c.d/any", response("1m0s", &auth("c.d", "eve"))),
        ("umbrella", "a.b:5000/one", nothing.clone()),
        ("acme", "c.d/one", nothing),
    ];
    for (owner, image, expected) in table {
        let said = node.kubelet(owner, &request(image).to_string());
        assert_eq!((said.code, said.stderr.as_str()), (0, ""), "{owner} {image}");
        assert_eq!(serde_json::from_str::<Value>(&said.stdout).unwrap(), expected, "{owner} {image}");
    }

    // Whoever has a token never speaks for all, also where the access file of all is named.
    let mut with_token = request("c.d/one:1");
    with_token["serviceAccountToken"] = json!("canary-token");
    with_token["serviceAccountAnnotations"] = json!({ "a": "b" });
    let said = node.kubelet("umbrella", &with_token.to_string());
    let words = "waybill-credential-provider: token_refused: this worker knows no pods";
    assert!(said.code == 1 && said.stdout.is_empty() && said.stderr.starts_with(words), "{}", said.stderr);

    let changed = |key: &str, value: &str| {
        let mut request = request("a.b:5000/one");
        request[key] = json!(value);
        request.to_string()
    };
    let refused = [
        ("acme", request("a.b:5000/three").to_string(), "ambiguous"),
        ("umbrella", request("i.t/one").to_string(), "not_expressible: the login for i.t is an identity token"),
        ("acme/nobody", request("a.b:5000/one").to_string(), "no_access_file"),
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
        let codes = ["ambiguous: ", "not_expressible: ", "no_access_file: ", "bad_request: "];
        let typed = codes.iter().any(|code| said.stderr.starts_with(&format!("waybill-credential-provider: {code}")));
        assert!(typed && !said.stderr.contains("canary"), "{owner} {request}: {}", said.stderr);
    }
}
