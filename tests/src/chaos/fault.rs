//! What is done to the fleet, and how it is undone.

use std::{
    fmt,
    sync::{Arc, Mutex},
    time::Duration,
};

use async_nats::{ConnectOptions, HeaderMap};
use tokio::time::timeout;

use super::{WORKERS, World, random::Random};
use crate::{
    cluster::SERVERS,
    link::LinkState,
    process::{Signal, command},
    stack::Service,
};

/// How far a clock is set ahead or behind at most, in seconds.
const MOST_AHEAD: u64 = 600;

/// The kind of the fault that is under way.
pub(super) type Active = Arc<Mutex<Option<Kind>>>;

/// A kind of fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    ServerKilled,
    ServerPaused,
    ServerCutOff,
    ServerUnlinked,
    LinksSlow,
    DiskFull,
    LeaderMoved,
    GatewayKilled,
    GatewayPaused,
    SchedulerKilled,
    SchedulerPaused,
    WorkerKilled,
    ConsumerLost,
    ClockSet,
}

impl Kind {
    const ALL: [Self; 14] = [
        Self::ServerKilled,
        Self::ServerPaused,
        Self::ServerCutOff,
        Self::ServerUnlinked,
        Self::LinksSlow,
        Self::DiskFull,
        Self::LeaderMoved,
        Self::GatewayKilled,
        Self::GatewayPaused,
        Self::SchedulerKilled,
        Self::SchedulerPaused,
        Self::WorkerKilled,
        Self::ConsumerLost,
        Self::ClockSet,
    ];
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::ServerKilled => "server killed",
            Self::ServerPaused => "server paused",
            Self::ServerCutOff => "server cut off silently",
            Self::ServerUnlinked => "server's routes broken",
            Self::LinksSlow => "slow links",
            Self::DiskFull => "disk of a server full",
            Self::LeaderMoved => "leader moved",
            Self::GatewayKilled => "gateway killed",
            Self::GatewayPaused => "gateway paused",
            Self::SchedulerKilled => "scheduler killed",
            Self::SchedulerPaused => "scheduler paused",
            Self::WorkerKilled => "worker killed",
            Self::ConsumerLost => "consumer lost",
            Self::ClockSet => "clock of a service set",
        })
    }
}

/// One fault.
#[derive(Debug, Clone, Copy)]
pub(super) struct Fault {
    pub(super) kind: Kind,
    /// Which server, or which of the services.
    target: usize,
}

impl Fault {
    pub(super) fn pick(random: &mut Random, workers: usize, services: usize) -> Self {
        let kind = *random.choose(&Kind::ALL);
        let bound = match kind {
            Kind::WorkerKilled | Kind::ConsumerLost => workers,
            Kind::GatewayKilled | Kind::GatewayPaused | Kind::SchedulerKilled | Kind::SchedulerPaused => 2,
            Kind::ClockSet => services,
            _ => SERVERS,
        };
        let bound = u64::try_from(bound).unwrap_or(1);
        Self { kind, target: usize::try_from(random.below(bound)).unwrap_or_default() }
    }

    fn service(self) -> Service {
        match (self.kind, self.target) {
            (Kind::GatewayKilled | Kind::GatewayPaused, 0) => Service::Gateway,
            (Kind::GatewayKilled | Kind::GatewayPaused, _) => Service::SecondGateway,
            (Kind::SchedulerKilled | Kind::SchedulerPaused, 0) => Service::Scheduler,
            (Kind::SchedulerKilled | Kind::SchedulerPaused, _) => Service::SecondScheduler,
            (_, worker) => Service::Worker(WORKERS[worker % WORKERS.len()].to_owned()),
        }
    }

    pub(super) async fn strike(self, world: &mut World) {
        let stack = &mut world.stack;
        match self.kind {
            Kind::ServerKilled => stack.cluster().server(self.target).sigkill(),
            Kind::ServerPaused => pause(stack.cluster().server(self.target).process(), true),
            Kind::ServerCutOff => stack.cluster().set_links(self.target, LinkState::Held),
            Kind::ServerUnlinked => stack.cluster().set_links(self.target, LinkState::Cut),
            Kind::LinksSlow => {
                let slow = LinkState::Slow(Duration::from_millis(100));
                (0..SERVERS).for_each(|server| stack.cluster().set_links(server, slow));
            }
            Kind::DiskFull => limit_files(stack.cluster().server(self.target).process().pid()),
            Kind::LeaderMoved => move_leader(world).await,
            Kind::GatewayPaused | Kind::SchedulerPaused => pause(stack.process(&self.service()), true),
            Kind::GatewayKilled | Kind::SchedulerKilled | Kind::WorkerKilled => {
                stack.sigkill(&self.service());
                stack.spawn(&self.service()).expect("the service starts");
            }
            Kind::ClockSet => {
                let ahead = i64::try_from(world.random.below(MOST_AHEAD.saturating_mul(2))).unwrap_or_default();
                let ahead = ahead.saturating_sub_unsigned(MOST_AHEAD);
                stack.set_clock(&stack.services()[self.target], ahead);
            }
            Kind::ConsumerLost => {
                let subject =
                    format!("$JS.API.CONSUMER.DELETE.WAYBILL.worker-{}", WORKERS[self.target % WORKERS.len()]);
                // The server may be busy with the fault before.
                let deleting = async { stack.user("scheduler").await.ask(&subject, HeaderMap::new(), "").await };
                let _ = timeout(Duration::from_secs(5), deleting).await;
            }
        }
    }

    pub(super) async fn heal(self, world: &mut World) {
        let stack = &mut world.stack;
        match self.kind {
            // A server whose disk was full takes nothing more until it is started again.
            Kind::ServerKilled | Kind::DiskFull => {
                stack.cluster().server(self.target).restart_soon().expect("the server starts");
            }
            Kind::ServerPaused => pause(stack.cluster().server(self.target).process(), false),
            Kind::ServerCutOff | Kind::ServerUnlinked => stack.cluster().set_links(self.target, LinkState::Open),
            Kind::LinksSlow => (0..SERVERS).for_each(|server| stack.cluster().set_links(server, LinkState::Open)),
            Kind::GatewayPaused | Kind::SchedulerPaused => pause(stack.process(&self.service()), false),
            Kind::ClockSet => stack.set_clock(&stack.services()[self.target], 0),
            _ => {}
        }
    }
}

fn pause(process: &mut crate::process::Process, paused: bool) {
    let signal = if paused { Signal::Pause } else { Signal::Resume };
    process.signal(signal).expect("a signal can be sent");
}

/// Lets every write that would make a file longer fail, as a full disk does.
fn limit_files(pid: u32) {
    let limited = command("prlimit").args(["--pid", &pid.to_string(), "--fsize=1:unlimited"]).status();
    assert!(limited.is_ok_and(|status| status.success()), "prlimit (util-linux) is needed");
}

async fn move_leader(world: &World) {
    let file = world.stack.dir().join("admin.creds");
    if !file.exists() {
        world.stack.run(&["creds", "log-admin", "--out", &file.display().to_string()]).await;
    }
    let options = ConnectOptions::with_credentials_file(file).await.expect("credentials that were made");
    let options = options.custom_inbox_prefix("_INBOX_log-admin");
    let moving = async {
        let client = options.connect(world.stack.nats_addresses()).await.ok()?;
        client.request("$JS.API.STREAM.LEADER.STEPDOWN.WAYBILL", "".into()).await.ok()
    };
    let _ = timeout(Duration::from_secs(5), moving).await;
}
