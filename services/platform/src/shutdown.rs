//! Going down: SIGINT or SIGTERM asks everything to finish, a second one ends the process at once.

use tokio::signal::unix::{SignalKind, signal as on_signal};
use tokio_util::sync::CancellationToken;

/// Exit status after a second signal, as shells report an interrupted process.
const INTERRUPTED: i32 = 130;

/// A token that is cancelled by the first SIGINT or SIGTERM. Call it inside a runtime.
pub fn signal() -> CancellationToken {
    let token = CancellationToken::new();
    let stop = token.clone();
    tokio::spawn(async move {
        let streams = (on_signal(SignalKind::interrupt()), on_signal(SignalKind::terminate()));
        let (Ok(mut interrupt), Ok(mut terminate)) = streams else {
            tracing::error!("signals cannot be received; only SIGKILL will end this process");
            return;
        };
        let mut next = async || {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
        };
        next().await;
        tracing::info!("stopping; a second signal ends the process at once");
        stop.cancel();
        next().await;
        std::process::exit(INTERRUPTED);
    });
    token
}
