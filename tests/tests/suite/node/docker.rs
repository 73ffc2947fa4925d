//! `docker-credential-waybill`, byte for byte as <https://github.com/docker/docker-credential-helpers> has it.

use super::*;
use waybill_tests::{
    canary::{Canary, Search},
    error::Missing,
    require,
};

const NOT_FOUND: &str = "credentials not found in native keychain\n";

#[tokio::test]
async fn the_helper_speaks_the_published_protocol() {
    let node = require!(Node::start(Plan::default()).await);
    node.attach("acme", "c1", "a.b/app:1", &Login::new("ada", "p:\"ß\\<&>")).await;
    node.attach("acme", "hub", "team/app:1", &Login::new("hubert", "pw")).await;
    node.attach("umbrella", "c1", "a.b/app:1", &Login::new("eve", "other")).await;

    let given = |url: &str| {
        format!("{{\"ServerURL\":\"{url}\",\"Username\":\"ada\",\"Secret\":\"p:\\\"ß\\\\\\u003c\\u0026\\u003e\"}}\n")
    };
    let hub = "{\"ServerURL\":\"https://index.docker.io/v1/\",\"Username\":\"hubert\",\"Secret\":\"pw\"}\n".to_owned();
    let stranger = "{\"ServerURL\":\"a.b\",\"Username\":\"eve\",\"Secret\":\"other\"}\n".to_owned();
    let version = format!("docker-credential-waybill (waybill) v{}\n", env!("CARGO_PKG_VERSION"));
    let usage = "Usage: docker-credential-waybill <store|get|erase|list|version>\n".to_owned();
    let unknown = |action: &str| format!("docker-credential-waybill: unknown action: {action}\n");
    let stored = r#"{"ServerURL":"a.b","Username":"u","Secret":"s"}"#;
    let no_user = r#"{"ServerURL":"a.b","Username":"","Secret":"s"}"#;
    let (no_url, no_username) = ("no credentials server URL\n", "no credentials username\n");
    let table: [(&str, &str, &str, i32, String); 27] = [
        ("acme/c1", "get", "a.b", 0, given("a.b")),
        ("acme/c1", "get", "a.b\n", 0, given("a.b")),
        ("acme/c1", "get", "https://a.b", 0, given("https://a.b")),
        ("acme/c1", "get", "https://a.b/", 0, given("https://a.b/")),
        ("acme/c1", "get", "https://a.b/v1/", 0, given("https://a.b/v1/")),
        ("acme/c1", "get", "https://a.b/v2/", 0, given("https://a.b/v2/")),
        ("acme/hub", "get", "https://index.docker.io/v1/", 0, hub),
        ("umbrella/c1", "get", "a.b", 0, stranger),
        ("acme/c1", "get", "c.d", 1, NOT_FOUND.to_owned()),
        ("acme/c1", "get", "a.b:5000", 1, NOT_FOUND.to_owned()),
        ("acme/c1", "get", "not a host", 1, NOT_FOUND.to_owned()),
        ("acme/c1", "get", "", 1, no_url.to_owned()),
        ("acme/c1", "list", "", 0, "{\"a.b\":\"ada\"}\n".to_owned()),
        ("acme/hub", "list", "", 0, "{\"https://index.docker.io/v1/\":\"hubert\"}\n".to_owned()),
        ("acme/c1", "version", "", 0, version.clone()),
        ("acme/c1", "--version", "", 0, version.clone()),
        ("acme/c1", "-v", "", 0, version),
        ("acme/c1", "--help", "", 0, usage.clone()),
        ("acme/c1", "-h", "", 0, usage.clone()),
        ("acme/c1", "store", stored, 0, String::new()),
        ("acme/c1", "store", "{}", 1, no_url.to_owned()),
        ("acme/c1", "store", no_user, 1, no_username.to_owned()),
        ("acme/c1", "erase", "a.b", 0, String::new()),
        ("acme/c1", "erase", "", 1, no_url.to_owned()),
        ("acme/c1", "put", "", 1, unknown("put")),
        ("acme/c1", "", "", 1, unknown("")),
        ("acme/c1", "GET", "a.b", 1, unknown("GET")),
    ];
    for (owner, action, input, code, stdout) in table {
        let said = node.docker(owner, action, input);
        let said_nothing_there = said.stdout == NOT_FOUND;
        assert_eq!((said.code, said.stdout), (code, stdout), "{owner} {action} {input}: {}", said.stderr);
        let typed = match (code, said_nothing_there) {
            (0, _) => "",
            (_, true) => "waybill: not_found: ",
            (_, false) => "waybill: bad_request: ",
        };
        let told = said.stderr.starts_with(typed) && said.stderr.is_empty() == (code == 0);
        assert!(told, "{owner} {action} {input}: {}", said.stderr);
    }
    for arguments in [&[][..], &["get", "get"][..]] {
        let mut child = node.program("docker-credential-waybill", "acme/c1");
        child.args(arguments);
        let said = run(child, "a.b");
        assert_eq!((said.code, said.stdout), (1, usage.clone()), "{arguments:?}");
        assert!(said.stderr.starts_with("waybill: bad_request: "), "{}", said.stderr);
    }
}

/// Whoever is refused hears why on standard error, with a code in front; standard output is what clients print.
#[tokio::test]
async fn a_refusal_is_typed_whoever_refuses() {
    let node = require!(Node::start(Plan::default()).await);
    node.attach("acme", "c1", "a.b/app:1", &Login::new("ada", "pw")).await;
    node.attach_any("acme", "bearer", "c.d/app:1", json!({ "TOKEN": "t" })).await;
    let foreign = node.dir.path().join("foreign.sock");
    let listener = std::os::unix::net::UnixListener::bind(&foreign).unwrap();
    let answering = std::thread::spawn(move || listener.accept().unwrap().0.write_all(b"{}\n").unwrap());
    let nowhere = node.dir.path().join("nowhere.sock");
    let forged = node.root().join("forged");
    std::fs::write(&forged, "A".repeat(43)).unwrap();
    let (socket, access) = ("WAYBILL_SOCKET", "WAYBILL_ACCESS_FILE");
    let cases = [
        ("acme/nobody", "a.b", None, "no_access_file: the access file "),
        ("acme/c1", "a.b", Some((socket, Path::new(""))), "not_set: WAYBILL_SOCKET is not set"),
        ("acme/c1", "a.b", Some((access, Path::new(""))), "not_set: WAYBILL_ACCESS_FILE is not set"),
        ("acme/c1", "a.b", Some((socket, nowhere.as_path())), "no_answer: no answer from "),
        ("acme/c1", "a.b", Some((socket, foreign.as_path())), "not_ours: "),
        ("acme/c1", "a.b", Some((access, forged.as_path())), "no_access: the access key opens nothing"),
        ("acme/bearer", "c.d", None, "not_expressible: the login for c.d is a bearer token"),
    ];
    for (owner, host, changed, words) in cases {
        let mut child = node.program("docker-credential-waybill", owner);
        child.arg("get").envs(changed);
        let said = run(child, host);
        let expected = format!("waybill: {words}");
        assert!(said.code == 1 && said.stderr.starts_with(&expected), "{words}: {}", said.stderr);
        assert_eq!(said.stdout, said.stderr, "{words}");
    }
    answering.join().unwrap();
}

#[tokio::test]
async fn only_the_worker_s_user_gets_in_and_nothing_is_told_elsewhere() {
    let (password, other) = (Canary::new("password"), Canary::new("other password"));
    let collector = waybill_tests::otlp::Collector::start().unwrap();
    let mut node = require!(Node::start(Plan::default().otlp(&collector).setting("WAYBILL_LOG", "trace")).await);
    node.attach("acme", "c1", "a.b/app:1", &Login::new("ada", password.value())).await;
    node.attach("umbrella", "c2", "c.d/app:1", &Login::new("eve", other.value())).await;

    let root = node.root();
    let folders = [root.clone(), root.join("acme"), root.join("acme/c1")];
    assert!(folders.iter().all(|folder| mode(folder) == 0o700));
    for file in ["waybill.sock", "acme/access", "acme/c1/access", "umbrella/c2/access"] {
        assert_eq!(mode(&root.join(file)), 0o600, "{file}");
    }

    let key = |owner: &str| std::fs::read_to_string(node.access(owner)).unwrap();
    let keys = ["acme/c1", "umbrella/c2", "acme"].map(key);
    assert!(node.docker("acme/c1", "get", "a.b").stdout.contains(password.value()));
    for (owner, host) in [("umbrella/c2", "a.b"), ("umbrella", "a.b"), ("acme/c1", "c.d"), ("acme", "c.d")] {
        assert_eq!(node.docker(owner, "get", host).stdout, NOT_FOUND, "{owner} {host}");
    }
    std::fs::write(root.join("forged"), "A".repeat(43)).unwrap();
    let mut forged = node.program("docker-credential-waybill", "acme/c1");
    forged.env("WAYBILL_ACCESS_FILE", root.join("forged")).arg("get");
    let refused = run(forged, "a.b");
    assert!(refused.code == 1 && refused.stdout.starts_with("waybill: no_access"), "{}", refused.stdout);

    let search = Search::new([&password, &other]);
    let logs = node.logs_with("login given to a program of the node").await;
    for key in &keys {
        assert!(!logs.contains(key.as_str()), "an access key is in the log");
    }
    search.assert_absent_in_bytes("the logs", logs.as_bytes());
    search.assert_absent_in_dir(node.stack.dir());
    search.assert_absent_in_dir(&root.join("acme/c1"));
    for pid in node.stack.pids() {
        search.assert_absent_in_process(pid);
    }
}

#[tokio::test]
async fn a_group_gets_in_and_another_user_does_not() {
    use std::os::unix::{
        fs::{MetadataExt as _, PermissionsExt as _},
        process::CommandExt as _,
    };
    const USER: u32 = 65_533;
    const GROUP: u32 = 65_532;
    require!(match std::fs::metadata("/proc/self").unwrap().uid() {
        0 => Ok(()),
        _ => Err(Missing::new("root, which alone may start programs of other users", "run the tests as root")),
    });
    let node = require!(Node::start(Plan::default().setting("WAYBILL_WORKER_SOCKET_GROUP", GROUP.to_string())).await);
    node.attach("acme", "c1", "a.b/app:1", &Login::new("ada", "pw")).await;
    let root = node.root();
    let of_group = |name: &str| {
        let metadata = std::fs::metadata(root.join(name)).unwrap();
        (metadata.permissions().mode() & 0o7777, metadata.gid())
    };
    let table = [("", 0o750), ("acme", 0o750), ("acme/c1", 0o750), ("acme/c1/access", 0o640), ("waybill.sock", 0o660)];
    for (name, mode) in table {
        assert_eq!(of_group(name), (mode, GROUP), "{name}");
    }

    // The way to the folder and to the program is open to everybody; the program is a copy in the test's own folder.
    let open = |path: &Path, mode| {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    };
    open(node.dir.path(), 0o755);
    let helper = node.dir.path().join("helper");
    // By a program: what this process writes, a child that another test starts right now may hold open for writing, and then
    // nobody can run it.
    let binary = find::workspace_binary("docker-credential-waybill").unwrap();
    assert!(std::process::Command::new("cp").arg(binary).arg(&helper).status().unwrap().success());
    let as_user = |gid: u32| {
        let mut child = command(&helper);
        node.on_behalf(&mut child, "acme/c1");
        child.uid(USER).gid(gid).arg("get");
        run(child, "a.b")
    };
    let member = as_user(GROUP);
    assert_eq!(member.code, 0, "{}", member.stdout);
    let stranger = as_user(USER);
    assert!(stranger.code == 1 && stranger.stdout.contains("cannot be read"), "{}", stranger.stdout);
    // Even where the files were opened to everybody by mistake.
    for (name, mode) in [("", 0o755), ("acme", 0o755), ("acme/c1", 0o755), ("acme/c1/access", 0o644)] {
        open(&root.join(name), mode);
    }
    open(&root.join("waybill.sock"), 0o666);
    let stranger = as_user(USER);
    assert!(stranger.code == 1 && stranger.stdout.starts_with("waybill: no_access"), "{}", stranger.stdout);
    node.logs_with("a process of another user asked for logins").await;
}

#[tokio::test]
async fn a_restart_loses_nothing() {
    let mut node = require!(Node::start(Plan::default()).await);
    node.attach("acme", "c1", "a.b/app:1", &Login::new("ada", "one")).await;
    node.attach("acme", "c2", "c.d/app:1", &Login::new("bob", "two")).await;
    for container in ["c1", "c2"] {
        // What has its outcome is not served again: the login can only come from the log.
        node.stack.wait_for_outcome(container).await;
    }
    node.restart().await;
    let given = "{\"ServerURL\":\"a.b\",\"Username\":\"ada\",\"Secret\":\"one\"}\n";
    let said = node.docker("acme/c1", "get", "a.b");
    assert_eq!(said.stdout, given, "{}", node.stack.logs());
    assert_eq!(node.docker("acme/c1", "get", "c.d").stdout, NOT_FOUND);
    // The workspace's key finds all of its containers again.
    assert_eq!(node.docker("acme", "list", "").stdout, "{\"a.b\":\"ada\",\"c.d\":\"bob\"}\n");
}

/// A key speaks for one placement: what is left of an older one opens nothing, and a restart changes no key.
#[tokio::test]
async fn the_newest_placement_counts_and_has_a_key_of_its_own() {
    let mut node = require!(Node::start(Plan::default()).await);
    let old = node.attach("acme", "c1", "a.b/app:1", &Login::new("ada", "old")).await;
    let old_key = std::fs::read(node.access("acme/c1")).unwrap();
    node.stack.wait_for_outcome("c1").await;
    let new = node.attach("acme", "c1", "a.b/app:1", &Login::new("ada", "new")).await;
    let key = std::fs::read(node.access("acme/c1")).unwrap();
    assert!(new.number > old.number && key != old_key, "{} {}", old.number, new.number);
    let given = "{\"ServerURL\":\"a.b\",\"Username\":\"ada\",\"Secret\":\"new\"}\n";
    assert_eq!(node.docker("acme/c1", "get", "a.b").stdout, given, "{}", node.stack.logs());
    node.stack
        .wait_for("both pulls", |events| {
            (events.iter().filter(|event| event.is("ImagePullFailed", "c1")).count() == 2).then_some(())
        })
        .await;
    let kept = node.dir.path().join("kept");
    std::fs::write(&kept, old_key).unwrap();
    let refuses_old = |node: &Node| {
        let mut late = node.program("docker-credential-waybill", "acme/c1");
        late.env("WAYBILL_ACCESS_FILE", &kept).arg("get");
        let said = run(late, "a.b");
        assert!(said.code == 1 && said.stdout.starts_with("waybill: no_access"), "{}", said.stdout);
    };
    refuses_old(&node);
    node.restart().await;
    refuses_old(&node);
    assert_eq!(node.docker("acme/c1", "get", "a.b").stdout, given);
    assert_eq!(std::fs::read(node.access("acme/c1")).unwrap(), key);
}
