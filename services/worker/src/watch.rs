//! What a worker looks after while it serves: that it still owns its id, and that nothing passed it by.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU8, Ordering},
    },
    time::Duration,
};

use tokio::time::{MissedTickBehavior, interval};
use waybill_platform::log::Missing;

use crate::{
    handler::Handler,
    register::{Owner, Registrar, Replaced},
    view::Input,
};

/// How often the worker looks at its registration.
pub(crate) const PERIOD: Duration = Duration::from_secs(5);
/// Looks after the consumer was last seen missing until nothing can have passed by any more: it was made before the last one.
const LOOKS: u8 = 3;

/// Looks in a row that find an older log than this worker has written to. A replica that is behind catches up meanwhile.
const OLDER_LOOKS: u8 = 3;

/// Why the worker stops.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stop {
    /// Another process owns its id.
    Replaced(Replaced),
    /// The log is an older copy: what the worker knows may never have been said there.
    OlderLog,
}

/// What is looked after.
pub(crate) struct Watch {
    registrar: Arc<Registrar>,
    handler: Arc<Handler>,
    /// Number of times that everything in force is still to be looked up again.
    due: Arc<AtomicU8>,
    /// Looks in a row that found an older log.
    older: AtomicU8,
}

impl Watch {
    pub(crate) fn new(registrar: Arc<Registrar>, handler: Arc<Handler>) -> Self {
        Self { registrar, handler, due: Arc::default(), older: AtomicU8::new(0) }
    }

    /// What to do while there is no consumer: register, so that the scheduler makes it, and mistrust the view.
    pub(crate) fn missing(&self) -> Missing {
        let (registrar, due) = (self.registrar.clone(), self.due.clone());
        Arc::new(move || {
            let (registrar, due) = (registrar.clone(), due.clone());
            Box::pin(async move {
                due.store(LOOKS, Ordering::SeqCst);
                registrar.repeat().await;
            })
        })
    }

    /// Looks once. Returns why the worker cannot go on, if it cannot.
    pub(crate) async fn look(&self) -> Option<Stop> {
        match self.registrar.find_owner().await {
            Ok(Owner::Other(replaced)) => return Some(Stop::Replaced(replaced)),
            Ok(Owner::Own) => self.older.store(0, Ordering::SeqCst),
            Ok(Owner::Older) if self.older.fetch_add(1, Ordering::SeqCst).saturating_add(1) >= OLDER_LOOKS => {
                return Some(Stop::OlderLog);
            }
            Ok(Owner::Older) => {}
            Err(error) => tracing::debug!(%error, "cannot look at the registration now"),
        }
        if self.due.load(Ordering::SeqCst) > 0 && self.reread().await {
            // A consumer that is missed again meanwhile starts the count anew.
            let _ = self.due.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |due| due.checked_sub(1));
        }
        None
    }

    /// Looks everything in force up again: a consumer that was made anew may start behind a withdrawal.
    async fn reread(&self) -> bool {
        let effects = self.handler.tell(Input::QueueRemade);
        let read = self.handler.perform_quietly(effects).await;
        if let Err(error) = &read {
            tracing::warn!(
                error = waybill_platform::chain(error),
                "what is in force cannot be compared with the log now"
            );
        }
        read.is_ok()
    }
}

/// Looks once every period, until the worker cannot go on.
pub(crate) async fn watch(watched: Watch, period: Duration) -> Stop {
    let mut ticks = interval(period);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        if let Some(stop) = watched.look().await {
            return stop;
        }
    }
}
