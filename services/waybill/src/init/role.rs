//! Who connects to NATS, and the least that each needs: the one table of permissions.
//!
//! Every role has an account of its own and imports from the account that holds the streams exactly what it is granted.
//! One shared account would not do: the server does not check the reply subject of a request, so whoever may read one
//! message back could have it republished anywhere with the server's own authority.

use std::{collections::BTreeSet, fmt};

use waybill_schemas::{Filter, Subject, VAULT_BUCKET, VaultFilter, WorkerId, WorkspaceId};

/// Name of the log's stream.
pub const STREAM: &str = "WAYBILL";
/// Account that holds the streams and has no users.
pub const LOG_ACCOUNT: &str = "LOG";
/// JetStream API prefix of every other account.
pub const API_PREFIX: &str = "waybill.api";

/// Name of the vault's stream.
pub fn vault_stream() -> String {
    format!("KV_{VAULT_BUCKET}")
}

/// One NATS user in one account.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// Publishes builds, secrets and requests, and puts versions into the vault.
    Gateway,
    /// Owns the streams, reads everything, publishes decisions, grants.
    Scheduler,
    /// Reads everything, and says what becomes of quarantined messages: the command line.
    Operator,
    /// Reads what is addressed to it and its own grants, publishes outcomes.
    Worker(WorkerId),
    /// A foreign client of one workspace: publishes requests and ends, reads what became of them.
    Orchestrator(WorkspaceId),
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Gateway => f.write_str("gateway"),
            Self::Scheduler => f.write_str("scheduler"),
            Self::Operator => f.write_str("operator"),
            Self::Worker(id) => write!(f, "worker-{id}"),
            Self::Orchestrator(workspace) => write!(f, "orchestrator-{workspace}"),
        }
    }
}

/// A subject that a role may publish to, in the account that holds the streams.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Grant {
    /// An event, a vault entry or an acknowledgement: the same subject in both accounts.
    Plain(String),
    /// A JetStream API subject, given without its prefix.
    Api(String),
}

impl Grant {
    /// The subject in the account that holds the streams.
    pub fn exported(&self) -> String {
        match self {
            Self::Plain(subject) => subject.clone(),
            Self::Api(subject) => format!("$JS.API.{subject}"),
        }
    }

    /// The subject in the role's own account.
    pub fn local(&self) -> String {
        match self {
            Self::Plain(subject) => subject.clone(),
            Self::Api(subject) => format!("{API_PREFIX}.{subject}"),
        }
    }
}

impl Role {
    /// The role that a file is named after: `gateway`, `worker-<id>`, `orchestrator-<workspace>`.
    pub fn from_name(name: &str) -> Option<Self> {
        match name {
            "gateway" => Some(Self::Gateway),
            "scheduler" => Some(Self::Scheduler),
            "operator" => Some(Self::Operator),
            _ => {
                name.strip_prefix("worker-").and_then(|id| id.parse().ok()).map(Self::Worker).or_else(|| {
                    name.strip_prefix("orchestrator-").and_then(|id| id.parse().ok()).map(Self::Orchestrator)
                })
            }
        }
    }

    /// Prefix of the role's reply subjects; nobody else may subscribe below it.
    pub fn inbox(&self) -> String {
        format!("_INBOX_{self}")
    }

    /// Everything the role may publish to.
    pub fn grants(&self) -> Vec<Grant> {
        let grants: BTreeSet<Grant> = match self {
            Self::Gateway => gateway_grants(),
            Self::Scheduler => scheduler_grants(),
            Self::Operator => operator_grants(),
            Self::Worker(id) => worker_grants(id),
            Self::Orchestrator(workspace) => orchestrator_grants(workspace),
        };
        grants.into_iter().collect()
    }
}

fn api(subject: impl Into<String>) -> Grant {
    Grant::Api(subject.into())
}

/// Publishing what matches.
fn write(filter: impl fmt::Display) -> Grant {
    Grant::Plain(filter.to_string())
}

/// Reading the last message of what matches: the subject stands in the request's own, so that permissions can speak of it.
fn read_last(filter: impl fmt::Display) -> Grant {
    api(format!("DIRECT.GET.{STREAM}.{filter}"))
}

/// As [`read_last`], of the vault.
fn read_vault(filter: VaultFilter) -> Grant {
    api(format!("DIRECT.GET.{}.{filter}", vault_stream()))
}

fn write_and_read(filter: &Filter) -> [Grant; 2] {
    [write(filter), read_last(filter)]
}

/// Use of a consumer that the scheduler makes.
fn consume(name: &str) -> [Grant; 3] {
    [
        api(format!("CONSUMER.INFO.{STREAM}.{name}")),
        api(format!("CONSUMER.MSG.NEXT.{STREAM}.{name}")),
        Grant::Plain(format!("$JS.ACK.{STREAM}.{name}.>")),
    ]
}

/// Requests whose bodies name what they are about: whoever may send them reads the whole log, so only those that may.
fn look_up_everything() -> [Grant; 4] {
    [
        api(format!("DIRECT.GET.{STREAM}")),
        api(format!("DIRECT.GET.{STREAM}.>")),
        api(format!("CONSUMER.NAMES.{STREAM}")),
        api(format!("CONSUMER.INFO.{STREAM}.*")),
    ]
}

/// Reading of the whole log by consumers with names of their own.
fn read_by_consumers() -> [Grant; 6] {
    [
        api(format!("STREAM.INFO.{STREAM}")),
        api(format!("STREAM.MSG.GET.{STREAM}")),
        api(format!("CONSUMER.CREATE.{STREAM}")),
        api(format!("CONSUMER.CREATE.{STREAM}.>")),
        api(format!("CONSUMER.DELETE.{STREAM}.*")),
        api(format!("CONSUMER.MSG.NEXT.{STREAM}.*")),
    ]
}

fn gateway_grants() -> BTreeSet<Grant> {
    // What an operator says of quarantined messages comes in by the console.
    let events = [Filter::Secrets(None), Filter::Image(None, None), Filter::Container(None, None), Filter::Quarantine];
    let vault = [write(VaultFilter::Secrets), read_vault(VaultFilter::Secrets)];
    events.iter().flat_map(write_and_read).chain(look_up_everything()).chain(vault).collect()
}

fn scheduler_grants() -> BTreeSet<Grant> {
    let vault = vault_stream();
    let streams = [STREAM, vault.as_str()].map(|stream| api(format!("STREAM.CREATE.{stream}")));
    let of_vault = [
        write(VaultFilter::All),
        api(format!("DIRECT.GET.{vault}")),
        api(format!("DIRECT.GET.{vault}.>")),
        api(format!("STREAM.INFO.{vault}")),
        api(format!("STREAM.MSG.GET.{vault}")),
        api(format!("STREAM.MSG.DELETE.{vault}")),
    ];
    let decisions = [write(Filter::Decisions(None)), write(Subject::SchedulerKeys)];
    let grants = look_up_everything().into_iter().chain(read_by_consumers()).chain(streams);
    grants.chain(of_vault).chain(decisions).collect()
}

fn operator_grants() -> BTreeSet<Grant> {
    let vault = vault_stream();
    // Sealed entries, to tell which scheduler keys are still needed.
    let of_vault =
        [api(format!("DIRECT.GET.{vault}")), read_vault(VaultFilter::All), api(format!("STREAM.INFO.{vault}"))];
    let grants = look_up_everything().into_iter().chain(read_by_consumers()).chain(of_vault);
    grants.chain(write_and_read(&Filter::Quarantine)).collect()
}

/// A worker creates no consumer: whoever may, can have another's messages delivered elsewhere.
fn worker_grants(id: &WorkerId) -> BTreeSet<Grant> {
    let me = || Some(id.clone());
    let written = [Filter::Outcomes(me()), Filter::Workers(me())];
    let read =
        [read_last(Filter::Decisions(me())), read_last(Subject::SchedulerKeys), read_vault(VaultFilter::Grants(me()))];
    written.iter().flat_map(write_and_read).chain(read).chain(consume(&format!("worker-{id}"))).collect()
}

fn orchestrator_grants(workspace: &WorkspaceId) -> BTreeSet<Grant> {
    let mine = || Some(workspace.clone());
    let consumers = ["decisions", "outcomes"].map(|what| format!("orchestrator-{workspace}-{what}"));
    let read = [
        read_last(Filter::ContainerDecisions(None, mine(), None)),
        read_last(Filter::ContainerOutcomes(None, mine(), None)),
    ];
    let written = write_and_read(&Filter::Container(mine(), None));
    written.into_iter().chain(read).chain(consumers.iter().flat_map(|name| consume(name))).collect()
}

/// True if every subject that matches `inner` matches `outer`, by NATS's rules: `*` is one token, `>` all that follow.
pub fn covers(outer: &str, inner: &str) -> bool {
    let (mut outer, mut inner) = (outer.split('.'), inner.split('.'));
    loop {
        match (outer.next(), inner.next()) {
            (None, None) | (Some(">"), Some(_)) => return true,
            (Some("*"), Some(token)) if token != ">" => {}
            (Some(expected), Some(token)) if expected == token => {}
            _ => return false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subjects_cover_as_in_nats() {
        let cases = [
            ("a.>", "a.b", true),
            ("a.>", "a.*.>", true),
            ("a.>", "a", false),
            ("a.*", "a.b", true),
            ("a.*", "a.*", true),
            ("a.*", "a.>", false),
            ("a.*", "a.b.c", false),
            ("a.b", "a.*", false),
            ("a.b", "a.b", true),
            ("a.b.c", "a.b", false),
        ];
        for (outer, inner, expected) in cases {
            assert_eq!(covers(outer, inner), expected, "{outer} {inner}");
        }
    }

    #[test]
    fn a_role_is_read_from_its_name() {
        let roles = [
            Role::Gateway,
            Role::Scheduler,
            Role::Operator,
            Role::Worker("w-1".parse().unwrap()),
            Role::Orchestrator("acme".parse().unwrap()),
        ];
        for role in roles {
            assert_eq!(Role::from_name(&role.to_string()), Some(role));
        }
        assert_eq!(Role::from_name("nobody"), None);
    }

    fn local(role: &Role) -> Vec<String> {
        role.grants().iter().map(Grant::local).collect()
    }

    #[test]
    fn a_worker_writes_and_reads_below_its_own_id_only() {
        let grants = local(&Role::Worker("w1".parse().unwrap()));
        assert_eq!(
            grants,
            [
                "$JS.ACK.WAYBILL.worker-w1.>",
                "waybill.events.outcome.w1.>",
                "waybill.events.worker.w1",
                "waybill.api.CONSUMER.INFO.WAYBILL.worker-w1",
                "waybill.api.CONSUMER.MSG.NEXT.WAYBILL.worker-w1",
                "waybill.api.DIRECT.GET.KV_WAYBILL_VAULT.$KV.WAYBILL_VAULT.grant.w1.>",
                "waybill.api.DIRECT.GET.WAYBILL.waybill.events.decision.w1.>",
                "waybill.api.DIRECT.GET.WAYBILL.waybill.events.outcome.w1.>",
                "waybill.api.DIRECT.GET.WAYBILL.waybill.events.scheduler.keys",
                "waybill.api.DIRECT.GET.WAYBILL.waybill.events.worker.w1",
            ]
        );
    }

    /// Fault 3: whoever makes a consumer chooses where another's messages go.
    #[test]
    fn only_the_scheduler_and_the_operator_make_consumers() {
        let roles = [
            (Role::Gateway, false),
            (Role::Worker("w1".parse().unwrap()), false),
            (Role::Orchestrator("acme".parse().unwrap()), false),
            (Role::Scheduler, true),
            (Role::Operator, true),
        ];
        for (role, makes) in roles {
            let subjects = local(&role);
            let found = subjects.iter().any(|subject| subject.contains("CONSUMER.CREATE"));
            assert_eq!(found, makes, "{role}: {subjects:?}");
        }
    }

    #[test]
    fn only_the_scheduler_writes_grants_and_erases() {
        let roles = [Role::Gateway, Role::Operator, Role::Worker("w".parse().unwrap()), Role::Scheduler];
        for role in roles {
            let may = role.grants().iter().any(|grant| match grant {
                Grant::Plain(subject) => *subject == VaultFilter::All.to_string() || subject.contains(".grant."),
                Grant::Api(subject) => subject.contains("MSG.DELETE"),
            });
            assert_eq!(may, role == Role::Scheduler, "{role}");
        }
    }
}
