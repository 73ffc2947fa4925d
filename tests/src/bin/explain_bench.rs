//! `just bench-explain`: the time to explain one id in a small log, in one ten times as large, and in a large one, in turn.
//!
//! nats-server keeps messages in blocks of 8 MB, and opens those that it is asked for and does not hold in memory. The small log is
//! two blocks; in a larger one each event of a story may lie in another. So what is answered from memory is compared with the
//! small log, and what is answered after a restart with the middle one, in which a story takes as many blocks.
#![allow(clippy::print_stdout, reason = "a benchmark is what it prints")]

use std::{
    error::Error,
    process::{ExitCode, Stdio},
    time::{Duration, Instant},
};

use tokio::{process::Command, time::timeout};
use waybill_tests::{
    figures::spread,
    fill::{Filled, fill},
    stack::{Plan, Service, Stack},
};

type Failure = Box<dyn Error + Send + Sync>;

const SMALL: u64 = 10_000;
const MIDDLE: u64 = 100_000;
const LARGE: u64 = 1_000_000;
/// Questions of each kind, each about another id, from one end of the log to the other.
const ROUNDS: u64 = 15;
/// How often a question is asked after a restart of the server, the first time of which it has no block in memory.
const ASKED: usize = 4;
/// How much longer the large log may take: noise.
const MOST: f64 = 1.5;
const LIMIT: Duration = Duration::from_secs(600);

/// What is asked: of a container, of an image, of an image that was built again, often much later, and of an image that nobody
/// built, which looks in other workspaces, too.
const QUESTIONS: [(&str, &str); 4] =
    [("container", "c-"), ("image", "img-"), ("rebuilt image", "img-"), ("image", "nobody-built-")];

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
    let argument = |number: usize| std::env::args().nth(number).map(|text| text.replace('_', ""));
    let events = argument(1).map_or(Ok(LARGE), |text| text.parse())?;
    let most: f64 = argument(2).map_or(Ok(MOST), |text| text.parse())?;
    let rounds: u64 = argument(3).map_or(Ok(ROUNDS), |text| text.parse())?;
    let sizes = [SMALL, events.min(MIDDLE), events];
    let mut logs = Vec::new();
    for events in sizes {
        logs.push(filled(events).await?);
    }
    println!("\n{:<50} {:>9} {:>9} {:>9}   ratio", "milliseconds", "lowest", "median", "highest");
    let mut slowest = 0.0_f64;
    for (kind, prefix) in QUESTIONS {
        let mut times: [Times; 3] = Default::default();
        for round in 0..rounds {
            for ((stack, filled), times) in logs.iter_mut().zip(&mut times) {
                let ids = match kind {
                    "container" => filled.containers,
                    "rebuilt image" => filled.rebuilt,
                    _ => filled.images,
                };
                let id = format!("{prefix}{}", round * (ids - 1) / (rounds - 1).max(1));
                times.measure(stack, if kind == "container" { kind } else { "image" }, &id).await?;
            }
        }
        let restarted = times.each_ref().map(|times| spread(&times.restarted));
        let memory = times.each_ref().map(|times| spread(&times.from_memory));
        let ([_, middle, _], [small, _, _]) = (restarted, memory);
        for (when, spreads, yardstick) in [("after a restart", restarted, middle), ("from memory", memory, small)] {
            for (size, (lowest, median, highest)) in sizes.iter().zip(spreads) {
                let what = format!("{kind} {prefix}N of {size}, {when}");
                let ratio = median / yardstick.1;
                println!("{what:<50} {lowest:>9.1} {median:>9.1} {highest:>9.1}   {ratio:.2}");
            }
            let [.., large] = spreads;
            slowest = slowest.max(large.1 / yardstick.1);
        }
    }
    if slowest > most {
        return Err(
            format!("the large log takes {slowest:.2} times as long as the smaller one; {most} is allowed").into()
        );
    }
    Ok(())
}

/// Milliseconds of each question.
#[derive(Default)]
struct Times {
    restarted: Vec<f64>,
    from_memory: Vec<f64>,
}

impl Times {
    async fn measure(&mut self, stack: &mut Stack, kind: &str, id: &str) -> Result<(), Failure> {
        stack.nats().stop().await?;
        stack.nats().restart().await?;
        self.restarted.push(ask(stack, kind, id).await?);
        for _ in 1..ASKED {
            self.from_memory.push(ask(stack, kind, id).await?);
        }
        Ok(())
    }
}

async fn filled(events: u64) -> Result<(Stack, Filled), Failure> {
    let mut stack = Plan::default().setting("WAYBILL_LOG", "warn").start().await?;
    for service in [Service::Gateway, Service::Worker("w1".to_owned()), Service::Scheduler] {
        stack.stop(&service).await;
    }
    let filled = fill(&stack, events).await;
    println!("filled a log with {} events", filled.last);
    Ok((stack, filled))
}

/// Milliseconds of one `waybill explain`, from its start to its end.
async fn ask(stack: &Stack, kind: &str, id: &str) -> Result<f64, Failure> {
    let mut command = Command::from(stack.waybill());
    command.args(["explain", kind, id, "--json"]).stdin(Stdio::null()).kill_on_drop(true);
    let started = Instant::now();
    let finished = timeout(LIMIT, command.output()).await??;
    let elapsed = started.elapsed().as_secs_f64() * 1000.0;
    if finished.status.code() == Some(2) {
        return Err(String::from_utf8_lossy(&finished.stderr).into());
    }
    Ok(elapsed)
}
