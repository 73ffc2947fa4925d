//! What failed among many containers: how soon a gateway that starts knows, what that costs it, and how soon it answers.

use std::time::{Duration, Instant};

use reqwest::Client;
use tokio::time::sleep;
use waybill_tests::{
    fill::filled,
    stack::{Plan, Service},
};

use crate::{
    Failure,
    bench::{Scale, per_second},
    history::explain,
    machine,
    report::{Goal, Report},
};

const LOOK: Duration = Duration::from_millis(50);

pub(crate) async fn failures(scale: Scale, report: &mut Report) -> Result<(), Failure> {
    let (mut stack, filled) = filled(Plan::default().setting("WAYBILL_LOG", "warn"), scale.events).await?;
    let containers = filled.containers;
    let folding = Instant::now();
    stack.spawn(&Service::Gateway)?;
    let (client, url) = (Client::new(), format!("{}/v1/failures?since=24h", stack.gateway_url()));
    let is_answered = async || {
        let answer = client.get(&url).bearer_auth(stack.token("acme")).send().await;
        answer.is_ok_and(|answer| answer.status().is_success())
    };
    // It is ready before it has folded the log, and says so until then.
    while !is_answered().await {
        sleep(LOOK).await;
    }
    let folded = per_second(usize::try_from(filled.last)?, folding.elapsed());
    report.amount("fold by a new gateway", "/s", &[folded], Goal::Shown);
    let name = format!("gateway, memory at {containers} containers");
    report.amount(name, "MiB", &[machine::resident(stack.process(&Service::Gateway).pid())], Goal::Shown);
    let question = ["explain", "--since", "24h", "--json"];
    let mut answers = Vec::new();
    for _ in 0..scale.questions {
        answers.push(explain(&stack, &question).await?);
    }
    report.amount(format!("explain --since, {containers} containers"), "ms", &answers, Goal::AtMost(1000.0));
    Ok(())
}
