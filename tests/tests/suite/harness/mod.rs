//! The harness proves itself: each real part does what the other tests take for granted.

mod canary;
mod docker_registry;
mod ecr;
mod nats;
mod otlp;
mod process;
mod python;
mod registry;

use std::time::Duration;

/// Long enough for a loaded machine; nothing waits this long when all is well.
const PATIENCE: Duration = Duration::from_secs(30);
