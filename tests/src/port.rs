//! Loopback ports that stay ours: for a server that must come back on the port it had.

use std::io;
use std::net::{Ipv4Addr, TcpListener};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::sync::atomic::{AtomicU16, Ordering};

/// Below Linux's ephemeral range (32768 and up), so that no outgoing connection takes the port of a stopped server.
const FIRST: u16 = 20_000;
const COUNT: u16 = 10_000;

static NEXT: AtomicU16 = AtomicU16::new(0);

/// A port of 127.0.0.1 that no other [`Port`] has, in this or in another process, for as long as this value lives.
#[derive(Debug)]
pub struct Port {
    number: u16,
    /// An abstract unix socket named after the port is the reservation: the kernel frees it with the process.
    _reservation: UnixListener,
}

impl Port {
    /// Reserves a port on which nothing listens.
    pub fn reserve() -> io::Result<Self> {
        let start = process_offset();
        (0..COUNT)
            .map(|_| FIRST + start.wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed)) % COUNT)
            .find_map(Self::take)
            .ok_or_else(|| io::Error::new(io::ErrorKind::AddrInUse, "every port of the test range is taken"))
    }

    fn take(number: u16) -> Option<Self> {
        let name = SocketAddr::from_abstract_name(format!("waybill-test-port-{number}")).ok()?;
        let reservation = UnixListener::bind_addr(&name).ok()?;
        // Whatever else runs on this machine knows nothing of the reservation.
        TcpListener::bind((Ipv4Addr::LOCALHOST, number)).ok()?;
        Some(Self { number, _reservation: reservation })
    }

    /// The port's number.
    pub fn number(&self) -> u16 {
        self.number
    }

    /// `127.0.0.1:<port>`.
    pub fn host(&self) -> String {
        format!("127.0.0.1:{}", self.number)
    }
}

/// Spreads processes over the range, so that they seldom ask for the same port.
fn process_offset() -> u16 {
    let offset = std::process::id().wrapping_mul(97) % u32::from(COUNT);
    u16::try_from(offset).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reserved_port_is_not_given_twice() {
        let first = Port::reserve().unwrap();
        assert!(Port::take(first.number()).is_none());
        let number = first.number();
        drop(first);
        assert!(Port::take(number).is_some());
    }
}
