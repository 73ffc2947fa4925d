//! A worker's consumer is lost and made anew, which delivers every decision again: each outcome is said once and each
//! pull made once.

use std::collections::BTreeSet;

use waybill_tests::{
    login::Login,
    require,
    stack::{Plan, Service},
};

use super::{
    admin::Admin,
    contract, count_pulls,
    fleet::{Fleet, verify},
    private_registry,
};

const REQUESTS: usize = 4;

#[tokio::test]
async fn a_lost_consumer_repeats_no_pull_and_no_outcome() {
    let login = Login::new("puller", "pass");
    let (registry, reference) = private_registry("lost consumer", &[&login]);
    let plan = Plan::default().plain_http(&[&registry.host()]);
    let mut fleet = require!(Fleet::start(plan, &["node-1"]).await);
    let admin = Admin::connect(&mut fleet.stack).await;
    admin.shorten_duplicate_window().await;
    fleet.build("img", &reference, &login).await;
    for number in 1..=REQUESTS {
        fleet.request("c-1", "img", "node-1").await;
        fleet
            .stack
            .wait_for("one more pull", |events| {
                let pulled = events.iter().filter(|event| event.is(contract::PULLED, "c-1")).count();
                (pulled >= number).then_some(())
            })
            .await;
    }
    admin.until_acknowledged("node-1").await;
    let events = fleet.stack.events().await;
    let (outcomes, pulls) = (contract::outcomes(&events, "c-1").len(), count_pulls(&registry));
    assert_eq!(pulls, REQUESTS, "one pull for each request");

    admin.pass_duplicate_window().await;
    fleet.stack.stop(&Service::Scheduler).await;
    admin.delete_consumers("node-1").await;
    fleet.stack.start_all().await.unwrap();
    fleet.run_container("c-marker", "img", "node-1").await;
    admin.until_acknowledged("node-1").await;

    let events = fleet.stack.events().await;
    let again = contract::outcomes(&events, "c-1");
    let ids: BTreeSet<String> = again.iter().map(|event| event.line["id"].to_string()).collect();
    assert_eq!((again.len(), ids.len()), (outcomes, outcomes), "outcomes of c-1, and their ids");
    assert_eq!(count_pulls(&registry), pulls + 1, "only the marker is pulled");
    verify(&fleet.stack).await;
}
