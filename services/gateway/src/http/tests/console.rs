//! The console over a log in memory: who gets in, what a browser is told to keep, and what a form may do.

use axum::{
    body::Body,
    http::{Request, header, request::Builder},
};
use serde_json::json;
use waybill_schemas::v1::TokenRole;

use super::{
    roles::{create_named_token, create_token},
    support::{Answer, Gateway, OTHER_TOKEN, TOKEN},
};

const HOST: &str = "waybill.test";

fn form(path: &str, origin: &str) -> Builder {
    let request = Request::post(path).header(header::CONTENT_TYPE, "application/x-www-form-urlencoded");
    request.header(header::HOST, HOST).header(header::ORIGIN, origin)
}

async fn sign_in(gateway: &Gateway, token: &str, origin: &str) -> Answer {
    let body = format!("token={token}&back=%2Fsecrets");
    gateway.send(form("/signin", origin).body(body.into()).unwrap()).await
}

/// The cookie of a session, as a browser sends it back.
async fn session(gateway: &Gateway, token: &str) -> String {
    let answer = sign_in(gateway, token, "http://waybill.test").await;
    assert_eq!(answer.status.as_u16(), 303, "{}", answer.text);
    answer.header("set-cookie").unwrap().split(';').next().unwrap().to_owned()
}

async fn page(gateway: &Gateway, path: &str, cookie: &str) -> Answer {
    let request = Request::get(path).header(header::COOKIE, cookie).header(header::HOST, HOST);
    gateway.send(request.body(Body::empty()).unwrap()).await
}

async fn send(gateway: &Gateway, path: &str, cookie: &str, origin: &str, body: &str) -> Answer {
    let request = form(path, origin).header(header::COOKIE, cookie);
    gateway.send(request.body(body.to_owned().into()).unwrap()).await
}

async fn filled() -> Gateway {
    let gateway = Gateway::new().await;
    gateway.build("img", "a.b/c", json!("u:p")).await;
    let request = json!({"workspace": "acme", "container_id": "ctr", "image_id": "img", "worker_id": "w"});
    gateway.post("/v1/containers", &request).await;
    gateway.catch_up().await;
    gateway
}

#[tokio::test]
async fn a_session_begins_with_a_token_and_ends_when_it_is_signed_out_of() {
    let gateway = filled().await;
    let away = page(&gateway, "/containers/acme/ctr?step=1", "").await;
    assert_eq!(
        (away.status.as_u16(), away.header("location")),
        (303, Some("/signin?back=%2Fcontainers%2Facme%2Fctr%3Fstep%3D1"))
    );
    let refused = sign_in(&gateway, "wb_nobody", "http://waybill.test").await;
    assert!(refused.status.as_u16() == 401 && refused.text.contains("no token of this gateway"), "{}", refused.text);
    assert_eq!(sign_in(&gateway, TOKEN, "http://evil.test").await.status.as_u16(), 403);

    let plain = sign_in(&gateway, TOKEN, "http://waybill.test").await;
    let cookie = plain.header("set-cookie").unwrap();
    assert!(cookie.contains("HttpOnly; SameSite=Strict") && !cookie.contains("Secure"), "{cookie}");
    assert!(!cookie.contains(TOKEN) && plain.header("location") == Some("/secrets"), "{plain:?}");
    let secure = sign_in(&gateway, TOKEN, "https://waybill.test").await;
    assert!(secure.header("set-cookie").unwrap().ends_with("; Secure"));

    let cookie = session(&gateway, TOKEN).await;
    let shown = page(&gateway, "/containers/acme/ctr", &cookie).await;
    assert_eq!(shown.status.as_u16(), 200, "{}", shown.text);
    for part in ["IN FLIGHT", "awaiting_decision", "href=\"/images/acme/img\"", "token/acme/ci"] {
        assert!(shown.text.contains(part), "{part}: {}", shown.text);
    }
    assert_eq!(send(&gateway, "/signout", &cookie, "http://evil.test", "").await.status.as_u16(), 403);
    let out = send(&gateway, "/signout", &cookie, "http://waybill.test", "").await;
    assert!(out.header("set-cookie").unwrap().contains("Max-Age=0"), "{out:?}");
    assert_eq!(page(&gateway, "/", &cookie).await.status.as_u16(), 303, "a copy of the cookie is worth nothing");
}

#[tokio::test]
async fn a_page_shows_no_more_than_its_token_opens_and_is_not_kept() {
    let gateway = filled().await;
    let (mine, other) = (session(&gateway, TOKEN).await, session(&gateway, OTHER_TOKEN).await);
    let cases = [
        ("/", &mine, 200, "Builds"),
        ("/secrets", &mine, 200, "oci-registry-a-b"),
        ("/secrets", &other, 200, "There are no secrets."),
        ("/containers", &mine, 200, "ctr"),
        ("/containers", &other, 200, "No container is here."),
        ("/containers/acme/ctr", &other, 403, "not for this workspace"),
        ("/secrets/acme/oci-registry-a-b/revoke", &other, 403, "not for this workspace"),
        ("/events/2", &other, 403, "not for this workspace"),
        ("/events/2", &mine, 200, "ce-type"),
        ("/events/900", &mine, 404, "nothing at this path"),
        ("/find?q=ctr&all=1", &mine, 200, "ctr"),
        ("/find?q=ctr", &other, 200, "Nothing has this name."),
        ("/workers/w", &other, 404, "nothing at this path"),
        ("/secrets/acme/x%20y", &mine, 422, "secret"),
        ("/containers?state=odd", &mine, 422, "no such word"),
        ("/containers/acme/ctr?as_of=900", &mine, 422, "no event at sequence 900"),
    ];
    for (path, cookie, status, words) in cases {
        let shown = page(&gateway, path, cookie).await;
        assert_eq!(shown.status.as_u16(), status, "{path}: {}", shown.text);
        assert!(shown.text.contains(words), "{path}: {}", shown.text);
        assert_eq!(shown.header("cache-control"), Some("no-store"), "{path}");
        let policy = shown.header("content-security-policy").unwrap();
        assert!(policy.contains("default-src 'none'") && !policy.contains("unsafe"), "{policy}");
        assert!(
            shown.text.len() < 60_000 && !shown.text.contains("<script>") && !shown.text.contains("style="),
            "{path}"
        );
    }
    let found = page(&gateway, "/find?q=ctr", &mine).await;
    assert_eq!(found.header("location"), Some("/containers/acme/ctr"), "the only hit");
}

#[tokio::test]
async fn a_form_records_what_was_said_on_the_page_with_its_actor() {
    let gateway = filled().await;
    let cookie = session(&gateway, TOKEN).await;
    let (secret, origin) = ("/secrets/acme/oci-registry-a-b", "http://waybill.test");
    let path = |verb: &str| format!("{secret}/{verb}");
    let foretold = page(&gateway, &path("rotate"), &cookie).await;
    assert!(foretold.text.contains("No container has it now."), "{}", foretold.text);
    let refusals = [
        ("rotate", "http://evil.test", "if_version=1&credentials=u%3Acanary", "was not sent by a page"),
        ("rotate", origin, "if_version=7&credentials=u%3Acanary", "version"),
        ("rotate", origin, "if_version=1&credentials=+", "no credentials"),
        ("rotate", origin, "credentials=u%3Acanary", "names no version"),
        ("shred", origin, "if_version=1&confirm=another", "nothing was shredded"),
        ("burn", origin, "if_version=1", "nothing at this path"),
    ];
    let before = gateway.events().len();
    for (verb, origin, body, words) in refusals {
        let answer = send(&gateway, &path(verb), &cookie, origin, body).await;
        assert!(answer.text.contains(words) && !answer.text.contains("canary"), "{verb} {body}: {}", answer.text);
    }
    assert_eq!(gateway.events().len(), before, "nothing was recorded");
    for (verb, body) in [
        ("rotate", "if_version=1&credentials=u%3Anew"),
        ("revoke", "if_version=2&reason=closed"),
        ("shred", "if_version=2&reason=&confirm=oci-registry-a-b"),
    ] {
        let answer = send(&gateway, &path(verb), &cookie, origin, body).await;
        assert_eq!(answer.status.as_u16(), 303, "{verb}: {}", answer.text);
        assert!(answer.header("location").unwrap().starts_with(&format!("{secret}?done=")), "{answer:?}");
    }
    let types: Vec<&str> = gateway.types().split_off(before);
    assert_eq!(types, ["CredentialSecretRotated", "CredentialSecretRevoked", "CredentialSecretShredded"]);
    for event in gateway.events().split_off(before) {
        assert_eq!(event.envelope.actor.as_deref(), Some("token/acme/ci"));
    }
    let retry = send(&gateway, "/quarantine/1/retry", &cookie, origin, "").await;
    assert_eq!(retry.status.as_u16(), 403, "only an operator may: {}", retry.text);
}

#[tokio::test]
async fn a_page_is_for_readers_and_a_form_asks_for_its_role() {
    let gateway = filled().await;
    for role in [TokenRole::Reader, TokenRole::Builder, TokenRole::Admin] {
        create_token(&gateway, role).await;
    }
    gateway.tokens.recorded().refresh(&gateway.log, &mut None).await.unwrap();
    let origin = "http://waybill.test";
    for role in ["builder", "admin"] {
        let refused = sign_in(&gateway, role, origin).await;
        assert!(refused.status.as_u16() == 403 && refused.text.contains("not for reading"), "{role}: {}", refused.text);
    }
    let (reader, before) = (session(&gateway, "reader").await, gateway.events().len());
    for (path, body) in [
        ("/secrets/acme/oci-registry-a-b/rotate", "if_version=1&credentials=u%3Anew"),
        ("/secrets/acme/oci-registry-a-b/revoke", "if_version=1&reason=closed"),
        ("/secrets/acme/oci-registry-a-b/shred", "if_version=1&reason=&confirm=oci-registry-a-b"),
        ("/quarantine/1/retry", ""),
        ("/quarantine/1/discard", ""),
    ] {
        let refused = send(&gateway, path, &reader, origin, body).await;
        assert!(!refused.status.is_redirection(), "{path}: {refused:?}");
        assert!(!path.starts_with("/quarantine") || refused.status.as_u16() == 403, "{path}: {refused:?}");
    }
    assert_eq!(gateway.events().len(), before, "nothing was recorded");
}

#[tokio::test]
async fn the_pages_show_one_of_a_tokens_workspaces() {
    let gateway = filled().await;
    create_named_token(&gateway, "two", &[TokenRole::Reader], &["other", "acme", "third"]).await;
    gateway.tokens.recorded().refresh(&gateway.log, &mut None).await.unwrap();
    let cookie = session(&gateway, "two").await;
    let first = page(&gateway, "/secrets", &cookie).await;
    assert!(first.text.contains("oci-registry-a-b"), "the first by name is acme: {}", first.text);
    assert!(first.text.contains(r#"<option value="acme" selected>"#), "{}", first.text);
    assert!(!page(&gateway, "/secrets", &session(&gateway, TOKEN).await).await.text.contains("/workspace"));

    let choose = async |workspace: &str| {
        let body = format!("workspace={workspace}&back=%2Fsecrets");
        let answer = send(&gateway, "/workspace", &cookie, "http://waybill.test", &body).await;
        assert_eq!((answer.status.as_u16(), answer.header("location")), (303, Some("/secrets")));
        let kept = answer.header("set-cookie").unwrap().split(';').next().unwrap().to_owned();
        page(&gateway, "/secrets", &format!("{cookie}; {kept}")).await.text
    };
    let other = choose("other").await;
    assert!(other.contains("There are no secrets.") && other.contains(r#"<option value="other" selected>"#), "{other}");
    assert!(choose("acme").await.contains("oci-registry-a-b"));
    assert!(choose("strange").await.contains("oci-registry-a-b"), "a choice opens nothing");
    let story = page(&gateway, "/containers/acme/ctr", &format!("{cookie}; waybill_workspace=other")).await;
    assert_eq!(story.status.as_u16(), 200, "a page that names its workspace: {}", story.text);
}
