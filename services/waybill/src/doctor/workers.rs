//! Workers: registered with the key that they have, and their consumers pulled from.

use std::{collections::BTreeSet, time::Duration};

use futures_util::future::join_all;
use serde::Deserialize;
use serde_json::Value;
use time::OffsetDateTime;
use waybill_platform::log::{Inspector, Log as _, Reply, STREAM};
use waybill_schemas::{Event, Filter, RecordedEvent, Subject, Timestamp, Uuid, WorkerId};

use super::{finding::Finding, home::Home, server::StreamInfo, server::description};

/// Decisions that may wait for a worker before somebody should look.
const MOST_WAITING: u64 = 1000;
/// How often a consumer is asked whether somebody pulls: between two pulls nobody does.
const LOOKS: u32 = 3;
const BETWEEN_LOOKS: Duration = Duration::from_millis(300);
const CONSUMER_NOT_FOUND: u64 = 10014;
/// Registrations of a worker that are looked at.
const LATEST: usize = 16;
/// Processes that register within this time take turns: the older one stops when it learns of the newer one.
const LATELY: time::Duration = time::Duration::minutes(5);
/// So many of them are more than a restart or two.
const TURNS: usize = 4;

/// A worker's registration in the log.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Registration {
    /// The newest one, and how many processes registered lately.
    Found { key: String, at: Timestamp, lately: usize },
    /// There is none.
    Missing,
    /// The newest one is no event that this version reads.
    Unreadable,
    /// The log did not answer.
    Untold(String),
}

/// What JetStream says of a consumer.
#[derive(Debug, Clone, Default, Deserialize)]
struct Consumer {
    #[serde(default)]
    num_pending: u64,
    #[serde(default)]
    num_ack_pending: u64,
    #[serde(default)]
    num_redelivered: u64,
    #[serde(default)]
    num_waiting: u64,
    #[serde(default)]
    delivered: Activity,
    /// Moves when decisions are acknowledged.
    #[serde(default)]
    ack_floor: Activity,
}

#[derive(Debug, Clone, Copy, Default, Deserialize)]
struct Activity {
    last_active: Option<Timestamp>,
}

/// A consumer, or why it is not known.
#[derive(Debug, Clone)]
enum Seen {
    Consumer(Consumer),
    Missing,
    Untold(String),
}

/// Looks at every worker that the log or the home folder knows.
pub(super) async fn check(inspector: &Inspector, home: &Home, stream: &StreamInfo) -> Vec<Finding> {
    let registered = stream.state.subjects.keys().filter_map(|subject| match subject.parse() {
        Ok(Subject::Worker { worker_id }) => Some(worker_id),
        _ => None,
    });
    let workers: BTreeSet<WorkerId> = registered.chain(home.workers().map(|(id, _)| id.clone())).collect();
    if workers.is_empty() {
        return vec![Finding::ok("workers", "none has registered")];
    }
    let looks = workers.iter().map(async |id| {
        let key = home.workers().find(|(known, _)| *known == id).map(|(_, key)| key.map(ToString::to_string));
        let (registration, consumer) = tokio::join!(registration(inspector, id), consumer(inspector, id));
        [
            judge_key(id, &registration, key.as_ref()),
            judge_consumer(id, &consumer, key.is_some(), OffsetDateTime::now_utc()),
        ]
    });
    join_all(looks).await.into_iter().flatten().collect()
}

async fn registration(inspector: &Inspector, id: &WorkerId) -> Registration {
    let filter = Filter::Workers(Some(id.clone()));
    let messages = match inspector.log().newest_on(&filter, LATEST, u64::MAX).await {
        Ok(newest) => newest.messages,
        Err(error) => return Registration::Untold(error.to_string()),
    };
    let registrations: Vec<_> = messages.iter().map(|message| (message.at, message.decode())).collect();
    let Some((at, newest)) = registrations.last() else { return Registration::Missing };
    let Ok(Event::WorkerRegistered(newest)) = newest.as_ref().map(|recorded| &recorded.event) else {
        return Registration::Unreadable;
    };
    let now = OffsetDateTime::now_utc();
    let lately = registrations.iter().filter(|(at, _)| now - at.instant() < LATELY);
    let instances: BTreeSet<_> = lately.filter_map(|(_, recorded)| instance(recorded.as_ref().ok()?)).collect();
    Registration::Found { key: newest.sealing_key.to_string(), at: *at, lately: instances.len() }
}

/// The process that an event registers.
fn instance(recorded: &RecordedEvent) -> Option<Uuid> {
    match &recorded.event {
        Event::WorkerRegistered(event) => Some(event.instance),
        _ => None,
    }
}

async fn consumer(inspector: &Inspector, id: &WorkerId) -> Seen {
    let subject = format!("CONSUMER.INFO.{STREAM}.worker-{id}");
    let mut looks = 1;
    loop {
        let seen = match inspector.api(&subject, &Value::Null).await {
            reply if reply.error_code() == Some(CONSUMER_NOT_FOUND) => Seen::Missing,
            Reply::Answer(answer) if answer.get("error").is_some() => Seen::Untold(description(&answer)),
            Reply::Answer(answer) => serde_json::from_value(answer)
                .map_or_else(|_| Seen::Untold("the server's answer cannot be read".to_owned()), Seen::Consumer),
            Reply::Forbidden => Seen::Untold("the operator may not ask".to_owned()),
            Reply::Silence(reason) => Seen::Untold(reason),
        };
        match &seen {
            Seen::Consumer(consumer) if consumer.num_waiting == 0 && looks < LOOKS => {
                looks += 1;
                tokio::time::sleep(BETWEEN_LOOKS).await;
            }
            _ => return seen,
        }
    }
}

/// Whether credentials are sealed for the key that the worker has. `own` is none for a worker of another home folder.
fn judge_key(id: &WorkerId, registration: &Registration, own: Option<&Option<String>>) -> Finding {
    let check = format!("worker {id}");
    let restart = format!("start it again, so that it registers the key that it has: waybill worker --id {id}");
    match (registration, own) {
        (Registration::Missing, _) => Finding::attention(
            check,
            "has never registered: nothing can be sealed for it",
            format!("start it: waybill worker --id {id}"),
        ),
        (Registration::Unreadable, _) => {
            Finding::attention(check, "its last registration is no event that this version reads", restart)
        }
        (Registration::Untold(why), _) => Finding::unknown(check, why.clone(), "see to the stream first"),
        (Registration::Found { lately, .. }, _) if *lately >= TURNS => Finding::attention(
            check,
            format!("{lately} processes registered as this worker within {} min", LATELY.whole_minutes()),
            "run one process with this id: two take turns, as each stops when the other registers; where there is only \
             one, see in its log why it is started again and again",
        ),
        (Registration::Found { key, .. }, Some(Some(own))) if key != own => Finding::attention(
            check,
            "the log has another key for it than its key file: it cannot open what is sealed for it",
            restart,
        ),
        (Registration::Found { at, .. }, Some(Some(_))) => {
            Finding::ok(check, format!("registered the key that it has, {}", seconds(*at)))
        }
        (Registration::Found { at, .. }, Some(None)) => Finding::unknown(
            check,
            format!("registered {}; its key file cannot be read", seconds(*at)),
            "see to its settings",
        ),
        (Registration::Found { at, .. }, None) => {
            Finding::ok(check, format!("registered {}; its key is not in this home folder", seconds(*at)))
        }
    }
}

/// A time without fractions of a second.
fn seconds(at: Timestamp) -> String {
    let text = at.to_string();
    text.split(['.', 'Z']).next().map_or_else(|| text.clone(), |whole| format!("{whole}Z"))
}

/// Long enough for a worker to be retired rather than away.
const RETIRED_AFTER: time::Duration = time::Duration::days(1);

/// A worker that has as many decisions as it serves at once may ask for no more this long before somebody should look: one
/// that died with them looks the same, since they go to nobody until it pulls again. A pull may take five minutes unless
/// WAYBILL_WORKER_PULL_SECONDS says otherwise.
const BUSY: time::Duration = time::Duration::minutes(6);

/// `own` says whether the worker is one of this home folder.
fn judge_consumer(id: &WorkerId, seen: &Seen, own: bool, now: OffsetDateTime) -> Finding {
    let check = format!("consumer worker-{id}");
    let start = format!("start it, or see what its log says: waybill worker --id {id}");
    let consumer = match seen {
        Seen::Consumer(consumer) => consumer,
        Seen::Missing => {
            let remedy = "start the scheduler and the worker: the scheduler makes it when the worker registers";
            return Finding::attention(check, "does not exist", remedy);
        }
        Seen::Untold(why) => return Finding::unknown(check, why.clone(), "see to the stream first"),
    };
    let Consumer { num_pending, num_ack_pending, num_redelivered, num_waiting, delivered, ack_floor } = consumer;
    let last = delivered.last_active.map_or_else(|| "none delivered yet".to_owned(), |at| ago(now - at.instant()));
    let load = format!("{num_pending} waiting, {num_ack_pending} in work, {last}");
    // One that has as many as it serves at once asks for no more.
    let active = delivered.last_active.max(ack_floor.last_active);
    let still = active.is_none_or(|at| now - at.instant() > BUSY);
    if *num_waiting == 0 && (*num_ack_pending == 0 || still) {
        let unseen = delivered.last_active.is_none_or(|at| now - at.instant() > RETIRED_AFTER);
        if !own && *num_pending == 0 && *num_ack_pending == 0 && unseen {
            return Finding::ok(check, format!("not pulling, and nothing waits for it: retired elsewhere? {load}"));
        }
        return Finding::attention(check, format!("worker {id} is not pulling; {load}"), start);
    }
    if *num_redelivered > 0 {
        let says = format!("{num_redelivered} decisions are tried again; {load}");
        let remedy = format!("nothing to do just after a crash; otherwise see the log of worker {id}");
        return Finding::attention(check, says, remedy);
    }
    if *num_pending > MOST_WAITING {
        let remedy = "place containers on other workers, or raise WAYBILL_WORKER_CONCURRENCY";
        return Finding::attention(check, format!("worker {id} falls behind; {load}"), remedy);
    }
    Finding::ok(check, load)
}

fn ago(duration: time::Duration) -> String {
    match duration.whole_seconds().max(0) {
        seconds @ 0..120 => format!("last delivery {seconds} s ago"),
        seconds @ 120..7200 => format!("last delivery {} min ago", seconds / 60),
        seconds => format!("last delivery {} h ago", seconds / 3600),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::finding::Status::{Attention, Ok as Well, Unknown};

    fn at() -> Timestamp {
        "2026-01-31T12:00:00.123Z".parse().unwrap()
    }

    #[test]
    fn keys() {
        let id: WorkerId = "w1".parse().unwrap();
        let found = || Registration::Found { key: "XA".to_owned(), at: at(), lately: TURNS - 1 };
        let twins = || Registration::Found { key: "XA".to_owned(), at: at(), lately: TURNS };
        let key = |key: &str| Some(Some(key.to_owned()));
        let cases = [
            (found(), key("XA"), Well, "2026-01-31T12:00:00Z"),
            (twins(), key("XA"), Attention, "4 processes registered"),
            (twins(), None, Attention, "4 processes registered"),
            (found(), key("XB"), Attention, "another key"),
            (found(), Some(None), Unknown, "cannot be read"),
            (found(), None, Well, "not in this home folder"),
            (Registration::Missing, key("XA"), Attention, "never registered"),
            (Registration::Missing, None, Attention, "never registered"),
            (Registration::Unreadable, None, Attention, "no event"),
            (Registration::Untold("why".to_owned()), None, Unknown, "why"),
        ];
        for (registration, own, status, says) in cases {
            let finding = judge_key(&id, &registration, own.as_ref());
            assert_eq!(finding.status, status, "{registration:?} {own:?}");
            assert!(finding.says.contains(says), "{finding:?}");
        }
    }

    #[test]
    fn consumers() {
        let id: WorkerId = "w3".parse().unwrap();
        let now = at().instant() + time::Duration::minutes(10);
        let with = |waiting, pending, redelivered, num_ack_pending| {
            let delivered = Activity { last_active: Some(at()) };
            let (num_waiting, num_pending, num_redelivered) = (waiting, pending, redelivered);
            let ack_floor = Activity::default();
            Seen::Consumer(Consumer {
                num_waiting,
                num_pending,
                num_redelivered,
                num_ack_pending,
                delivered,
                ack_floor,
            })
        };
        let consumer = |waiting, pending, redelivered| with(waiting, pending, redelivered, 2);
        let days = time::Duration::days(2);
        let cases = [
            (consumer(1, 0, 0), Well, "0 waiting, 2 in work, last delivery 10 min ago"),
            (consumer(1, 1000, 0), Well, "1000 waiting"),
            (consumer(1, 1001, 0), Attention, "falls behind"),
            (with(0, 3, 0, 0), Attention, "worker w3 is not pulling; 3 waiting"),
            (consumer(0, 3, 0), Attention, "worker w3 is not pulling; 3 waiting, 2 in work, last delivery 10 min ago"),
            (consumer(0, 0, 0), Attention, "worker w3 is not pulling; 0 waiting, 2 in work"),
            (consumer(1, 0, 4), Attention, "4 decisions are tried again"),
            (Seen::Consumer(Consumer { num_waiting: 1, ..Consumer::default() }), Well, "none delivered yet"),
            (Seen::Missing, Attention, "does not exist"),
            (Seen::Untold("why".to_owned()), Unknown, "why"),
        ];
        for (seen, status, says) in cases {
            let finding = judge_consumer(&id, &seen, true, now);
            assert_eq!(finding.status, status, "{seen:?}");
            assert!(finding.says.contains(says), "{finding:?}");
        }
        // With its hands full, it may ask for nothing as long as something was given to it or done lately.
        let busy = |delivered, acknowledged| {
            let ago = |minutes| Activity { last_active: Some((now - time::Duration::minutes(minutes)).into()) };
            let (delivered, ack_floor) = (ago(delivered), ago(acknowledged));
            Seen::Consumer(Consumer {
                num_pending: 3,
                num_ack_pending: 16,
                delivered,
                ack_floor,
                ..Consumer::default()
            })
        };
        for (delivered, acknowledged, status) in
            [(1, 9, Well), (9, 1, Well), (6, 6, Well), (7, 7, Attention), (9, 7, Attention)]
        {
            let seen = busy(delivered, acknowledged);
            assert_eq!(judge_consumer(&id, &seen, true, now).status, status, "{seen:?}");
        }
        // A worker of another home folder that is gone for good is no reason to look; one that is waited for is.
        for (seen, own, later, status) in [
            (with(0, 0, 0, 0), false, days, Well),
            (with(0, 0, 0, 0), true, days, Attention),
            (with(0, 1, 0, 0), false, days, Attention),
            (with(0, 0, 0, 0), false, time::Duration::ZERO, Attention),
            (with(0, 0, 0, 1), false, days, Attention),
        ] {
            assert_eq!(judge_consumer(&id, &seen, own, now + later).status, status, "{seen:?} {own}");
        }
    }
}
