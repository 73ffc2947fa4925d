//! A long log: how fast it is read, replayed and verified, how long an explanation takes, and how long a restart.

use std::{
    process::Stdio,
    time::{Duration, Instant},
};

use async_nats::jetstream::{
    self,
    consumer::{AckPolicy, pull::Config},
};
use futures_util::StreamExt as _;
use serde_json::Value;
use tokio::process::Command;
use waybill_tests::{
    fill::filled,
    process::Process,
    stack::{Plan, Service, Stack},
};

use crate::{
    Failure,
    bench::{Scale, per_second},
    report::{Goal, Report},
};

const LIMIT: Duration = Duration::from_secs(3600);

pub(crate) async fn history(scale: Scale, report: &mut Report) -> Result<(), Failure> {
    let (mut stack, filled) = filled(Plan::default().setting("WAYBILL_LOG", "warn"), scale.events).await?;
    let events = filled.last;
    let (mut reads, mut replays, mut verified) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..scale.rounds {
        reads.push(read(&stack, events).await?);
        replays.push(replay(&stack, &["replay", "--json"], events).await?);
        verified.push(replay(&stack, &["replay", "--verify", "--json"], events).await?);
    }
    let name = format!("replay of {events} events");
    report.ratio(name, "/s", &replays, ("a bare read", &reads), Goal::AtLeast(0.9));
    report.ratio("replay --verify", "/s", &verified, ("replay", &replays), Goal::AtLeast(0.95));

    let (mut restarted, mut from_memory) = (Vec::new(), Vec::new());
    for round in 0..scale.questions {
        let id = format!("c-{}", round * (filled.containers - 1) / (scale.questions - 1).max(1));
        stack.nats().stop().await?;
        stack.nats().restart().await?;
        restarted.push(explain(&stack, &["explain", "container", &id, "--json"]).await?);
        from_memory.push(explain(&stack, &["explain", "container", &id, "--json"]).await?);
    }
    report.amount(format!("explain in {events} events"), "ms", &from_memory, Goal::AtMost(10.0));
    report.amount("explain, the server just restarted", "ms", &restarted, Goal::AtMost(10.0));

    // The first start folds everything.
    stack.spawn(&Service::Scheduler)?;
    let folding = Instant::now();
    stack.until_ready(&Service::Scheduler).await?;
    report.amount(
        "fold by a new scheduler",
        "/s",
        &[per_second(usize::try_from(events)?, folding.elapsed())],
        Goal::Shown,
    );
    let mut restarts = Vec::new();
    for _ in 0..scale.rounds {
        stack.stop(&Service::Scheduler).await;
        let started = Instant::now();
        stack.spawn(&Service::Scheduler)?;
        stack.until_ready(&Service::Scheduler).await?;
        restarts.push(started.elapsed().as_secs_f64());
    }
    report.amount(format!("restart of the scheduler at {events} events"), "s", &restarts, Goal::AtMost(1.0));
    Ok(())
}

/// Events a second by one consumer from start to end that only looks at the order.
async fn read(stack: &Stack, events: u64) -> Result<f64, Failure> {
    let user = stack.user("operator").await;
    let started = Instant::now();
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
    Ok(per_second(usize::try_from(events)?, started.elapsed()))
}

/// Events a second by a subcommand that tells how many it folded.
async fn replay(stack: &Stack, arguments: &[&str], events: u64) -> Result<f64, Failure> {
    let mut command = stack.waybill();
    command.args(arguments);
    let started = Instant::now();
    let finished = Process::run("waybill", command, stack.dir(), LIMIT).await?;
    let elapsed = started.elapsed();
    let summary: Value = serde_json::from_str(&finished.stdout).map_err(|_| finished.stderr)?;
    if summary["events"].as_u64() != Some(events) {
        return Err(format!("not every event was folded: {summary}").into());
    }
    Ok(per_second(usize::try_from(events)?, elapsed))
}

/// Milliseconds of one `waybill explain …`, from its start to its end.
pub(crate) async fn explain(stack: &Stack, question: &[&str]) -> Result<f64, Failure> {
    let mut command = Command::from(stack.waybill());
    command.args(question).stdin(Stdio::null()).kill_on_drop(true);
    let started = Instant::now();
    let finished = tokio::time::timeout(LIMIT, command.output()).await??;
    if finished.status.code() == Some(2) {
        return Err(String::from_utf8_lossy(&finished.stderr).into());
    }
    Ok(started.elapsed().as_secs_f64() * 1000.0)
}
