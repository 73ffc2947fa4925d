//! Invariant 8: after a withdrawal no worker's view holds the login, and none lacks what is attached.
//!
//! Random histories of builds, requests, moves, rotations, revocations, shreddings, ends (early, late, of older placements), lost
//! and rewound consumers, forged outcomes, key changes and restarts, through the scheduler's fold and the workers' views. What
//! each view must hold in the end is told from the history alone.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::as_conversions,
    clippy::print_stderr,
    reason = "tests fail by panicking"
)]

mod checks;
mod random;
#[path = "../../../domain/tests/support/mod.rs"]
mod support;
mod world;

use waybill_schemas::WorkerId;

use random::Random;
use world::{WORKERS, Worker, World};

fn run(seed: u64) {
    let mut random = Random(seed);
    let mut world = World::default();
    for worker in WORKERS {
        world.workers.insert(worker, Worker::default());
    }
    let steps = 20 + random.below(60);
    for _ in 0..steps {
        world.step(&mut random);
        world.check_withdrawn();
    }
    world.check_end();
    world.check_verifier();
}

/// Each history names its seed when it fails.
fn run_all(seeds: std::ops::Range<u64>) {
    for seed in seeds {
        if let Err(panic) = std::panic::catch_unwind(|| run(seed)) {
            eprintln!("seed {seed}");
            std::panic::resume_unwind(panic);
        }
    }
}

#[test]
fn views_hold_what_is_attached_and_nothing_that_was_withdrawn() {
    let histories = std::env::var("WAYBILL_TEST_HISTORIES").ok().and_then(|text| text.parse().ok()).unwrap_or(100_000);
    let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get) as u64;
    let share = histories / threads + 1;
    std::thread::scope(|scope| {
        for thread in 0..threads {
            scope.spawn(move || run_all(thread * share..(thread + 1) * share));
        }
    });
}

/// The worker in a subject is one of the world's.
#[test]
fn workers_are_ids() {
    assert!(WORKERS.iter().all(|name| name.parse::<WorkerId>().is_ok()));
}
