//! A manifest or an index: it is read in one way, or refused.
#![no_main]

use libfuzzer_sys::fuzz_target;
use waybill_registry::pull::fuzzing;

fuzz_target!(|body: &[u8]| fuzzing::read_manifest(body));
