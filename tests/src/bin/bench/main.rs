//! `just bench`: every figure of Waybill's speed and size beside its own limit, measured in turn by the same nats-server.
//!
//! Other programs on the machine slow both down alike, so the figures to read are the ratios inside one run.
#![allow(clippy::print_stdout, reason = "a benchmark is what it prints")]
#![allow(clippy::indexing_slicing, reason = "a missing member of a JSON value is null")]

mod bare;
mod bench;
mod decisions;
mod failures;
mod fleet;
mod gateway;
mod growth;
mod history;
mod latency;
mod machine;
mod report;

use std::{error::Error, process::ExitCode};

use bench::{Bench, Scale};
use report::Report;

type Failure = Box<dyn Error + Send + Sync>;

#[tokio::main]
async fn main() -> ExitCode {
    match run().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            println!("the benchmark failed: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Parts of the benchmark, in their order; arguments may name some of them.
const PARTS: [&str; 9] =
    ["idle", "gateway", "latency", "containers", "decisions", "growth", "fleet", "failures", "history"];
/// Those with a stack of their own.
const APART: [&str; 3] = ["fleet", "failures", "history"];

async fn run() -> Result<(), Failure> {
    let (scale, parts) = read_arguments(std::env::args().skip(1))?;
    let mut report = Report::default();
    println!("{}", machine::describe());
    let is_wanted = |wanted: &str| parts.iter().any(|part| part == wanted);
    if parts.iter().any(|part| !APART.contains(&part.as_str())) {
        let mut bench = Bench::start(scale).await?;
        for part in &parts {
            match part.as_str() {
                "idle" => bench.idle(&mut report).await?,
                "gateway" => bench.gateway(&mut report).await?,
                "latency" => bench.latency(&mut report).await?,
                "containers" => bench.containers(&mut report).await?,
                "decisions" => bench.decisions(&mut report).await?,
                "growth" => bench.growth(&mut report).await?,
                _ => {}
            }
        }
    }
    if is_wanted("fleet") {
        fleet::fleet(scale, &mut report).await?;
    }
    if is_wanted("failures") {
        failures::failures(scale, &mut report).await?;
    }
    if is_wanted("history") {
        history::history(scale, &mut report).await?;
    }
    println!("\n{}", report.table());
    let file = std::env::current_exe()?.with_file_name("bench.json");
    std::fs::write(&file, report.json())?;
    println!("\n{}\nJSON: {}", machine::describe(), file.display());
    println!("{}", report.summary());
    Ok(())
}

/// How much is measured: a scale, perhaps how many events the long log has, and perhaps which parts.
fn read_arguments(mut arguments: impl Iterator<Item = String>) -> Result<(Scale, Vec<String>), Failure> {
    let mut scale = Scale::named(&arguments.next().unwrap_or_else(|| "short".to_owned()))?;
    let mut named = Vec::new();
    for argument in arguments {
        match argument.replace('_', "").parse() {
            Ok(events) => scale.events = events,
            Err(_) if PARTS.contains(&argument.as_str()) => named.push(argument),
            Err(_) => return Err(format!("{argument}: say a number of events, or {}", PARTS.join(", ")).into()),
        }
    }
    let is_wanted = |part: &&str| named.is_empty() || named.iter().any(|name| name == part);
    Ok((scale, PARTS.iter().filter(|part| is_wanted(part)).map(|part| (*part).to_owned()).collect()))
}
