//! A NATS server greets whoever connects, before any login: its greeting says that it is up.

use std::net::Ipv4Addr;
use std::time::Duration;

use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;

/// Whether the server on this loopback port greets with `INFO`.
pub(super) async fn heard(port: u16) -> bool {
    let Ok(mut stream) = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await else { return false };
    let mut greeting = [0; 5];
    let read = tokio::time::timeout(Duration::from_secs(1), stream.read_exact(&mut greeting)).await;
    matches!(read, Ok(Ok(_))) && &greeting == b"INFO "
}
