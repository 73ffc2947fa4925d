//! Tokens reach programs of the node as new as they must be, with their true end.

use super::*;
use serde_json::Value;
use waybill_tests::{
    canary::{Canary, Search},
    ecr::{ECR_HOST, Ecr, as_ecr},
    image::TinyImage,
    registry::{Registry, Scheme},
    require,
    wait::eventually,
};

const ACCESS_KEY_ID: &str = "AKIAEXAMPLE";

#[tokio::test]
async fn a_token_is_renewed_by_whoever_asks() {
    let registry = Registry::start(Scheme::Basic).unwrap();
    let ecr = Ecr::start(ACCESS_KEY_ID, registry.accounts()).unwrap();
    let reference = as_ecr(&registry.serve("team/app", "1", &TinyImage::new("ecr").unwrap()));
    let host = ECR_HOST;
    let plan =
        Plan::default().played_by(&[(host, &registry.host())]).setting("WAYBILL_AWS_ECR_ENDPOINT", ecr.endpoint());
    let node = require!(Node::start(plan).await);
    let secret = Canary::new("secret access key");
    let keys = json!({
        "AWS_ACCESS_KEY_ID": ACCESS_KEY_ID, "AWS_SECRET_ACCESS_KEY": secret.value(), "AWS_REGION": "eu-west-1",
    });
    ecr.tokens_expired(Duration::from_secs(3600));
    node.attach_any("acme", "c1", &reference, keys).await;
    node.stack.wait_for_outcome("c1").await;

    let given = || {
        let said = node.docker("acme/c1", "get", host);
        assert_eq!(said.code, 0, "{}", said.stdout);
        let given: Value = serde_json::from_str(&said.stdout).unwrap();
        Login::new(given["Username"].as_str().unwrap(), given["Secret"].as_str().unwrap())
    };
    let kubelet = || {
        let request = json!({
            "kind": "CredentialProviderRequest", "apiVersion": "credentialprovider.kubelet.k8s.io/v1", "image": reference,
        });
        let said = run(node.program("waybill-credential-provider", "acme"), &request.to_string());
        serde_json::from_str::<Value>(&said.stdout).unwrap_or_else(|_| panic!("{}", said.stderr))
    };
    for _ in 0..2 {
        let before = ecr.issued().len();
        assert_eq!(given(), ecr.issued()[before], "one that is over is not given again");
    }
    assert_eq!(kubelet()["cacheDuration"], "0s");

    ecr.fail_next(400, "AccessDeniedException");
    let refused = node.docker("acme/c1", "get", host);
    assert!(refused.code == 1 && refused.stdout.starts_with("waybill: exchange_failed: ECR"), "{}", refused.stdout);
    Search::new([&secret]).assert_absent_in_bytes("standard output", refused.stdout.as_bytes());

    // ECR is left alone for a while, in which all are told the same.
    let asked = ecr.calls().len();
    ecr.tokens_last(Duration::from_secs(12 * 3600));
    let resting = || {
        let said = node.docker("acme/c1", "get", host);
        let told = said.stdout.starts_with("waybill: exchange_failed: ECR") && said.stdout.contains("not asked again");
        assert!(said.code == 0 || told, "{}", said.stdout);
        (said.code == 0).then_some(())
    };
    eventually(Duration::from_secs(30), "the end of the rest", async || resting()).await.unwrap();
    assert_eq!(ecr.calls().len(), asked + 1, "{:?}", ecr.calls());
    let token = given();
    assert_eq!((&token, Some(&token)), (&given(), ecr.issued().last()), "one that is good is given to all");
    let kept = kubelet();
    assert!(kept["cacheDuration"].as_str().unwrap().starts_with("11h58m"), "{}", kept["cacheDuration"]);
    assert_eq!(kept["auth"][host]["password"], token.password());
}
