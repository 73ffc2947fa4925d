//! No core dumps: what is in memory stays there.

use rustix::process::{Resource, Rlimit, setrlimit};

/// Sets the limit of core files to zero, for this process and those it starts.
///
/// # Errors
/// Those of setrlimit(2); lowering a limit is always allowed.
pub fn forbid() -> std::io::Result<()> {
    Ok(setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) })?)
}
