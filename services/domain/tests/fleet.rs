//! Grouping: a mix of causes is injected into one log, and each is found with all of its containers and no others.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "tests fail by panicking"
)]

mod support;

use std::collections::BTreeMap;

use support::{Story, time_at};
use waybill_domain::fleet::{Fleet, Group, Wanted};
use waybill_schemas::{
    Recorded, Subject, Uuid,
    v1::{PlacementsArchived, SequenceRange},
};

/// A cause: what it is called, its image or none, the worker or several in turn, and what is reported of each placement once it
/// is decided (`-` for nothing).
struct Injected {
    found: &'static str,
    images: &'static [&'static str],
    workers: &'static [&'static str],
    reports: &'static [&'static str],
}

const fn injected(
    found: &'static str,
    images: &'static [&'static str],
    workers: &'static [&'static str],
    reports: &'static [&'static str],
) -> Injected {
    Injected { found, images, workers, reports }
}

const WORKERS: &[&str] = &["w1", "w2", "w3", "w4"];

/// What the log holds before any container asks.
const BEFORE: &str = "
    worker w1 / worker w2 / worker w3 / worker w4 / worker full / worker stale / worker cut / worker frozen
    save good good.example / name good good good.example / name missing good good.example / name arm good good.example
    save old old.example until 60 / name old old old.example
    save gone gone.example / revoke gone / name gone gone gone.example
    name unsaved unsaved unsaved.example
    save elsewhere other.example / name elsewhere elsewhere elsewhere.example
    skip bare1 no_credentials_provided bare.example / skip bare2 no_credentials_provided bare.example
    skip half incomplete_credentials half.example
    save wrong wrong.example / name wrong1 wrong wrong.example / name wrong2 wrong wrong.example
    save barred barred.example / name barred barred barred.example
    save dead dead.example / name dead dead dead.example
    save ca ca.example / name ca ca ca.example
    save busy busy.example / name busy busy busy.example
    save aws aws.example / name aws aws aws.example
    save r1 r1.example / name r1 r1 r1.example / save r2 r2.example / name r2 r2 r2.example
    save torn torn.example / name torn torn torn.example
    skip public public_registry docker.io";

const CAUSES: &[Injected] = &[
    injected("secret_expired of secret old", &["old"], WORKERS, &[]),
    injected("secret_revoked of secret gone", &["gone"], WORKERS, &[]),
    injected("secret_not_found of secret unsaved", &["unsaved"], WORKERS, &[]),
    injected("registry_mismatch of secret elsewhere", &["elsewhere"], WORKERS, &[]),
    injected("unknown_worker of worker ghost", &["good", "arm"], &["ghost"], &[]),
    injected("nothing_built of image never", &["never"], WORKERS, &["provided", "unpulled:unauthorized"]),
    injected("saved_after_request of workspace", &["late"], WORKERS, &["provided", "unpulled:no_image_reference"]),
    injected(
        "no_credentials_provided of registry bare.example",
        &["bare1", "bare2"],
        WORKERS,
        &["provided", "unpulled:unauthorized"],
    ),
    injected("incomplete_credentials of registry half.example", &["half"], WORKERS, &[]),
    injected("unauthorized of secret wrong", &["wrong1", "wrong2"], WORKERS, &["provided", "unpulled:unauthorized"]),
    injected("denied of secret barred", &["barred"], WORKERS, &["provided", "unpulled:denied"]),
    injected("not_found of image missing", &["missing"], WORKERS, &["provided", "unpulled:not_found"]),
    injected("unreachable of registry dead.example", &["dead"], WORKERS, &["provided", "unpulled:unreachable"]),
    injected("unreachable of worker cut", &["r1", "r2"], &["cut"], &["provided", "unpulled:unreachable"]),
    injected(
        "tls_unknown_authority of registry ca.example",
        &["ca"],
        WORKERS,
        &["provided", "unpulled:tls_unknown_authority"],
    ),
    injected("rate_limited of registry busy.example", &["busy"], WORKERS, &["provided", "unpulled:rate_limited"]),
    injected("storage of worker full", &["good", "r1"], &["full"], &["provided", "unpulled:storage"]),
    injected("unseal_failed of worker stale", &["good", "r2"], &["stale"], &["unprovided:unseal_failed"]),
    injected("token_exchange_failed of secret aws", &["aws"], WORKERS, &["unprovided:token_exchange_failed"]),
    injected("no_platform of image arm", &["arm"], WORKERS, &["provided", "unpulled:no_platform"]),
    injected("secret_shredded of secret torn", &["torn"], WORKERS, &["provided", "pulled"]),
    injected("awaiting_pull of worker frozen", &["good", "r1"], &["frozen"], &["provided"]),
];

/// Containers of each cause: a different number each, so that a mix-up shows.
fn many(cause: usize) -> usize {
    20 + 7 * cause
}

/// A number that looks random and is the same in each run.
fn scatter(seed: usize) -> usize {
    seed.wrapping_mul(2_654_435_761) % 1_000_003
}

fn publish_all(story: &mut Story) {
    while let Some(key) = story.facts.pending.keys().next().cloned() {
        story.publish(&key);
    }
}

/// One container asks, is decided about, and its worker reports.
fn run(story: &mut Story, container: &str, image: &str, worker: &str, reports: &[&str]) {
    let placement = story.next();
    story.tell(&format!("request {container} {image} {worker}"));
    publish_all(story);
    for report in reports {
        story.tell(&format!("{report} {worker} {container} {placement}"));
    }
}

/// The log of a mix: each cause's containers in turn with all others, healthy ones, and some that were put right or ended.
fn mixed() -> Story {
    let mut story = Story::default();
    for line in BEFORE.split(['\n', '/']).map(str::trim).filter(|line| !line.is_empty()) {
        story.tell(line);
    }
    publish_all(&mut story);
    while story.next() < 100 {
        story.tell("worker idle");
    }
    let mut order: Vec<(usize, usize)> =
        CAUSES.iter().enumerate().flat_map(|(cause, _)| (0..many(cause)).map(move |at| (cause, at))).collect();
    order.sort_by_key(|(cause, at)| scatter(cause * 1_000 + at));
    for (at, (cause, number)) in order.into_iter().enumerate() {
        let Injected { images, workers, reports, .. } = &CAUSES[cause];
        let (image, worker) = (images[number % images.len()], workers[(number / images.len()) % workers.len()]);
        run(&mut story, &format!("c-{cause}-{number}"), image, worker, reports);
        match at % 10 {
            0..5 => run(&mut story, &format!("well-{at}"), "good", WORKERS[at % 4], &["provided", "pulled"]),
            5 => run(&mut story, &format!("open-{at}"), "public", WORKERS[at % 4], &["provided", "pulled"]),
            _ => {}
        }
    }
    story.tell("shred torn");
    publish_all(&mut story);
    story.tell("name late good good.example");
    // Somebody pulls without credentials from a public registry in vain: the image is missing.
    run(&mut story, "typo", "public", "w1", &["provided", "unpulled:not_found"]);
    // A container that failed, and was asked for again with better luck.
    run(&mut story, "c-9-0", "good", "w2", &["provided", "pulled"]);
    story
}

fn fold(log: &[Recorded<waybill_schemas::RecordedEvent>]) -> Fleet {
    let mut fleet = Fleet::default();
    for Recorded { sequence, at, value } in log {
        fleet.apply(Recorded { sequence: *sequence, at: *at, value });
    }
    fleet
}

fn name(group: &Group) -> String {
    format!("{} of {}", group.cause.code.as_str(), group.cause.about)
}

#[test]
fn a_mix_of_causes_is_taken_apart() {
    let story = mixed();
    let fleet = fold(&story.log);
    let end = story.next() - 1;
    let groups = fleet.group_failures(Some("ws"), time_at(0), time_at(end + 120));
    let found: BTreeMap<String, usize> = groups.iter().map(|group| (name(group), group.containers)).collect();
    let mut expected: BTreeMap<String, usize> =
        CAUSES.iter().enumerate().map(|(cause, injected)| (injected.found.to_owned(), many(cause))).collect();
    expected.insert("not_found of image public".to_owned(), 1);
    assert_eq!(found, expected);
    assert!(CAUSES.len() >= 20 && found.values().sum::<usize>() > 2_000);

    for (cause, injected) in CAUSES.iter().enumerate() {
        let group = groups.iter().find(|group| name(group) == injected.found).unwrap();
        assert_eq!(group.images, injected.images.len(), "{group:?}");
        assert_eq!(group.workers, injected.workers.len(), "{group:?}");
        let put_right = usize::from(injected.found.starts_with("unauthorized"));
        assert_eq!(group.still, many(cause) - put_right, "{group:?}");
        let prefix = format!("c-{cause}-");
        assert!(group.example.id.starts_with(&prefix), "{group:?}");
        assert!(group.first.sequence <= group.last.sequence && group.workspaces == 1);
    }
    assert!(groups.is_sorted_by(|one, next| one.containers >= next.containers), "the widest first");
    assert!(fleet.group_failures(Some("other"), time_at(0), time_at(end)).is_empty());
}

#[test]
fn a_span_has_its_own_failures_only() {
    let story = mixed();
    let fleet = fold(&story.log);
    let half = story.next() / 2;
    let count = |since| {
        let groups = fleet.group_failures(None, time_at(since), time_at(story.next() - 1));
        let broken = groups.iter().filter(|group| group.state.as_str() == "broken");
        broken.map(|group| group.containers).sum::<usize>()
    };
    let (all, later, none) = (count(0), count(half), count(story.next()));
    assert!(later < all && later > all / 4, "{later} of {all}");
    assert_eq!(none, 0);
}

#[test]
fn what_is_over_is_forgotten_and_what_failed_is_kept() {
    let mut story = Story::default();
    for line in ["worker w", "save s a.b", "name i s a.b"] {
        story.tell(line);
    }
    run(&mut story, "c", "i", "w", &["provided", "unpulled:denied"]);
    let placement = 4;
    story.tell(&format!("end c {placement}"));
    let fleet = fold(&story.log);
    assert_eq!((fleet.len(), fleet.list(&Wanted::default(), u64::MAX, 9).0.len()), (0, 0));
    let groups = fleet.group_failures(None, time_at(0), time_at(100));
    assert_eq!((groups.len(), groups[0].containers, groups[0].still), (1, 1, 0));
    let load = &fleet.workers(None)[0];
    assert_eq!((load.worker_id.as_str(), load.placements, load.heard_at), ("w", 0, Some(time_at(7))));
}

/// A gateway that starts while messages are deleted reads a request, and never the end.
#[test]
fn what_left_the_log_is_over() {
    let mut story = Story::default();
    for line in ["worker w", "request c - w", "request d - w"] {
        story.tell(line);
    }
    let archived = PlacementsArchived {
        run: 1,
        part: 1,
        parts: 1,
        placements: 1,
        before: time_at(9),
        archive: "/archive".to_owned(),
        digest: "0".repeat(64),
        sequences: vec![SequenceRange { first: 2, last: 2 }, SequenceRange { first: 4, last: 7 }],
    };
    story.append(Subject::Archive { run: 1 }, Uuid::from_u128(1), archived);
    let listed = fold(&story.log).list(&Wanted::default(), u64::MAX, 9).0;
    assert_eq!(listed.iter().map(|one| one.placement).collect::<Vec<_>>(), [3]);
}
