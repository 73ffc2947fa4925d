//! A runtime that uses the worker as a library: it attaches credentials to a container, asks for a login as it starts the
//! container, and lets other programs of the node ask through the socket. No NATS is involved.
//!
//! `cargo run -p waybill-worker --example embed`

#![allow(clippy::print_stdout, reason = "an example shows what it does")]

use std::{error::Error, sync::Arc};

use tokio_util::sync::CancellationToken;
use waybill_domain::{
    credentials::{BasicLogin, Credentials, Secret},
    fold::ContainerKey,
    provider::CustomPlan,
    reference::ImageReference,
};
use waybill_registry::{
    node::{Answer, Client, Request, SOCKET},
    provider::{CloudConfig, Provider, RegistryLogin, TokenCache},
};
use waybill_schemas::WorkspaceId;
use waybill_worker::node::{Answerer, Attachment, Attachments, NodeDir, Owner, Placed, Running, Server};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let workspace: WorkspaceId = "acme".parse()?;
    let container = ContainerKey { workspace: workspace.clone(), container_id: "c1".parse()? };
    // The number grows each time that the container is placed: the key of an older placement opens nothing.
    let placed = Placed { container, number: 1 };
    let image = ImageReference::parse("registry.example.com/team/app:1")?;

    // A provider gives logins for one registry host and no other. One cache serves all providers of a process: containers
    // of a workspace that have the same keys share a token.
    let tokens = TokenCache::new(CloudConfig::default());
    let login = BasicLogin { username: "ada".to_owned(), password: Secret::from("from the build") };
    let plan = CustomPlan { registry: image.registry().clone(), credentials: Credentials::Basic(login) };
    let provider = Provider::new(plan, &workspace, &tokens);

    // What runs on the node. Newer credentials are put in the same way and replace these.
    let scratch = tempfile::tempdir()?;
    let running = Running::open(NodeDir::open(scratch.path(), None)?)?;
    let attachments = Attachments::default();
    let attachment = Attachment { provider, image: image.clone(), expires_at: None, placement: placed.number };
    attachments.put(placed.clone(), attachment);
    running.admit(&placed)?;

    // The runtime itself asks the provider, each time it needs a login: tokens are renewed on the way.
    let attachment = attachments.get(&placed).ok_or("the container has no credentials")?;
    let issued = attachment.provider.login(image.registry()).await?;
    if let RegistryLogin::Basic(login) = &issued.login {
        println!("{} is pulled as {}, until {:?}", image, login.username, issued.expires_at);
    }

    // Other programs ask through the socket, showing the container's access file.
    let server = Server::bind(Answerer::new(running.clone(), Arc::new(attachments.clone())))?;
    let stop = CancellationToken::new();
    let serving = tokio::spawn(server.serve(stop.clone()));
    let client = Client {
        socket: running.dir().root().join(SOCKET),
        access_file: running.dir().access_file(&Owner::from(&placed.container)),
    };
    let registry = Some(image.registry().to_string());
    let asked =
        tokio::task::spawn_blocking(move || client.ask(|access| Request::Get { access, registry, image: None }));
    if let Answer::Login(given) = asked.await?? {
        println!("docker-credential-waybill would be given {} for {}", given.username, given.registry);
    }

    // The container has ended: its key opens nothing any more, and its files are gone.
    attachments.remove(&placed);
    running.remove(&placed)?;
    stop.cancel();
    serving.await?;
    Ok(())
}
