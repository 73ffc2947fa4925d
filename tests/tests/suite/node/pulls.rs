//! skopeo pulls a private image with a container's credentials, and knows nothing of Waybill.

use super::*;
use waybill_tests::{docker_registry::DockerRegistry, image::TinyImage, process::Process, require, skopeo::Skopeo};

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

    /// Through `docker-credential-waybill` on PATH.
    async fn pull_with_helper(&self, name: &str, owner: &str) -> Result<(), String> {
        let config = self.node.dir.path().join(format!("{name}.json"));
        std::fs::write(&config, json!({ "credHelpers": { self.registry.host(): "waybill" } }).to_string()).unwrap();
        let helper = find::workspace_binary("docker-credential-waybill").unwrap();
        let path = std::env::var_os("PATH").unwrap_or_default();
        let folders = [helper.parent().unwrap().to_owned()].into_iter().chain(std::env::split_paths(&path));
        let path = std::env::join_paths(folders).unwrap();
        self.pull(name, |copy| {
            copy.env("REGISTRY_AUTH_FILE", config).env("PATH", path);
            self.node.on_behalf(copy, owner);
        })
        .await
    }
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
