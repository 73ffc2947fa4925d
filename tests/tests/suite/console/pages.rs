//! Every page as a browser has it: nothing from elsewhere, small, without a finding of axe in either theme, no wider than the window.

use std::time::Duration;

use serde_json::{Value, json};
use waybill_tests::{
    browser::{Browser, Look},
    registry::{Registry, Scheme},
    require,
    stack::{Plan, Stack},
    wait::eventually,
};

use super::Scene;

const AXE: &str = include_str!("axe-4.14.1.min.js");
/// WCAG 2.2 to level AA, and what axe calls best practice.
const RUN_AXE: &str = "
    const done = arguments[arguments.length - 1];
    axe.run(document, { resultTypes: ['violations'] }).then(
        result => done(result.violations.map(one => one.id + ': ' + one.nodes.map(node => node.html).join(' | '))),
        error => done(['axe failed: ' + error]));";
/// What was loaded beside the page, and how much came over the wire.
const LOADED: &str = "
    const all = [...performance.getEntriesByType('navigation'), ...performance.getEntriesByType('resource')]
        .filter(one => !one.name.endsWith('/live'));
    return { foreign: all.map(one => new URL(one.name).origin).filter(origin => origin !== location.origin),
             bytes: all.reduce((sum, one) => sum + one.encodedBodySize, 0),
             wide: document.documentElement.scrollWidth - document.documentElement.clientWidth };";
const WIDTHS: [u32; 3] = [360, 1280, 2560];
const SHOWN: [&str; 4] = ["now", "container-broken", "container-moved", "secret-rotate"];
/// Most bytes of a page with everything that it needs.
const BUDGET: u64 = 60_000;

#[tokio::test]
async fn every_page_is_one_to_show() {
    let registry = Registry::start(Scheme::Basic).unwrap();
    let plan = Plan::default().workers(&["w1", "w2"]).plain_http(&[&registry.host()]);
    let browser = require!(Browser::start().await);
    let scene = Scene::start(require!(plan.start().await), browser, registry).await;
    // One that moved, one that nobody built, and a message that nobody can read.
    scene.stack.container("acme", "web-1", "web", "w2").await;
    scene.stack.container("acme", "orphan-1", "unknown", "w1").await;
    scene.stack.wait_for_outcome("orphan-1").await;
    let sequence = scene.stack.wait_for_event("ImagePullFailed", "batch-1").await.sequence;
    let unread = scene.publish_unreadable().await;
    check(&scene, "sign-in", "/signin").await;
    let operator = std::fs::read_to_string(scene.stack.home().join("operator.token")).unwrap();
    scene.sign_in(&operator).await;
    scene.browser.wait_for_text("#causes", "unauthorized").await;
    let event = format!("/events/{sequence}");
    for (name, path) in [
        ("now", "/"),
        ("container-broken", "/containers/acme/batch-1"),
        ("container-moved", "/containers/acme/web-1"),
        ("container-then", "/containers/acme/batch-1?step=3&diff=1"),
        ("container-unknown", "/containers/acme/nobody"),
        ("image", "/images/acme/web"),
        ("secret", "/secrets/acme/team"),
        ("secret-rotate", "/secrets/acme/team/rotate"),
        ("secret-shred", "/secrets/acme/team/shred"),
        ("containers", "/containers"),
        ("containers-none", "/containers?worker=w9"),
        ("secrets", "/secrets"),
        ("workers", "/workers"),
        ("worker", "/workers/w1"),
        ("quarantine", "/quarantine"),
        ("event", event.as_str()),
        ("event-unreadable", &format!("/events/{unread}")),
        ("find", "/find?q=web"),
        ("find-nothing", "/find?q=no-such-thing"),
        ("not-there", "/secrets/acme/nobody/rotate"),
    ] {
        check(&scene, name, path).await;
    }
    // Who holds a token of several workspaces chooses which one is shown.
    let token = token_of_both(&scene.stack).await;
    scene.browser.click(".who form[action='/signout'] button").await;
    scene.sign_in(&token).await;
    check(&scene, "secrets-of-one", "/secrets").await;
    let choose = "const all = document.getElementById('workspace'); all.value = 'beta';
        all.dispatchEvent(new Event('change', { bubbles: true })); return null;";
    assert!(!scene.browser.text().await.contains("There are no secrets"));
    scene.browser.run(choose).await;
    scene.browser.wait_for_text("main", "There are no secrets").await;
    scene.browser.quit().await;
}

/// A reader's token of two workspaces, once the gateway takes it.
async fn token_of_both(stack: &Stack) -> String {
    let create = ["token", "create", "board", "--role", "reader", "--workspace", "acme", "--workspace", "beta"];
    let made = stack.run(&create).await;
    assert!(made.status.success(), "{}", made.stderr);
    let token = made.stdout.trim().to_owned();
    let question = format!("{}/v1/now?workspace=beta", stack.gateway_url());
    let taken = eventually(Duration::from_secs(30), "the gateway to take the token", async || {
        let answer = reqwest::Client::new().get(&question).bearer_auth(&token).send().await.ok()?;
        answer.status().is_success().then_some(())
    });
    taken.await.unwrap();
    token
}

async fn check(scene: &Scene, name: &str, path: &str) {
    let browser = &scene.browser;
    browser.go(&scene.url(path)).await;
    for width in WIDTHS {
        // Each page has its pictures in both themes, and those that are shown most in every width as well.
        let themes: &[&str] = match (width, SHOWN.contains(&name)) {
            (_, true) | (1280, false) => &["light", "dark"],
            _ => &["light"],
        };
        for theme in themes {
            browser.set_look(Look { width, theme }).await;
            browser.keep_picture(&format!("{name}-{width}-{theme}")).await;
            let loaded = browser.run(LOADED).await;
            assert_eq!(loaded["foreign"], json!([]), "{name} asks another host");
            assert_eq!(loaded["wide"], 0, "{name} is wider than {width}");
            assert!(loaded["bytes"].as_u64().is_some_and(|bytes| bytes < BUDGET), "{name}: {loaded}");
        }
    }
    for theme in ["light", "dark"] {
        browser.set_look(Look { width: 1280, theme }).await;
        browser.run(AXE).await;
        let findings: Value = browser.run_async(RUN_AXE).await;
        assert_eq!(findings, json!([]), "{name} in {theme}");
    }
}

impl Scene {
    /// A message on a container's subject that is no event; returns its sequence.
    async fn publish_unreadable(&self) -> u64 {
        let user = self.stack.user("orchestrator-acme").await;
        user.publish("waybill.events.container.acme.odd-1.1", &[], b"{").await.unwrap()
    }
}
