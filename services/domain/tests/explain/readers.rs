//! Open hops: whose turn it is, and whether the hop is lost.

use waybill_domain::explain::{Code, ReaderState, ReaderStatus, Readers, State, explain_container};
use waybill_schemas::Timestamp;

use crate::world::{World, container, minute, workspace};

fn reader(behind: u64, position: u64, acknowledged: u64, reading: bool) -> ReaderStatus {
    let (last_active, since) = (Some(minute(1)), Some(minute(0)));
    ReaderStatus::Present(ReaderState { behind, position, acknowledged, reading, last_active, since })
}

/// A reader that is given messages all the time.
fn busy(last_active: Timestamp, since: Timestamp) -> ReaderStatus {
    let (last_active, since) = (Some(last_active), Some(since));
    ReaderStatus::Present(ReaderState { behind: 0, position: 90, acknowledged: 0, reading: true, last_active, since })
}

const UNDECIDED: &str = "registered built requested";
const DECIDED: &str = "registered built requested decided";
const PROVIDED: &str = "registered built requested decided provider";

#[test]
fn open_hops_tell_whose_turn_it_is_and_whether_they_are_lost() {
    let at_once = "registered built requested now=4";
    let long_after = "registered built requested now=14";
    let (open, broken) = (State::InFlight, State::Broken);
    let cases = [
        (UNDECIDED, ReaderStatus::Absent, open, Code::AwaitingDecision, "no scheduler is reading"),
        (UNDECIDED, reader(312, 20, 0, true), open, Code::AwaitingDecision, "it is 312 events behind"),
        (UNDECIDED, reader(1, 20, 0, false), open, Code::AwaitingDecision, "it is 1 event behind and is not reading"),
        (at_once, reader(0, 40, 0, true), open, Code::AwaitingDecision, "has not decided yet"),
        (long_after, reader(0, 40, 0, true), broken, Code::LostByScheduler, "has read up to sequence 40"),
        // It is catching up, or was killed: nothing is lost.
        (UNDECIDED, reader(9, 120, 0, true), open, Code::AwaitingDecision, "has not decided yet"),
        (UNDECIDED, busy(minute(5), minute(0)), open, Code::AwaitingDecision, "has not decided yet"),
        (UNDECIDED, reader(0, 40, 0, false), open, Code::AwaitingDecision, "is not reading any more"),
        (long_after, busy(minute(14), minute(0)), broken, Code::LostByScheduler, "has read up"),
        (long_after, busy(minute(14), minute(13)), open, Code::AwaitingDecision, "not decided"),
        (DECIDED, ReaderStatus::Absent, open, Code::AwaitingProvider, "no consumer yet"),
        (DECIDED, reader(1, 40, 40, false), open, Code::AwaitingProvider, "has not been seen for 5 min 0 s"),
        (DECIDED, reader(2, 20, 20, true), open, Code::AwaitingProvider, "it is 2 events behind"),
        (DECIDED, reader(0, 50, 40, true), open, Code::AwaitingProvider, "has the decision"),
        (DECIDED, reader(0, 50, 50, true), broken, Code::LostByWorker, "never reported a provider"),
        (PROVIDED, reader(0, 50, 40, true), open, Code::AwaitingPull, "has not reported the pull"),
        (PROVIDED, reader(0, 50, 50, true), broken, Code::LostByWorker, "never reported the pull"),
    ];
    for (words, status, state, code, sentence) in cases {
        let world = World::of(words);
        let readers = Readers { scheduler: status.clone(), worker: status.clone(), log_full: None };
        let verdict = explain_container(&world.history(), &workspace(), &container(), &readers, world.now()).verdict;
        assert_eq!((verdict.state, verdict.code), (state, code), "{words} {status:?}: {}", verdict.sentence);
        assert!(verdict.sentence.contains(sentence), "{words} {status:?}: {}", verdict.sentence);
    }
}

/// Neither scheduler nor worker is to blame for a log without room.
#[test]
fn a_log_without_room_is_what_open_hops_wait_for() {
    let full = |scheduler: ReaderStatus| Readers {
        scheduler: scheduler.clone(),
        worker: scheduler,
        log_full: Some("the event log has no room: no space left on device".to_owned()),
    };
    for (words, code) in [
        (UNDECIDED, Code::LogFull),
        (DECIDED, Code::LogFull),
        (PROVIDED, Code::LogFull),
        ("registered built requested decided provider pulled revoked", Code::LogFull),
        ("registered built requested decided provider pulled", Code::Pulled),
        ("registered built requested decided provider pull:denied", Code::Denied),
    ] {
        let world = World::of(words);
        let readers = full(reader(0, 990, 990, true));
        let verdict = explain_container(&world.history(), &workspace(), &container(), &readers, world.now()).verdict;
        assert_eq!(verdict.code, code, "{words}: {}", verdict.sentence);
        if code == Code::LogFull {
            assert!(
                verdict.sentence.contains("recorded: the event log has no room: no space left"),
                "{words}: {}",
                verdict.sentence
            );
            assert!(verdict.remedy.contains("Make room on nats-server"), "{words}: {}", verdict.remedy);
        }
    }
}
