//! The `WWW-Authenticate` header of a registry: it is read, however it is written.
#![no_main]

use libfuzzer_sys::fuzz_target;
use waybill_registry::pull::fuzzing;

fuzz_target!(|value: &[u8]| fuzzing::read_challenge(value));
