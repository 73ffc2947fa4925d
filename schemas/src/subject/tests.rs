//! Subjects as they are written and read.

use super::*;

#[test]
fn a_subject_is_read_as_it_is_written() {
    for text in [
        "waybill.events.secret.ws1.oci-registry-a-b",
        "waybill.events.secret.ws1.team=registry",
        "waybill.events.image.ws1.img-1.5f0c6a53",
        "waybill.events.container.ws1.c_1.r-1",
        "waybill.events.decision.w1.container.ws1.c_1.17",
        "waybill.events.decision.w1.secret.ws1.s.3",
        "waybill.events.outcome.w1.ws1.c_1.17",
        "waybill.events.outcome.w1.secret.ws1.s.3",
        "waybill.events.outcome.w1.secret.ws1.17",
        "waybill.events.outcome.w1.question.ws1.c_1.17",
        "waybill.events.outcome.w1.question.ws1.17",
        "waybill.events.outcome.w1.question",
        "waybill.events.worker.w1",
        "waybill.events.identity.worker.w1",
        "waybill.events.identity.workspace.ws1",
        "waybill.events.identity.token.ci-main",
        "waybill.events.scheduler.keys",
        "waybill.events.quarantine.12",
        "waybill.events.archive.3",
    ] {
        assert_eq!(text.parse::<Subject>().unwrap().to_string(), text);
    }
    let Subject::Secret { secret, .. } = "waybill.events.secret.ws1.team=registry".parse().unwrap() else { panic!() };
    assert_eq!(secret.as_str(), "team.registry", "a name's dots are not the subject's");
}

#[test]
fn anything_else_is_refused() {
    for text in [
        "",
        "waybill",
        "waybill.events",
        "other.events.worker.w1",
        "waybill.events.secret.ws1",
        "waybill.events.secret.ws1.s.x",
        "waybill.events.image.ws1.img-1",
        "waybill.events.container.ws1.c1",
        "waybill.events.decision.w1.container.ws1.c1.017",
        "waybill.events.decision.w1.container.ws1.c1.x",
        "waybill.events.decision.w1.ws1.c1.1",
        "waybill.events.outcome.w1.ws1.c1",
        "waybill.events.worker.w1.registered",
        "waybill.events.quarantine.012",
    ] {
        assert_eq!(text.parse::<Subject>(), Err(SubjectError::Form), "{text}");
    }
    for text in [
        "waybill.events.image..i.b",
        "waybill.events.worker.*",
        "waybill.events.secret.ws.>",
        "waybill.events.secret.ws.a=.b",
    ] {
        assert!(text.parse::<Subject>().is_err(), "{text}");
    }
}
