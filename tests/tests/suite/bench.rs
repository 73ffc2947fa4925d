//! The benchmarks, on small logs: they run, print what the documents quote, and fail beyond a limit. What the limits of
//! `just bench-replay` and `just bench-explain` are held with is a release build and a large log, not this test.

use std::time::Duration;

use waybill_tests::{
    error::StartError,
    find,
    nats::NatsServer,
    process::{Process, command},
    require,
    scratch::Scratch,
};

const LIMIT: Duration = Duration::from_secs(300);

/// Runs a benchmark with a limit that it always keeps, or never.
async fn benchmark(name: &str, arguments: &[&str], kept: bool) -> Result<String, StartError> {
    drop(NatsServer::start().await?);
    let scratch = Scratch::new("bench")?;
    let mut child = command(find::workspace_binary(name)?);
    child.args(arguments);
    let finished = Process::run(name, child, scratch.path(), LIMIT).await?;
    assert_eq!(finished.status.success(), kept, "{}{}", finished.stdout, finished.stderr);
    Ok(finished.stdout)
}

#[tokio::test]
async fn replay_is_compared_with_a_bare_read() {
    let printed = require!(benchmark("replay_bench", &["3000", "0"], true).await);
    assert!(printed.contains("of a bare read"), "{printed}");
    for measurement in ["bare ordered read", "waybill replay  ", "waybill replay --verify"] {
        assert_eq!(printed.matches(measurement).count(), 4, "three rounds and the summary of {measurement}: {printed}");
    }
}

#[tokio::test]
async fn explaining_is_compared_with_a_small_log() {
    let printed = require!(benchmark("explain_bench", &["12000", "0", "2"], false).await);
    assert!(printed.contains("ratio") && printed.contains("0 is allowed"), "{printed}");
    for question in
        ["container c-N of 10000, after a restart", "container c-N of 12000, from memory", "image img-N of 12000"]
    {
        assert!(printed.contains(question), "{question}: {printed}");
    }
}
