//! The limits: what a nats-server with the settings of the log's does without Waybill, on the same machine and disk. Both are
//! never at work at the same time.

use std::time::{Duration, Instant};

use async_nats::{
    Client, HeaderMap, Request,
    jetstream::{
        self, Context,
        consumer::{AckPolicy, pull},
        stream,
    },
};
use futures_util::{StreamExt as _, TryStreamExt as _, stream as items};
use waybill_tests::{
    fill::{Message, publish_batch},
    nats::NatsServer,
};

use crate::{Failure, bench::per_second};

const STREAM: &str = "BENCH";
/// Longest that a hop is waited for.
const HOP: Duration = Duration::from_secs(10);
/// Events in one batch, as the scheduler has them.
const BATCH: usize = 500;

/// A server of its own.
pub(crate) struct Bare {
    _server: NatsServer,
    client: Client,
    jetstream: Context,
}

impl Bare {
    pub(crate) async fn start() -> Result<Self, Failure> {
        let server = NatsServer::start().await?;
        let client = async_nats::connect(server.url()).await?;
        Ok(Self { _server: server, jetstream: jetstream::new(client.clone()), client })
    }

    /// An empty stream with the log's settings.
    async fn empty(&self) -> Result<stream::Stream, Failure> {
        if self.jetstream.get_stream(STREAM).await.is_ok() {
            self.jetstream.delete_stream(STREAM).await?;
        }
        let config = stream::Config {
            name: STREAM.to_owned(),
            subjects: vec!["waybill.>".to_owned(), "hop.>".to_owned()],
            allow_atomic_publish: true,
            allow_direct: true,
            ..Default::default()
        };
        Ok(self.jetstream.create_stream(config).await?)
    }

    /// Messages a second in atomic batches, one after the other.
    pub(crate) async fn batches(&self, messages: &[Message]) -> Result<f64, Failure> {
        self.empty().await?;
        // They keep the headers of the batches that they were stored in.
        let again: Vec<Message> = messages.iter().map(|message| without(message, "Nats-Batch-")).collect();
        let batches: Vec<Vec<Message>> = again.chunks(BATCH).map(<[Message]>::to_vec).collect();
        let started = Instant::now();
        for batch in batches {
            publish_batch(&self.client, batch).await;
        }
        Ok(per_second(messages.len(), started.elapsed()))
    }

    /// Messages a second, each acknowledged for itself, with so many under way.
    pub(crate) async fn singles(&self, messages: Vec<Message>, in_flight: usize) -> Result<f64, Failure> {
        self.empty().await?;
        let (count, started) = (messages.len(), Instant::now());
        let published = items::iter(messages).map(|message| async {
            let request = Request::new().headers(message.headers).payload(message.body);
            self.client.send_request(message.subject, request).await
        });
        published.buffer_unordered(in_flight).try_collect::<Vec<_>>().await?;
        Ok(per_second(count, started.elapsed()))
    }

    /// Milliseconds from the stream's time of a message to that of its answer's answer: two relays wait, each of which publishes
    /// as soon as it is given a message. One sample each `pause`.
    pub(crate) async fn hops(&self, template: &Message, count: usize, pause: Duration) -> Result<Vec<f64>, Failure> {
        // One message many times: it may have no id and expect nothing.
        let (stream, template) = (self.empty().await?, without(template, "Nats-"));
        let relays = [("hop.0", "hop.1"), ("hop.1", "hop.2")];
        let mut running = tokio::task::JoinSet::new();
        for (from, to) in relays {
            let config =
                pull::Config { filter_subject: from.to_owned(), ack_policy: AckPolicy::None, ..Default::default() };
            let mut messages = stream.create_consumer(config).await?.messages().await?;
            let (client, template) = (self.client.clone(), template.clone());
            running.spawn(async move {
                while let Some(Ok(_)) = messages.next().await {
                    let request = Request::new().headers(template.headers.clone()).payload(template.body.clone());
                    let client = client.clone();
                    tokio::spawn(async move { client.send_request(to, request).await });
                }
            });
        }
        let mut tick = tokio::time::interval(pause);
        for _ in 0..count {
            tick.tick().await;
            let request = Request::new().headers(template.headers.clone()).payload(template.body.clone());
            self.client.send_request("hop.0", request).await?;
        }
        let (first, last) = tokio::try_join!(self.times(&stream, "hop.0", count), self.times(&stream, "hop.2", count))?;
        Ok(first.iter().zip(last).map(|(first, last)| last - first).collect())
    }

    /// The stream's times of the messages on a subject, in milliseconds.
    async fn times(&self, stream: &stream::Stream, subject: &str, count: usize) -> Result<Vec<f64>, Failure> {
        let config =
            pull::Config { filter_subject: subject.to_owned(), ack_policy: AckPolicy::None, ..Default::default() };
        let messages = stream.create_consumer(config).await?.messages().await?;
        let times = messages.take(count).map(|message| Ok::<f64, Failure>(milliseconds(message?.info()?.published)));
        tokio::time::timeout(HOP, times.try_collect()).await?
    }
}

/// Milliseconds since 1970.
pub(crate) fn milliseconds(at: time::OffsetDateTime) -> f64 {
    (at - time::OffsetDateTime::UNIX_EPOCH).as_seconds_f64() * 1000.0
}

/// The message without the headers whose names begin so.
fn without(message: &Message, prefix: &str) -> Message {
    let mut headers = HeaderMap::new();
    for (name, values) in message.headers.iter().filter(|(name, _)| !name.to_string().starts_with(prefix)) {
        values.iter().for_each(|value| headers.append(name.clone(), value.clone()));
    }
    Message { headers, ..message.clone() }
}
