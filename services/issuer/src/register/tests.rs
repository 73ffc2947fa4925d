//! What requests come to, as tables.

use time::OffsetDateTime;
use waybill_platform::identity::proof;
use waybill_schemas::{Envelope, Uuid};

use super::*;

const KEYS: [&str; 2] = [
    "UDXU4RCSJNZOIQHZNWXHXORDPRTGNJAHAHFRGZNEEJCPQTT2M7NLCNF4",
    "UCXU4RCSJNZOIQHZNWXHXORDPRTGNJAHAHFRGZNEEJCPQTT2M7NLCNF5",
];
const DAY: i64 = 24 * 60 * 60;

fn at(seconds: i64) -> Timestamp {
    OffsetDateTime::from_unix_timestamp(1_000_000_000 + seconds).unwrap().into()
}

/// A register that records what it decides.
#[derive(Default)]
struct Log {
    register: Register,
    sequence: u64,
}

impl Log {
    fn say(&mut self, statement: Statement, at: Timestamp) {
        self.sequence += 1;
        assert_eq!(statement.after, self.register.lasts.get(&statement.subject).map_or(0, |last| last.sequence));
        let Statement { subject, event, .. } = statement;
        assert!(event.belongs_on(&subject), "{event:?} on {subject}");
        let value = RecordedEvent { subject, envelope: Envelope::new(Uuid::nil(), "/t"), event };
        self.register.fold(Recorded { sequence: self.sequence, at, value });
    }

    fn ask(&mut self, ask: Ask, now: Timestamp) -> Result<u64, String> {
        match self.register.decide(&ask, "token/admin", now).map_err(|refusal| refusal.code)? {
            Decision::Said(sequence) => Ok(sequence),
            Decision::Say(statement) => {
                self.say(*statement, now);
                Ok(self.sequence)
            }
        }
    }

    fn token(&mut self, name: &str, change: impl FnOnce(&mut NewToken)) {
        let mut token = NewToken {
            token_id: name.parse().unwrap(),
            roles: vec![TokenRole::Join],
            workspaces: Vec::new(),
            ends_at: None,
            uses: None,
            worker_prefix: None,
        };
        change(&mut token);
        self.ask(Ask::CreateToken { by: by("admin"), token, proof: proof_of(name) }, at(0)).unwrap();
    }

    fn join(&mut self, token: &str, worker: &str, key: usize, now: Timestamp) -> Result<u64, String> {
        let (worker_id, user_key) = (Some(worker.parse().unwrap()), KEYS[key].to_owned());
        self.ask(Ask::Join { by: by(token), worker_id, user_key }, now)
    }

    fn retire(&mut self, worker: &str, now: Timestamp) -> Result<u64, String> {
        self.ask(Ask::Retire { by: by("admin"), worker_id: worker.parse().unwrap() }, now)
    }
}

fn proof_of(name: &str) -> String {
    recorded_hash(name)
}

fn by(name: &str) -> By {
    By::Proof(proof_of(name))
}

#[test]
fn a_join_token_is_for_its_prefix_its_number_and_its_time() {
    let mut log = Log::default();
    log.token("t", |token| {
        token.uses = Some(2);
        token.worker_prefix = Some("node-".parse().unwrap());
        token.ends_at = Some(at(60));
    });
    let cases = [
        ("other", "node-1", 0, 1, Err("not_allowed")),
        ("t", "edge-1", 0, 1, Err("not_allowed")),
        ("t", "node-1", 0, 60, Err("not_allowed")),
        ("t", "node-1", 0, 1, Ok(2)),
        // A retry after a lost answer.
        ("t", "node-1", 0, 2, Ok(2)),
        // Somebody else who claims to be that node.
        ("t", "node-1", 1, 2, Err("conflict")),
        ("t", "node-2", 0, 3, Ok(3)),
        ("t", "node-3", 1, 4, Err("not_allowed")),
    ];
    for (token, worker, key, now, expected) in cases {
        assert_eq!(log.join(token, worker, key, at(now)), expected.map_err(str::to_owned), "{worker} {key} {now}");
    }
    assert_eq!(log.retire("node-1", at(5)), Ok(4));
    assert_eq!(log.join("t", "node-1", 1, at(6)), Err("not_allowed".to_owned()), "a use is not given back");
}

#[test]
fn keys_that_ended_are_refused_while_they_could_be_used() {
    let mut log = Log::default();
    log.token("t", |_| {});
    assert_eq!(log.retire("w", at(0)), Err("not_found".to_owned()));
    log.join("t", "w", 0, at(0)).unwrap();
    assert!(log.register.is_current(&"w".parse().unwrap(), KEYS[0]));
    assert!(log.register.revocations(at(1)).is_empty());
    let retired = log.retire("w", at(10)).unwrap();
    assert_eq!(log.retire("w", at(11)), Ok(retired), "said once");
    let revoked = || BTreeMap::from([(KEYS[0].to_owned(), at(10).instant().unix_timestamp())]);
    assert_eq!(log.register.revocations(at(11)), revoked());
    assert!(!log.register.is_current(&"w".parse().unwrap(), KEYS[0]));
    assert_eq!(log.join("t", "w", 0, at(12)), Err("conflict".to_owned()), "a key that was revoked");
    log.join("t", "w", 1, at(20)).unwrap();
    assert!(log.register.is_current(&"w".parse().unwrap(), KEYS[1]));
    assert_eq!(log.register.revocations(at(21)).keys().collect::<Vec<_>>(), [KEYS[0]], "still");
    assert!(log.register.revocations(at(8 * DAY)).is_empty(), "what was signed for it has ended");
}

#[test]
fn a_token_is_for_its_roles() {
    let mut log = Log::default();
    log.token("ci", |token| token.roles = vec![TokenRole::Builder, TokenRole::Reader]);
    let authorize =
        |log: &Log, name, role| log.register.authorize(&proof_of(name), role, at(1)).map(ToString::to_string);
    assert_eq!(authorize(&log, "ci", TokenRole::Builder).unwrap(), "ci");
    let refused = authorize(&log, "ci", TokenRole::Admin).unwrap_err();
    assert!(refused.code == "not_allowed" && refused.detail.contains("no admin token"), "{refused:?}");
    let revoke = |log: &mut Log| log.ask(Ask::RevokeToken { by: by("a"), token_id: "ci".parse().unwrap() }, at(2));
    assert_eq!((revoke(&mut log), revoke(&mut log)), (Ok(2), Ok(2)));
    assert!(authorize(&log, "ci", TokenRole::Builder).is_err());
    for change in [
        |token: &mut NewToken| token.roles.clear(),
        |token: &mut NewToken| token.roles.push(TokenRole::Admin),
        |token: &mut NewToken| token.ends_at = Some(at(0)),
        |token: &mut NewToken| (token.roles, token.uses) = (vec![TokenRole::Admin], Some(1)),
        |token: &mut NewToken| token.workspaces = vec!["acme".parse().unwrap()],
        |token: &mut NewToken| {
            token.roles = vec![TokenRole::Builder];
            token.workspaces = (0..17).map(|number| format!("w{number}").parse().unwrap()).collect();
        },
    ] {
        let (token_id, roles) = ("x".parse().unwrap(), vec![TokenRole::Join]);
        let mut token =
            NewToken { token_id, roles, workspaces: Vec::new(), ends_at: None, uses: None, worker_prefix: None };
        change(&mut token);
        let ask = Ask::CreateToken { by: by("a"), token: token.clone(), proof: proof_of("x") };
        assert_eq!(log.ask(ask, at(3)), Err("invalid".to_owned()), "{token:?}");
    }
    log.token("two", |token| {
        token.roles = vec![TokenRole::Reader];
        token.workspaces = ["acme", "beta"].map(|name| name.parse().unwrap()).into();
    });
    assert_eq!(authorize(&log, "two", TokenRole::Reader).unwrap(), "two");
}

#[test]
fn what_init_made_is_said_once_and_what_was_taken_back_stays_so() {
    let mut log = Log::default();
    let token = TokenCreated {
        token_id: "acme".parse().unwrap(),
        roles: vec![TokenRole::Builder],
        hash: recorded_hash(&proof(&waybill_domain::credentials::Secret::new("t"))),
        workspaces: vec!["acme".parse().unwrap()],
        ends_at: None,
        uses: None,
        worker_prefix: None,
    };
    let seed = Seed {
        workers: BTreeMap::from([("w1".parse().unwrap(), KEYS[0].to_owned())]),
        workspaces: ["acme".parse().unwrap()].into(),
        tokens: vec![token],
    };
    let unsaid = log.register.unsaid(&seed, at(0));
    assert_eq!(unsaid.len(), 3);
    unsaid.into_iter().for_each(|statement| log.say(statement, at(0)));
    assert_eq!(log.register.unsaid(&seed, at(1)), []);
    log.retire("w1", at(2)).unwrap();
    log.ask(Ask::RevokeToken { by: by("a"), token_id: "acme".parse().unwrap() }, at(2)).unwrap();
    assert_eq!(log.register.unsaid(&seed, at(100 * DAY)), []);
    let anew = Seed { workers: BTreeMap::from([("w1".parse().unwrap(), KEYS[1].to_owned())]), ..seed };
    assert_eq!(log.register.unsaid(&anew, at(3)).len(), 1, "a worker that was made again has another key");
}
