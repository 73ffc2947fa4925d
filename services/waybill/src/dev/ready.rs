//! Whether a child is ready, seen from outside.

use std::time::Duration;

use tokio::{net::TcpStream, time::timeout};

const LIMIT: Duration = Duration::from_secs(2);

/// One way to look.
pub(super) enum Probe {
    /// Something accepts connections at `host:port`.
    Tcp(String),
    /// `GET /readyz` at `host:port` answers 200.
    Http(reqwest::Client, String),
}

impl Probe {
    /// Looks once; the reason says what is not ready.
    pub(super) async fn look(&self) -> Result<(), String> {
        match self {
            Self::Tcp(address) => match timeout(LIMIT, TcpStream::connect(address)).await {
                Ok(Ok(_)) => Ok(()),
                Ok(Err(error)) => Err(error.to_string()),
                Err(_) => Err("no answer".to_owned()),
            },
            Self::Http(client, address) => {
                let answer = client.get(format!("http://{address}/readyz")).timeout(LIMIT).send().await;
                let answer = answer.map_err(|error| error.to_string())?;
                if answer.status().is_success() {
                    return Ok(());
                }
                Err(answer.text().await.map_err(|error| error.to_string())?)
            }
        }
    }
}
