//! What each role may do and may not, by requests that change nothing whoever makes them.
//!
//! An event is published for a stream of another name, which the server refuses after it has looked at the permission. The
//! stream's deletion is tried under a name that no stream has, its update with settings that name another stream, as is a
//! consumer's creation. A consumer is asked for messages in words that it cannot read.

use futures_util::future::join_all;
use serde_json::{Value, json};
use waybill_platform::{
    config::ConfigError,
    log::{API_PREFIX, InspectError, Inspector, NatsConfig, Reply, STREAM},
};
use waybill_schemas::{ALL_SUBJECTS, EventType};

use super::finding::Finding;
use crate::init::Role;

/// A name that nobody has.
const NOBODY: &str = "waybill-doctor";

/// Something to try.
#[derive(Debug, Clone, PartialEq)]
struct Probe {
    /// What it amounts to, after "may" or "may not".
    what: String,
    /// Whether the role must be able to.
    may: bool,
    /// Whether somebody answers whoever may. A consumer that is not there yet does not.
    answered: bool,
    request: Request,
}

#[derive(Debug, Clone, PartialEq)]
enum Request {
    /// An event that the stream does not take.
    Publish(String),
    /// An API request with this body, below the role's API prefix.
    Api(String, Value),
    /// A history: one request, many answers.
    Batch,
    /// An API request below JetStream's own prefix.
    Direct(String, Value),
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

/// Tries as each user of the home folder, all at the same time.
pub(super) async fn check(users: &[(Role, Result<NatsConfig, ConfigError>)], stream_is_there: bool) -> Vec<Finding> {
    let tries = users.iter().map(async |(role, config)| judge(role, &attempt(role, config).await, stream_is_there));
    join_all(tries).await
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
    let replies = probes(role).into_iter().map(async |probe| {
        let reply = send(inspector, &probe.request).await;
        (probe, reply)
    });
    Tried::Replies(join_all(replies).await)
}

async fn send(inspector: &Inspector, request: &Request) -> Reply {
    match request {
        Request::Publish(subject) => {
            // Two conditions that never hold: either alone keeps the event out.
            let never = [("Nats-Expected-Stream", NOBODY), ("Nats-Expected-Last-Sequence", "9007199254740991")];
            inspector.ask(subject.clone(), &never, Vec::new()).await
        }
        Request::Api(subject, body) => inspector.api(subject, body).await,
        Request::Batch => inspector.batch().await,
        Request::Direct(subject, body) => {
            let body = if body.is_null() { Vec::new() } else { body.to_string().into_bytes() };
            inspector.ask(format!("$JS.API.{subject}"), &[], body).await
        }
    }
}

fn probe(what: &str, may: bool, request: Request) -> Probe {
    Probe { what: what.to_owned(), may, answered: true, request }
}

fn publish(what: &str, may: bool, subject: impl Into<String>) -> Probe {
    probe(what, may, Request::Publish(subject.into()))
}

fn api(what: &str, may: bool, subject: impl Into<String>, body: Value) -> Probe {
    probe(what, may, Request::Api(subject.into(), body))
}

/// A consumer's creation, refused because its body names another stream than its subject.
fn create(what: &str, may: bool, name: &str, filter: &str) -> Probe {
    let body = json!({ "stream_name": NOBODY, "config": { "name": name, "filter_subject": filter } });
    api(what, may, format!("CONSUMER.CREATE.{STREAM}.{name}.{filter}"), body)
}

/// A request for a consumer's next messages, refused because it does not say how many.
fn next(what: &str, name: &str) -> Probe {
    let request = Request::Api(format!("CONSUMER.MSG.NEXT.{STREAM}.{name}"), unreadable());
    Probe { answered: false, ..probe(what, true, request) }
}

/// No number of messages.
fn unreadable() -> Value {
    json!({ "batch": "none" })
}

fn read(what: &str, may: bool, subject: &str) -> Probe {
    api(what, may, format!("DIRECT.GET.{STREAM}.{subject}"), Value::Null)
}

/// Everything that is tried as a role.
fn probes(role: &Role) -> Vec<Probe> {
    let saved = format!("waybill.events.image.{NOBODY}.{NOBODY}.CredentialSecretSaved");
    let rotated = format!("waybill.events.image.{NOBODY}.{NOBODY}.CredentialSecretRotated");
    let revoked = format!("waybill.events.image.{NOBODY}.{NOBODY}.CredentialSecretRevoked");
    let request = format!("waybill.events.container.{NOBODY}.{NOBODY}.ContainerRequested");
    let decision = format!("waybill.events.worker.{NOBODY}.{NOBODY}.{NOBODY}.ContainerCredentialsAttached");
    let outcome = format!("waybill.events.container.{NOBODY}.{NOBODY}.ImagePullSucceeded");
    let events = [
        publish("publish saved credentials", matches!(role, Role::Gateway), saved),
        publish("rotate credentials", matches!(role, Role::Gateway), rotated),
        publish("revoke credentials", matches!(role, Role::Gateway), revoked),
        publish("publish requests of any workspace", matches!(role, Role::Gateway), request),
        publish("publish decisions", matches!(role, Role::Scheduler), decision.clone()),
        publish("publish outcomes", matches!(role, Role::Worker(_)), outcome),
        publish(
            "settle quarantined events",
            matches!(role, Role::Operator),
            "waybill.events.quarantine.1.QuarantineRetried",
        ),
    ];
    let reads_all = matches!(role, Role::Scheduler | Role::Operator);
    let reading = [
        read("look up any decision by its subject", reads_all, &decision),
        probe("look up anything in the log", reads_all || matches!(role, Role::Gateway), Request::Batch),
        create("read the whole log", reads_all, NOBODY, ALL_SUBJECTS),
        // The gateway explains open hops: it has to know how far the readers are.
        api(
            "look at any consumer",
            reads_all || matches!(role, Role::Gateway),
            format!("CONSUMER.INFO.{STREAM}.{NOBODY}"),
            Value::Null,
        ),
    ];
    let own = own_probes(role);
    events.into_iter().chain(reading).chain(changes()).chain(own).collect()
}

/// What the role does besides, and its neighbours must not.
fn own_probes(role: &Role) -> Vec<Probe> {
    match role {
        Role::Gateway => vec![
            // What its readiness asks.
            read("read back a build", true, &format!("waybill.events.image.{NOBODY}.{NOBODY}.CredentialSecretSaved")),
            read(
                "look up what was given up",
                true,
                &format!("waybill.events.quarantine.1.{}", EventType::QuarantineDiscarded),
            ),
        ],
        Role::Scheduler | Role::Operator => {
            vec![api("look at the stream", true, format!("STREAM.INFO.{STREAM}"), Value::Null)]
        }
        Role::Worker(id) => vec![
            publish("register", true, format!("waybill.events.worker.{id}.registered")),
            read("read back its registration", true, &format!("waybill.events.worker.{id}.registered")),
            api("find its consumer", true, format!("CONSUMER.INFO.{STREAM}.worker-{id}"), Value::Null),
            next("use its consumer", &format!("worker-{id}")),
            read(
                "read its own decisions again",
                true,
                &format!("waybill.events.worker.{id}.{NOBODY}.{NOBODY}.ContainerCredentialsAttached"),
            ),
            publish("register as another worker", false, format!("waybill.events.worker.{NOBODY}.registered")),
            publish(
                "publish decisions for itself",
                false,
                format!("waybill.events.worker.{id}.{NOBODY}.{NOBODY}.ContainerCredentialsAttached"),
            ),
        ],
        Role::Orchestrator(workspace) => {
            let requested = format!("waybill.events.container.{workspace}.{NOBODY}.ContainerRequested");
            let consumer = format!("orchestrator-{workspace}");
            vec![
                publish("publish its workspace's requests", true, requested),
                create("make its consumer", true, &consumer, &format!("waybill.events.worker.*.{workspace}.>")),
                api("find its consumer", true, format!("CONSUMER.INFO.{STREAM}.{consumer}"), Value::Null),
                next("use its consumer", &consumer),
            ]
        }
    }
}

/// What no role may.
fn changes() -> Vec<Probe> {
    let other = json!({ "name": NOBODY });
    let tries = [
        ("change the stream", format!("STREAM.UPDATE.{STREAM}"), other),
        ("delete streams", format!("STREAM.DELETE.{NOBODY}"), Value::Null),
    ];
    let both = tries.into_iter().flat_map(|(what, subject, body)| {
        [Request::Api(subject.clone(), body.clone()), Request::Direct(subject, body)]
            .map(|request| probe(what, false, request))
    });
    both.collect()
}

fn judge(role: &Role, tried: &Tried, stream_is_there: bool) -> Finding {
    let check = format!("permissions {role}");
    let replies = match tried {
        Tried::Replies(replies) => replies,
        Tried::NotConnected(why) => return judge_not_connected(role, check, why),
    };
    let reached = |reply: &Reply| matches!(reply, Reply::Answer(_));
    let silent = |probe: &Probe, reply: &Reply| probe.answered && matches!(reply, Reply::Silence(_));
    let kept_out = |probe: &Probe, reply: &Reply| match reply {
        Reply::Answer(_) => false,
        Reply::Forbidden => true,
        Reply::Silence(_) => probe.answered && stream_is_there,
    };
    let list = |wanted: &dyn Fn(&Probe, &Reply) -> bool| {
        let mut list: Vec<&str> = replies
            .iter()
            .filter(|(probe, reply)| wanted(probe, reply))
            .map(|(probe, _)| probe.what.as_str())
            .collect();
        list.dedup();
        list.join(", ")
    };
    let too_much = list(&|probe, reply| !probe.may && reached(reply));
    let too_little = list(&|probe, reply| probe.may && kept_out(probe, reply));
    let untold = list(&|probe, reply| probe.may && silent(probe, reply));
    let says = match (too_much.as_str(), too_little.as_str()) {
        ("", "") if untold.is_empty() => return Finding::ok(check, "what the role needs, and no more"),
        ("", "") => return Finding::unknown(check, format!("nobody answers to: {untold}"), "see to the stream first"),
        (much, "") => format!("it may {much}, and must not"),
        ("", little) => format!("it may not {little}, and must"),
        (much, little) => format!("it may {much}, and must not; it may not {little}, and must"),
    };
    let remedy = format!(
        "run `waybill init` again and restart nats-server with the nats-server.conf that it writes: an account for each \
         role, which imports from the account with the stream below {API_PREFIX}"
    );
    Finding::attention(check, says, remedy)
}

fn judge_not_connected(role: &Role, check: String, why: &NotConnected) -> Finding {
    match why {
        NotConnected::Settings(error) => {
            Finding::unknown(check, error.problems.join("; "), "put the settings right; then ask again")
        }
        NotConnected::Failed(InspectError::Refused) => Finding::attention(
            check,
            format!("the server refuses the key in keys/{role}.nkey"),
            "restore the key; or run `waybill init` again, so that nats-server.conf has it, and restart nats-server",
        ),
        NotConnected::Failed(error) => Finding::unknown(check, error.to_string(), "see to nats first"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::finding::Status::{Attention, Ok as Well, Unknown};

    fn roles() -> [Role; 5] {
        let (worker, workspace) = ("w1".parse().unwrap(), "acme".parse().unwrap());
        [Role::Gateway, Role::Scheduler, Role::Operator, Role::Worker(worker), Role::Orchestrator(workspace)]
    }

    /// Subjects that a probe would send to, as a grant names them.
    fn granted(role: &Role, request: &Request) -> bool {
        let subject = match request {
            Request::Publish(subject) => subject.clone(),
            Request::Api(subject, _) => format!("{API_PREFIX}.{subject}"),
            Request::Batch => format!("{API_PREFIX}.DIRECT.GET.{STREAM}"),
            Request::Direct(subject, _) => format!("$JS.API.{subject}"),
        };
        role.grants().iter().any(|grant| matches(&grant.local(), &subject))
    }

    fn matches(pattern: &str, subject: &str) -> bool {
        let (mut pattern, mut subject) = (pattern.split('.'), subject.split('.'));
        loop {
            match (pattern.next(), subject.next()) {
                (Some(">"), Some(_)) | (None, None) => return true,
                (Some("*"), Some(_)) => {}
                (Some(expected), Some(found)) if expected == found => {}
                _ => return false,
            }
        }
    }

    #[test]
    fn probes_expect_what_init_grants() {
        for role in roles() {
            for probe in probes(&role) {
                assert_eq!(granted(&role, &probe.request), probe.may, "{role} {probe:?}");
            }
        }
    }

    #[test]
    fn no_probe_can_change_anything() {
        for probe in roles().iter().flat_map(probes) {
            let harmless = match &probe.request {
                Request::Publish(_) | Request::Batch => true,
                Request::Api(subject, body) | Request::Direct(subject, body) => {
                    let reads = ["DIRECT.GET.", "STREAM.INFO.", "CONSUMER.INFO."];
                    reads.iter().any(|verb| subject.starts_with(verb))
                        || subject.starts_with("CONSUMER.CREATE.WAYBILL.") && body["stream_name"] == NOBODY
                        || subject.starts_with("CONSUMER.MSG.NEXT.") && *body == unreadable()
                        || subject == "STREAM.DELETE.waybill-doctor"
                        || subject == "STREAM.UPDATE.WAYBILL" && body["name"] == NOBODY
                }
            };
            assert!(harmless, "{probe:?}");
        }
    }

    #[test]
    fn what_the_replies_mean() {
        let (may, may_not) = (publish("publish", true, "a"), publish("forge", false, "b"));
        let answer = || Reply::Answer(Value::Null);
        let silence = || Reply::Silence("no answer in time".to_owned());
        let cases = [
            (answer(), Reply::Forbidden, true, Well, "no more"),
            (answer(), silence(), true, Well, "no more"),
            (Reply::Forbidden, Reply::Forbidden, true, Attention, "may not publish, and must"),
            (silence(), Reply::Forbidden, true, Attention, "may not publish, and must"),
            (silence(), Reply::Forbidden, false, Unknown, "nobody answers to: publish"),
            (Reply::Forbidden, Reply::Forbidden, false, Attention, "may not publish"),
            (answer(), answer(), true, Attention, "may forge, and must not"),
            (Reply::Forbidden, answer(), true, Attention, "may forge, and must not; it may not publish"),
        ];
        let absent = Probe { answered: false, ..may.clone() };
        for (reply, stream, status, says) in [
            (silence(), true, Well, "no more"),
            (silence(), false, Well, "no more"),
            (Reply::Forbidden, true, Attention, "may not publish, and must"),
        ] {
            let finding = judge(&Role::Gateway, &Tried::Replies(vec![(absent.clone(), reply)]), stream);
            assert_eq!(finding.status, status, "{finding:?}");
            assert!(finding.says.contains(says), "{finding:?}");
        }
        for (first, second, stream, status, says) in cases {
            let tried = Tried::Replies(vec![(may.clone(), first), (may_not.clone(), second)]);
            let finding = judge(&Role::Gateway, &tried, stream);
            assert_eq!(finding.status, status, "{tried:?}: {finding:?}");
            assert!(finding.says.contains(says), "{finding:?}");
        }
    }

    #[test]
    fn who_cannot_log_in() {
        let problem = ConfigError { problems: vec!["chmod 600".to_owned()] };
        let cases = [
            (NotConnected::Settings(problem), Unknown, "chmod 600"),
            (NotConnected::Failed(InspectError::Refused), Attention, "keys/gateway.nkey"),
            (NotConnected::Failed(InspectError::Unreachable("why".to_owned())), Unknown, "why"),
        ];
        for (why, status, says) in cases {
            let finding = judge(&Role::Gateway, &Tried::NotConnected(why), true);
            assert_eq!(finding.status, status);
            assert!(finding.says.contains(says), "{finding:?}");
        }
    }
}
