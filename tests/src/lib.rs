//! Real servers for tests, and the tests that need them.
//!
//! The library is the harness: it starts servers on free loopback ports, waits until they answer, and kills them when
//! they are dropped or when the test dies. It knows nothing of the other Waybill crates. The tests are one binary,
//! `tests/suite`, with a module per concern.

pub mod authority;
pub mod azure;
pub mod browser;
pub mod canary;
pub mod chaos;
pub mod cluster;
pub mod docker_registry;
pub mod ecr;
pub mod error;
pub mod fill;
pub mod find;
pub mod google;
pub mod http;
pub mod image;
pub mod jaeger;
#[allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a harness fails by panicking")]
#[path = "../../services/worker/src/testing/cluster.rs"]
pub mod kubernetes;
pub mod link;
pub mod login;
pub mod moto;
pub mod nats;
pub mod otlp;
pub mod port;
pub mod process;
pub mod proxy;
pub mod python;
pub mod ready;
pub mod registry;
pub mod require;
pub mod scratch;
pub mod serving;
pub mod skopeo;
pub mod stack;
pub mod sts;
pub mod wait;
