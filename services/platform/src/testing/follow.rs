//! Reading in order.

use std::time::Duration;

use futures_util::StreamExt as _;
use tokio::time::timeout;
use waybill_schemas::{Filter, Timestamp};

use super::{Sample, log::append};
use crate::log::{Administration, Expect, Follow, Identity, RawMessage, ReadError};

/// A check that waits longer has failed.
const PATIENCE: Duration = Duration::from_secs(30);

pub(super) async fn check_following(log: &dyn Administration) {
    follow_what_comes(log).await;
    compare_the_log(log).await;
}

async fn next(follow: &mut Follow) -> Result<RawMessage, ReadError> {
    timeout(PATIENCE, follow.next()).await.expect("a message in time").expect("a message or an error")
}

async fn follow_what_comes(log: &dyn Administration) {
    let sample = Sample::new();
    let request = |index: u32| sample.request("c", &format!("r{index}"));
    let first = append(log, &request(0), Expect::Last(0)).await;
    let mut all = log.follow(&Filter::All, first, None);
    let mut filtered = log.follow(&sample.containers(Some("c")), 1, None);
    let mut others = log.follow(&sample.containers(Some("d")), 1, None);
    for follow in [&mut all, &mut filtered] {
        assert_eq!(next(follow).await.unwrap().sequence, first);
    }
    let other = append(log, &sample.request("d", "r"), Expect::Last(0)).await;
    let second = append(log, &request(1), Expect::Last(0)).await;
    assert_eq!(next(&mut all).await.unwrap().sequence, other);
    let message = next(&mut all).await.unwrap();
    assert_eq!((message.sequence, message.pending), (second, 0));
    assert_eq!(message.decode().unwrap().event, request(1).event);
    assert_eq!(next(&mut filtered).await.unwrap().sequence, second);
    assert_eq!(next(&mut others).await.unwrap().sequence, other);
}

/// Whoever knows another log is told, and reads nothing.
async fn compare_the_log(log: &dyn Administration) {
    let sample = Sample::new();
    let sequence = append(log, &sample.request("c", "r1"), Expect::Last(0)).await;
    let after = append(log, &sample.request("c", "r2"), Expect::Last(0)).await;
    let at = log.message_at(sequence).await.unwrap().unwrap().at;
    let state = log.stream_state().await.unwrap().unwrap();
    let known = Identity { created: state.created, sequence, at };
    let follow = |known| log.follow(&Filter::All, sequence + 1, Some(known));
    assert_eq!(next(&mut follow(known)).await.unwrap().sequence, after);
    // A restored stream has another creation time and the same messages.
    let earlier = Timestamp::from(at.instant() - time::Duration::SECOND);
    let restored = next(&mut follow(Identity { created: earlier, ..known })).await.unwrap();
    assert_eq!(restored.sequence, after);
    let replaced = next(&mut follow(Identity { at: earlier, ..known })).await.unwrap_err();
    assert_eq!(replaced, ReadError::Replaced { sequence });
    let recreated = next(&mut follow(Identity { created: earlier, at: earlier, ..known })).await.unwrap_err();
    assert_eq!(recreated, ReadError::Recreated { found: state.created, expected: earlier });
    let mut shrunk = follow(Identity { sequence: u64::MAX, ..known });
    assert!(matches!(next(&mut shrunk).await.unwrap_err(), ReadError::Shrunk { read: u64::MAX, .. }));
    assert!(timeout(PATIENCE, shrunk.next()).await.unwrap().is_none(), "an error is the last item");
}
