//! The one binary: `waybill <subcommand>`.

use std::process::ExitCode;

/// Events are many small pieces that one thread makes and another drops, which the C library's allocator is slow at.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    waybill::run_command_line()
}
