//! A thousand containers of fifty registries on one worker: each registry's account sees one token exchange.

use std::time::Duration;

use futures_util::{StreamExt as _, stream};
use serde_json::json;
use waybill_tests::{
    ecr::Ecr,
    error::StartError,
    image::TinyImage,
    registry::{Accounts, Endpoint, Registry, Scheme, Seen},
    require,
    stack::{Plan, Recorded, Service, Stack},
    wait::eventually,
};

const REGISTRIES: usize = 50;
const CONTAINERS: usize = 1000;
const ACCESS_KEY_ID: &str = "AKIAEXAMPLE";
/// Requests under way at once.
const CLIENTS: usize = 32;
const LIMIT: Duration = Duration::from_secs(180);

/// Each registry is of another region, so that the ECR's calls say whose they are.
fn region(registry: usize) -> String {
    format!("eu-test-{registry:02}")
}

fn ecr_host(registry: usize) -> String {
    format!("123456789012.dkr.ecr.{}.amazonaws.com", region(registry))
}

async fn with_registries() -> Result<(Vec<Registry>, Ecr, Stack), StartError> {
    let accounts = Accounts::default();
    let ecr = Ecr::start(ACCESS_KEY_ID, &accounts)?;
    let image = TinyImage::new("many").map_err(StartError::setup("an image"))?;
    let registries: Vec<Registry> =
        (0..REGISTRIES).map(|_| Registry::with_accounts(Scheme::Basic, &accounts)).collect::<Result<_, _>>()?;
    let hosts: Vec<String> = registries.iter().map(Registry::host).collect();
    let hosts: Vec<&str> = hosts.iter().map(String::as_str).collect();
    let names: Vec<String> = (0..REGISTRIES).map(ecr_host).collect();
    let played: Vec<(&str, &str)> = names.iter().map(String::as_str).zip(hosts).collect();
    let plan = Plan::default()
        .played_by(&played)
        .setting("WAYBILL_AWS_ECR_ENDPOINT", ecr.endpoint())
        .setting("WAYBILL_WORKER_CONCURRENCY", "256")
        .setting("WAYBILL_LOG", "info");
    let stack = plan.start().await?;
    for (number, registry) in registries.iter().enumerate() {
        registry.serve("team/app", "1", &image);
        let reference = format!("{}/team/app:1", ecr_host(number));
        let keys = json!({ "AWS_ACCESS_KEY_ID": ACCESS_KEY_ID, "AWS_SECRET_ACCESS_KEY": "secret" });
        let saved = stack.build("acme", &format!("img-{number}"), &reference, keys).await;
        assert_eq!(saved.text("cred_type"), "aws", "{saved:?}");
    }
    Ok((registries, ecr, stack))
}

/// How often a registry has given a manifest to somebody who was logged in.
fn manifests(registry: &Registry) -> usize {
    let given = |seen: &&Seen| seen.endpoint == Endpoint::Manifest && seen.status == 200;
    registry.seen().iter().filter(given).count()
}

#[tokio::test]
async fn a_thousand_containers_of_fifty_registries_are_fifty_exchanges() {
    let (registries, ecr, mut stack) = require!(with_registries().await);
    let worker = Service::Worker("w1".to_owned());
    stack.stop(&worker).await;
    let requests = stream::iter(0..CONTAINERS).map(|number| {
        let stack = &stack;
        async move {
            let image = format!("img-{}", number % REGISTRIES);
            stack.container("acme", &format!("c-{number}"), &image, "w1").await.status.as_u16()
        }
    });
    let statuses: Vec<u16> = requests.buffer_unordered(CLIENTS).collect().await;
    assert!(statuses.iter().all(|status| *status == 202), "{statuses:?}");
    // The worker comes back to find all of them waiting, and the exchanges take longer than it needs to begin many.
    ecr.slow(Duration::from_millis(500));
    stack.start_all().await.unwrap();

    // Reading the log takes the processor from the worker, so it is read once the registries have been asked. Where one
    // was not, the log says why.
    let asked = || registries.iter().map(manifests).sum::<usize>();
    let _ = eventually(LIMIT, "a thousand manifests", async || (asked() >= CONTAINERS).then_some(())).await;
    let ended = |events: &[Recorded]| {
        let ends = ["ImagePullSucceeded", "ImagePullFailed", "CredentialProviderFailed"];
        let ended = events.iter().filter(|event| ends.contains(&event.name.as_str()));
        Some(ended.cloned().collect::<Vec<_>>()).filter(|ended| ended.len() >= CONTAINERS)
    };
    let outcomes = stack.wait_for("the outcome of every container", ended).await;
    let failed: Vec<_> = outcomes.iter().filter(|event| event.name != "ImagePullSucceeded").collect();
    assert!(failed.is_empty() && outcomes.len() == CONTAINERS, "{} of {}: {failed:?}", failed.len(), outcomes.len());
    let mut regions: Vec<String> = ecr.calls().into_iter().map(|call| call.region).collect();
    regions.sort();
    assert_eq!(regions, (0..REGISTRIES).map(region).collect::<Vec<_>>(), "one exchange for each registry");
    let refused = |registry: &Registry| registry.seen().iter().any(|seen| seen.status == 401 && seen.account.is_some());
    assert!(!registries.iter().any(refused), "every token was taken");
}
