//! `just bench`: every figure of Waybill's speed and size beside its own limit, measured in turn by the same nats-server.
//!
//! Other programs on the machine slow both down alike, so the figures to read are the ratios inside one run.
#![allow(clippy::print_stdout, reason = "a benchmark is what it prints")]
#![allow(clippy::indexing_slicing, reason = "a missing member of a JSON value is null")]

mod bare;
mod bench;
mod decisions;
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

async fn run() -> Result<(), Failure> {
    let mut arguments = std::env::args().skip(1);
    let mut scale = Scale::named(&arguments.next().unwrap_or_else(|| "short".to_owned()))?;
    if let Some(events) = arguments.next() {
        scale.events = events.replace('_', "").parse()?;
    }
    let mut report = Report::default();
    println!("{}", machine::describe());
    let mut bench = Bench::start(scale).await?;
    bench.idle(&mut report).await?;
    bench.gateway(&mut report).await?;
    bench.latency(&mut report).await?;
    bench.containers(&mut report).await?;
    bench.decisions(&mut report).await?;
    bench.growth(&mut report).await?;
    drop(bench);
    history::history(scale, &mut report).await?;
    println!("\n{}", report.table());
    let file = std::env::current_exe()?.with_file_name("bench.json");
    std::fs::write(&file, report.json())?;
    println!("\n{}\nJSON: {}", machine::describe(), file.display());
    println!("{}", report.summary());
    Ok(())
}
