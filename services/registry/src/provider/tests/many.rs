//! A thousand containers that ask at once: each account of a registry sees one exchange.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use tokio::{sync::Barrier, task::JoinSet};

use super::*;

const CONTAINERS: usize = 1000;

/// Who asks: a workspace, on a registry, with an access key.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Account {
    workspace: String,
    registry: String,
    access_key_id: String,
}

impl Account {
    fn provider(&self, tokens: &TokenCache) -> Provider {
        let keys = AwsKeys { access_key_id: self.access_key_id.clone(), ..keys() };
        let plan = CustomPlan { registry: host(&self.registry), credentials: Credentials::Aws(keys) };
        Provider::new(plan, &self.workspace.parse().unwrap(), tokens)
    }
}

/// Has a thousand containers ask at once, in turn for each account, and lets ECR answer when each account has asked.
/// Yields the passwords that each account was given.
async fn ask(fake: &FakeEcr, tokens: &TokenCache, accounts: &[Account]) -> BTreeMap<Account, BTreeSet<String>> {
    let start = Arc::new(Barrier::new(CONTAINERS));
    let mut containers = JoinSet::new();
    fake.hold();
    for account in accounts.iter().cycle().take(CONTAINERS).cloned() {
        let (start, tokens) = (start.clone(), tokens.clone());
        containers.spawn(async move {
            start.wait().await;
            let issued = account.provider(&tokens).login(&host(&account.registry)).await.unwrap();
            (account, password(&issued).to_owned())
        });
    }
    while fake.calls() < accounts.len() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    fake.release();
    let mut given: BTreeMap<Account, BTreeSet<String>> = BTreeMap::new();
    while let Some(answer) = containers.join_next().await {
        let (account, password) = answer.unwrap();
        given.entry(account).or_default().insert(password);
    }
    given
}

/// The access key of a call: `AWS4-HMAC-SHA256 Credential=<id>/…`.
fn signers(fake: &FakeEcr) -> Vec<String> {
    let signer = |signed: &str| signed.split("Credential=").nth(1)?.split('/').next().map(str::to_owned);
    let script = fake.script();
    let mut signers: Vec<String> =
        script.calls.iter().filter_map(|headers| signer(headers["authorization"].to_str().unwrap())).collect();
    signers.sort();
    signers
}

fn all_distinct(given: &BTreeMap<Account, BTreeSet<String>>) -> bool {
    let one_each = given.values().all(|passwords| passwords.len() == 1);
    one_each && given.values().flatten().collect::<BTreeSet<_>>().len() == given.len()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn each_account_of_fifty_registries_sees_one_exchange() {
    let fake = FakeEcr::start().await;
    let tokens = cache(fake.endpoint());
    let accounts: Vec<Account> = (10..60)
        .map(|number| Account {
            workspace: "acme".to_owned(),
            registry: format!("1234567890{number}.dkr.ecr.eu-west-1.amazonaws.com"),
            access_key_id: format!("AKIA{number}"),
        })
        .collect();
    let given = ask(&fake, &tokens, &accounts).await;
    assert_eq!(given.len(), 50);
    assert!(all_distinct(&given), "every container of an account has its one token, and no other account has it");
    let ids: Vec<String> = accounts.iter().map(|account| account.access_key_id.clone()).collect();
    assert_eq!(signers(&fake), ids, "one call each");
    // And none is needed for a thousand more.
    assert_eq!(ask(&fake, &tokens, &accounts).await, given);
    assert_eq!(fake.calls(), 50);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn workspaces_with_the_same_keys_share_nothing() {
    let fake = FakeEcr::start().await;
    let tokens = cache(fake.endpoint());
    let accounts: Vec<Account> = (0..20)
        .map(|number| Account {
            workspace: format!("ws-{number}"),
            registry: "a.b".to_owned(),
            access_key_id: "AKIASAME".to_owned(),
        })
        .collect();
    let given = ask(&fake, &tokens, &accounts).await;
    assert_eq!((given.len(), fake.calls()), (20, 20));
    assert!(all_distinct(&given), "no workspace has another's token");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_failure_is_one_exchange_for_all_who_waited() {
    let fake = FakeEcr::start().await;
    let tokens = cache(fake.endpoint());
    fake.script().failures = vec![(400, "AccessDeniedException")];
    fake.hold();
    let start = Arc::new(Barrier::new(CONTAINERS + 1));
    let mut containers = JoinSet::new();
    for _ in 0..CONTAINERS {
        let (start, provider) = (start.clone(), ecr(&tokens));
        containers.spawn(async move {
            let registry = host("a.b");
            let login = provider.login(&registry);
            tokio::pin!(login);
            assert!(futures_util::poll!(&mut login).is_pending(), "nobody has been answered yet");
            start.wait().await;
            login.await.is_err()
        });
    }
    start.wait().await;
    fake.release();
    assert_eq!(containers.join_all().await, [true; CONTAINERS]);
    assert_eq!(fake.calls(), 1);
}

#[tokio::test]
async fn a_thousand_containers_one_after_another_are_refused_by_one_call() {
    let fake = FakeEcr::start().await;
    let tokens = cache(fake.endpoint());
    fake.script().failures = vec![(400, "UnrecognizedClientException")];
    let first = ecr(&tokens).login(&host("a.b")).await.unwrap_err();
    assert!(matches!(first, ProviderError::Refused { .. }), "{first}");
    for number in 1..CONTAINERS {
        // Each is gone before the next one comes, and others come between.
        let other = AwsKeys { access_key_id: format!("AKIA{number}"), ..keys() };
        drop(provider(Credentials::Aws(other), &tokens));
        let error = ecr(&tokens).login(&host("a.b")).await.unwrap_err();
        assert!(matches!(&error, ProviderError::Kept { told, .. } if **told == first), "{error}");
    }
    assert_eq!(fake.calls(), 1);
    // New keys have a source of their own.
    let rotated = AwsKeys { secret_access_key: Secret::from("rotated"), ..keys() };
    let rotated = provider(Credentials::Aws(rotated), &tokens);
    assert_eq!(password(&rotated.login(&host("a.b")).await.unwrap()), "ecr-token-2");
}
