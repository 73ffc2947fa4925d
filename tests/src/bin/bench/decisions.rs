//! Decisions a second by one scheduler and by two, beside the same decisions in atomic batches.

use std::time::Instant;

use waybill_tests::{
    port::Port,
    process::{Process, Signal},
    ready,
    stack::Service,
};

use crate::{
    Failure,
    bench::{Bench, WORKERS, float, per_second},
    machine,
    report::{Goal, Report},
};

const START: std::time::Duration = std::time::Duration::from_secs(60);

/// What a round of decisions took.
pub(crate) struct Decided {
    pub(crate) per_second: f64,
    /// Milliseconds of processor time for each.
    pub(crate) cpu: f64,
}

impl Bench {
    pub(crate) async fn decisions(&mut self, report: &mut Report) -> Result<(), Failure> {
        self.stop_workers().await;
        let (rounds, count) = (self.scale.rounds, self.scale.decisions);
        let (mut batches, mut one, mut two) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..rounds {
            let from = self.last().await? + 1;
            one.push(self.decide(None, count, 10).await?);
            let decided = self.read("waybill.events.decision.>", from, count).await?;
            let decided: Vec<_> = decided.into_iter().map(|(_, _, message)| message).collect();
            batches.push(self.bare.batches(&decided).await?);
            let mut second = self.second().await?;
            two.push(self.decide(Some(&mut second), count, 10).await?.per_second);
            second.sigterm_and_wait(START).await?;
        }
        let rates: Vec<f64> = one.iter().map(|decided| decided.per_second).collect();
        let cpu: Vec<f64> = one.iter().map(|decided| decided.cpu).collect();
        report.ratio("decisions, one scheduler", "/s", &rates, ("batches", &batches), Goal::AtLeast(0.5));
        report.ratio("decisions, two schedulers", "/s", &two, ("one", &rates), Goal::AtLeast(0.95));
        report.amount("a decision, processor", "ms", &cpu, Goal::Shown);
        Ok(())
    }

    /// Stops the workers, whose outcomes would count as decisions; once.
    pub(crate) async fn stop_workers(&mut self) {
        if !std::mem::replace(&mut self.is_without_workers, true) {
            for worker in WORKERS {
                self.stack.stop(&Service::Worker(worker.to_owned())).await;
            }
        }
    }

    /// Lets requests wait for schedulers that stand still, and measures how long they then take to decide them.
    pub(crate) async fn decide(
        &mut self,
        mut second: Option<&mut Process>,
        count: usize,
        images: usize,
    ) -> Result<Decided, Failure> {
        let pids = [self.pid(&Service::Scheduler)].into_iter().chain(second.as_ref().map(|process| process.pid()));
        let pids: Vec<u32> = pids.collect();
        self.signal(&mut second, Signal::Pause)?;
        let requests = self.requests(count, images, &WORKERS);
        let requested = self.publish(requests).await;
        let before = machine::cpu_time(&pids);
        let started = Instant::now();
        self.signal(&mut second, Signal::Resume)?;
        let decided = requested + u64::try_from(count)?;
        self.until(decided).await?;
        let elapsed = started.elapsed();
        let cpu = machine::cpu_time(&pids).saturating_sub(before).as_secs_f64() * 1000.0 / float(count);
        if self.last().await? != decided {
            return Err("something was decided twice".into());
        }
        Ok(Decided { per_second: per_second(count, elapsed), cpu })
    }

    fn signal(&mut self, second: &mut Option<&mut Process>, signal: Signal) -> Result<(), Failure> {
        self.stack.process(&Service::Scheduler).signal(signal)?;
        if let Some(second) = second {
            second.signal(signal)?;
        }
        Ok(())
    }

    /// Another scheduler with a projection of its own, once it has caught up.
    async fn second(&mut self) -> Result<Process, Failure> {
        let port = Port::reserve()?;
        let mut command = self.stack.waybill();
        command.arg("scheduler").env("WAYBILL_SCHEDULER_HEALTH_LISTEN", port.host());
        command.env("WAYBILL_SCHEDULER_PROJECTION", self.stack.dir().join("second.redb"));
        let mut process = Process::spawn("second-scheduler", command, self.stack.dir())?;
        ready::until_http(&mut process, START, &format!("http://{}/readyz", port.host()), |status| status.is_success())
            .await?;
        Ok(process)
    }
}
