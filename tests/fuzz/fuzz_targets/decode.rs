//! A stored message: what is read is written back as the same event. The input is the subject, a line for each header
//! (`name: value`), an empty line, and the body.
#![no_main]

use libfuzzer_sys::fuzz_target;
use waybill_schemas::decode;

fuzz_target!(|input: &[u8]| {
    let end = input.windows(2).position(|pair| pair == b"\n\n").unwrap_or(input.len());
    let (head, body) = (&input[..end], input.get(end + 2..).unwrap_or_default());
    let head = String::from_utf8_lossy(head);
    let mut lines = head.lines();
    let subject = lines.next().unwrap_or_default();
    let headers: Vec<(String, String)> =
        lines.filter_map(|line| line.split_once(": ")).map(|(name, value)| (name.into(), value.into())).collect();
    let Ok(read) = decode(subject, headers.as_slice(), body) else { return };
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
