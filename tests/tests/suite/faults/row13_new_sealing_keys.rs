//! A worker that registers a new sealing key goes on serving the containers that run on its node.

use nkeys::XKey;
use waybill_tests::{login::Login, require, stack::Plan};

use super::{
    contract,
    fleet::{Fleet, service},
    private_registry,
};

#[tokio::test]
async fn a_new_sealing_key_cuts_off_no_running_container() {
    let (first, second) = (Login::new("puller", "first"), Login::new("puller-2", "second"));
    let (registry, reference) = private_registry("new key", &[&first, &second]);
    let host = registry.host();
    let mut fleet = require!(Fleet::start(Plan::default().plain_http(&[&host]), &["node-1"]).await);
    fleet.build("img", &reference, &first).await;
    fleet.run_container("c-1", "img", "node-1").await;
    let program = fleet.program("node-1", "c-1", &host).await;
    program.until_given(&first).await;

    fleet.stack.stop(&service("node-1")).await;
    std::fs::write(contract::sealing_key(&fleet.stack, "node-1"), XKey::new().seed().unwrap()).unwrap();
    fleet.stack.start_all().await.unwrap();
    program.until_given(&first).await;
    assert_eq!(contract::rotate(&fleet.stack, "img", &second).await.status, 201);
    program.until_given(&second).await;
    fleet.restart("node-1").await;
    program.until_given(&second).await;
    fleet.run_container("c-2", "img", "node-1").await;
    assert!(contract::revoke(&fleet.stack, "img").await.status.is_success());
    program.until_refused("after the revocation").await;
    fleet.verify().await;
}
