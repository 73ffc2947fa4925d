//! No core dumps: what is in memory stays there.

/// Sets the limit of core files to zero, for this process and those it starts.
///
/// # Errors
/// Those of setrlimit(2); lowering a limit is always allowed.
#[expect(unsafe_code, reason = "setrlimit(2) has no safe form in std")]
pub fn forbid() -> std::io::Result<()> {
    let none = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the pointer is to a value that lives through the call, and is only read.
    match unsafe { libc::setrlimit(libc::RLIMIT_CORE, &raw const none) } {
        0 => Ok(()),
        _ => Err(std::io::Error::last_os_error()),
    }
}
