//! One thread that starts all children and never ends.
//!
//! The kernel sends the death signal when the *thread* that started a child ends, not its process. Test threads end
//! with their test, and a runtime's helper threads after seconds of idleness; a child that several tests share, or that
//! was started from such a thread, would be killed in between.

use std::io;
use std::process::{Child, Command};
use std::sync::LazyLock;
use std::sync::mpsc::{Sender, SyncSender, channel, sync_channel};

use super::sys;

type Order = (Command, SyncSender<io::Result<Child>>);

static SPAWNER: LazyLock<Sender<Order>> = LazyLock::new(|| {
    let (orders, received) = channel::<Order>();
    std::thread::spawn(move || {
        for (mut command, answer) in received {
            sys::die_with_parent(&mut command);
            // Nobody waits any more: the child is dropped here, and killed when this process ends.
            let _ = answer.send(command.spawn());
        }
    });
    orders
});

/// Starts a child that the kernel kills when this process dies.
pub(super) fn spawn(command: Command) -> io::Result<Child> {
    let gone = || io::Error::other("the thread that starts children has ended");
    let (answer, answered) = sync_channel(1);
    SPAWNER.send((command, answer)).map_err(|_| gone())?;
    answered.recv().map_err(|_| gone())?
}
