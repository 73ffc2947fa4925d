//! Builds a second through the gateway, beside single publishes with as many in flight.

use std::time::Instant;

use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use serde_json::{Value, json};
use waybill_tests::fill;

use crate::{
    Failure,
    bench::{Bench, per_second},
    report::{Goal, Report},
};

const IN_FLIGHT: usize = 64;

impl Bench {
    pub(crate) async fn gateway(&mut self, report: &mut Report) -> Result<(), Failure> {
        let count = self.scale.builds;
        let (mut named, mut saved, mut singles) = (Vec::new(), Vec::new(), Vec::new());
        for round in 0..self.scale.rounds {
            let naming = |number: usize| json!({ "existing_image_secret": format!("secret-{}", number % 10), "image_id": format!("named-{round}-{number}") });
            named.push(self.builds(count, &naming).await?);
            let messages = (0..count).map(|number| fill::build(&format!("bare-{number}"), &self.reference, "secret-1"));
            singles.push(self.bare.singles(messages.collect(), IN_FLIGHT).await?);
            let saving = |number: usize| {
                json!({
                    "existing_image_secret": format!("own-{round}-{number}"), "image_id": format!("saved-{round}-{number}"),
                    "existing_image_creds": format!("puller:{number}"),
                })
            };
            saved.push(self.builds(count.div_ceil(4), &saving).await?);
        }
        let limit = ("single publishes", singles.as_slice());
        report.ratio("builds that name a secret, 64 in flight", "/s", &named, limit, Goal::AtLeast(0.8));
        // A version in the vault, its event, and the image's event, one after the other.
        let thirds: Vec<f64> = singles.iter().map(|rate| rate / 3.0).collect();
        let limit = ("three publishes each", thirds.as_slice());
        report.ratio("builds that save a secret, 64 in flight", "/s", &saved, limit, Goal::AtLeast(0.8));
        Ok(())
    }

    /// Builds a second, each of an image of its own.
    async fn builds(&self, count: usize, body: &(impl Fn(usize) -> Value + Sync)) -> Result<f64, Failure> {
        let token = self.stack.token("acme");
        let bodies = (0..count).map(|number| {
            let mut body = body(number);
            (body["workspace"], body["existing_image_uri"]) = (json!("acme"), json!(self.reference));
            body.to_string()
        });
        let bodies: Vec<String> = bodies.collect();
        let started = Instant::now();
        let posted = stream::iter(bodies).map(|body| async {
            let answer =
                self.stack.post_raw("/v1/builds", &token, &[], body).await.ok_or("the gateway does not answer")?;
            if answer.status.is_success() { Ok(()) } else { Err(Failure::from(answer.body.to_string())) }
        });
        posted.buffer_unordered(IN_FLIGHT).try_collect::<Vec<()>>().await?;
        Ok(per_second(count, started.elapsed()))
    }
}
