//! The console in a real browser: what a person clicks who wants to know why a container has no image, and what a browser makes of
//! the pages.

mod pages;

use std::time::Duration;

use serde_json::json;
use waybill_tests::{
    browser::Browser,
    canary::{Canary, Search},
    image::TinyImage,
    login::Login,
    registry::{Registry, Scheme},
    require,
    stack::{Plan, Stack},
    wait::eventually,
};

const PATIENCE: Duration = Duration::from_secs(30);

/// A stack with one container that has its image, and one whose password is wrong.
struct Scene {
    stack: Stack,
    browser: Browser,
    registry: Registry,
    reference: String,
    good: Canary,
    wrong: Canary,
}

impl Scene {
    async fn start(stack: Stack, browser: Browser, registry: Registry) -> Self {
        let (good, wrong) = (Canary::new("good"), Canary::new("wrong"));
        registry.accounts().allow(&Login::new("puller", good.value()));
        let reference = registry.serve("team/app", "1", &TinyImage::new("shown").unwrap());
        let scene = Self { stack, browser, registry, reference, good, wrong };
        let save = |name: &'static str, canary: &Canary| {
            let body =
                json!({ "registry": scene.registry.host(), "credentials": format!("puller:{}", canary.value()) });
            (name, body)
        };
        for (name, body) in [save("team", &scene.good), save("stale", &scene.wrong)] {
            let put = scene.stack.put_secret("acme", name, &body).await;
            assert_eq!(put.status, 201, "{put:?}");
        }
        for (image, secret) in [("web", "team"), ("batch", "stale")] {
            let body = json!({
                "workspace": "acme", "image_id": image,
                "existing_image_uri": scene.reference, "existing_image_secret": secret,
            });
            let built = scene.stack.post("/v1/builds", &body).await;
            assert!(built.status.is_success(), "{built:?}");
        }
        for (container, image) in [("web-1", "web"), ("batch-1", "batch")] {
            scene.stack.container("acme", container, image, "w1").await;
            scene.stack.wait_for_outcome(container).await;
        }
        scene
    }

    fn url(&self, path: &str) -> String {
        format!("{}{path}", self.stack.gateway_url())
    }

    async fn sign_in(&self, token: &str) {
        self.browser.go(&self.url("/")).await;
        self.browser.enter("#token", token).await;
        self.browser.click("main form button").await;
    }

    async fn address(&self) -> String {
        let url = self.browser.driver().current_url().await.unwrap();
        url.as_str().trim_start_matches(&self.stack.gateway_url()).to_owned()
    }
}

/// As somebody who is called at night: sign in, see what fails and why, look at one container, put its password right.
#[tokio::test]
async fn the_cause_of_a_broken_container_is_found_and_mended_by_clicks() {
    let registry = Registry::start(Scheme::Basic).unwrap();
    let plan = Plan::default().plain_http(&[&registry.host()]);
    let browser = require!(Browser::start().await);
    let scene = Scene::start(require!(plan.start().await), browser, registry).await;
    let (browser, stack) = (&scene.browser, &scene.stack);

    scene.sign_in("wb_nobody").await;
    browser.wait_for_text("main", "That is no token of this gateway").await;
    scene.sign_in(&stack.token("acme")).await;
    browser.wait_for_text("#causes", "unauthorized").await;
    browser.wait_for_text("#causes", "1 container").await;
    browser.wait_for_text("#causes", "waybill secrets rotate stale").await;
    hold_no_token(&scene).await;

    // What happens shows without the page being loaded again.
    browser.run("window.sameDocument = true").await;
    stack.container("acme", "web-2", "web", "w1").await;
    browser.wait_for_text("#flow", "web-2").await;
    assert_eq!(browser.run("return window.sameDocument === true").await, true);

    browser.click("#causes a[href='/containers/acme/batch-1']").await;
    browser.wait_for_text(".verdict", "BROKEN").await;
    let red = browser.run(RED).await;
    assert_eq!(red, json!(["pull", "pull"]), "the hop that the verdict names is red, and no other");

    look_back(&scene).await;
    find_each_by_its_name(&scene).await;
    rotate(&scene).await;

    browser.click("form[action='/signout'] button").await;
    browser.find("#token").await;
    browser.go(&scene.url("/containers/acme/batch-1")).await;
    browser.find("#token").await;
    let (findings, _) = Search::new([&scene.good, &scene.wrong]).in_dir(stack.dir()).unwrap();
    assert!(findings.is_empty(), "{findings:?}");
    scene.browser.quit().await;
}

/// The names of the hops that are drawn in the colour of what is bad, and the hop that the verdict names.
const RED: &str = "
    const bad = getComputedStyle(document.querySelector('.verdict .word')).color;
    const red = [...document.querySelectorAll('.hops li')]
        .filter(hop => getComputedStyle(hop.querySelector('.ring')).fill === bad)
        .map(hop => hop.querySelector('.name').textContent);
    return [...red, document.querySelector('.verdict strong').textContent];";

/// Neither a script nor the page's text has the session or the token.
async fn hold_no_token(scene: &Scene) {
    let seen = scene
        .browser
        .run("return document.cookie + document.documentElement.outerHTML + JSON.stringify(localStorage)")
        .await;
    let (seen, token) = (seen.as_str().unwrap().to_owned(), scene.stack.token("acme"));
    assert!(!seen.contains(&token) && !seen.contains("waybill_session"), "a script can read the session");
}

/// As of the request, nothing was decided; compared with it, the page says what came since.
async fn look_back(scene: &Scene) {
    let browser = &scene.browser;
    let before = "const slider = document.getElementById('step'); slider.value = Number(slider.max) - 2; \
                  slider.dispatchEvent(new Event('input', { bubbles: true }));";
    browser.run(before).await;
    browser.wait_for_text("#story .notice", "As of sequence").await;
    browser.wait_for_text(".verdict", "IN FLIGHT").await;
    assert!(scene.address().await.contains("step="), "the address names the moment");
    browser.go(&scene.url("/containers/acme/batch-1")).await;
    let option = browser.run("return document.querySelector('#from option:nth-child(2)').value").await;
    browser.go(&scene.url(&format!("/containers/acme/batch-1?diff={}", option.as_str().unwrap()))).await;
    browser.wait_for_text("#story", "another verdict").await;
    browser.wait_for_text("#story .flow", "ImagePullFailed").await;
}

async fn find_each_by_its_name(scene: &Scene) {
    let browser = &scene.browser;
    let host = scene.registry.host();
    let requested = scene.stack.wait_for_event("ContainerRequested", "batch-1").await;
    let trace = requested.line["traceparent"].as_str().unwrap().split('-').nth(1).unwrap().to_owned();
    let cases = [
        ("batch-1", "/containers/acme/batch-1", "BROKEN"),
        ("stale", "/find?q=stale", "secret in acme"),
        ("unauthorized", "/containers/acme/batch-1", "unauthorized"),
        (host.as_str(), "/find?q=", "team"),
        ("w1", "/find?q=w1", "worker"),
        (trace.as_str(), "/find?q=", "requested"),
        ("no-such-thing", "/find?q=no-such-thing", "Nothing has this name."),
    ];
    for (sought, address, words) in cases {
        browser.run("document.getElementById('find').value = ''").await;
        browser.enter("#find", &format!("{sought}\u{e007}")).await;
        // The words may stand on the page before as well.
        let arrived = async || scene.address().await.starts_with(address).then_some(());
        eventually(PATIENCE, &format!("the page of {sought}"), arrived).await.unwrap();
        browser.wait_for_text("main", words).await;
    }
}

/// The page says first whom it reaches; the new password then works.
async fn rotate(scene: &Scene) {
    let (browser, stack) = (&scene.browser, &scene.stack);
    browser.go(&scene.url("/secrets/acme/team")).await;
    browser.click("a[href='/secrets/acme/team/rotate']").await;
    browser.wait_for_text("main", "2 containers on 1 worker have it.").await;
    browser.go(&scene.url("/secrets/acme/stale/rotate")).await;
    browser.enter("#credentials", &format!("puller:{}", scene.good.value())).await;
    browser.click("main form button").await;
    browser.wait_for_text("main", "version 2").await;
    let rotated = stack.wait_for("the rotation", |events| {
        events.iter().find(|event| event.name == "CredentialSecretRotated").cloned()
    });
    let rotated = rotated.await;
    assert_eq!(rotated.line["actor"], "token/acme");
    assert_eq!(rotated.data["stored"]["version"], 2);
    stack.container("acme", "batch-1", "batch", "w1").await;
    let pulled = eventually(PATIENCE, "the pull with the new password", async || {
        let events = stack.events().await;
        events.iter().any(|event| event.is("ImagePullSucceeded", "batch-1")).then_some(())
    });
    pulled.await.unwrap();
    browser.go(&scene.url("/containers/acme/batch-1")).await;
    browser.wait_for_text(".verdict", "HEALTHY").await;
}
