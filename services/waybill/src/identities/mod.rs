//! Workers that join and retire, workspaces, and bearer tokens: asked of the gateway with an administrator's token.

mod join;

use std::{
    io::Write as _,
    path::{Path, PathBuf},
    time::Duration,
};

use clap::{Subcommand, ValueEnum};
use nkeys::KeyPair;
use reqwest::{Method, Url, redirect::Policy};
use serde_json::{Value, json};
use time::OffsetDateTime;
use waybill_domain::credentials::Secret;
use waybill_platform::{
    chain,
    config::{Settings, read_private},
    identity::{Admission, Credentials},
};
use waybill_schemas::{Timestamp, TokenId, WorkerId, WorkspaceId, v1::TokenRole};

use join::{JoinArguments, join};

use crate::{
    Failure,
    init::{self, Role},
    operator, output,
};

/// How long the gateway may take.
const LIMIT: Duration = Duration::from_secs(30);

#[derive(Debug, Subcommand)]
pub(crate) enum WorkerCommand {
    /// Have this node join: make its keys, get credentials for them, and run its worker.
    #[command(
        after_help = "Examples:\n  waybill worker join --token-file token --gateway https://waybill.example.com\n  \
        waybill --home /var/lib/waybill worker join --id node-7 \\\n    --token-file /run/secrets/join --gateway http://10.0.0.2:8484"
    )]
    Join(JoinArguments),
    /// End a worker: its credentials at once, and everything that is placed on it.
    #[command(after_help = "Examples:\n  waybill worker retire node-7")]
    Retire {
        /// The worker.
        id: WorkerId,
    },
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum Kind {
    /// A node's worker.
    Worker,
}

#[derive(Debug, Subcommand)]
pub(crate) enum JoinTokenCommand {
    /// Make a token by which workers join, and print it.
    #[command(after_help = "Examples:\n  waybill join-token create --ttl 1h\n  \
        waybill join-token create --kind worker --ttl 30m --uses 20 --prefix node-")]
    Create {
        /// What may join
        #[arg(long, value_enum, default_value = "worker")]
        kind: Kind,
        /// How long it is good: a number with s, m, h or d
        #[arg(long, default_value = "1h", value_parser = duration, value_name = "TIME")]
        ttl: Duration,
        /// How many may join by it [default: any number]
        #[arg(long, value_name = "N")]
        uses: Option<u64>,
        /// What their ids begin with
        #[arg(long, value_name = "TEXT")]
        prefix: Option<WorkerId>,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum TokenCommand {
    /// Make a token for the gateway's API, and print it: it is shown this once.
    #[command(after_help = "Examples:\n  waybill token create ci --role builder --workspace acme\n  \
        waybill token create board --role reader --workspace acme --workspace beta\n  \
        waybill token create ops --role admin --role reader --ttl 90d")]
    Create {
        /// Its name
        name: TokenId,
        /// What it is for: builder, orchestrator, reader or admin; may be given several times
        #[arg(long = "role", required = true, value_parser = api_role, value_name = "ROLE")]
        roles: Vec<TokenRole>,
        /// Workspace that it is for; may be given several times [default: all]
        #[arg(long = "workspace", value_name = "NAME")]
        workspaces: Vec<WorkspaceId>,
        /// How long it is good: a number with s, m, h or d [default: until it is revoked]
        #[arg(long, value_parser = duration, value_name = "TIME")]
        ttl: Option<Duration>,
    },
    /// List the tokens that were made so: never their text.
    #[command(after_help = "Examples:\n  waybill token list\n  waybill token list --json")]
    List {
        /// One JSON array
        #[arg(long)]
        json: bool,
    },
    /// Revoke a token.
    #[command(after_help = "Examples:\n  waybill token revoke ci")]
    Revoke {
        /// Its name
        name: TokenId,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum WorkspaceCommand {
    /// Add a workspace while everything runs, with an orchestrator's NATS user.
    #[command(after_help = "Examples:\n  waybill workspace add acme\n\nWrites keys/orchestrator-<NAME>.creds.")]
    Add {
        /// The workspace
        name: WorkspaceId,
    },
}

fn duration(text: &str) -> Result<Duration, &'static str> {
    const EXPECTED: &str = "a number with s, m, h or d, such as 90m";
    let (number, unit) = text.split_at_checked(text.len().saturating_sub(1)).ok_or(EXPECTED)?;
    let seconds = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 60 * 60,
        "d" => 24 * 60 * 60,
        _ => return Err(EXPECTED),
    };
    let number: u64 = number.parse().ok().filter(|number| (1..=100_000).contains(number)).ok_or(EXPECTED)?;
    Ok(Duration::from_secs(number.saturating_mul(seconds)))
}

fn api_role(text: &str) -> Result<TokenRole, &'static str> {
    let mut roles = TokenRole::ALL.iter().copied().filter(|role| *role != TokenRole::Join);
    roles.find(|role| role.as_str() == text).ok_or("builder, orchestrator, reader or admin")
}

/// `waybill worker join` and `retire`.
pub(crate) fn worker(home: &Path, command: &WorkerCommand) -> Result<(), Failure> {
    match command {
        WorkerCommand::Join(arguments) => join(home, arguments),
        WorkerCommand::Retire { id } => {
            Gateway::of_admin(home)?.ask(Method::POST, &["workers", id.as_str(), "retire"], None)?;
            Ok(writeln!(output::stdout(), "worker {id} is retired: its credentials have ended")?)
        }
    }
}

/// `waybill join-token`.
pub(crate) fn join_token(home: &Path, command: &JoinTokenCommand) -> Result<(), Failure> {
    let JoinTokenCommand::Create { kind: Kind::Worker, ttl, uses, prefix } = command;
    let name = format!("join-{}", uuid::Uuid::new_v4().simple());
    let body = json!({
        "token_id": name, "roles": [TokenRole::Join], "ends_at": in_future(*ttl), "uses": uses, "worker_prefix": prefix,
    });
    let answer = Gateway::of_admin(home)?.ask(Method::POST, &["tokens"], Some(&body))?;
    Ok(writeln!(output::stdout(), "{}", text(&answer, "token")?)?)
}

/// `waybill token`.
pub(crate) fn token(home: &Path, command: &TokenCommand) -> Result<(), Failure> {
    let gateway = Gateway::of_admin(home)?;
    let mut out = output::stdout();
    match command {
        TokenCommand::Create { name, roles, workspaces, ttl } => {
            let ends_at = ttl.map(in_future);
            let body = json!({ "token_id": name, "roles": roles, "workspaces": workspaces, "ends_at": ends_at });
            let answer = gateway.ask(Method::POST, &["tokens"], Some(&body))?;
            writeln!(out, "{}", text(&answer, "token")?)?;
        }
        TokenCommand::Revoke { name } => {
            gateway.ask(Method::DELETE, &["tokens", name.as_str()], None)?;
            writeln!(out, "token {name} is revoked")?;
        }
        TokenCommand::List { json } => {
            let tokens = gateway.ask(Method::GET, &["tokens"], None)?;
            if *json {
                writeln!(out, "{tokens}")?;
                return Ok(());
            }
            for token in tokens.as_array().into_iter().flatten() {
                writeln!(out, "{}", describe_token(token))?;
            }
        }
    }
    Ok(())
}

/// One line: `ci  builder  acme  ends never  last used unknown`.
fn describe_token(token: &Value) -> String {
    let word = |key: &str| token.get(key).and_then(Value::as_str);
    let words = |key: &str| {
        let words = token.get(key).and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str);
        words.collect::<Vec<_>>().join(",")
    };
    let (name, roles, workspaces) = (word("token_id").unwrap_or_default(), words("roles"), words("workspaces"));
    let workspaces = if workspaces.is_empty() { "all workspaces" } else { workspaces.as_str() };
    let (end, used) = (word("ends_at").unwrap_or("never"), word("last_used_at").unwrap_or("unknown"));
    format!("{name}  {roles}  {workspaces}  ends {end}  last used {used}")
}

/// `waybill workspace`.
pub(crate) fn workspace(home: &Path, command: &WorkspaceCommand) -> Result<(), Failure> {
    let WorkspaceCommand::Add { name } = command;
    let gateway = Gateway::of_admin(home)?;
    let (role, user) = (Role::Orchestrator(name.clone()), KeyPair::new_user());
    let body = json!({ "user_key": user.public_key() });
    let answer = gateway.ask(Method::PUT, &["workspaces", name.as_str()], Some(&body))?;
    let admission: Admission = serde_json::from_value(answer)?;
    let credentials = Credentials::new(admission.token, Secret::new(user.seed()?));
    let path = home.join(format!("keys/{role}.creds"));
    init::write_private(&path, credentials.to_text().expose().as_bytes())?;
    Ok(writeln!(output::stdout(), "wrote {}", path.display())?)
}

fn in_future(ttl: Duration) -> Timestamp {
    (OffsetDateTime::now_utc() + ttl).into()
}

fn text<'v>(answer: &'v Value, key: &str) -> Result<&'v str, Failure> {
    answer.get(key).and_then(Value::as_str).ok_or_else(|| format!("the gateway's answer has no {key}").into())
}

/// Where the gateway is asked, and as whom.
pub(super) struct Gateway {
    base: Url,
    token: Secret,
    ca: Option<PathBuf>,
}

impl Gateway {
    /// With the token of an administrator: `WAYBILL_ADMIN_TOKEN_FILE`, or the one that `waybill init` made.
    fn of_admin(home: &Path) -> Result<Self, Failure> {
        let settings: Settings = operator::settings(home)?;
        let mut reader = settings.reader();
        let base: Option<Url> = reader.needed("WAYBILL_GATEWAY_URL", |text| {
            text.parse().map_err(|_| "the gateway's address, such as http://127.0.0.1:8484")
        });
        let file = reader.path("WAYBILL_ADMIN_TOKEN_FILE").unwrap_or_else(|| home.join(init::ADMIN_TOKEN));
        let ca = reader.path("WAYBILL_GATEWAY_CA_FILE");
        reader.finish()?;
        let base = base.ok_or("WAYBILL_GATEWAY_URL is missing")?;
        let token =
            read_private(&file).map_err(|problem| format!("no administrator's token can be used: {problem}"))?;
        Ok(Self { base, token, ca })
    }

    fn ask(&self, method: Method, path: &[&str], body: Option<&Value>) -> Result<Value, Failure> {
        let mut address = self.base.clone();
        if let Ok(mut segments) = address.path_segments_mut() {
            segments.pop_if_empty().push("v1").extend(path);
        }
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(async {
            let mut client = reqwest::Client::builder().redirect(Policy::none()).timeout(LIMIT);
            if let Some(file) = &self.ca {
                client = client.tls_certs_only([reqwest::Certificate::from_pem(&std::fs::read(file)?)?]);
            }
            let mut asked = client.build()?.request(method, address).bearer_auth(self.token.expose());
            if let Some(body) = body {
                asked = asked.json(body);
            }
            let silent = |error: reqwest::Error| {
                format!("the gateway at {} does not answer: {}", self.base, chain(&error.without_url()))
            };
            let answer = asked.send().await.map_err(silent)?;
            let status = answer.status();
            let text = answer.bytes().await.map_err(silent)?;
            let body: Value = serde_json::from_slice(&text)
                .map_err(|_| format!("what answers at {} is no gateway (status {status})", self.base))?;
            if status.is_success() {
                return Ok(body);
            }
            let word = |key: &str| body.get(key).and_then(Value::as_str);
            let detail = word("detail").unwrap_or("no reason is given");
            let remedy = word("remedy").map_or_else(String::new, |remedy| format!("; {remedy}"));
            Err(format!("the gateway refuses: {detail}{remedy}").into())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        for (text, seconds) in [("90s", 90), ("30m", 1800), ("1h", 3600), ("7d", 604_800)] {
            assert_eq!(duration(text), Ok(Duration::from_secs(seconds)), "{text}");
        }
        for text in ["", "h", "1", "0h", "-1h", "1w", "1.5h", "é"] {
            assert!(duration(text).is_err(), "{text}");
        }
        assert_eq!(api_role("builder"), Ok(TokenRole::Builder));
        assert!(api_role("join").is_err());
        let token = json!({ "token_id": "ci", "roles": ["builder", "reader"], "workspaces": ["acme", "beta"] });
        let every =
            json!({ "token_id": "ops", "roles": ["admin"], "workspaces": [], "ends_at": "2030-01-01T00:00:00Z" });
        assert_eq!(describe_token(&every), "ops  admin  all workspaces  ends 2030-01-01T00:00:00Z  last used unknown");
        assert_eq!(describe_token(&token), "ci  builder,reader  acme,beta  ends never  last used unknown");
    }
}
