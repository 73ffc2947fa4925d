//! Waits until a server that was started answers, or is seen to have ended.

use std::time::Duration;

use reqwest::StatusCode;

use crate::error::StartError;
use crate::http;
use crate::process::Process;
use crate::wait::eventually;

/// Waits until `answers` is true. A process that ends meanwhile is not waited for any longer.
pub async fn until(
    process: &mut Process,
    timeout: Duration,
    mut answers: impl AsyncFnMut() -> bool,
) -> Result<(), StartError> {
    let ready = eventually(timeout, "readiness", async || {
        if process.exit_status().is_some() { Some(false) } else { answers().await.then_some(true) }
    });
    match ready.await {
        Ok(true) => Ok(()),
        Ok(false) => Err(StartError::Ended { part: process.name().to_owned(), last_lines: process.last_lines().await }),
        Err(_) => {
            let (part, last_lines) = (process.name().to_owned(), process.last_lines().await);
            Err(StartError::NotReady { part, timeout, last_lines })
        }
    }
}

/// Waits until a GET of `url` answers with a status that is `wanted`.
pub async fn until_http(
    process: &mut Process,
    timeout: Duration,
    url: &str,
    wanted: impl Fn(StatusCode) -> bool,
) -> Result<(), StartError> {
    let client = http::client().map_err(std::io::Error::other).map_err(StartError::setup("an HTTP client"))?;
    until(process, timeout, async || http::status(&client, url).await.is_some_and(&wanted)).await
}
