//! The answer of a token service: it holds a token that can be sent, or none.
#![no_main]

use libfuzzer_sys::fuzz_target;
use waybill_registry::pull::fuzzing;

fuzz_target!(|body: &[u8]| fuzzing::read_token_answer(body));
