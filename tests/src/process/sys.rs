//! The system calls that `std` does not have: the parent-death signal, and signals other than SIGKILL.
#![expect(unsafe_code, reason = "fork and signals have no safe interface in std; nothing else here needs it")]

use std::io;
use std::os::unix::process::CommandExt;
use std::process::Command;

/// A signal that a test sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signal {
    /// SIGTERM: stop in an orderly way.
    Terminate,
    /// SIGINT: what Ctrl-C sends.
    Interrupt,
    /// SIGSTOP: stand still, with every connection open.
    Pause,
    /// SIGCONT: go on after [`Signal::Pause`].
    Resume,
}

impl Signal {
    fn number(self) -> libc::c_int {
        match self {
            Self::Terminate => libc::SIGTERM,
            Self::Interrupt => libc::SIGINT,
            Self::Pause => libc::SIGSTOP,
            Self::Resume => libc::SIGCONT,
        }
    }
}

/// Has the kernel kill the child when the thread that starts it ends.
pub(super) fn die_with_parent(command: &mut Command) {
    let parent = i32::try_from(std::process::id()).unwrap_or_default();
    let in_child = move || {
        let kill = libc::c_ulong::try_from(libc::SIGKILL).unwrap_or_default();
        // SAFETY: prctl and getppid are async-signal-safe and take no pointers.
        let (set, now) = unsafe { (libc::prctl(libc::PR_SET_PDEATHSIG, kill), libc::getppid()) };
        if set != 0 {
            return Err(io::Error::last_os_error());
        }
        // The parent may have died before the signal was set.
        if now == parent { Ok(()) } else { Err(io::Error::from_raw_os_error(libc::ESRCH)) }
    };
    // SAFETY: the closure allocates nothing and takes no lock, as is demanded between fork and exec.
    unsafe { command.pre_exec(in_child) };
}

/// Sends a signal to a child that has not been waited for, so that its id cannot have been given to another process.
pub(super) fn send(pid: u32, signal: Signal) -> io::Result<()> {
    let pid = libc::pid_t::try_from(pid).map_err(io::Error::other)?;
    // SAFETY: kill takes two numbers.
    match unsafe { libc::kill(pid, signal.number()) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}
