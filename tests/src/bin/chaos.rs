//! `just chaos SECONDS [SEED]`: faults for some seconds, then a report. The exit status is 1 where something was lost, said
//! twice or kept.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "this program prints")]

use std::{
    process::ExitCode,
    time::{SystemTime, UNIX_EPOCH},
};

#[tokio::main]
async fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1).map(|text| text.parse::<u64>());
    let seed = SystemTime::now().duration_since(UNIX_EPOCH).map_or(1, |now| now.as_secs());
    let (Some(Ok(seconds)), Ok(seed)) = (arguments.next(), arguments.next().unwrap_or(Ok(seed))) else {
        eprintln!("usage: chaos SECONDS [SEED]");
        return ExitCode::from(2);
    };
    match waybill_tests::chaos::run(seconds, seed).await {
        Ok(report) => {
            print!("{report}");
            if report.anomalies().is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
        }
        Err(error) => {
            eprintln!("the fleet cannot be started: {error}");
            ExitCode::from(2)
        }
    }
}
