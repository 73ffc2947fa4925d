//! Faults found by running Waybill as a fleet runs it: several nodes, lost consumers, full disks, restored logs, keys in
//! the wrong hands. Each test makes one of them happen on real servers.
//!
//! | row | fault |
//! |---|---|
//! | 1, 2 | a container that moved: the old node keeps its login, or its late end takes the login from the new node |
//! | 3 | an orchestrator's consumer feeds another worker's pull queue |
//! | 4 | a lost consumer repeats pulls and outcomes |
//! | 5 | a worker's key speaks for containers of other workers |
//! | 6 | a rotation of a shared secret floods the log and holds back requests |
//! | 8 | the log opens with a key file |
//! | 9 | the history of an image is read to append to it |
//! | 10 | a full account ends the scheduler, and a full disk is not said |
//! | 11 | large garbage fills memory and projection |
//! | 12 | hanging pulls hold back a revocation |
//! | 13 | a worker's new sealing key cuts off its containers |
//! | 14 | two processes share one worker id |
//! | 15 | a flipped bit in the projection changes a decision |
//! | 16 | an older log restored under a running scheduler |
//!
//! What the tests know of the contract (subjects, consumers, requests, files) stands in `contract.rs`.

mod admin;
mod contract;
mod fleet;
mod row01_moved_containers;
mod row02_late_ends;
mod row03_foreign_consumers;
mod row04_repeated_decisions;
mod row05_borrowed_keys;
mod row06_shared_secrets;
mod row08_opened_logs;
mod row09_long_histories;
mod row10_full_accounts;
mod row10_full_disks;
mod row11_large_garbage;
mod row12_hanging_pulls;
mod row13_new_sealing_keys;
mod row14_worker_instances;
mod row15_flipped_bits;
mod row16_restored_logs;

use std::time::Duration;

use waybill_tests::{
    image::TinyImage,
    login::Login,
    registry::{Endpoint, Registry, Scheme},
};

/// Upper bound of each wait. It decides nothing: a condition that holds ends its wait at once.
const PATIENCE: Duration = Duration::from_secs(60);

/// A private registry with one image, and the reference of that image.
fn private_registry(image: &str, logins: &[&Login]) -> (Registry, String) {
    let registry = Registry::start(Scheme::Basic).unwrap();
    logins.iter().for_each(|login| registry.accounts().allow(login));
    let reference = registry.serve("team/app", "1", &TinyImage::new(image).unwrap());
    (registry, reference)
}

/// How often a registry has given a manifest.
fn count_pulls(registry: &Registry) -> usize {
    registry.seen().iter().filter(|seen| seen.endpoint == Endpoint::Manifest && seen.status == 200).count()
}
