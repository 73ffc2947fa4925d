//! A stored message: what is read is written back as the same event. The input is a golden file of `schemas`, whose body may also
//! be a string with the bytes as they are.
#![no_main]

use std::collections::BTreeMap;

use libfuzzer_sys::fuzz_target;
use serde::Deserialize;
use serde_json::Value;
use waybill_schemas::decode;

#[derive(Deserialize)]
struct Stored {
    subject: String,
    headers: BTreeMap<String, String>,
    body: Value,
}

fuzz_target!(|input: &[u8]| {
    let Ok(Stored { subject, headers, body }) = serde_json::from_slice(input) else { return };
    let headers: Vec<(String, String)> = headers.into_iter().collect();
    let body = match body {
        Value::String(text) => text.into_bytes(),
        body => body.to_string().into_bytes(),
    };
    let Ok(read) = decode(&subject, headers.as_slice(), &body) else { return };
    let written = read.event.to_json().expect("an event that was read can be written");
    let headers: Vec<(String, String)> = read
        .envelope
        .to_headers(read.event.event_type(), &read.subject)
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value))
        .collect();
    let again = decode(&read.subject.to_string(), headers.as_slice(), &written).expect("what was written can be read");
    assert_eq!(again.event, read.event);
    assert_eq!(again.subject, read.subject);
});
