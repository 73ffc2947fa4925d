//! What is no event is refused by name, and nothing of it is repeated.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests fail by panicking")]

use proptest::prelude::*;
use waybill_schemas::{DecodeError, EventType, MAX_BODY_BYTES, SubjectError, decode, header};

const CANARY: &str = "canary-5up3r-s3cr3t";
const SUBJECT: &str = "waybill.events.container.acme.c-1.r-1";
const BODY: &str = r#"{"workspace":"acme","container_id":"c-1","worker_id":"w1"}"#;

fn headers() -> Vec<(String, String)> {
    let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    vec![
        pair(header::ID, "5f0c6a53-1d6e-4a0f-9e3b-7f1c2d84a6e1"),
        pair(header::SOURCE, "/test"),
        pair(header::SPECVERSION, "1.0"),
        pair(header::TYPE, "waybill.v1.ContainerRequested"),
    ]
}

fn with(name: &str, value: &str) -> Vec<(String, String)> {
    let mut headers: Vec<_> = headers().into_iter().filter(|(header, _)| header != name).collect();
    headers.push((name.to_owned(), value.to_owned()));
    headers
}

/// Python's SDK of CloudEvents escapes all but letters and digits.
#[test]
fn attributes_may_be_percent_encoded() {
    let cases = [
        ("/test", "/test"),
        ("%2Fmy%2Forchestrator", "/my/orchestrator"),
        ("/caf%C3%A9%20au%20lait", "/café au lait"),
        ("/100%", "/100%"),
        ("/%FF", "/%FF"),
        ("/two%0Alines", "/two%0Alines"),
    ];
    for (sent, source) in cases {
        let read = decode(SUBJECT, with(header::SOURCE, sent).as_slice(), BODY.as_bytes()).unwrap();
        assert_eq!(read.envelope.source, source, "{sent}");
    }
    let headers = with(header::TIME, "2026-01-01T00%3A00%3A00Z");
    let read = decode(SUBJECT, headers.as_slice(), BODY.as_bytes()).unwrap();
    assert_eq!(read.envelope.time, Some("2026-01-01T00:00:00Z".parse().unwrap()));
}

#[test]
fn headers_are_checked_one_by_one() {
    assert!(decode(SUBJECT, headers().as_slice(), BODY.as_bytes()).is_ok());
    for required in [header::ID, header::SOURCE, header::SPECVERSION, header::TYPE] {
        let less: Vec<_> = headers().into_iter().filter(|(name, _)| name != required).collect();
        let error = decode(SUBJECT, less.as_slice(), BODY.as_bytes()).unwrap_err();
        assert_eq!(error, DecodeError::MissingHeader(required));
    }
    let header = |name, problem| DecodeError::Header { name, problem };
    let long = "x".repeat(513);
    let cases = [
        (with(header::ID, CANARY), header(header::ID, "is not a UUID")),
        (with(header::ID, ""), header(header::ID, "is empty")),
        (with(header::SOURCE, &long), header(header::SOURCE, "is longer than 512 bytes")),
        (with(header::SPECVERSION, "0.3"), header(header::SPECVERSION, "is not 1.0")),
        (with(header::DATACONTENTTYPE, CANARY), header(header::DATACONTENTTYPE, "is not application/json")),
        (with(header::TIME, CANARY), header(header::TIME, "is not an RFC 3339 time")),
        (with(header::CAUSATION_ID, CANARY), header(header::CAUSATION_ID, "is not a UUID")),
        (with(header::CORRELATION_ID, CANARY), header(header::CORRELATION_ID, "is not a UUID")),
        (with(header::TYPE, "waybill.v2.ContainerRequested"), DecodeError::UnknownType),
        (with(header::TYPE, CANARY), DecodeError::UnknownType),
        (
            with(header::TYPE, "waybill.v1.ImagePullFailed"),
            DecodeError::TypeMismatch {
                ce_type: EventType::ImagePullFailed,
                template: "waybill.events.container.{workspace}.{container_id}.{request}",
            },
        ),
    ];
    for (headers, expected) in cases {
        let error = decode(SUBJECT, headers.as_slice(), BODY.as_bytes()).unwrap_err();
        assert_eq!(error, expected);
        assert!(!format!("{error} {error:?}").contains(CANARY), "{error}");
    }
    let typed = with(header::DATACONTENTTYPE, "Application/JSON; charset=utf-8");
    assert!(decode(SUBJECT, typed.as_slice(), BODY.as_bytes()).is_ok());
}

#[test]
fn a_malformed_optional_header_counts_as_none() {
    let envelope = |headers: Vec<_>| decode(SUBJECT, headers.as_slice(), BODY.as_bytes()).unwrap().envelope;
    assert_eq!(envelope(with(header::TRACEPARENT, CANARY)).traceparent, None);
    assert_eq!(envelope(with(header::TRACESTATE, "vendor=1")).tracestate, None, "there is no traceparent");
    let cases = [("token/acme", true), ("", false), ("two words", false), ("line\nbreak", false), ("é", false)];
    for (actor, good) in cases {
        assert_eq!(envelope(with(header::ACTOR, actor)).actor.as_deref(), good.then_some(actor), "{actor:?}");
    }
    for (length, good) in [(256, true), (257, false)] {
        assert_eq!(envelope(with(header::ACTOR, &"x".repeat(length))).actor.is_some(), good, "{length}");
    }
    for (version, good) in [("1.2.3-rc.1+abc_d", true), ("1.2 3", false), (&"1".repeat(65), false)] {
        assert_eq!(envelope(with(header::SOURCE_VERSION, version)).source_version.is_some(), good, "{version:?}");
    }
}

#[test]
fn bodies_are_strict() {
    let deep = format!("{}{}", "[".repeat(5000), "]".repeat(5000));
    let cases: Vec<(&str, Vec<u8>, Option<&str>)> = vec![
        ("empty", b"".to_vec(), None),
        ("not JSON", CANARY.into(), None),
        ("cut short", b"{\"workspace\":".to_vec(), None),
        ("not UTF-8", b"{\"workspace\":\"\xff\"}".to_vec(), None),
        ("deep", deep.into_bytes(), None),
        ("trailing", format!("{BODY}{CANARY}").into_bytes(), None),
        ("unknown field", BODY.replace("}", &format!(",\"{CANARY}\":1}}")).into_bytes(), None),
        ("missing field", br#"{"workspace":"acme","container_id":"c-1"}"#.to_vec(), Some("worker_id")),
        ("twice", BODY.replace("}", r#","workspace":"acme"}"#).into_bytes(), Some("workspace")),
        ("wrong type", BODY.replace("\"w1\"", "[1]").into_bytes(), None),
        ("bad id", BODY.replace("w1", "w.1").into_bytes(), None),
    ];
    for (name, body, field) in cases {
        let error = decode(SUBJECT, headers().as_slice(), &body).unwrap_err();
        let DecodeError::Body { field: named, .. } = error else { panic!("{name}: {error}") };
        assert_eq!(named, field, "{name}");
        assert!(!format!("{error} {error:?}").contains(CANARY), "{name}: {error}");
    }
    let large = vec![b' '; MAX_BODY_BYTES + 1];
    assert_eq!(decode(SUBJECT, headers().as_slice(), &large).unwrap_err(), DecodeError::TooLarge(large.len()));
}

#[test]
fn what_is_no_subject_is_refused() {
    let cases = [
        CANARY.to_owned(),
        format!("{SUBJECT}.{CANARY}"),
        format!("waybill.events.{CANARY}.acme.c-1.r-1"),
        format!("waybill.events.quarantine.{CANARY}"),
    ];
    for subject in cases {
        let error = decode(&subject, headers().as_slice(), BODY.as_bytes()).unwrap_err();
        assert_eq!(error, DecodeError::Subject(SubjectError::Form), "{subject}");
    }
    let subject = format!("waybill.events.container.acme.{CANARY}$.r-1");
    let error = decode(&subject, headers().as_slice(), BODY.as_bytes()).unwrap_err();
    assert!(matches!(error, DecodeError::Subject(SubjectError::Id(_))), "{error}");
    assert!(!format!("{error} {error:?}").contains(CANARY), "{error}");
}

/// A set of words may gain one: a reader that does not know it sets the event aside.
#[test]
fn an_unknown_word_is_refused() {
    let subject = "waybill.events.decision.w1.container.acme.c-1.17";
    let headers = with(header::TYPE, "waybill.v1.ContainerCredentialsSkipped");
    let body = |reason| {
        format!(r#"{{"workspace":"acme","container_id":"c-1","placement":17,"worker_id":"w1","reason":"{reason}"}}"#)
    };
    assert!(decode(subject, headers.as_slice(), body("secret_revoked").as_bytes()).is_ok());
    let error = decode(subject, headers.as_slice(), body(CANARY).as_bytes()).unwrap_err();
    assert!(matches!(error, DecodeError::Body { .. }), "{error}");
    assert!(!format!("{error} {error:?}").contains(CANARY), "{error}");
}

#[test]
fn an_empty_image_is_none() {
    for image in ["", r#","image_id":"""#, r#","image_id":null"#] {
        let body = BODY.replace("}", &format!("{image}}}"));
        let recorded = decode(SUBJECT, headers().as_slice(), body.as_bytes()).unwrap();
        let waybill_schemas::Event::ContainerRequested(request) = recorded.event else { panic!("another event") };
        assert_eq!(request.image_id, None, "{body}");
    }
}

proptest! {
    #[test]
    fn nothing_panics(subject in ".{0,80}", names in prop::collection::vec((".{0,20}", ".{0,80}"), 0..8), body in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = decode(&subject, names.as_slice(), &body);
        let mut headers = headers();
        headers.extend(names);
        let _ = decode(SUBJECT, headers.as_slice(), &body);
    }
}
