//! A guard of speed that no other load on the machine can disturb: allocations for folding a fixed story.
#![expect(unsafe_code, reason = "an allocator has no safe interface; this one only counts")]

mod support;

use std::{
    alloc::{GlobalAlloc, Layout, System},
    sync::atomic::{AtomicU64, Ordering},
};

use support::Story;
use waybill_domain::fold::{MemoryFacts, fold};

const PLACEMENTS: u64 = 200;
/// Allocations for a placement's whole life: its request, its decision, its end and its withdrawal.
const MOST: u64 = 200;

/// Counts what the system's allocator is asked for.
struct Counting;

static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);

// SAFETY: every call goes to the system's allocator as it is.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: the caller's promises are passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller's promises are passed on.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

fn publish_all(story: &mut Story) {
    while let Some(key) = story.facts.pending.keys().next().cloned() {
        story.publish(&key);
    }
}

#[test]
fn folding_allocates_no_more_than_before() {
    let mut story = Story::default();
    story.tell("worker w1");
    story.tell("save s registry.example.com");
    story.tell("name i s registry.example.com");
    let setup = story.log.len();
    for number in 0..PLACEMENTS {
        let request = story.next();
        story.tell(&format!("request c{number} i w1"));
        publish_all(&mut story);
        story.tell(&format!("end c{number} {request}"));
        publish_all(&mut story);
    }
    assert_eq!(story.log.len() - setup, 4 * usize::try_from(PLACEMENTS).unwrap());

    let mut facts = MemoryFacts::default();
    let mut allocations = 0;
    for (index, recorded) in story.log.iter().enumerate() {
        let before = ALLOCATIONS.load(Ordering::Relaxed);
        let Ok(folded) = fold(&facts, recorded);
        folded.changes.into_iter().for_each(|change| facts.apply(change));
        if index >= setup {
            allocations += ALLOCATIONS.load(Ordering::Relaxed) - before;
        }
    }
    let each = allocations / PLACEMENTS;
    assert!(each <= MOST, "{each} allocations for a placement's life");
}
