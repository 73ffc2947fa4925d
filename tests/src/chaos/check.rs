//! The end of a campaign: what was acknowledged is there, nothing was said twice, no node holds what was withdrawn, and the
//! log leads to what was decided.

use std::collections::{BTreeMap, BTreeSet};

use super::{RECOVERY, WORKSPACE, World, client::Client};
use crate::{
    find,
    process::{Process, command},
    stack::{Recorded, Service, Stack},
    wait::eventually,
};

const DECISIONS: [&str; 2] = ["ContainerCredentialsAttached", "ContainerCredentialsSkipped"];
const OUTCOMES: [&str; 4] =
    ["CredentialProviderAttached", "CredentialProviderFailed", "ImagePullSucceeded", "ImagePullFailed"];

/// Compares, and adds what is not as it should be to the report.
pub(super) async fn check(world: &mut World, client: Client) {
    let events = settle(world, &client).await;
    world.report.events = events.len();
    world.report.acknowledged = client.acknowledged.len();
    world.report.waits = client.waits.clone();
    let found = compare_answers(&events, &client).into_iter().chain(find_repetitions(&events, &client));
    found.chain(client.refusals.iter().cloned()).for_each(|anomaly| world.report.anomaly(anomaly));
    check_nodes(world, &client).await;
    let verified = world.stack.run_within(RECOVERY, &["replay", "--verify"]).await;
    if !verified.status.success() {
        world.report.anomaly(format!("replay --verify: {}{}", verified.stdout, verified.stderr));
    }
    compare_rebuild(world).await;
}

/// Waits until each acknowledged request is decided and nothing more is written, and returns the log.
async fn settle(world: &mut World, client: &Client) -> Vec<Recorded> {
    let stack = &world.stack;
    let mut before = 0;
    let mut last = Vec::new();
    let mut undecided: Vec<u64> = Vec::new();
    let settled = eventually(RECOVERY, "a decision for each request, and then rest", async || {
        let finished = stack.run_within(RECOVERY, &["events", "--json"]).await;
        if !finished.status.success() {
            return None;
        }
        last = finished.stdout.lines().map(Recorded::parse).collect();
        let is_decision = |event: &&Recorded| DECISIONS.contains(&event.name.as_str());
        let decided: BTreeSet<u64> =
            last.iter().filter(is_decision).filter_map(|event| event.data["placement"].as_u64()).collect();
        let placements = client.containers.values().map(|known| known.placement);
        undecided = placements.filter(|placement| !decided.contains(placement)).collect();
        let rests = before == last.len();
        before = last.len();
        (undecided.is_empty() && rests).then_some(())
    });
    if let Err(error) = settled.await {
        world.report.anomaly(format!("{error}: {} events, undecided {undecided:?}", last.len()));
    }
    last
}

fn compare_answers(events: &[Recorded], client: &Client) -> Vec<String> {
    let by_sequence: BTreeMap<u64, &Recorded> = events.iter().map(|event| (event.sequence, event)).collect();
    let is_there = |answer: &&super::client::Acknowledged| {
        by_sequence
            .get(&answer.sequence)
            .is_some_and(|event| event.name == answer.event && event.text(answer.field.0) == answer.field.1)
    };
    client.acknowledged.iter().filter(|answer| !is_there(answer)).map(|lost| format!("lost: {lost:?}")).collect()
}

fn find_repetitions(events: &[Recorded], client: &Client) -> Vec<String> {
    let mut found = Vec::new();
    let mut said = BTreeSet::new();
    let mut requests: BTreeMap<&str, usize> = BTreeMap::new();
    for event in events {
        let placement = &event.data["placement"];
        let key = match event.name.as_str() {
            name if DECISIONS.contains(&name) => format!("decision of {placement}"),
            name if OUTCOMES.contains(&name) => format!("{name} of {placement}"),
            "ContainerCredentialsWithdrawn" => format!("withdrawal of {placement}"),
            _ => format!("event {}", event.line["id"]),
        };
        if !said.insert(key.clone()) {
            found.push(format!("said twice: {key} (sequence {})", event.sequence));
        }
        if event.name == "ContainerRequested" {
            *requests.entry(event.text("container_id")).or_default() += 1;
        }
    }
    let more = requests.iter().filter(|(name, count)| client.requests.get(**name).is_none_or(|asked| *count > asked));
    found.extend(more.map(|(name, count)| format!("{name} was requested {count} times in the log")));
    found
}

/// Asks as a program of each node: what was withdrawn is refused, what runs is given.
async fn check_nodes(world: &mut World, client: &Client) {
    let mut anomalies = Vec::new();
    for (name, known) in &client.containers {
        let (stack, registry) = (&world.stack, world.registry.host());
        let expected = !known.withdrawn;
        let what = format!("{name} on {}: {}", known.worker, if expected { "given" } else { "refused" });
        let asked = eventually(std::time::Duration::from_secs(30), &what, async || {
            (is_given(stack, known.worker, name, &registry).await == expected).then_some(())
        });
        if let Err(error) = asked.await {
            anomalies.push(error.to_string());
        }
    }
    anomalies.into_iter().for_each(|anomaly| world.report.anomaly(anomaly));
}

async fn is_given(stack: &Stack, worker: &str, container: &str, registry: &str) -> bool {
    let node = stack.home().join("nodes").join(worker);
    let access = node.join(WORKSPACE).join(container).join("access");
    if !access.exists() {
        return false;
    }
    let mut helper = command("sh");
    let program = find::workspace_binary("docker-credential-waybill").expect("a built helper");
    helper.args(["-c", "printf %s \"$1\" | exec \"$2\" get", "sh", registry]).arg(program);
    helper.env("WAYBILL_SOCKET", node.join("waybill.sock")).env("WAYBILL_ACCESS_FILE", access);
    let finished = Process::run("helper", helper, stack.dir(), std::time::Duration::from_secs(30)).await;
    finished.is_ok_and(|finished| finished.status.success())
}

/// Both schedulers have the same rows, and one that folds the log anew comes to them as well.
async fn compare_rebuild(world: &mut World) {
    let stack = &mut world.stack;
    for service in [Service::Gateway, Service::SecondGateway, Service::SecondScheduler] {
        stack.stop(&service).await;
    }
    let second = rows(stack, true).await;
    if stack.spawn_with(&Service::SecondScheduler, &["--rebuild"]).is_err()
        || stack.until_ready(&Service::SecondScheduler).await.is_err()
    {
        return world.report.anomaly("the log cannot be folded anew".to_owned());
    }
    stack.stop(&Service::SecondScheduler).await;
    stack.stop(&Service::Scheduler).await;
    let (first, rebuilt) = (rows(stack, false).await, rows(stack, true).await);
    for (name, other) in [("the other scheduler's", second), ("the rebuilt", rebuilt)] {
        if other != first {
            let differs = first.symmetric_difference(&other).take(4).cloned().collect::<Vec<_>>().join("; ");
            world.report.anomaly(format!("{name} projection differs: {differs}"));
        }
    }
}

async fn rows(stack: &Stack, second: bool) -> BTreeSet<String> {
    let mut child = stack.waybill();
    if second {
        child.env("WAYBILL_SCHEDULER_PROJECTION", stack.second_projection());
    }
    child.args(["projection", "--json"]);
    let finished = Process::run("rows", child, stack.dir(), RECOVERY).await.expect("the command ends");
    finished.stdout.lines().map(str::to_owned).collect()
}
