//! A stack with a registry, four workers and ten secrets, and what all measurements need of it.

use std::time::{Duration, Instant};

use futures_util::StreamExt as _;
use serde_json::{Value, json};
use tokio::time::sleep;
use waybill_tests::{
    fill::{self, Message, publish_batch},
    image::TinyImage,
    login::Login,
    registry::{Registry, Scheme},
    stack::{Plan, Service, Stack, User},
};

use crate::{
    Failure,
    bare::Bare,
    machine,
    report::{Goal, Report},
};

/// How much is measured.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Scale {
    pub(crate) rounds: usize,
    /// Decisions in a round.
    pub(crate) decisions: usize,
    /// Builds through the gateway in a round.
    pub(crate) builds: usize,
    /// Requests that are timed at one a second, and at fifty.
    pub(crate) slow: usize,
    pub(crate) fast: usize,
    /// Containers on one worker.
    pub(crate) containers: usize,
    /// Workers that join and connect.
    pub(crate) workers: usize,
    pub(crate) idle: Duration,
    /// The projection's file is at rest once its length stays for so long: it shrinks in quiet moments.
    pub(crate) rest: Duration,
    pub(crate) images: usize,
    pub(crate) placements: usize,
    /// Events of the log that is replayed and explained.
    pub(crate) events: u64,
    pub(crate) questions: u64,
}

impl Scale {
    pub(crate) fn named(name: &str) -> Result<Self, Failure> {
        let short = Self {
            rounds: 3,
            decisions: 5_000,
            builds: 2_000,
            slow: 20,
            fast: 200,
            containers: 300,
            workers: 2_000,
            idle: Duration::from_secs(8),
            rest: Duration::from_secs(3),
            images: 20_000,
            placements: 10_000,
            events: 150_000,
            questions: 9,
        };
        match name {
            "short" => Ok(short),
            // Enough to see that everything works.
            "smoke" => Ok(Self {
                rounds: 1,
                decisions: 200,
                builds: 50,
                slow: 2,
                fast: 20,
                containers: 10,
                workers: 20,
                idle: Duration::from_secs(1),
                rest: Duration::from_millis(100),
                images: 500,
                placements: 200,
                events: 3_000,
                questions: 2,
            }),
            "long" => Ok(Self {
                rounds: 5,
                decisions: 20_000,
                builds: 10_000,
                slow: 60,
                fast: 1_000,
                containers: 1_000,
                workers: 2_000,
                idle: Duration::from_secs(60),
                rest: Duration::from_secs(10),
                images: 1_000_000,
                placements: 100_000,
                events: 10_000_000,
                questions: 25,
            }),
            other => Err(format!("{other}: say short, long or smoke").into()),
        }
    }
}

pub(crate) const WORKERS: [&str; 4] = ["w1", "w2", "w3", "w4"];
/// Secrets, each with a login of its own and an image that names it.
const SECRETS: usize = 10;
const LIMIT: Duration = Duration::from_secs(600);

/// What is measured.
pub(crate) struct Bench {
    pub(crate) scale: Scale,
    pub(crate) stack: Stack,
    pub(crate) bare: Bare,
    /// May say everything that builders and orchestrators say.
    pub(crate) publisher: User,
    operator: User,
    pub(crate) reference: String,
    /// Containers requested so far: each has a name of its own.
    requested: usize,
    pub(crate) is_without_workers: bool,
    _registry: Registry,
}

impl Bench {
    pub(crate) async fn start(scale: Scale) -> Result<Self, Failure> {
        let registry = Registry::start(Scheme::Basic)?;
        let image = TinyImage::new("bench")?;
        let reference = registry.serve("team/app", "1", &image);
        let plan = Plan::default().workers(&WORKERS).setting("WAYBILL_LOG", "warn").plain_http(&[&registry.host()]);
        let (stack, bare) = (plan.start().await?, Bare::start().await?);
        for number in 0..SECRETS {
            let login = Login::new(format!("puller-{number}"), format!("bench-{number}-{}", std::process::id()));
            registry.accounts().allow(&login);
            let body = json!({
                "workspace": "acme", "image_id": format!("img-{number}"), "existing_image_uri": reference,
                "existing_image_secret": format!("secret-{number}"),
                "existing_image_creds": { "USERNAME": login.user(), "PASSWORD": login.password() },
            });
            let saved = stack.post("/v1/builds", &body).await;
            if saved.status.as_u16() != 201 {
                return Err(format!("a build was not saved: {}", saved.body).into());
            }
        }
        let (publisher, operator) = (stack.user("gateway").await, stack.user("operator").await);
        Ok(Self {
            scale,
            stack,
            bare,
            publisher,
            operator,
            reference,
            requested: 0,
            is_without_workers: false,
            _registry: registry,
        })
    }

    /// Sequence of the log's last event.
    pub(crate) async fn last(&self) -> Result<u64, Failure> {
        let asked = self.operator.ask("$JS.API.STREAM.INFO.WAYBILL", Default::default(), "").await;
        let state: Value = asked.ok_or("the log does not answer")?;
        Ok(state["state"]["last_seq"].as_u64().ok_or_else(|| format!("no sequence: {state}"))?)
    }

    /// Waits until the log holds so many events.
    pub(crate) async fn until(&self, sequence: u64) -> Result<(), Failure> {
        let started = Instant::now();
        loop {
            let last = self.last().await?;
            if last >= sequence {
                return Ok(());
            }
            if started.elapsed() > LIMIT {
                return Err(format!("the log stays at {last}, before {sequence}").into());
            }
            sleep(Duration::from_millis(2)).await;
        }
    }

    /// Messages on the subjects that match a filter, from a sequence on, with the stream's time of each.
    pub(crate) async fn read(
        &self,
        filter: &str,
        from: u64,
        count: usize,
    ) -> Result<Vec<(u64, time::OffsetDateTime, Message)>, Failure> {
        use async_nats::jetstream::consumer::{AckPolicy, DeliverPolicy, pull::Config};
        let jetstream = async_nats::jetstream::new(self.operator.client.clone());
        let config = Config {
            filter_subject: filter.to_owned(),
            deliver_policy: DeliverPolicy::ByStartSequence { start_sequence: from },
            ack_policy: AckPolicy::None,
            ..Default::default()
        };
        let consumer = jetstream.create_consumer_on_stream(config, "WAYBILL").await?;
        let messages = consumer.messages().await?.take(count).map(|message| {
            let message = message?;
            let (sequence, at) = message.info().map(|info| (info.stream_sequence, info.published))?;
            let (subject, headers) = (message.subject.to_string(), message.headers.clone().unwrap_or_default());
            Ok((sequence, at, Message { subject, headers, body: message.payload.clone() }))
        });
        tokio::time::timeout(LIMIT, messages.collect::<Vec<Result<_, Failure>>>()).await?.into_iter().collect()
    }

    /// Requests for containers with new names: of images in turn, on workers in turn.
    pub(crate) fn requests(&mut self, count: usize, images: usize, workers: &[&str]) -> Vec<Message> {
        let from = self.requested;
        self.requested += count;
        let request = |number: usize| {
            let worker = workers[number % workers.len()];
            // A prime that spreads neighbours over all images.
            let image = number.wrapping_mul(7919) % images;
            fill::request(&format!("c-{number}"), &format!("img-{image}"), worker)
        };
        (from..self.requested).map(request).collect()
    }

    /// Appends as the gateway's user; returns the last sequence.
    pub(crate) async fn publish(&self, messages: Vec<Message>) -> u64 {
        let mut last = 0;
        for batch in messages.chunks(500) {
            last = publish_batch(&self.publisher.client, batch.to_vec()).await;
        }
        last
    }

    pub(crate) fn pid(&mut self, service: &Service) -> u32 {
        self.stack.process(service).pid()
    }

    /// Processor time of services that have nothing to do.
    pub(crate) async fn idle(&mut self, report: &mut Report) -> Result<(), Failure> {
        let services = [Service::Gateway, Service::Scheduler, Service::Worker("w1".to_owned())];
        let names = ["gateway", "scheduler", "worker"];
        let pids = services.each_ref().map(|service| self.pid(service));
        let before = pids.map(|pid| machine::cpu_time(&[pid]));
        sleep(self.scale.idle).await;
        for ((name, pid), before) in names.into_iter().zip(pids).zip(before) {
            let used = machine::cpu_time(&[pid]).saturating_sub(before);
            let percent = used.as_secs_f64() / self.scale.idle.as_secs_f64() * 100.0;
            report.amount(format!("idle {name}, processor"), "%", &[percent], Goal::AtMost(0.5));
        }
        Ok(())
    }
}

/// How many a second.
pub(crate) fn per_second(count: usize, elapsed: Duration) -> f64 {
    float(count) / elapsed.as_secs_f64()
}

/// A count as a number to calculate with.
pub(crate) fn float(count: usize) -> f64 {
    u32::try_from(count).map_or(f64::INFINITY, f64::from)
}
