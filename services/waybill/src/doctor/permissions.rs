//! What each role may do and may not: every grant of the one table (`init::role`), tried as each role, by requests that change
//! nothing whoever makes them.
//!
//! An event or a vault entry is published for a stream of another name, which the server refuses after it has looked at the
//! permission. API requests name things that nobody has, or hold a body that cannot be read or names another stream than the
//! subject.

use std::collections::BTreeSet;

use futures_util::{StreamExt as _, stream};
use serde_json::{Value, json};
use waybill_platform::{
    config::ConfigError,
    log::{API_PREFIX, InspectError, Inspector, NatsConfig, Reply, STREAM},
};
use waybill_schemas::VAULT_BUCKET;

use super::finding::Finding;
use crate::init::role::{Role, covers, service_subjects, vault_stream};

/// An id that nobody has.
const NOBODY: &str = "waybill-doctor";
/// Requests of one role that are under way at once.
const AT_ONCE: usize = 16;
/// Subjects that a finding names; the others are counted.
const NAMED: usize = 4;

/// Something to try.
#[derive(Debug, Clone, PartialEq)]
struct Probe {
    subject: String,
    /// True if the role must be able to.
    may: bool,
    /// True if somebody answers whoever may. Acknowledgements have no answer, and a consumer may not be there yet.
    answered: bool,
}

/// What came of the tries.
#[derive(Debug)]
enum Tried {
    /// Nobody could log in.
    NotConnected(NotConnected),
    /// Each probe and its reply.
    Replies(Vec<(Probe, Reply)>),
}

#[derive(Debug)]
enum NotConnected {
    Settings(ConfigError),
    Failed(InspectError),
}

/// Tries as each user of the home folder, all at the same time. `answers` is true if the stream is there, on one server: of several,
/// a request may wait for a leader, so that silence says nothing.
pub(super) async fn check(users: &[(Role, Result<NatsConfig, ConfigError>)], answers: bool) -> Vec<Finding> {
    let tries = users.iter().map(async |(role, config)| judge(role, &attempt(role, config).await, answers));
    futures_util::future::join_all(tries).await
}

async fn attempt(role: &Role, config: &Result<NatsConfig, ConfigError>) -> Tried {
    let config = match config {
        Ok(config) => config,
        Err(error) => return Tried::NotConnected(NotConnected::Settings(error.clone())),
    };
    let inspector = match Inspector::connect(config).await {
        Ok(inspector) => inspector,
        Err(error) => return Tried::NotConnected(NotConnected::Failed(error)),
    };
    let inspector = &inspector;
    let replies = stream::iter(probes(role)).map(async |probe| {
        let reply = send(inspector, &probe).await;
        (probe, reply)
    });
    Tried::Replies(replies.buffer_unordered(AT_ONCE).collect().await)
}

async fn send(inspector: &Inspector, Probe { subject, may, .. }: &Probe) -> Reply {
    match api(subject) {
        None => {
            // Two conditions that never hold: either alone keeps the message out.
            let never = [("Nats-Expected-Stream", NOBODY), ("Nats-Expected-Last-Sequence", "9007199254740991")];
            inspector.ask(subject.clone(), &never, Vec::new()).await
        }
        // The export has to let more than one answer through.
        Some(request) if *may && request == format!("DIRECT.GET.{STREAM}") => inspector.batch().await,
        Some(request) => inspector.api(request, &harmless_body(request)).await,
    }
}

/// A subject of JetStream's API, without the prefix.
fn api(subject: &str) -> Option<&str> {
    subject.strip_prefix(API_PREFIX)?.strip_prefix('.')
}

/// A body with which a request changes nothing.
fn harmless_body(api: &str) -> Value {
    let verb = |verb: &str| api.starts_with(verb);
    if verb("STREAM.CREATE.") || verb("STREAM.UPDATE.") {
        // Another stream than the subject's.
        json!({ "name": NOBODY })
    } else if verb("CONSUMER.CREATE.") {
        json!({ "stream_name": NOBODY, "config": { "name": NOBODY, "filter_subject": NOBODY } })
    } else if verb("STREAM.MSG.") || verb("CONSUMER.MSG.NEXT.") {
        // Neither a sequence nor a number of messages.
        json!({ "seq": "none", "batch": "none" })
    } else if api.split('.').count() == 3 && verb("DIRECT.GET.") {
        json!({ "seq": 9_007_199_254_740_991_u64 })
    } else {
        Value::Null
    }
}

/// Everything that is tried as a role: what it is granted, what any other role is granted and it is not, and what nobody is.
fn probes(role: &Role) -> Vec<Probe> {
    let own = role.grants();
    let is_granted = |subject: &String| own.iter().any(|own| covers(own, subject));
    let granted: BTreeSet<String> = own.iter().map(|subject| concrete(subject)).collect();
    let strangers = Role::each_kind(NOBODY);
    let others: BTreeSet<String> = strangers.iter().flat_map(Role::grants).map(|subject| concrete(&subject)).collect();
    let withheld = others.into_iter().filter(|subject| !is_granted(subject)).chain(forbidden());
    let probe = |may| move |subject: String| Probe { answered: is_answered(&subject), subject, may };
    granted.into_iter().map(probe(true)).chain(withheld.map(probe(false))).collect()
}

/// The subject with an id that nobody has in the place of each wildcard.
fn concrete(subject: &str) -> String {
    let tokens = subject.split('.').map(|token| if matches!(token, "*" | ">") { NOBODY } else { token });
    tokens.collect::<Vec<_>>().join(".")
}

fn is_answered(subject: &str) -> bool {
    // The issuer may be down, and no service is called what the doctor asks for; the server checks who asks all the same.
    let of_services = service_subjects().iter().any(|service| covers(service, subject));
    // A list is put together from all servers, and waits for one that is away.
    let waits = ["CONSUMER.MSG.NEXT.", "CONSUMER.LIST.", "STREAM.LIST"];
    !of_services
        && !subject.starts_with("$JS.ACK.")
        && !subject.starts_with("waybill.issuer.")
        && !api(subject).is_some_and(|request| waits.iter().any(|verb| request.starts_with(verb)))
}

/// What no role may: change or delete streams or empty them.
fn forbidden() -> Vec<String> {
    let of_nobody = ["DELETE", "PURGE"].map(|verb| format!("STREAM.{verb}.{NOBODY}"));
    let updates = [STREAM, &vault_stream()].map(|stream| format!("STREAM.UPDATE.{stream}"));
    let subjects = [format!("STREAM.MSG.DELETE.{STREAM}")].into_iter().chain(of_nobody).chain(updates);
    subjects.map(|subject| format!("{API_PREFIX}.{subject}")).collect()
}

fn judge(role: &Role, tried: &Tried, answers: bool) -> Finding {
    let check = format!("permissions {role}");
    let replies = match tried {
        Tried::Replies(replies) => replies,
        Tried::NotConnected(why) => return judge_not_connected(role, check, why),
    };
    let list = |wanted: &dyn Fn(&Probe, &Reply) -> bool| {
        let found = replies.iter().filter(|(probe, reply)| wanted(probe, reply));
        name_some(found.map(|(probe, _)| probe.subject.clone()).collect())
    };
    let too_much = list(&|probe, reply| !probe.may && is_reached(probe, reply));
    let too_little = list(&|probe, reply| probe.may && is_kept_out(probe, reply, answers));
    let untold = list(&|probe, reply| probe.may && probe.answered && matches!(reply, Reply::Silence(_)));
    let says = match (too_much, too_little) {
        (None, None) => match untold {
            None => return Finding::ok(check, "what the role needs, and no more"),
            Some(untold) => {
                return Finding::unknown(check, format!("nobody answers on {untold}"), "see to the stream first");
            }
        },
        (Some(much), None) => format!("it may publish on {much}, and must not"),
        (None, Some(little)) => format!("it may not publish on {little}, and must"),
        (Some(much), Some(little)) => {
            format!("it may publish on {much}, and must not; it may not publish on {little}, and must")
        }
    };
    let remedy = format!(
        "run `waybill init` again where keys/signing is, which signs the permissions of {role} anew, and restart \
         nats-server"
    );
    Finding::attention(check, says, remedy)
}

/// True if the server let the request through.
fn is_reached(probe: &Probe, reply: &Reply) -> bool {
    match reply {
        Reply::Answer(_) => true,
        Reply::Forbidden => false,
        // The server says at once that nobody listens, to whoever may publish there; others it tells that they may not.
        Reply::Silence(why) => !probe.answered && why.starts_with("nobody answers"),
    }
}

fn is_kept_out(probe: &Probe, reply: &Reply, answers: bool) -> bool {
    match reply {
        Reply::Answer(_) => false,
        Reply::Forbidden => true,
        Reply::Silence(_) => probe.answered && answers && !is_of_vault(probe),
    }
}

/// The vault is made after the log; a log without one is found elsewhere.
fn is_of_vault(probe: &Probe) -> bool {
    probe.subject.contains(VAULT_BUCKET)
}

/// The first few, and how many more there are; none if there are none.
fn name_some(mut names: Vec<String>) -> Option<String> {
    names.sort();
    let more = names.len().saturating_sub(NAMED);
    names.truncate(NAMED);
    let named = names.join(", ");
    match (named.as_str(), more) {
        ("", _) => None,
        (_, 0) => Some(named),
        _ => Some(format!("{named} and {more} more subjects")),
    }
}

fn judge_not_connected(role: &Role, check: String, why: &NotConnected) -> Finding {
    match why {
        NotConnected::Settings(error) => {
            Finding::unknown(check, error.problems.join("; "), "put the settings right; then ask again")
        }
        NotConnected::Failed(InspectError::Refused) => Finding::attention(
            check,
            format!("the server refuses the credentials in keys/{role}.creds"),
            "run `waybill init` again where keys/signing is: it signs credentials anew that end",
        ),
        NotConnected::Failed(error) => Finding::unknown(check, error.to_string(), "see to nats first"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::finding::Status::{Attention, Ok as Well, Unknown};

    fn roles() -> Vec<Role> {
        Role::each_kind("w1").into_iter().filter(Role::uses_the_log).collect()
    }

    fn subjects(role: &Role, may: bool) -> Vec<String> {
        probes(role).iter().filter(|probe| probe.may == may).map(|probe| probe.subject.clone()).collect()
    }

    #[test]
    fn every_grant_is_tried_and_every_other_role_s_is_tried_in_vain() {
        for role in roles() {
            let (may, may_not) = (subjects(&role, true), subjects(&role, false));
            assert_eq!(
                may.len(),
                role.grants().iter().map(|subject| concrete(subject)).collect::<BTreeSet<_>>().len(),
                "{role}"
            );
            for grant in Role::each_kind(NOBODY).iter().flat_map(Role::grants) {
                let subject = concrete(&grant);
                let own = role.grants().iter().any(|own| covers(own, &subject));
                assert_eq!(may_not.contains(&subject), !own, "{role} {subject}");
            }
        }
    }

    #[test]
    fn a_worker_is_tried_at_what_other_workers_may() {
        let may_not = subjects(&Role::Worker("w1".parse().unwrap()), false);
        for subject in [
            "waybill.events.worker.waybill-doctor",
            "waybill.events.outcome.waybill-doctor.waybill-doctor",
            "$JS.ACK.WAYBILL.worker-waybill-doctor.waybill-doctor",
            "$JS.API.DIRECT.GET.KV_WAYBILL_VAULT.$KV.WAYBILL_VAULT.grant.waybill-doctor.waybill-doctor",
            "$JS.API.CONSUMER.CREATE.WAYBILL.waybill-doctor",
            "$JS.API.STREAM.MSG.DELETE.KV_WAYBILL_VAULT",
            "$KV.WAYBILL_VAULT.waybill-doctor",
        ] {
            assert!(may_not.iter().any(|found| found == subject), "{subject}: {may_not:?}");
        }
    }

    #[test]
    fn no_probe_can_change_anything() {
        let reads = [
            "DIRECT.GET.",
            "STREAM.INFO.",
            "CONSUMER.INFO.",
            "CONSUMER.NAMES.",
            "CONSUMER.LIST.",
            "INFO",
            "STREAM.NAMES",
            "STREAM.LIST",
        ];
        for probe in roles().iter().flat_map(probes) {
            let harmless = match api(&probe.subject) {
                // Published for a stream that is not there.
                None => true,
                Some(subject) => {
                    let body = harmless_body(subject);
                    reads.iter().any(|verb| subject.starts_with(verb))
                        || subject.starts_with("CONSUMER.CREATE.WAYBILL") && body["stream_name"] == NOBODY
                        || ["STREAM.CREATE.", "STREAM.UPDATE."].iter().any(|verb| subject.starts_with(verb))
                            && body["name"] == NOBODY
                        || ["CONSUMER.MSG.NEXT.", "STREAM.MSG."].iter().any(|verb| subject.starts_with(verb))
                            && body["seq"].is_string()
                            && body["batch"].is_string()
                        || subject.ends_with(NOBODY)
                }
            };
            assert!(harmless, "{probe:?}");
        }
    }

    fn probe(subject: &str, may: bool) -> Probe {
        Probe { subject: subject.to_owned(), may, answered: true }
    }

    #[test]
    fn what_the_replies_mean() {
        let (may, may_not) = (probe("a.b", true), probe("c.d", false));
        let answer = || Reply::Answer(Value::Null);
        let silence = || Reply::Silence("no answer in time".to_owned());
        let nobody = || Reply::Silence("nobody answers there".to_owned());
        let cases = [
            (answer(), Reply::Forbidden, true, Well, "no more"),
            (answer(), silence(), true, Well, "no more"),
            (Reply::Forbidden, Reply::Forbidden, true, Attention, "may not publish on a.b, and must"),
            (silence(), Reply::Forbidden, true, Attention, "may not publish on a.b, and must"),
            (silence(), Reply::Forbidden, false, Unknown, "nobody answers on a.b"),
            (Reply::Forbidden, Reply::Forbidden, false, Attention, "may not publish on a.b"),
            (answer(), answer(), true, Attention, "may publish on c.d, and must not"),
            (Reply::Forbidden, answer(), true, Attention, "on c.d, and must not; it may not publish on a.b"),
        ];
        for (first, second, stream, status, says) in cases {
            let tried = Tried::Replies(vec![(may.clone(), first), (may_not.clone(), second)]);
            let finding = judge(&Role::Gateway, &tried, stream);
            assert_eq!(finding.status, status, "{tried:?}: {finding:?}");
            assert!(finding.says.contains(says), "{finding:?}");
        }
        let without_answer = |probe: &Probe| Probe { answered: false, ..probe.clone() };
        for (probe, reply, stream, status) in [
            (&may, silence(), true, Well),
            (&may, nobody(), false, Well),
            (&may, Reply::Forbidden, true, Attention),
            (&may_not, nobody(), true, Attention),
            (&may_not, silence(), true, Well),
            (&may_not, Reply::Forbidden, true, Well),
        ] {
            let tried = Tried::Replies(vec![(without_answer(probe), reply)]);
            assert_eq!(judge(&Role::Gateway, &tried, stream).status, status, "{tried:?}");
        }
    }

    #[test]
    fn many_subjects_are_counted() {
        let names = |count: usize| (0..count).map(|n| format!("s{n}")).collect();
        assert_eq!(name_some(names(0)), None);
        assert_eq!(name_some(names(2)).unwrap(), "s0, s1");
        assert_eq!(name_some(names(6)).unwrap(), "s0, s1, s2, s3 and 2 more subjects");
    }

    #[test]
    fn who_cannot_log_in() {
        let problem = ConfigError { problems: vec!["chmod 600".to_owned()] };
        let cases = [
            (NotConnected::Settings(problem), Unknown, "chmod 600"),
            (NotConnected::Failed(InspectError::Refused), Attention, "keys/gateway.creds"),
            (NotConnected::Failed(InspectError::Unreachable("why".to_owned())), Unknown, "why"),
        ];
        for (why, status, says) in cases {
            let finding = judge(&Role::Gateway, &Tried::NotConnected(why), true);
            assert_eq!(finding.status, status);
            assert!(finding.says.contains(says), "{finding:?}");
        }
    }
}
