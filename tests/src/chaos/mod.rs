//! A campaign of faults against a whole fleet: three servers, two gateways, two schedulers, three workers. A client remembers
//! every answer that it was given; at the end each of them is true. A seed repeats the order of the faults.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a campaign whose fixture fails has failed"
)]

mod check;
mod client;
mod fault;
mod random;
mod report;

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::time::{Instant, sleep};

use crate::{
    error::StartError,
    image::TinyImage,
    login::Login,
    registry::{Registry, Scheme},
    stack::{Plan, Service, Stack},
    wait::eventually,
};

use client::Client;
use fault::{Active, Fault, Kind};
use random::Random;

pub use report::Report;

const WORKERS: [&str; 3] = ["w1", "w2", "w3"];
const WORKSPACE: &str = "acme";
/// How long everything may take to be well again once the faults end.
const RECOVERY: Duration = Duration::from_secs(180);

/// The fleet, and what happens to it.
struct World {
    stack: Stack,
    registry: Registry,
    login: Login,
    random: Random,
    active: Active,
    report: Report,
}

/// Runs faults for some seconds, heals everything, and compares what was acknowledged with what is there.
///
/// # Errors
/// [`StartError`] where the fleet cannot be started at all.
pub async fn run(seconds: u64, seed: u64) -> Result<Report, StartError> {
    let mut world = World::start(seed).await?;
    let stop = Arc::new(AtomicBool::new(false));
    let client = Client::new(&world, seed);
    let working = tokio::spawn(client.work(stop.clone()));
    world.torment(Duration::from_secs(seconds)).await;
    world.heal_all().await;
    stop.store(true, Ordering::SeqCst);
    let client = working.await.expect("the client ends");
    check::check(&mut world, client).await;
    Ok(world.report)
}

impl World {
    async fn start(seed: u64) -> Result<Self, StartError> {
        let registry = Registry::start(Scheme::Basic)?;
        let login = Login::new("puller", format!("chaos-{}", std::process::id()));
        registry.accounts().allow(&login);
        let plan = Plan::default().clustered().workers(&WORKERS).plain_http(&[&registry.host()]);
        let plan = plan.setting("WAYBILL_LOG", "info").setting("WAYBILL_GATEWAY_APPEND_SECONDS", "3");
        let mut stack = plan.with_clocks()?.start().await?;
        for worker in WORKERS {
            let file = stack.home().join(format!("worker-{worker}.env"));
            let text = std::fs::read_to_string(&file).map_err(StartError::setup("a worker's settings"))?;
            let text = format!("{text}WAYBILL_WORKER_NODE_DIR=nodes/{worker}\n");
            std::fs::write(&file, text).map_err(StartError::setup("a worker's settings"))?;
            stack.stop(&Service::Worker(worker.to_owned())).await;
        }
        stack.start_all().await?;
        let active = Arc::new(Mutex::new(None));
        Ok(Self { stack, registry, login, random: Random::new(seed), active, report: Report::new(seed) })
    }

    /// Serves an image of this name, and returns its reference.
    fn serve(&self) -> String {
        self.registry.serve("team/app", "1", &TinyImage::new("chaos").expect("an image"))
    }

    /// One fault after the other, with a short rest between them.
    async fn torment(&mut self, length: Duration) {
        let end = Instant::now() + length;
        while Instant::now() < end {
            let services = self.stack.services().len();
            let fault = Fault::pick(&mut self.random, WORKERS.len(), services);
            self.note(Some(fault.kind));
            fault.strike(self).await;
            sleep(Duration::from_millis(500 + self.random.below(4_000))).await;
            fault.heal(self).await;
            self.look_for_dead().await;
            sleep(Duration::from_millis(200 + self.random.below(1_500))).await;
            self.report.count(fault.kind);
        }
    }

    fn note(&self, kind: Option<Kind>) {
        *self.active.lock().expect("nobody panics") = kind;
    }

    /// A service that ended without having been killed is an anomaly, and is started again.
    async fn look_for_dead(&mut self) {
        for service in self.stack.services() {
            if !self.stack.is_running(&service) {
                let said = self.stack.process(&service).last_lines().await;
                self.report.anomaly(format!("{service:?} ended by itself: {said}"));
                self.stack.sigkill(&service);
                self.stack.spawn(&service).expect("the service starts");
            }
        }
    }

    /// Ends every fault, and waits until all are ready.
    async fn heal_all(&mut self) {
        self.note(None);
        let mut waiting = Vec::new();
        let ready = eventually(RECOVERY, "a fleet that is ready", async || {
            waiting.clear();
            for service in self.stack.services() {
                match self.stack.readiness(&service).await {
                    Some(answer) if answer.status.is_success() => {}
                    answer => waiting.push(format!("{service:?}: {answer:?}")),
                }
            }
            waiting.is_empty().then_some(())
        });
        if let Err(error) = ready.await {
            self.report.anomaly(format!("{error}: {}", waiting.join(", ")));
        }
    }
}
