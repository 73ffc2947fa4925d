//! Waits for a condition instead of for a time.

use std::time::Duration;

use tokio::time::{Instant, sleep};

/// How often a condition is asked.
const PERIOD: Duration = Duration::from_millis(20);

/// The condition did not come true in time.
#[derive(Debug, thiserror::Error)]
#[error("{what} did not happen within {timeout:?}")]
pub struct TimedOut {
    what: String,
    timeout: Duration,
}

/// Asks `condition` until it yields a value, which is returned; gives up after `timeout`, naming `what` was waited for.
/// The condition is asked at least once, and once more at the end.
pub async fn eventually<T>(
    timeout: Duration,
    what: &str,
    mut condition: impl AsyncFnMut() -> Option<T>,
) -> Result<T, TimedOut> {
    let deadline = Instant::now() + timeout;
    loop {
        let late = Instant::now() >= deadline;
        if let Some(value) = condition().await {
            return Ok(value);
        }
        if late {
            return Err(TimedOut { what: what.to_owned(), timeout });
        }
        sleep(PERIOD).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn yields_the_first_value() {
        let mut asked = 0;
        let found = eventually(Duration::from_secs(5), "the third time", async || {
            asked += 1;
            (asked == 3).then_some(asked)
        });
        assert_eq!(found.await.unwrap(), 3);
    }

    #[tokio::test]
    async fn names_what_did_not_happen() {
        let never = eventually(Duration::ZERO, "rain", async || None::<()>).await;
        assert_eq!(never.unwrap_err().to_string(), "rain did not happen within 0ns");
    }
}
