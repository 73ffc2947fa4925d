//! Who connects to NATS, and the least that each needs: the one table of permissions.
//!
//! Each kind of role has an account of its own that imports from the account of the streams what the kind needs, with `*` in
//! the place of an id; the template of the kind's signing key narrows it to the user's own name. One shared account would not
//! do: the server does not check the reply subject of a request, so whoever may read one message back could have it
//! republished anywhere with the server's own authority.

use std::{collections::BTreeSet, fmt};

use waybill_platform::{
    identity::{ASK, RENEW},
    log::API_PREFIX,
};
use waybill_schemas::{Filter, SERVICE_PREFIX, Subject, VAULT_BUCKET, VaultFilter, WorkerId, WorkspaceId};

pub use waybill_platform::log::STREAM;
pub use waybill_schemas::covers;

/// Account that holds the streams and has no users, but for an administrator while something is repaired.
pub const LOG_ACCOUNT: &str = "LOG";
/// The servers' own account.
pub const SYSTEM_ACCOUNT: &str = "SYS";
/// Stands in a template for the user's name, and is a valid id, so that grants can be asked for with it.
const NAME: &str = "-name-";
/// Account of the issuer, which answers the others.
pub const ISSUER_ACCOUNT: &str = "ISSUER";

/// Name of the vault's stream.
pub fn vault_stream() -> String {
    format!("KV_{VAULT_BUCKET}")
}

/// One NATS user.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// Publishes builds, secrets and requests, and puts versions into the vault.
    Gateway,
    /// Owns the streams, reads everything, publishes decisions, grants.
    Scheduler,
    /// Reads everything, and says what becomes of quarantined messages: the command line.
    Operator,
    /// Records who may do what, and answers who asks for credentials.
    Issuer,
    /// Changes accounts on the servers that run: the issuer's other connection.
    Claims,
    /// Asks the servers how they are: the doctor.
    System,
    /// May do everything in the account of the streams. Nobody has such credentials until somebody makes them for a repair.
    LogAdmin,
    /// Reads what is addressed to it and its own grants, publishes outcomes.
    Worker(WorkerId),
    /// A foreign client of one workspace: publishes requests and ends, reads what became of them.
    Orchestrator(WorkspaceId),
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Worker(id) => write!(f, "worker-{id}"),
            Self::Orchestrator(workspace) => write!(f, "orchestrator-{workspace}"),
            _ => f.write_str(self.kind()),
        }
    }
}

impl Role {
    /// The role that a file is named after: `gateway`, `worker-<id>`, `orchestrator-<workspace>`.
    pub fn from_name(name: &str) -> Option<Self> {
        let single = Self::patterns().into_iter().find(|role| role.is_single() && role.kind() == name);
        single
            .or_else(|| Some(Self::Worker(name.strip_prefix("worker-")?.parse().ok()?)))
            .or_else(|| Some(Self::Orchestrator(name.strip_prefix("orchestrator-")?.parse().ok()?)))
    }

    /// One of each kind, with an id that stands for every id.
    pub fn patterns() -> Vec<Self> {
        Self::each_kind(NAME)
    }

    /// One of each kind, with this id where the kind has ids.
    pub fn each_kind(id: &str) -> Vec<Self> {
        let single =
            [Self::Gateway, Self::Scheduler, Self::Operator, Self::Issuer, Self::Claims, Self::System, Self::LogAdmin];
        let worker = id.parse().ok().map(Self::Worker);
        single.into_iter().chain(worker).chain(id.parse().ok().map(Self::Orchestrator)).collect()
    }

    /// True if it reads or writes the log by subjects of its own: neither the servers' monitor nor who may do everything.
    pub fn uses_the_log(&self) -> bool {
        ![LOG_ACCOUNT, SYSTEM_ACCOUNT].contains(&self.account())
    }

    fn is_single(&self) -> bool {
        !matches!(self, Self::Worker(_) | Self::Orchestrator(_))
    }

    /// Name of the kind: of its signing key, and of the template in the account's token.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Gateway => "gateway",
            Self::Scheduler => "scheduler",
            Self::Operator => "operator",
            Self::Issuer => "issuer",
            Self::Claims => "claims",
            Self::System => "system",
            Self::LogAdmin => "log-admin",
            Self::Worker(_) => "worker",
            Self::Orchestrator(_) => "orchestrator",
        }
    }

    /// The account that users of this kind are in.
    pub fn account(&self) -> &'static str {
        match self {
            Self::Gateway => "GATEWAY",
            Self::Scheduler => "SCHEDULER",
            Self::Operator => "TOOLS",
            Self::Issuer => ISSUER_ACCOUNT,
            Self::Claims | Self::System => SYSTEM_ACCOUNT,
            Self::LogAdmin => LOG_ACCOUNT,
            Self::Worker(_) => "WORKERS",
            Self::Orchestrator(_) => "ORCHESTRATORS",
        }
    }

    /// Name of the user: what `{{name()}}` in a template becomes. Only an id that was parsed gets here, since a name with `*`
    /// would be every user of the kind to the server.
    pub fn user_name(&self) -> &str {
        match self {
            Self::Worker(id) => id.as_str(),
            Self::Orchestrator(workspace) => workspace.as_str(),
            _ => self.kind(),
        }
    }

    /// Prefix of the role's reply subjects; nobody else may subscribe below it.
    pub fn inbox(&self) -> String {
        format!("_INBOX_{self}")
    }

    /// Everything the role may publish to.
    pub fn grants(&self) -> BTreeSet<String> {
        let mut grants = match self {
            Self::Gateway => gateway_grants(),
            Self::Scheduler => scheduler_grants(),
            Self::Operator => operator_grants(),
            Self::Issuer => issuer_grants(),
            Self::Claims => {
                let verbs = ["CLAIMS.UPDATE", "ACCOUNT.*.CLAIMS.LOOKUP", "ACCOUNT.*.INFO"];
                verbs.map(|verb| format!("$SYS.REQ.{verb}")).into()
            }
            Self::System => system_grants(),
            Self::LogAdmin => [">".to_owned()].into(),
            Self::Worker(id) => worker_grants(id),
            Self::Orchestrator(workspace) => orchestrator_grants(workspace),
        };
        // The subject says who asks for new credentials, since nobody else may publish there.
        if self.uses_the_log() && *self != Self::Issuer {
            grants.insert(format!("{RENEW}.{}.{}", self.kind(), self.user_name()));
        }
        grants
    }

    /// Everything the role may subscribe to.
    pub fn subscriptions(&self) -> BTreeSet<String> {
        let inbox = format!("{}.>", self.inbox());
        let asked = match self {
            Self::Issuer => vec![ASK.to_owned(), format!("{RENEW}.*.*")],
            Self::Gateway => service_subjects().to_vec(),
            _ => Vec::new(),
        };
        asked.into_iter().chain([inbox]).collect()
    }

    /// True if it answers requests: whoever does may publish once to where the answer is wanted.
    pub fn answers(&self) -> bool {
        matches!(self, Self::Issuer | Self::Gateway)
    }
}

/// Questions to the gateway as a NATS service: to every service (`nats micro ls`), and to its own endpoints. The gateway's
/// account exports them, and the operator's alone imports them.
pub fn service_subjects() -> [String; 2] {
    ["$SRV.>".to_owned(), format!("{SERVICE_PREFIX}.>")]
}

/// A subject of a [pattern](Role::patterns) as a template has it.
pub fn templated(subject: &str) -> String {
    subject.replace(NAME, "{{name()}}")
}

/// A subject of a [pattern](Role::patterns) as an import has it: wildcards are whole tokens, so that the template is what
/// tells `worker-a` from `worker-b`.
pub fn imported(subject: &str) -> String {
    let tokens = subject.split('.').map(|token| if token.contains(NAME) { "*" } else { token });
    tokens.collect::<Vec<_>>().join(".")
}

/// A subject of JetStream's API.
fn api(subject: impl fmt::Display) -> String {
    format!("{API_PREFIX}.{subject}")
}

/// Reading the last message of what matches: the subject stands in the request's own, so that permissions can speak of it.
fn read_last(filter: impl fmt::Display) -> String {
    api(format_args!("DIRECT.GET.{STREAM}.{filter}"))
}

/// As [`read_last`], of the vault.
fn read_vault(filter: VaultFilter) -> String {
    api(format_args!("DIRECT.GET.{}.{filter}", vault_stream()))
}

fn write_and_read(filter: &Filter) -> [String; 2] {
    [filter.to_string(), read_last(filter)]
}

/// Use of a consumer that the scheduler makes.
fn consume(name: &str) -> [String; 3] {
    [
        api(format_args!("CONSUMER.INFO.{STREAM}.{name}")),
        api(format_args!("CONSUMER.MSG.NEXT.{STREAM}.{name}")),
        format!("$JS.ACK.{STREAM}.{name}.>"),
    ]
}

/// Requests whose bodies name what they are about: whoever may send them reads the whole log, so only those that may.
fn look_up_everything() -> [String; 4] {
    ["DIRECT.GET.WAYBILL", "DIRECT.GET.WAYBILL.>", "CONSUMER.NAMES.WAYBILL", "CONSUMER.INFO.WAYBILL.*"].map(api)
}

/// Reading of the whole log by consumers with names of their own.
fn read_by_consumers() -> [String; 6] {
    [
        "STREAM.INFO.WAYBILL",
        "STREAM.MSG.GET.WAYBILL",
        "CONSUMER.CREATE.WAYBILL",
        "CONSUMER.CREATE.WAYBILL.>",
        "CONSUMER.DELETE.WAYBILL.*",
        "CONSUMER.MSG.NEXT.WAYBILL.*",
    ]
    .map(api)
}

fn gateway_grants() -> BTreeSet<String> {
    // What an operator says of quarantined messages comes in by the console.
    let events = [
        Filter::Secrets(None),
        Filter::Image(None, None),
        Filter::Container(None, None),
        Filter::Quarantine,
        Filter::AllRefusals,
    ];
    let vault = [VaultFilter::Secrets.to_string(), read_vault(VaultFilter::Secrets)];
    // What a replica does not have may be there: its leader is asked.
    let asks = [ASK.to_owned(), api("STREAM.MSG.GET.WAYBILL")];
    events.iter().flat_map(write_and_read).chain(look_up_everything()).chain(vault).chain(asks).collect()
}

fn issuer_grants() -> BTreeSet<String> {
    look_up_everything().into_iter().chain(write_and_read(&Filter::Identities)).collect()
}

fn scheduler_grants() -> BTreeSet<String> {
    let vault = vault_stream();
    let of_vault = ["STREAM.CREATE", "DIRECT.GET", "STREAM.INFO", "STREAM.MSG.GET", "STREAM.MSG.DELETE"];
    let of_vault = of_vault.map(|verb| api(format_args!("{verb}.{vault}")));
    let lookups = [api(format_args!("DIRECT.GET.{vault}.>")), api(format_args!("STREAM.CREATE.{STREAM}"))];
    let written =
        [VaultFilter::All.to_string(), Filter::Decisions(None).to_string(), Subject::SchedulerKeys.to_string()];
    let grants = look_up_everything().into_iter().chain(read_by_consumers()).chain(of_vault);
    grants.chain(lookups).chain(written).collect()
}

fn operator_grants() -> BTreeSet<String> {
    let vault = vault_stream();
    // Sealed entries, to tell which scheduler keys are still needed. Names and sizes of streams and what the account has are
    // what the `nats` command asks for first.
    let of_vault = [api(format_args!("DIRECT.GET.{vault}")), read_vault(VaultFilter::All)];
    let asked = ["INFO", "STREAM.NAMES", "STREAM.LIST", "CONSUMER.LIST.WAYBILL"].map(api);
    let grants = look_up_everything().into_iter().chain(read_by_consumers()).chain(of_vault).chain(asked);
    grants
        .chain([api(format_args!("STREAM.INFO.{vault}"))])
        .chain(write_and_read(&Filter::Quarantine))
        .chain(service_subjects())
        .collect()
}

/// Questions to the servers; nothing that closes connections, changes accounts or reloads a configuration.
fn system_grants() -> BTreeSet<String> {
    let verbs =
        ["STATSZ", "VARZ", "CONNZ", "ROUTEZ", "SUBSZ", "GATEWAYZ", "LEAFZ", "ACCOUNTZ", "JSZ", "HEALTHZ", "IDZ"];
    let of_server = verbs.iter().map(|verb| format!("$SYS.REQ.SERVER.*.{verb}"));
    let of_account = ["CONNZ", "JSZ", "INFO", "SUBSZ", "CONNS"].map(|verb| format!("$SYS.REQ.ACCOUNT.*.{verb}"));
    let more = ["$SYS.REQ.SERVER.PING", "$SYS.REQ.ACCOUNT.PING.STATZ", "$SYS.REQ.USER.INFO"].map(str::to_owned);
    of_server.chain(of_account).chain(more).collect()
}

/// A worker creates no consumer: whoever may, can have another's messages delivered elsewhere.
fn worker_grants(id: &WorkerId) -> BTreeSet<String> {
    let me = || Some(id.clone());
    let written = [Filter::Outcomes(me()), Filter::Workers(me())];
    let read =
        [read_last(Filter::Decisions(me())), read_last(Subject::SchedulerKeys), read_vault(VaultFilter::Grants(me()))];
    written.iter().flat_map(write_and_read).chain(read).chain(consume(&format!("worker-{id}"))).collect()
}

fn orchestrator_grants(workspace: &WorkspaceId) -> BTreeSet<String> {
    let mine = || Some(workspace.clone());
    let consumers = ["decisions", "outcomes"].map(|what| format!("orchestrator-{workspace}-{what}"));
    let read = [
        read_last(Filter::ContainerDecisions(None, mine(), None)),
        read_last(Filter::ContainerOutcomes(None, mine(), None)),
    ];
    let written = write_and_read(&Filter::Container(mine(), None));
    written.into_iter().chain(read).chain(consumers.iter().flat_map(|name| consume(name))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_role_is_read_from_its_name() {
        for role in Role::each_kind("w-1") {
            assert_eq!(Role::from_name(&role.to_string()), Some(role));
        }
        assert_eq!(Role::from_name("nobody"), None);
        assert_eq!(Role::from_name("worker-*"), None, "a name with a wildcard would be every worker to the server");
    }

    #[test]
    fn a_worker_writes_and_reads_below_its_own_id_only() {
        let grants = Role::Worker("w1".parse().unwrap()).grants();
        let expected = [
            "$JS.ACK.WAYBILL.worker-w1.>",
            "$JS.API.CONSUMER.INFO.WAYBILL.worker-w1",
            "$JS.API.CONSUMER.MSG.NEXT.WAYBILL.worker-w1",
            "$JS.API.DIRECT.GET.KV_WAYBILL_VAULT.$KV.WAYBILL_VAULT.grant.w1.>",
            "$JS.API.DIRECT.GET.WAYBILL.waybill.events.decision.w1.>",
            "$JS.API.DIRECT.GET.WAYBILL.waybill.events.outcome.w1.>",
            "$JS.API.DIRECT.GET.WAYBILL.waybill.events.scheduler.keys",
            "$JS.API.DIRECT.GET.WAYBILL.waybill.events.worker.w1",
            "waybill.events.outcome.w1.>",
            "waybill.events.worker.w1",
            "waybill.issuer.renew.worker.w1",
        ];
        assert_eq!(grants.iter().map(String::as_str).collect::<Vec<_>>(), expected);
        let pattern = Role::patterns().into_iter().find(|role| role.kind() == "worker").unwrap();
        let filled = pattern.grants().iter().map(|grant| templated(grant).replace("{{name()}}", "w1")).collect();
        assert_eq!(grants, filled, "the template of the token says the same");
        assert_eq!(imported("$JS.ACK.WAYBILL.worker--name-.>"), "$JS.ACK.WAYBILL.*.>");
    }

    /// Fault 3: whoever makes a consumer chooses where another's messages go.
    #[test]
    fn only_the_scheduler_and_the_operator_make_consumers() {
        for role in Role::each_kind("w1") {
            let may = role.grants().iter().any(|subject| subject.contains("CONSUMER.CREATE"));
            assert_eq!(may, matches!(role, Role::Scheduler | Role::Operator), "{role}");
        }
    }

    #[test]
    fn only_the_scheduler_writes_grants_and_erases() {
        for role in Role::each_kind("w1") {
            let may = role.grants().iter().any(|subject| {
                *subject == VaultFilter::All.to_string()
                    || subject.starts_with("$KV.") && subject.contains(".grant.")
                    || subject.contains("MSG.DELETE")
            });
            assert_eq!(may, role == Role::Scheduler, "{role}");
        }
    }
}
