//! A subject: what is read is spelled as it was.
#![no_main]

use libfuzzer_sys::fuzz_target;
use waybill_schemas::Subject;

fuzz_target!(|text: &str| {
    if let Ok(subject) = text.parse::<Subject>() {
        assert_eq!(subject.to_string(), text);
        assert!(!subject.event_types().is_empty());
    }
});
