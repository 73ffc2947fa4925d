//! `waybill check` on a real registry: what the gateway would decide, what the registry says, and nothing of the secrets.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Output, Stdio},
};

use serde_json::{Value, json};
use waybill_tests::{
    canary::{Canary, Search},
    docker_registry::DockerRegistry,
    find,
    image::TinyImage,
    login::Login,
    process::command,
    require,
    skopeo::Skopeo,
    stack::Plan,
};

/// Puts a credential helper into a folder. Another process writes it: what this one has open for writing, a child of
/// another test may still hold, and then nobody can run it ("text file busy").
pub(crate) fn install_helper(dir: &Path, name: &str, script: &str) {
    let text = dir.join(format!("{name}.sh"));
    fs::write(&text, format!("#!/bin/sh\n{script}\n")).unwrap();
    let program = dir.join(format!("docker-credential-{name}"));
    assert!(command("install").args(["-m", "755"]).args([text, program]).status().unwrap().success());
}

/// A folder for what the command reads, and what it said.
struct Desk {
    dir: tempfile::TempDir,
    binary: PathBuf,
}

impl Desk {
    fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap(), binary: find::workspace_binary("waybill").unwrap() }
    }

    fn file(&self, name: &str, text: &str) -> String {
        let path = self.dir.path().join(name);
        fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    }

    /// Puts a credential helper on the command's PATH.
    fn helper(&self, name: &str, script: &str) {
        install_helper(self.dir.path(), name, script);
    }

    /// Runs `waybill check`, with a file as its standard input.
    async fn check(&self, arguments: &[&str], input: Option<&str>) -> Output {
        let mut child = command(&self.binary);
        let path = format!("{}:{}", self.dir.path().display(), std::env::var("PATH").unwrap());
        child.env("PATH", path).current_dir(self.dir.path()).arg("check").args(arguments);
        child.stdin(input.map_or_else(Stdio::null, |file| File::open(file).unwrap().into()));
        tokio::task::spawn_blocking(move || child.output().unwrap()).await.unwrap()
    }

    async fn answer(&self, arguments: &[&str], input: Option<&str>) -> (Option<i32>, Value) {
        let output = self.check(&[arguments, &["--json"]].concat(), input).await;
        let value = serde_json::from_slice(&output.stdout);
        (output.status.code(), value.unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(&output.stderr))))
    }
}

/// `<exit status> <outcome> <reason> <what the registry said>`, with `-` for none.
fn told((code, answer): &(Option<i32>, Value)) -> String {
    let word = |value: &Value| value.as_str().unwrap_or("-").to_owned();
    let live = match answer["live"]["outcome"].as_str() {
        Some("ok") => "ok".to_owned(),
        _ => word(&answer["live"]["reason"]),
    };
    format!("{} {} {} {live}", code.unwrap(), word(&answer["outcome"]), word(&answer["reason"]))
}

#[tokio::test]
async fn what_the_registry_says_is_told_before_it_hurts() {
    let canary = Canary::new("password");
    let login = Login::new("ada", canary.value());
    let skopeo = require!(Skopeo::find());
    let registry = require!(DockerRegistry::start(std::slice::from_ref(&login)).await);
    let image = TinyImage::new("check").unwrap();
    let reference = registry.push(&skopeo, &image, "team/app", "1", &login).await.unwrap();
    let (host, desk) = (registry.host(), Desk::new());
    let (reference, gone) = (reference.trim_start_matches("docker://"), format!("{host}/team/app:gone"));

    let keys = desk.file("keys", &json!({"USERNAME": "ada", "PASSWORD": canary.value()}).to_string());
    let text = desk.file("text", &format!("ada:{}\n", canary.value()));
    let wrong = desk.file("wrong", "ada:guess");
    let half = desk.file("half", &json!({"PASSWORD": canary.value()}).to_string());
    let unread = desk.file("unread", canary.value());
    let credentials = json!({"USERNAME": "ada", "PASSWORD": canary.value()});
    let structured = json!({"registry": host, "type": "basic", "credentials": credentials}).to_string();
    let structured = desk.file("structured", &structured);
    let docker = desk.file("config.json", &login.authfile(&host));
    let scoped = json!({"auths": {
        host.as_str(): {"auth": Login::new("ada", "guess").basic()}, format!("{host}/team"): {"auth": login.basic()},
    }});
    let scoped = desk.file("auth.json", &scoped.to_string());
    let elsewhere = desk.file("elsewhere.json", &login.authfile("registry.example.com"));
    let store = desk.file("store.json", r#"{"auths":{},"credsStore":"waybill-none"}"#);

    let live = ["--live", "--plain-http", &host];
    let cases: [(&str, &str, &[&str], &str); 18] = [
        ("none", reference, &[], "1 skipped no_credentials_provided unauthorized"),
        ("keys", reference, &["--creds", &keys], "0 saved - ok"),
        ("text", reference, &["--creds", &text], "0 saved - ok"),
        ("structured", reference, &["--creds", &structured], "0 saved - ok"),
        ("wrong", reference, &["--creds", &wrong], "1 saved - unauthorized"),
        ("half", reference, &["--creds", &half], "1 skipped incomplete_credentials -"),
        ("no form", reference, &["--creds", &unread], "1 refused invalid_credentials -"),
        ("docker as credentials", reference, &["--creds", &docker], "0 saved - ok"),
        ("docker", reference, &["--docker-config", &docker], "0 saved - ok"),
        ("docker, a path", reference, &["--docker-config", &scoped], "0 saved - ok"),
        (
            "docker, elsewhere",
            reference,
            &["--docker-config", &elsewhere],
            "1 skipped no_credentials_provided unauthorized",
        ),
        ("docker, a program as credentials", reference, &["--creds", &store], "1 refused invalid_credentials -"),
        ("no such tag", &gone, &["--creds", &keys], "1 saved - not_found"),
        ("stdin", reference, &["--creds", "-"], "0 saved - ok"),
        ("nobody there", "127.0.0.1:1/app", &["--creds", &text], "1 saved - unreachable"),
        ("no TLS there", reference, &["--creds", &text], "1 saved - plain_http"),
        ("not asked", reference, &["--creds", &wrong], "0 saved - -"),
        ("public, not asked", "public.ecr.aws/team/app:1", &[], "0 skipped public_registry -"),
    ];
    let mut printed = Vec::new();
    for (name, image_ref, arguments, expected) in cases {
        let plain = ["--live", "--plain-http", if name == "nobody there" { "127.0.0.1:1" } else { &host }];
        let asking: &[&str] = match name {
            "not asked" | "public, not asked" => &[],
            "no TLS there" => &["--live"],
            _ => &plain,
        };
        let arguments = [&[image_ref], arguments, asking].concat();
        let input = (name == "stdin").then_some(text.as_str());
        let answer = desk.answer(&arguments, input).await;
        assert_eq!(told(&answer), expected, "{name}: {}", answer.1);
        assert_eq!(answer.1["good"], json!(answer.0 == Some(0)), "{name}");
        if answer.1["live"]["outcome"] == "ok" {
            assert_eq!(answer.1["live"]["digest"], image.digest(), "{name}");
        }
        printed.extend(answer.1.to_string().into_bytes());

        let shown = desk.check(&arguments, input).await;
        assert_eq!(shown.status.code(), answer.0, "{name}");
        let text = String::from_utf8(shown.stdout).unwrap();
        assert!(text.starts_with(if answer.0 == Some(0) { "GOOD: " } else { "BAD: " }), "{name}: {text}");
        // Addresses and digests are left whole, so that they can be copied.
        let long = |line: &&str| line.chars().count() > 80 && !line.contains("sha256:");
        assert_eq!(text.lines().find(long), None, "{name}");
        printed.extend(text.into_bytes());
        printed.extend(shown.stderr);
    }
    Search::new([&canary]).assert_absent_in_bytes("what was printed", &printed);

    let named = desk.answer(&[reference, "--docker-config", &elsewhere], None).await.1;
    assert!(named["detail"].as_str().unwrap().contains("registry.example.com"), "{named}");
    let mut fields: Vec<&str> = named.as_object().unwrap().keys().map(String::as_str).collect();
    let mut expected = [
        "good",
        "image_ref",
        "registry",
        "kind",
        "secret_name",
        "outcome",
        "reason",
        "cred_type",
        "missing_key",
        "expires_at",
        "detail",
        "remedy",
        "live",
    ];
    expected.sort_unstable();
    fields.sort_unstable();
    assert_eq!(fields, expected);
    let usage: [&[&str]; 6] = [
        &[],
        &["not a reference"],
        &[reference, "--creds", "/no/such/file"],
        &[reference, "--creds", &keys, "--docker-config", &docker],
        &[reference, "--docker-config", &keys],
        &[reference, live[0], live[1], "a b"],
    ];
    for arguments in usage {
        assert_eq!(desk.check(arguments, None).await.status.code(), Some(2), "{arguments:?}");
    }
}

/// The script notes what the process list shows of the command and of itself.
fn script(notes: &Path, rest: &str) -> String {
    format!(
        "read server; cat /proc/$PPID/cmdline /proc/$$/cmdline >> {0}; echo \" $server\" >> {0}; {rest}",
        notes.display()
    )
}

#[tokio::test]
async fn credential_helpers_are_asked_on_this_machine() {
    let canary = Canary::new("helper");
    let login = Login::new("ada", canary.value());
    let skopeo = require!(Skopeo::find());
    let registry = require!(DockerRegistry::start(std::slice::from_ref(&login)).await);
    let image = TinyImage::new("helper").unwrap();
    let reference = registry.push(&skopeo, &image, "team/app", "1", &login).await.unwrap();
    let (host, desk, reference) = (registry.host(), Desk::new(), reference.trim_start_matches("docker://"));

    let notes = desk.dir.path().join("notes");
    let held = json!({"ServerURL": host, "Username": "ada", "Secret": canary.value()});
    let held = desk.file("held", &held.to_string());
    desk.helper("good", &script(&notes, &format!("cat {held}")));
    desk.helper("absent", &script(&notes, "echo credentials not found in native keychain; exit 1"));
    desk.helper("locked", &script(&notes, &format!("cat {held} >&2; cat {held}; exit 3")));
    desk.helper("odd", &script(&notes, &format!("echo; cat {held} {held}")));
    desk.helper("deaf", &format!("cat {held}"));
    let config = |name: &str, config: Value| desk.file(name, &config.to_string());
    let of_all = |program: &str| config(program, json!({"auths": {host.as_str(): {}}, "credsStore": program}));
    let of_host = config("host", json!({"credHelpers": {host.as_str(): "good"}, "credsStore": "locked"}));
    let stale = json!({host.as_str(): {"auth": Login::new("ada", "guess").basic()}});
    let stale = config("stale", json!({"auths": stale, "credHelpers": {host.as_str(): "good"}}));

    let cases: [(&str, &str, &str); 8] = [
        (&of_all("good"), "0 saved - ok", ""),
        (&of_host, "0 saved - ok", ""),
        (&stale, "0 saved - ok", ""),
        (&of_all("deaf"), "0 saved - ok", ""),
        (&of_all("absent"), "1 skipped no_credentials_provided unauthorized", ""),
        (&of_all("locked"), "2", "docker-credential-locked (credsStore) failed: exit status: 3"),
        (&of_all("odd"), "2", "docker-credential-odd did not answer as a credential helper does"),
        (&of_all("waybill-missing"), "2", "docker-credential-waybill-missing (credsStore) cannot be started"),
    ];
    let mut printed = Vec::new();
    for (file, expected, error) in cases {
        let arguments = [reference, "--docker-config", file, "--live", "--plain-http", &host, "--json"];
        let output = desk.check(&arguments, None).await;
        let stderr = String::from_utf8(output.stderr).unwrap();
        match expected {
            "2" => assert_eq!((output.status.code(), stderr.contains(error)), (Some(2), true), "{file}: {stderr}"),
            _ => {
                let answer = serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{file}: {stderr}"));
                assert_eq!(told(&(output.status.code(), answer)), expected, "{file}");
            }
        }
        printed.extend(output.stdout);
        printed.extend(stderr.into_bytes());
    }
    let notes = fs::read(notes).unwrap();
    let text = String::from_utf8_lossy(&notes).replace('\0', " ");
    assert!(text.contains(&format!("get  {host}")) && text.contains("--docker-config"), "{text}");
    let search = Search::new([&canary]);
    search.assert_absent_in_bytes("what was printed", &printed);
    search.assert_absent_in_bytes("the process list", &notes);
}

#[tokio::test]
async fn the_gateway_asks_the_registry_where_the_operator_allows_it() {
    let (canary, guess) = (Canary::new("right"), Canary::new("wrong"));
    let login = Login::new("ada", canary.value());
    let skopeo = require!(Skopeo::find());
    let registry = require!(DockerRegistry::start(std::slice::from_ref(&login)).await);
    let image = TinyImage::new("verify").unwrap();
    let reference = registry.push(&skopeo, &image, "team/app", "1", &login).await.unwrap();
    let reference = reference.trim_start_matches("docker://");
    let plan = Plan::default().plain_http(&[&registry.host()]);
    let stack = require!(plan.clone().setting("WAYBILL_GATEWAY_VERIFY", "on").start().await);
    let build = |image_id: &str, credentials: Value| {
        json!({"workspace": "acme", "image_id": image_id, "existing_image_uri": reference,
            "existing_image_creds": credentials, "verify": true})
    };
    let config: Value = serde_json::from_str(&login.authfile(&registry.host())).unwrap();
    let right = stack.post("/v1/builds", &build("right", config)).await;
    assert_eq!((right.status.as_u16(), &right.body["verified"]["digest"]), (201, &json!(image.digest())), "{right:?}");
    // What the registry refuses takes no place of what it took; an account of which nothing is saved is saved with its word.
    let wrong = stack.post("/v1/builds", &build("wrong", json!(format!("ada:{}", guess.value())))).await;
    let said = (wrong.status.as_u16(), wrong.text("outcome"), wrong.text("reason"));
    assert_eq!(said, (200, "skipped", "verification_failed"), "{wrong:?}");
    let other = stack.post("/v1/builds", &build("other", json!(format!("bob:{}", guess.value())))).await;
    assert_eq!((other.status.as_u16(), &other.body["verified"]["reason"]), (201, &json!("unauthorized")), "{other:?}");
    let none = stack.post("/v1/builds", &build("none", Value::Null)).await;
    assert_eq!((none.status.as_u16(), none.text("outcome")), (200, "skipped"), "{none:?}");
    stack.container("acme", "c-right", "right", "w1").await;
    let pulled = stack.wait_for_outcome("c-right").await;
    assert_eq!(pulled.name, "ImagePullSucceeded", "{}", pulled.line);

    let events = stack.events().await;
    let saved = events.iter().filter(|event| event.name == "CredentialSecretSaved");
    let verified: Vec<[Value; 3]> = saved
        .map(|event| {
            let verified = &event.data["stored"]["verified"];
            [event.data["image_id"].clone(), verified["digest"].clone(), verified["pull_failure"].clone()]
        })
        .collect();
    let expected =
        [[json!("right"), json!(image.digest()), Value::Null], [json!("other"), Value::Null, json!("unauthorized")]];
    assert_eq!(verified, expected);
    let explained = stack.run(&["explain", "image", "other"]).await.stdout;
    assert!(explained.contains("the registry did not accept version 1 when it was saved"), "{explained}");
    let explained = stack.run(&["explain", "image", "wrong"]).await.stdout;
    assert!(explained.contains("BROKEN at saved: verification_failed"), "{explained}");
    Search::new([&canary, &guess]).assert_absent_in_dir(stack.dir());

    let off = require!(plan.start().await);
    let refused = off.post("/v1/builds", &build("img", json!("u:p"))).await;
    assert_eq!((refused.status.as_u16(), refused.text("field")), (422, "verify"), "{refused:?}");
}
