//! Readiness: the connection stands, the stream answers and takes events.

use std::{future::Future, sync::Arc, time::Duration};

use tokio::{
    sync::watch,
    time::{sleep, timeout},
};
use waybill_platform::{
    chain,
    health::{self, ComponentHandle},
    log::Log,
};
use waybill_schemas::{Filter, Subject};

const INTERVAL: Duration = Duration::from_secs(1);
/// How long a gateway counts as unable to write after it was refused, where nothing is heard of the log's room.
const LONGEST_REFUSAL: Duration = Duration::from_secs(60);

/// Keeps the component's readiness, for ever. The scheduler's keys are what each save reads first.
pub(crate) async fn keep(log: Arc<dyn Log>, component: ComponentHandle) {
    let ask = || async { log.last(&Subject::SchedulerKeys).await.map(|_| ()).map_err(|error| chain(&error)) };
    watch(log.connected(), component, INTERVAL, ask).await;
}

/// Keeps the readiness of the log's room, for ever.
///
/// A gateway that is not ready gets no requests, and so no event to find out with that there is room again. It looks whether
/// the log has grown since, and lets requests through after a while.
pub(crate) async fn keep_room(log: Arc<dyn Log>, component: ComponentHandle) {
    let looking = async {
        let (mut full, mut unanswered) = (log.full(), log.unanswered());
        loop {
            let refused = tokio::select! {
                refused = full.wait_for(Option::is_some) => refused.is_ok(),
                refused = unanswered.wait_for(Option::is_some) => refused.is_ok(),
            };
            if !refused {
                return;
            }
            let _ = timeout(LONGEST_REFUSAL, wait_for_growth(log.as_ref(), INTERVAL)).await;
            log.note_room();
        }
    };
    tokio::join!(health::follow_room(log.as_ref(), component), looking);
}

/// Waits until the log holds an event more than now.
async fn wait_for_growth(log: &dyn Log, interval: Duration) {
    let mut before = None;
    loop {
        let last = log.last_matching(&Filter::All).await;
        match (last.ok().flatten().map(|last| last.sequence), before) {
            (Some(last), Some(before)) if last > before => return,
            (last, _) => before = before.or(last),
        }
        sleep(interval).await;
    }
}

/// Asks at every interval while the connection stands; says at once when it does not.
async fn watch<F>(
    mut connected: watch::Receiver<bool>,
    component: ComponentHandle,
    interval: Duration,
    ask: impl Fn() -> F,
) where
    F: Future<Output = Result<(), String>>,
{
    loop {
        if *connected.borrow_and_update() {
            tokio::select! {
                answer = ask() => match answer {
                    Ok(()) => component.ready(),
                    Err(reason) => component.not_ready(reason),
                },
                // The next turn says what it is now.
                Ok(()) = connected.changed() => continue,
            }
        } else {
            component.not_ready("not connected to NATS");
        }
        // The interval is over, or the connection changed: both are reasons to look again.
        let _ = timeout(interval, changed(&mut connected)).await;
    }
}

/// Waits for a change; for ever once the connection is given up.
async fn changed(connected: &mut watch::Receiver<bool>) {
    if connected.changed().await.is_err() {
        std::future::pending::<()>().await;
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use waybill_platform::health::HealthState;

    use super::*;

    const SHORT: Duration = Duration::from_millis(1);

    async fn until(health: &HealthState, expected: &str) {
        let reached = async {
            while health.readiness().components["event log"] != expected {
                tokio::time::sleep(SHORT).await;
            }
        };
        let said = || health.readiness().components;
        timeout(Duration::from_secs(10), reached).await.unwrap_or_else(|_| panic!("{expected}: {:?}", said()));
    }

    #[tokio::test]
    async fn ready_while_connected_and_answered() {
        let (connection, connected) = watch::channel(false);
        let health = HealthState::default();
        let answers = AtomicBool::new(true);
        let ask = || async { if answers.load(Ordering::Relaxed) { Ok(()) } else { Err("no stream".to_owned()) } };
        let story = async {
            until(&health, "not connected to NATS").await;
            connection.send_replace(true);
            until(&health, "ready").await;
            answers.store(false, Ordering::Relaxed);
            until(&health, "no stream").await;
            answers.store(true, Ordering::Relaxed);
            until(&health, "ready").await;
            connection.send_replace(false);
            until(&health, "not connected to NATS").await;
        };
        tokio::select! {
            () = watch(connected, health.component("event log"), SHORT, ask) => unreachable!("it goes on for ever"),
            () = story => {}
        }
    }

    #[tokio::test]
    async fn a_lost_connection_shows_while_an_answer_is_awaited() {
        let (connection, connected) = watch::channel(true);
        let health = HealthState::default();
        let story = async {
            until(&health, "starting").await;
            connection.send_replace(false);
            until(&health, "not connected to NATS").await;
        };
        tokio::select! {
            () = watch(connected, health.component("event log"), SHORT, std::future::pending) => unreachable!("for ever"),
            () = story => {}
        }
    }
}
