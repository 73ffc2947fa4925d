//! A container that moved: its old node gives its login to nobody, whatever happens afterwards.

use waybill_tests::{login::Login, require, stack::Plan};

use super::{
    contract,
    fleet::{Fleet, Program, service},
    private_registry,
};

/// The programs of the container's first node: the container's own, and one with the key of the workspace.
struct OldNode([Program; 2]);

impl OldNode {
    async fn until_refused(&self, after: &str) {
        for program in &self.0 {
            program.until_refused(after).await;
        }
    }

    fn assert_refused(&self, after: &str) {
        for program in &self.0 {
            assert_eq!(program.login(), None, "the old node gives the login {after}");
        }
    }
}

#[tokio::test]
async fn the_old_node_gives_no_login_after_a_move() {
    let (first, second) = (Login::new("puller", "first"), Login::new("puller-2", "second"));
    let (registry, reference) = private_registry("moved", &[&first, &second]);
    let host = registry.host();
    let plan = Plan::default().plain_http(&[&host]);
    let mut fleet = require!(Fleet::start(plan, &["node-1", "node-2"]).await);
    fleet.build("img", &reference, &first).await;
    fleet.run_container("c-1", "img", "node-1").await;
    let old = OldNode([fleet.program("node-1", "c-1", &host).await, fleet.workspace_program("node-1", &host).await]);
    for program in &old.0 {
        program.until_given(&first).await;
    }

    fleet.request("c-1", "img", "node-2").await;
    let new = fleet.program("node-2", "c-1", &host).await;
    new.until_given(&first).await;
    old.until_refused("after the move").await;
    fleet.restart("node-1").await;
    old.assert_refused("after a restart");

    assert_eq!(contract::rotate(&fleet.stack, "img", &second).await.status, 201);
    new.until_given(&second).await;
    old.assert_refused("after a rotation");
    assert!(contract::revoke(&fleet.stack, "img").await.status.is_success());
    new.until_refused("after the revocation").await;
    old.assert_refused("after a revocation");
    fleet.restart("node-1").await;
    old.assert_refused("after a revocation and a restart");
    assert!(contract::end(&fleet.stack, "c-1").await.status.is_success());
    fleet.restart("node-1").await;
    old.assert_refused("after the container's end");
    fleet.verify().await;
}

/// The old node was off when its container moved, and comes back with the access key on its disk.
#[tokio::test]
async fn a_node_that_was_off_learns_that_its_container_moved() {
    let login = Login::new("puller", "pass");
    let (registry, reference) = private_registry("moved while off", &[&login]);
    let host = registry.host();
    let plan = Plan::default().plain_http(&[&host]);
    let mut fleet = require!(Fleet::start(plan, &["node-1", "node-2"]).await);
    fleet.build("img", &reference, &login).await;
    fleet.run_container("c-1", "img", "node-1").await;
    let old = OldNode([fleet.program("node-1", "c-1", &host).await, fleet.workspace_program("node-1", &host).await]);
    fleet.stack.sigkill(&service("node-1"));
    fleet.request("c-1", "img", "node-2").await;
    fleet.program("node-2", "c-1", &host).await.until_given(&login).await;
    fleet.stack.start_all().await.unwrap();
    old.until_refused("after the move").await;
    fleet.restart("node-1").await;
    old.assert_refused("after a second restart");
}
