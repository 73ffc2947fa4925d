//! Refused requests beside the verdict, and in the picture of the fleet.

use waybill_domain::explain::{explain_image, explain_secret};

use crate::{
    explained_words,
    fleet::fold,
    world::{World, image, minute, secret, workspace},
};

fn notes(words: &str) -> Vec<String> {
    explained_words(words).notes
}

#[test]
fn what_was_refused_since_is_a_note_and_what_was_accepted_since_is_history() {
    const PLACED: &str = "registered built requested decided provider pulled";
    let cases = [
        ("", None),
        ("declined:request", Some("POST /v1/containers for container ctr")),
        ("declined:end", Some("POST /v1/containers/ended for container ctr")),
        ("declined:end ended", None),
        ("declined:build", Some("POST /v1/builds for image img")),
        ("declined:build built", None),
        ("declined:rotate", Some("POST /v1/secrets/{workspace}/{name}/rotate for secret s")),
        ("declined:rotate rotated decided applied", None),
        ("declined:nothing", None),
        ("declined:stranger", None),
    ];
    for (then, expected) in cases {
        let notes = notes(&format!("{PLACED} {then}"));
        let told: Vec<_> = notes.iter().filter(|note| note.contains("was refused: 422")).collect();
        match expected {
            Some(part) => assert!(told.len() == 1 && told[0].contains(part), "{then}: {notes:?}"),
            None => assert!(told.is_empty(), "{then}: {notes:?}"),
        }
    }
}

/// Where nothing was recorded, a refusal that names nothing may be the missing one.
#[test]
fn what_names_nothing_is_told_where_something_is_missing() {
    let cases = [
        ("registered declined:nothing requested decided default pull:unauthorized", true),
        ("registered declined:stranger requested decided default pull:unauthorized", true),
        ("registered declined:nothing built requested decided provider pulled", false),
        // It was a build, and what is missing is a request.
        ("registered built declined:nothing", false),
    ];
    for (words, expected) in cases {
        let found = notes(words).iter().any(|note| note.contains("What it was about is not known"));
        assert_eq!(found, expected, "{words}");
    }
    let world = World::of("declined:nothing");
    let tomorrow = "2026-01-02T00:02:00Z".parse().unwrap();
    let image = explain_image(&world.history(), &workspace(), &image(), tomorrow);
    assert!(image.notes.is_empty(), "a day later it is no longer the reason: {:?}", image.notes);
}

#[test]
fn a_timeline_has_what_was_refused() {
    let of = |words: &str| {
        let explained = explained_words(words);
        explained.timeline.into_iter().map(|step| (step.sequence, step.reason)).collect::<Vec<_>>()
    };
    assert_eq!(of("declined:request declined:nothing"), [(10, Some("invalid_field"))]);
    let world = World::of("declined:put declined:nothing");
    let secret = explain_secret(&world.history(), &workspace(), &secret(), world.now());
    assert_eq!(secret.timeline.len(), 1);
}

/// One group for each answer, with the containers that wait in vain for a build that was refused, until it is accepted.
#[test]
fn refusals_are_grouped_by_their_answer() {
    let groups = |words: &str, workspace: Option<&str>| {
        let fleet = fold(&World::of(words));
        let groups = fleet.group_failures(workspace, minute(0), minute(60));
        let told = groups.iter().map(|group| {
            let counts = [group.containers, group.images, group.secrets];
            let example = format!("{} {}", group.example.kind, group.example.id);
            (format!("{} of {}", group.cause.code.as_str(), group.cause.about), counts, example)
        });
        told.collect::<Vec<_>>()
    };
    let group = |field: &str, counts, example: &str| {
        (format!("request_refused of request invalid_field {field}"), counts, example.to_owned())
    };
    let failed = "registered requested decided default pull:unauthorized";
    let cases: [(String, Option<&str>, Vec<_>); 9] = [
        ("declined:build".to_owned(), None, vec![group("base_image", [0, 1, 0], "image img")]),
        ("declined:build declined:build".to_owned(), None, vec![group("base_image", [0, 1, 0], "image img")]),
        ("declined:build built".to_owned(), None, vec![]),
        ("declined:put".to_owned(), Some("ws"), vec![group("registry", [0, 0, 1], "secret s")]),
        ("declined:put".to_owned(), Some("other"), vec![]),
        ("declined:stranger".to_owned(), None, vec![group("Authorization", [0, 0, 0], "event 10")]),
        ("declined:stranger".to_owned(), Some("ws"), vec![]),
        (format!("{failed} declined:build"), None, vec![group("base_image", [1, 1, 0], "container ctr")]),
        (format!("declined:build {failed}"), None, vec![group("base_image", [1, 1, 0], "container ctr")]),
    ];
    for (words, workspace, expected) in cases {
        assert_eq!(groups(&words, workspace), expected, "{words}");
    }
    let fleet = fold(&World::of("declined:build"));
    let (sentence, remedy) = fleet.group_failures(None, minute(0), minute(60))[0].told.clone().unwrap();
    assert!(sentence.contains("the tag is malformed") && remedy.contains("name another tag"), "{sentence} {remedy}");
}
