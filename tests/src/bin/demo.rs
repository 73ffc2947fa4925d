//! `infra/justw demo`: a private image is pulled with credentials that travelled by the vault; a rotation by name reaches the
//! running container, which then moves to another node; then a build without credentials, and the reason that the log has.
#![allow(
    clippy::print_stdout,
    clippy::indexing_slicing,
    reason = "a demonstration is what it prints, and a missing member of a JSON value is null"
)]

use std::{error::Error, process::ExitCode};

use serde_json::{Value, json};
use waybill_tests::{
    image::TinyImage,
    login::Login,
    registry::{Registry, Scheme},
    stack::{Plan, Recorded, Service, Stack},
};

const WORKER: &str = "node-1";
const OTHER: &str = "node-2";

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    match demo().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            println!("the demo failed: {error}");
            let mut source = error.source();
            while let Some(cause) = source {
                println!("  because: {cause}");
                source = cause.source();
            }
            ExitCode::FAILURE
        }
    }
}

async fn demo() -> Result<(), Box<dyn Error>> {
    title("Everything starts: nats-server, gateway, scheduler, a worker, and a private registry");
    let login = Login::new("puller", format!("demo-{}", std::process::id()));
    let registry = Registry::start(Scheme::Bearer(std::time::Duration::from_secs(300)))?;
    registry.accounts().allow(&login);
    let reference = registry.serve("team/app", "1.0", &TinyImage::new("demo")?);
    let plan = Plan::default().workers(&[WORKER, OTHER]).plain_http(&[&registry.host()]);
    let plan = plan.setting("WAYBILL_LOG", "info").setting("WAYBILL_LOG_FORMAT", "text");
    let mut stack = plan.start().await?;
    println!("  gateway   {}   (docs at /docs)", stack.gateway_url());
    println!("  nats      {}   stream WAYBILL", stack.nats().url());
    println!("  registry  {}   only user \"puller\" may pull team/app", registry.host());

    title("1. A build is done: the builder hands over what its image needs");
    let credentials = json!({ "USERNAME": login.user(), "PASSWORD": login.password() });
    let saved = stack.build("acme", "img-good", &reference, credentials).await;
    println!("  POST /v1/builds -> {} {}", saved.status.as_u16(), saved.body);

    title("2. A container is placed on a worker");
    let requested = stack.container("acme", "c-good", "img-good", WORKER).await;
    println!("  POST /v1/containers -> {} {}", requested.status.as_u16(), requested.body);
    let pulled = stack.wait_for_outcome("c-good").await;
    story(&stack, "img-good", "c-good").await;
    let good = pulled.name == "ImagePullSucceeded";
    println!("\n  => {}", if good { "pulled, with the build's credentials" } else { "NOT PULLED" });

    title("3. The password changes: one rotation, by the secret's name, reaches what runs");
    let secret = saved.text("secret_name").to_owned();
    let new = Login::new("puller", format!("demo-new-{}", std::process::id()));
    registry.accounts().allow(&new);
    let rotation = json!({ "credentials": { "USERNAME": new.user(), "PASSWORD": new.password() }, "if_version": 1 });
    let rotated = stack.change_secret("acme", &secret, "rotate", &rotation).await;
    println!("  POST /v1/secrets/acme/{secret}/rotate -> {} {}", rotated.status.as_u16(), rotated.body);
    let applied = |events: &[Recorded]| events.iter().find(|event| event.name == "SecretRenewalApplied").cloned();
    let applied = stack.wait_for("the new version on the node", applied).await;
    println!(
        "\n  => {} uses version {} for {} running container(s)",
        applied.text("worker_id"),
        applied.data["version"],
        applied.data["placements"]
    );

    title("4. The container moves to another node");
    let moved = stack.container("acme", "c-good", "img-good", OTHER).await;
    println!("  POST /v1/containers -> {} {}", moved.status.as_u16(), moved.body);
    let placement = moved.placement();
    let arrived = |events: &[Recorded]| {
        events.iter().find(|event| event.name == "ImagePullSucceeded" && event.data["placement"] == placement).cloned()
    };
    stack.wait_for("the pull on the other node", arrived).await;
    let withdrawn = stack.wait_for_event("ContainerCredentialsWithdrawn", "c-good").await;
    let left = withdrawn.text("worker_id") == WORKER && withdrawn.text("reason") == "superseded";
    story(&stack, "img-good", "c-good").await;
    println!("\n  => pulled on {OTHER}, and {WORKER} has no login for it any more ({})", withdrawn.text("reason"));

    title("5. The failing case: a build that hands over no credentials");
    let skipped = stack.build("acme", "img-bad", &reference, Value::Null).await;
    println!("  POST /v1/builds -> {} {}", skipped.status.as_u16(), skipped.body);
    stack.container("acme", "c-bad", "img-bad", WORKER).await;
    let failed = stack.wait_for_outcome("c-bad").await;
    story(&stack, "img-bad", "c-bad").await;
    println!(
        "\n  => the pull was refused ({}), and the log says why: the build carried no credentials",
        failed.text("reason")
    );
    println!("     (event {} of the stream: {})", skipped.sequence(), skipped.text("reason"));

    title("6. What anyone can ask afterwards: waybill explain container c-bad");
    for line in stack.run(&["explain", "container", "c-bad"]).await.stdout.lines() {
        println!("  {line}");
    }

    title("Everything stops");
    let workers = [WORKER, OTHER].map(|id| Service::Worker(id.to_owned()));
    for service in workers.iter().chain([&Service::Gateway, &Service::Scheduler]) {
        stack.stop(service).await;
    }
    let expected = good && left && failed.name == "ImagePullFailed" && failed.text("reason") == "unauthorized";
    if expected { Ok(()) } else { Err("the outcomes are not those of the story above".into()) }
}

fn title(text: &str) {
    println!("\n{text}");
}

/// What the log and the services' own lines say of one image and its container.
async fn story(stack: &Stack, image_id: &str, container_id: &str) {
    println!("\n  the log:");
    for event in stack.events().await {
        if event.text("image_id") == image_id || event.text("container_id") == container_id {
            println!("  {:>5}  {:<28}  {}", event.sequence, event.name, says(&event));
        }
    }
    println!("\n  the services' own lines:");
    for line in stack.logs().lines().filter(|line| line.contains(image_id) || line.contains(container_id)) {
        println!("    {line}");
    }
}

/// What an event says, in one phrase.
fn says(event: &Recorded) -> String {
    let fields = ["placement", "reason", "secret_name", "version", "provider_name", "digest", "worker_id"];
    let shown = fields.into_iter().filter(|field| !event.data[field].is_null());
    shown.map(|field| format!("{field}={}", event.data[field])).collect::<Vec<_>>().join(" ").replace('"', "")
}
