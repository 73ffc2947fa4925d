//! `just bench-explain`: the time to explain one container in a small log and in a large one, in turn.
#![allow(clippy::print_stdout, reason = "a benchmark is what it prints")]

use std::{
    error::Error,
    process::ExitCode,
    time::{Duration, Instant},
};

use waybill_tests::{
    figures::spread,
    fill::{Filled, fill},
    process::Process,
    stack::{Plan, Service, Stack},
};

type Failure = Box<dyn Error + Send + Sync>;

const SMALL: u64 = 10_000;
const LARGE: u64 = 1_000_000;
const ROUNDS: u64 = 30;
/// How much longer the large log may take: noise.
const MOST: f64 = 1.5;
const LIMIT: Duration = Duration::from_secs(600);

/// What is asked: of a container, of an image, of an image that nobody built (which looks in other workspaces, too).
const QUESTIONS: [(&str, &str); 3] = [("container", "c-"), ("image", "img-"), ("image", "nobody-built-")];

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
    let events = std::env::args().nth(1).map_or(Ok(LARGE), |text| text.replace('_', "").parse())?;
    let most: f64 = std::env::args().nth(2).map_or(Ok(MOST), |text| text.parse())?;
    let mut slowest = 0.0_f64;
    let (small, large) = (filled(SMALL).await?, filled(events).await?);
    println!("\n{:<32} {:>9} {:>9} {:>9}   of the small log", "milliseconds", "lowest", "median", "highest");
    for (kind, prefix) in QUESTIONS {
        let mut times: [Vec<f64>; 2] = Default::default();
        for round in 0..ROUNDS {
            for ((stack, filled), times) in [&small, &large].into_iter().zip(&mut times) {
                // Every question is about another id, so that no cache of the last answer helps, from one end of the log to
                // the other. The first image was built at both.
                let ids = if kind == "container" { filled.containers } else { filled.images };
                let id = format!("{prefix}{}", round * (ids - 1) / (ROUNDS - 1));
                times.push(ask(stack, kind, &id).await?);
            }
        }
        let yardstick = spread(&times[0]).1;
        for (size, times) in [SMALL, events].into_iter().zip(&times) {
            let (lowest, median, highest) = spread(times);
            let what = format!("{kind} {prefix}N of {size}");
            let ratio = median / yardstick;
            println!("{what:<32} {lowest:>9.1} {median:>9.1} {highest:>9.1}   {ratio:.2}");
            slowest = slowest.max(ratio);
        }
    }
    if slowest > most {
        return Err(
            format!("the large log takes {slowest:.2} times as long as the small one; {most} is allowed").into()
        );
    }
    Ok(())
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
    let mut command = stack.waybill();
    command.args(["explain", kind, id, "--json"]);
    let started = Instant::now();
    let finished = Process::run("waybill", command, stack.dir(), LIMIT).await?;
    let elapsed = started.elapsed().as_secs_f64() * 1000.0;
    if finished.status.code() == Some(2) {
        return Err(finished.stderr.into());
    }
    Ok(elapsed)
}
