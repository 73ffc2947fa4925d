//! The account of many images is one secret: one rotation, one new version and one event for each worker.

use futures_util::{StreamExt as _, stream};
use waybill_tests::{
    login::Login,
    require,
    stack::{Plan, Recorded},
};

use super::{contract, count_pulls, private_registry};

const IMAGES: usize = 500;
/// Requests under way at once.
const CLIENTS: usize = 16;
const WORKERS: [&str; 2] = ["w1", "w2"];
/// Containers on each worker; they use different images.
const CONTAINERS: usize = 5;

fn named<'e>(events: &'e [Recorded], name: &str) -> Vec<&'e Recorded> {
    events.iter().filter(|event| event.name == name).collect()
}

#[tokio::test]
async fn an_account_of_many_images_is_rotated_once() {
    let (first, second) = (Login::new("puller", "first"), Login::new("puller", "second"));
    let (registry, reference) = private_registry("one account", &[&first]);
    let plan = Plan::default().workers(&WORKERS).plain_http(&[&registry.host()]).setting("WAYBILL_LOG", "info");
    let stack = require!(plan.start().await);
    let builds = stream::iter(0..IMAGES).map(|number| {
        let image = format!("img-{number}");
        let (stack, reference, credentials) = (&stack, &reference, contract::credentials(&first));
        async move { stack.build("acme", &image, reference, credentials).await }
    });
    let answers: Vec<_> = builds.buffer_unordered(CLIENTS).collect().await;
    let secret = answers[0].text("secret_name").to_owned();
    for answer in &answers {
        let said = (answer.status.as_u16(), answer.text("secret_name"), answer.body["version"].as_u64());
        assert_eq!(said, (201, secret.as_str(), Some(1)), "{answer:?}");
    }
    let containers: Vec<String> = (0..CONTAINERS * WORKERS.len()).map(|number| format!("c-{number}")).collect();
    for (number, container) in containers.iter().enumerate() {
        let image = format!("img-{}", number * IMAGES / containers.len());
        let requested = stack.container("acme", container, &image, WORKERS[number % WORKERS.len()]).await;
        assert_eq!(requested.status, 202, "{requested:?}");
    }
    for container in &containers {
        assert_eq!(stack.wait_for_outcome(container).await.name, contract::PULLED);
    }

    registry.accounts().allow(&second);
    registry.accounts().revoke(&first);
    assert_eq!(contract::rotate(&stack, "img-0", &second).await.status, 201);
    let applied = stack.wait_for("the rotation at every worker", |events| {
        let applied = named(events, "SecretRenewalApplied").len();
        (applied >= WORKERS.len()).then(|| events.to_vec())
    });
    let events = applied.await;
    let placements: Vec<_> =
        named(&events, "SecretRenewalApplied").iter().map(|event| event.data["placements"].clone()).collect();
    assert_eq!(placements, [CONTAINERS; 2], "each worker renews all of its containers at once");

    // Any image of the account is pulled with the new password, wherever it was built.
    let pulls = count_pulls(&registry);
    for (number, worker) in WORKERS.iter().enumerate() {
        let (container, image) = (format!("c-after-{number}"), format!("img-{}", IMAGES - 1 - number));
        assert_eq!(stack.container("acme", &container, &image, worker).await.status, 202);
        assert_eq!(stack.wait_for_outcome(&container).await.name, contract::PULLED);
    }
    assert_eq!(count_pulls(&registry), pulls + WORKERS.len());
    let events = stack.events().await;
    let said = ["CredentialSecretSaved", "CredentialSecretRotated", "WorkerCredentialsRenewed", "SecretRenewalApplied"]
        .map(|name| named(&events, name).len());
    assert_eq!(said, [1, 1, WORKERS.len(), WORKERS.len()], "saved, rotated, renewed, applied");
    super::fleet::verify(&stack).await;
}
