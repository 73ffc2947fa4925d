//! `infra/justw demo`: a private image is pulled with credentials that travelled over the log; then a build without any,
//! and the reason that the log has for it.
#![allow(clippy::print_stdout, reason = "a demonstration is what it prints")]

use std::{error::Error, process::ExitCode};

use serde_json::{Value, json};
use waybill_tests::{
    image::TinyImage,
    login::Login,
    registry::{Registry, Scheme},
    stack::{Plan, Recorded, Service, Stack},
};

const WORKER: &str = "node-1";

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
    let plan = Plan::default().workers(&[WORKER]).plain_http(&[&registry.host()]);
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

    title("3. The failing case: a build that hands over no credentials");
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

    title("4. What anyone can ask afterwards: waybill explain container c-bad");
    for line in stack.run(&["explain", "container", "c-bad"]).await.stdout.lines() {
        println!("  {line}");
    }

    title("Everything stops");
    for service in [Service::Gateway, Service::Worker(WORKER.to_owned()), Service::Scheduler] {
        stack.stop(&service).await;
    }
    let expected = good && failed.name == "ImagePullFailed" && failed.text("reason") == "unauthorized";
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

/// What an event says, in one phrase; credentials are ciphertext here.
fn says(event: &Recorded) -> String {
    let fields = ["reason", "secret_name", "provider_name", "digest", "worker_id"];
    let said = fields.into_iter().filter(|field| !event.text(field).is_empty());
    said.map(|field| format!("{field}={}", event.text(field))).collect::<Vec<_>>().join(" ")
}
