//! Readiness: the connection stands and the stream answers.

use std::{future::Future, sync::Arc, time::Duration};

use tokio::{sync::watch, time::timeout};
use waybill_platform::{chain, health::ComponentHandle, log::Log};
use waybill_schemas::Subject;

const INTERVAL: Duration = Duration::from_secs(1);

/// Keeps the component's readiness, for ever. The scheduler's keys are what each save reads first.
pub(crate) async fn keep(log: Arc<dyn Log>, component: ComponentHandle) {
    let ask = || async { log.last(&Subject::SchedulerKeys).await.map(|_| ()).map_err(|error| chain(&error)) };
    watch(log.connected(), component, INTERVAL, ask).await;
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
