//! `just bench-replay`: fills a log, then measures in turn how fast it is read and how fast it is replayed.
#![allow(clippy::print_stdout, reason = "a benchmark is what it prints")]

use std::{
    error::Error,
    process::ExitCode,
    time::{Duration, Instant},
};

use async_nats::jetstream::{
    self,
    consumer::{AckPolicy, pull::Config},
};
use futures_util::StreamExt as _;
use serde_json::Value;
use waybill_tests::{
    figures::spread,
    fill::fill,
    process::Process,
    stack::{Plan, Service, Stack},
};

type Failure = Box<dyn Error + Send + Sync>;

const EVENTS: u64 = 1_000_000;
/// The least that a replay may reach of a bare read's rate.
const LEAST: f64 = 0.5;
const ROUNDS: usize = 3;
const LIMIT: Duration = Duration::from_secs(3600);

/// What is measured, each once in every round.
const MEASUREMENTS: [Measurement; 3] = [Measurement::Read, Measurement::Replay, Measurement::Verify];

#[derive(Debug, Clone, Copy, PartialEq)]
enum Measurement {
    /// One consumer from start to end that only looks at the order: the yardstick.
    Read,
    /// `waybill replay`
    Replay,
    /// `waybill replay --verify`
    Verify,
}

impl Measurement {
    fn name(self) -> &'static str {
        match self {
            Self::Read => "bare ordered read",
            Self::Replay => "waybill replay",
            Self::Verify => "waybill replay --verify",
        }
    }

    /// Events a second over the whole log.
    async fn run(self, stack: &Stack, events: u64) -> Result<f64, Failure> {
        let started = Instant::now();
        match self {
            Self::Read => read(stack, events).await?,
            Self::Replay => waybill(stack, &["replay", "--json"], events).await?,
            Self::Verify => waybill(stack, &["replay", "--verify", "--json"], events).await?,
        }
        Ok(per_second(events, started.elapsed()))
    }
}

#[tokio::main]
async fn main() -> ExitCode {
    match bench().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            println!("the benchmark failed: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn bench() -> Result<(), Failure> {
    let events = std::env::args().nth(1).map_or(Ok(EVENTS), |text| text.replace('_', "").parse())?;
    let least: f64 = std::env::args().nth(2).map_or(Ok(LEAST), |text| text.parse())?;
    let mut too_slow = None;
    let mut stack = Plan::default().setting("WAYBILL_LOG", "warn").start().await?;
    for service in [Service::Gateway, Service::Worker("w1".to_owned()), Service::Scheduler] {
        stack.stop(&service).await;
    }
    let started = Instant::now();
    let last = fill(&stack, events).await.last;
    println!("filled a log with {last} events, {:.0}/s", per_second(last, started.elapsed()));
    let mut rates: Vec<Vec<f64>> = vec![Vec::new(); MEASUREMENTS.len()];
    for round in 1..=ROUNDS {
        for (measurement, rates) in MEASUREMENTS.into_iter().zip(&mut rates) {
            let rate = measurement.run(&stack, last).await?;
            println!("round {round}  {:<24} {rate:>9.0}/s", measurement.name());
            rates.push(rate);
        }
    }
    println!("\n{:<24} {:>9} {:>9} {:>9}   of a bare read", "events a second", "lowest", "median", "highest");
    let yardstick = rates.first().map_or(f64::NAN, |read| spread(read).1);
    for (measurement, rates) in MEASUREMENTS.into_iter().zip(&rates) {
        let (lowest, median, highest) = spread(rates);
        let ratio = median / yardstick;
        println!("{:<24} {lowest:>9.0} {median:>9.0} {highest:>9.0}   {ratio:.2}", measurement.name());
        if ratio < least {
            too_slow =
                Some(format!("{} runs at {ratio:.2} of a bare read; at least {least} is asked", measurement.name()));
        }
    }
    if let Some(reason) = too_slow {
        return Err(reason.into());
    }
    Ok(())
}

async fn read(stack: &Stack, events: u64) -> Result<(), Failure> {
    let user = stack.user("operator").await;
    let jetstream = jetstream::new(user.client);
    let stream = jetstream.get_stream("WAYBILL").await?;
    let config = Config { ack_policy: AckPolicy::None, memory_storage: true, num_replicas: 1, ..Default::default() };
    let consumer = stream.create_consumer(config).await?;
    let mut messages = consumer.stream().max_messages_per_batch(1000).messages().await?;
    let mut read = 0;
    while read < events {
        let sequence = messages.next().await.ok_or("the messages ended")??.info()?.stream_sequence;
        if sequence != read + 1 {
            return Err(format!("{sequence} came after {read}").into());
        }
        read = sequence;
    }
    Ok(())
}

/// Runs a subcommand that tells how many events it folded.
async fn waybill(stack: &Stack, arguments: &[&str], events: u64) -> Result<(), Failure> {
    let mut command = stack.waybill();
    command.args(arguments);
    let finished = Process::run("waybill", command, stack.dir(), LIMIT).await?;
    if !finished.status.success() {
        return Err(finished.stderr.into());
    }
    let summary: Value = serde_json::from_str(&finished.stdout)?;
    if summary.get("events").and_then(Value::as_u64) == Some(events) {
        Ok(())
    } else {
        Err(format!("not every event was folded: {summary}").into())
    }
}

fn per_second(events: u64, elapsed: Duration) -> f64 {
    let events = u32::try_from(events).map_or(f64::INFINITY, f64::from);
    events / elapsed.as_secs_f64()
}
