//! skopeo and buildah pull a private image with a container's credentials, and know nothing of Waybill.

use super::*;
use waybill_tests::{
    docker_registry::DockerRegistry, error::Missing, image::TinyImage, process::Process, require, skopeo::Skopeo,
};

const LIMIT: Duration = Duration::from_secs(60);

/// A private image on a real registry, and a node that runs acme's container with its credentials; umbrella's container
/// has some for another registry.
struct Private {
    node: Node,
    skopeo: Skopeo,
    registry: DockerRegistry,
    image: TinyImage,
    reference: String,
}

impl Private {
    async fn start() -> Result<Self, StartError> {
        let skopeo = Skopeo::find()?;
        let ada = Login::new("ada", "p:ss \"word\" ü");
        let registry = DockerRegistry::start(std::slice::from_ref(&ada)).await?;
        let image = TinyImage::new("private").unwrap();
        let reference = registry.push(&skopeo, &image, "team/app", "1", &ada).await.unwrap();
        let node = Node::start(Plan::default().plain_http(&[&registry.host()])).await?;
        node.attach("acme", "c1", &reference, &ada).await;
        node.attach("umbrella", "c2", "a.b/app:1", &Login::new("eve", "pw")).await;
        Ok(Self { node, skopeo, registry, image, reference })
    }

    /// Copies the image into a new layout, with what `prepare` adds to the command; what skopeo said where it cannot.
    async fn pull(&self, name: &str, prepare: impl FnOnce(&mut Command)) -> Result<(), String> {
        let layout = self.node.dir.path().join(name);
        let mut copy = command(self.skopeo.program());
        copy.args(["--insecure-policy", "copy", "--quiet", "--preserve-digests", "--src-tls-verify=false"]);
        prepare(&mut copy);
        copy.arg(format!("docker://{}", self.reference)).arg(format!("oci:{}", layout.display()));
        let finished = Process::run("skopeo", copy, self.node.dir.path(), LIMIT).await.unwrap();
        if !finished.status.success() {
            return Err(finished.stderr);
        }
        let index = std::fs::read_to_string(layout.join("index.json")).unwrap();
        assert!(index.contains(self.image.digest()), "{index}");
        Ok(())
    }

    /// Has a program find `docker-credential-waybill` on PATH, and ask it about the registry on the owner's behalf.
    fn with_helper(&self, child: &mut Command, name: &str, owner: &str) {
        let config = self.node.dir.path().join(format!("{name}.json"));
        std::fs::write(&config, json!({ "credHelpers": { self.registry.host(): "waybill" } }).to_string()).unwrap();
        let helper = find::workspace_binary("docker-credential-waybill").unwrap();
        let path = std::env::var_os("PATH").unwrap_or_default();
        let folders = [helper.parent().unwrap().to_owned()].into_iter().chain(std::env::split_paths(&path));
        let path = std::env::join_paths(folders).unwrap();
        child.env("REGISTRY_AUTH_FILE", config).env("PATH", path);
        self.node.on_behalf(child, owner);
    }

    async fn pull_with_helper(&self, name: &str, owner: &str) -> Result<(), String> {
        self.pull(name, |copy| self.with_helper(copy, name, owner)).await
    }

    /// Into a store of its own, as podman keeps images too; what buildah said where it cannot.
    async fn buildah(&self, buildah: &Path, name: &str, prepare: impl FnOnce(&mut Command)) -> Result<(), String> {
        let policy = self.node.dir.path().join("policy.json");
        std::fs::write(&policy, r#"{"default":[{"type":"insecureAcceptAnything"}]}"#).unwrap();
        let mut pull = in_store(buildah, &self.node.dir.path().join(name).join("store"));
        pull.args(["pull", "--quiet", "--tls-verify=false", "--signature-policy"]).arg(policy);
        prepare(&mut pull);
        pull.arg(&self.reference);
        let finished = Process::run("buildah", pull, self.node.dir.path(), LIMIT).await.unwrap();
        if finished.status.success() { Ok(()) } else { Err(finished.stderr) }
    }
}

fn in_store(buildah: &Path, store: &Path) -> Command {
    let mut child = command(buildah);
    child.args(["--storage-driver", "vfs", "--root"]).arg(store.join("root")).arg("--runroot").arg(store.join("run"));
    child
}

/// A buildah that can keep images here: without root it needs a range of user ids.
async fn find_buildah() -> Result<PathBuf, StartError> {
    let buildah = find::program("buildah", "run `infra/justw test` as root (Debian: apt-get install buildah)")?;
    let store = tempfile::tempdir().unwrap();
    let mut list = in_store(&buildah, store.path());
    list.arg("images");
    let finished = Process::run("buildah", list, store.path(), LIMIT).await.unwrap();
    match finished.status.success() {
        true => Ok(buildah),
        false => Err(Missing::new("a buildah that works for this user", "run the tests as root").into()),
    }
}

#[tokio::test]
async fn buildah_pulls_through_the_helper() {
    let buildah = require!(find_buildah().await);
    let private = require!(Private::start().await);
    let pull = async |name, owner| private.buildah(&buildah, name, |pull| private.with_helper(pull, name, owner)).await;
    pull("own", "acme/c1").await.unwrap();
    let refused = pull("other", "umbrella/c2").await.unwrap_err();
    assert!(refused.contains("authentication required") || refused.contains("unauthorized"), "{refused}");
}

#[tokio::test]
async fn buildah_pulls_with_a_login_file() {
    let buildah = require!(find_buildah().await);
    let private = require!(Private::start().await);
    let pull = async |workspace, container| {
        let written = private.node.waybill("login-file", workspace, container);
        assert_eq!(written.code, 0, "{}", written.stderr);
        let file = written.stdout.trim_end().to_owned();
        let with_file = |pull: &mut Command| {
            pull.args(["--authfile", &file]);
        };
        private.buildah(&buildah, workspace, with_file).await
    };
    pull("acme", "c1").await.unwrap();
    let refused = pull("umbrella", "c2").await.unwrap_err();
    assert!(refused.contains("authentication required") || refused.contains("unauthorized"), "{refused}");
}

#[tokio::test]
async fn skopeo_pulls_through_the_helper() {
    let mut private = require!(Private::start().await);
    private.pull_with_helper("own", "acme/c1").await.unwrap();
    private.pull_with_helper("whole", "acme").await.unwrap();
    for owner in ["umbrella/c2", "umbrella"] {
        let name = owner.replace('/', "-");
        let refused = private.pull_with_helper(&name, owner).await.unwrap_err();
        assert!(refused.contains("authentication required") || refused.contains("unauthorized"), "{refused}");
    }
    private.node.restart().await;
    private.pull_with_helper("again", "acme/c1").await.unwrap();
}

#[tokio::test]
async fn skopeo_pulls_with_a_login_file_until_the_container_ends() {
    let private = require!(Private::start().await);
    let node = &private.node;
    let written = node.waybill("login-file", "acme", "c1");
    assert_eq!(written.code, 0, "{}", written.stderr);
    let file = node.root().join("acme/c1/auth.json");
    assert_eq!((written.stdout, mode(&file)), (format!("{}\n", file.display()), 0o600));
    let with = |file: &Path| {
        let file = file.to_owned();
        move |copy: &mut Command| {
            copy.arg("--authfile").arg(file);
        }
    };
    private.pull("own", with(&file)).await.unwrap();

    // By access file, to a place of one's own; umbrella's login is for another registry.
    let elsewhere = node.dir.path().join("umbrella.json");
    let mut by_file = node.program("waybill", "umbrella/c2");
    by_file.args(["login-file", "--output"]).arg(&elsewhere);
    let written = run(by_file, "");
    assert_eq!((written.code, mode(&elsewhere)), (0, 0o600), "{}", written.stderr);
    let login = Login::new("eve", "pw").basic();
    let expected = format!("{{\"auths\":{{\"a.b\":{{\"auth\":\"{login}\"}}}}}}");
    assert_eq!(std::fs::read_to_string(&elsewhere).unwrap(), expected);
    private.pull("other", with(&elsewhere)).await.unwrap_err();

    let key = std::fs::read(node.access("acme/c1")).unwrap();
    let ended = node.waybill("container-ended", "acme", "c1");
    assert_eq!((ended.code, ended.stdout.as_str()), (0, ""), "{}", ended.stderr);
    assert!(!node.root().join("acme/c1").exists());
    private.pull_with_helper("late", "acme/c1").await.unwrap_err();
    let again = node.waybill("container-ended", "acme", "c1");
    assert!(again.code == 2 && again.stderr.contains("has the container ended?"), "{}", again.stderr);
    // Who has kept the key has nothing by it.
    std::fs::create_dir(node.root().join("acme/c1")).unwrap();
    std::fs::write(node.access("acme/c1"), key).unwrap();
    let late = node.docker("acme/c1", "get", &private.registry.host());
    assert!(late.code == 1 && late.stdout.starts_with("waybill: no_access"), "{}", late.stdout);
    assert_eq!(node.docker("umbrella/c2", "get", "a.b").code, 0, "others are left alone");
}
