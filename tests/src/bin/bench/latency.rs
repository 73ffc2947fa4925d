//! Milliseconds from a request to its provider, by the stream's own clock, beside two bare hops; and what containers cost a worker.

use std::{collections::BTreeMap, time::Duration};

use tokio::time::interval;
use waybill_tests::stack::Service;

use crate::{
    Failure,
    bare::milliseconds,
    bench::{Bench, float},
    machine,
    report::{Goal, Report, quantile},
};

impl Bench {
    pub(crate) async fn latency(&mut self, report: &mut Report) -> Result<(), Failure> {
        let template = self.read("waybill.events.image.>", 1, 1).await?.into_iter().next().ok_or("no build")?.2;
        // The first request on a worker seals a grant.
        self.requests_to_providers(10, Duration::from_millis(20)).await?;
        for (count, pause, rate) in
            [(self.scale.slow, Duration::from_secs(1), "1/s"), (self.scale.fast, Duration::from_millis(20), "50/s")]
        {
            let (mut ours, mut hops) = (Vec::new(), Vec::new());
            // At the same time they would be in each other's way.
            for _ in 0..2 {
                ours.extend(self.requests_to_providers(count.div_ceil(2), pause).await?);
                hops.extend(self.bare.hops(&template, count.div_ceil(2), pause).await?);
            }
            for (share, name, goal) in [(0.5, "p50", 2.0), (0.99, "p99", 3.0)] {
                let (ours, hops) = ([quantile(&ours, share)], [quantile(&hops, share)]);
                let name = format!("request to provider at {rate}, {name}");
                report.ratio(name, "ms", &ours, ("two hops", &hops), Goal::AtMost(goal));
            }
        }
        Ok(())
    }

    /// Requests containers one by one, and returns how long each waited for its provider.
    async fn requests_to_providers(&mut self, count: usize, pause: Duration) -> Result<Vec<f64>, Failure> {
        let from = self.last().await? + 1;
        let mut tick = interval(pause);
        for request in self.requests(count, 10, &["w1"]) {
            tick.tick().await;
            let headers = request.headers.clone();
            let stored = self.publisher.ask(&request.subject, headers, request.body.to_vec()).await;
            stored.and_then(|stored| stored["seq"].as_u64()).ok_or("a request was not stored")?;
        }
        // A request, its decision, its provider and its pull.
        let stories = self.read("waybill.events.>", from, 4 * count).await?;
        let mut requested = BTreeMap::new();
        let mut times = Vec::with_capacity(count);
        for (sequence, at, message) in stories {
            let kind = message.headers.get("ce-type").map(|kind| kind.as_str().to_owned()).unwrap_or_default();
            match kind.trim_start_matches("waybill.v1.") {
                "ContainerRequested" => drop(requested.insert(sequence, milliseconds(at))),
                "CredentialProviderAttached" => {
                    let placement = message.subject.rsplit('.').next().and_then(|number| number.parse::<u64>().ok());
                    let asked = placement.and_then(|number| requested.get(&number)).ok_or("no such request")?;
                    times.push(milliseconds(at) - asked);
                }
                _ => {}
            }
        }
        if times.len() == count { Ok(times) } else { Err("not every container has a provider".into()) }
    }

    /// Processor time and memory of a worker for many containers, each with a pull of one manifest.
    pub(crate) async fn containers(&mut self, report: &mut Report) -> Result<(), Failure> {
        let (count, pid) = (self.scale.containers, self.pid(&Service::Worker("w1".to_owned())));
        let (from, before) = (self.last().await?, machine::cpu_time(&[pid]));
        let requests = self.requests(count, 10, &["w1"]);
        self.publish(requests).await;
        self.until(from + 4 * u64::try_from(count)?).await?;
        let cpu = machine::cpu_time(&[pid]).saturating_sub(before).as_secs_f64() * 1000.0 / float(count);
        report.amount("worker, processor for a container", "ms", &[cpu], Goal::AtMost(1.0));
        let name = format!("worker, memory with {count} containers");
        report.amount(name, "MiB", &[machine::resident(pid)], Goal::AtMost(48.0));
        Ok(())
    }
}
