//! nats-server comes back from a kill with what it had acknowledged.

use async_nats::jetstream::{self, stream};
use waybill_tests::error::StartError;
use waybill_tests::nats::NatsServer;
use waybill_tests::require;
use waybill_tests::scratch::Scratch;

async fn jetstream(nats: &NatsServer) -> jetstream::Context {
    jetstream::new(async_nats::connect(nats.url()).await.unwrap())
}

#[tokio::test]
async fn restarts_with_its_data_on_its_port() {
    let mut nats = require!(NatsServer::start().await);
    let config = stream::Config { name: "KEPT".into(), subjects: vec!["kept.>".into()], ..Default::default() };
    let before = jetstream(&nats).await;
    before.create_stream(config).await.unwrap();
    before.publish("kept.one", "first".into()).await.unwrap().await.unwrap();

    let (url, pid) = (nats.url(), nats.process().pid());
    nats.sigkill();
    assert!(async_nats::connect(nats.url()).await.is_err());
    nats.restart().await.unwrap();
    assert_eq!(nats.url(), url);
    assert_ne!(nats.process().pid(), pid);
    assert_eq!(kept(&nats).await, "first");

    nats.stop().await.unwrap();
    nats.restart().await.unwrap();
    assert_eq!(kept(&nats).await, "first");
    assert!(nats.store_dir().join("jetstream").is_dir());
}

async fn kept(nats: &NatsServer) -> String {
    let stream = jetstream(nats).await.get_stream("KEPT").await.unwrap();
    let message = stream.get_last_raw_message_by_subject("kept.one").await.unwrap();
    String::from_utf8(message.payload.to_vec()).unwrap()
}

#[tokio::test]
async fn takes_a_configuration_file_but_its_own_port() {
    let scratch = Scratch::new("nats-config").unwrap();
    let config = "port: 4222\njetstream { store_dir: here }\nauthorization { user: ada, password: lovelace }\n";
    let (config, store) = (scratch.file("nats.conf", config).unwrap(), scratch.path().join("here"));
    let nats = require!(NatsServer::with_config(&config, &store).await);
    assert_ne!(nats.port(), 4222);
    assert!(async_nats::connect(nats.url()).await.is_err());
    let options = async_nats::ConnectOptions::with_user_and_password("ada".into(), "lovelace".into());
    let client = options.connect(nats.url()).await.unwrap();
    jetstream::new(client).query_account().await.unwrap();
    assert!(nats.store_dir().join("jetstream").is_dir());
}

#[tokio::test]
async fn a_server_that_refuses_its_configuration_says_why() {
    let scratch = Scratch::new("nats-config").unwrap();
    let config = scratch.file("nats.conf", "no_such_option: 1\n").unwrap();
    let error = require!(match NatsServer::with_config(&config, scratch.path()).await {
        Err(StartError::Missing(missing)) => Err(missing),
        other => Ok(other.unwrap_err()),
    });
    assert!(matches!(&error, StartError::Ended { last_lines, .. } if last_lines.contains("no_such_option")), "{error}");
}
