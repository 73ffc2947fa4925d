//! What many images and placements cost: memory, disk, and the time of a decision.

use std::path::PathBuf;

use tokio::time::sleep;
use waybill_tests::{fill, stack::Service};

use crate::{
    Failure,
    bench::{Bench, float},
    machine,
    report::{Goal, Report},
};

impl Bench {
    pub(crate) async fn growth(&mut self, report: &mut Report) -> Result<(), Failure> {
        self.stop_workers().await;
        let (images, placements) = (self.scale.images, self.scale.placements);
        let mut few = Vec::new();
        for _ in 0..self.scale.rounds {
            few.push(self.decide(None, self.scale.decisions, 10).await?.cpu);
        }
        let before = self.bytes().await?;
        // The first ten are there.
        let builds = |from: usize| {
            (from..(from + 500).min(images)).map(|number| {
                fill::build(&format!("img-{number}"), &self.reference, &format!("secret-{}", number % 10))
            })
        };
        for from in (10..images).step_by(500) {
            self.publish(builds(from).collect()).await;
        }
        let with_images = self.bytes().await?;
        let mut many = Vec::new();
        for _ in 0..self.scale.rounds {
            many.push(self.decide(None, self.scale.decisions, images).await?.cpu);
        }
        let name = format!("a decision at {images} images, processor");
        report.ratio(name, "ms", &many, ("at 10 images", &few), Goal::AtMost(1.2));
        let name = format!("projection, an image of {images}");
        report.amount(name, "B", &[(with_images - before) / float(images)], Goal::AtMost(400.0));

        let unplaced = self.bytes().await?;
        let from = self.last().await? + 1;
        let mut left = placements;
        while left > 0 {
            let count = left.min(5_000);
            self.decide(None, count, images).await?;
            left -= count;
        }
        let name = format!("scheduler, memory at {images} images, {placements} placements");
        let pid = self.pid(&Service::Scheduler);
        report.amount(name, "MiB", &[machine::resident(pid)], Goal::AtMost(64.0));
        let placed = self.bytes().await?;
        let name = format!("projection, a running placement of {placements}");
        report.amount(name, "B", &[(placed - unplaced) / float(placements)], Goal::AtMost(300.0));

        self.end_all(from, placements).await?;
        let ended = self.bytes().await?;
        let name = format!("projection, an ended placement of {placements}");
        report.amount(name, "B", &[(ended - unplaced).max(0.0) / float(placements)], Goal::AtMost(1.0));
        Ok(())
    }

    /// Ends what was requested from a sequence on.
    async fn end_all(&self, from: u64, count: usize) -> Result<(), Failure> {
        let requests = self.read("waybill.events.container.>", from, count).await?;
        let ends = requests
            .into_iter()
            .filter_map(|(sequence, _, message)| Some(fill::end(message.subject.split('.').nth(4)?, sequence)));
        let before = self.last().await?;
        self.publish(ends.collect()).await;
        // Each is told to its worker, the first ones before the last has ended.
        self.until(before + 2 * u64::try_from(count)?).await
    }

    /// Length of the projection's file, once it is at rest.
    async fn bytes(&self) -> Result<f64, Failure> {
        let file: PathBuf = self.stack.home().join("data/scheduler/projection.redb");
        let mut length = 0;
        loop {
            sleep(self.scale.rest).await;
            let now = std::fs::metadata(&file)?.len();
            if now == length {
                return Ok(float(usize::try_from(now)?));
            }
            length = now;
        }
    }
}
