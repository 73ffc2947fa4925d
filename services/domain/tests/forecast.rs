//! A month of a fleet, made from a seed: what the forecast says at each midnight is held against what then really broke.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::as_conversions,
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    reason = "tests fail by panicking"
)]

#[path = "forecast/log.rs"]
mod log;
#[path = "forecast/people.rs"]
mod people;
#[path = "forecast/world.rs"]
mod world;

use std::{collections::BTreeMap, time::Duration};

use waybill_domain::fleet::{Forecast, ForecastKind, forecast};
use world::{Broken, DAY, World, time_at};

/// Days that go by before anything is judged: habits have to be seen.
const BEFORE: i64 = 20;
const MONTH: i64 = 30;
const HORIZON: i64 = 3;
const SEEDS: [u64; 3] = [1, 7, 42];

/// What was told at a minute.
struct Told {
    at: i64,
    forecast: Forecast,
}

/// Runs a world to its end, and asks at each midnight of the month.
fn run(seed: u64) -> (Vec<Told>, Vec<Broken>) {
    let (mut world, mut told) = (World::new(seed), Vec::new());
    for day in 0..BEFORE + MONTH + HORIZON {
        let at = day * DAY;
        world.run_until(at);
        if (BEFORE..BEFORE + MONTH).contains(&day) {
            let within = Duration::from_secs(60 * (HORIZON * DAY) as u64);
            let said = forecast(&world.fleet, None, time_at(at), within);
            told.extend(said.into_iter().map(|forecast| Told { at, forecast }));
        }
    }
    (told, world.broken)
}

fn is_of(told: &Told, broken: &Broken) -> bool {
    told.forecast.kind == broken.kind && told.forecast.id == broken.id
}

/// True if it broke as it was told: within the horizon at the time that was named, or it was broken already.
fn came_true(told: &Told, broken: &[Broken]) -> bool {
    broken.iter().filter(|broken| is_of(told, broken)).any(|broken| {
        let goes_on = broken.until.is_none_or(|until| until > told.at);
        match told.forecast.at {
            Some(at) => at == time_at(broken.from) && broken.from <= told.at + HORIZON * DAY,
            None => broken.from <= told.at && goes_on,
        }
    })
}

/// True if it was told in time: before it broke where a date says when, else within two days, and before it was mended.
fn was_told(broken: &Broken, told: &[Told]) -> bool {
    let latest = match broken.kind {
        ForecastKind::SecretExpires | ForecastKind::TokenEnds => broken.from,
        ForecastKind::WorkerAway | ForecastKind::PullFails | ForecastKind::KeyReplaced => broken.from + 2 * DAY,
    };
    told.iter().filter(|told| is_of(told, broken)).any(|told| (broken.from - HORIZON * DAY..=latest).contains(&told.at))
}

#[test]
fn what_is_told_breaks_and_what_breaks_was_told() {
    let mut counts: BTreeMap<ForecastKind, [usize; 4]> = BTreeMap::new();
    let mut surprises = Vec::new();
    for seed in SEEDS {
        let (told, broken) = run(seed);
        for told in &told {
            let true_one = came_true(told, &broken);
            let count = counts.entry(told.forecast.kind).or_default();
            (count[0], count[1]) = (count[0] + usize::from(true_one), count[1] + 1);
            if !true_one {
                surprises.push(format!("seed {seed} day {}: told and did not: {:?}", told.at / DAY, told.forecast));
            }
        }
        let judged = (BEFORE + 1) * DAY..(BEFORE + MONTH - HORIZON) * DAY;
        for broken in broken.iter().filter(|broken| judged.contains(&broken.from)) {
            let known = was_told(broken, &told);
            let count = counts.entry(broken.kind).or_default();
            (count[2], count[3]) = (count[2] + usize::from(known), count[3] + 1);
            if !known {
                surprises.push(format!("seed {seed}: broke untold: {broken:?}"));
            }
        }
    }
    let sum = |at: usize| counts.values().map(|count| count[at]).sum::<usize>();
    let (precision, recall) = (sum(0) as f64 / sum(1) as f64, sum(2) as f64 / sum(3) as f64);
    println!("precision {precision:.4} of {}, recall {recall:.4} of {}; {counts:?}", sum(1), sum(3));
    assert!(precision >= 0.99 && recall >= 0.99, "precision {precision}, recall {recall}\n{}", surprises.join("\n"));
    for kind in ForecastKind::ALL {
        let [as_told, told, known, broke] = counts[kind];
        assert!(told >= 20 && broke >= 10, "{kind:?}: {told} told, {broke} broke: the month has too little of it");
        let (precision, recall) = (as_told as f64 / told as f64, known as f64 / broke as f64);
        assert!(precision >= 0.99 && recall >= 0.99, "{kind:?}: {precision}, {recall}\n{}", surprises.join("\n"));
    }
}
