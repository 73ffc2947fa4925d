//! A short campaign: the same order of faults each time. `just chaos SECONDS` runs longer ones.

use waybill_tests::{chaos, require};

const SECONDS: u64 = 120;
const SEED: u64 = 2;

#[tokio::test(flavor = "multi_thread")]
async fn nothing_acknowledged_is_lost_and_nothing_is_said_twice() {
    let report = require!(chaos::run(SECONDS, SEED).await);
    assert!(report.anomalies().is_empty(), "{report}");
    assert!(report.faults() >= 5 && report.acknowledged() >= 20, "{report}");
}
