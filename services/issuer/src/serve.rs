//! The shell: requests over NATS, one after the other, each decided by what the log says.

use std::{collections::BTreeMap, net::SocketAddr, path::Path, time::Duration};

use async_nats::{Message, Subscriber};
use futures_util::StreamExt as _;
use tokio::time::{MissedTickBehavior, interval, sleep};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;
use waybill_platform::{
    chain,
    health::{self, HealthState},
    identity::{ASK, Admission, Answer, Ask, By, RENEW, Refusal, Seed, ServiceAccounts},
    log::{AppendError, Appended, EventLog, Expect, Log as _, LogError, NewEvent},
    trace,
};
use waybill_schemas::{Envelope, Event, Filter, Recorded, Subject, WorkerId, WorkspaceId, v1::TokenRole};

use crate::{
    Cluster, IssuerConfig, SOURCE,
    accounts::{Accounts, AccountsError, Answers},
    register::{Decision, Register, Statement},
};

/// How long the log may take to acknowledge.
const LIMIT: Duration = Duration::from_secs(5);
/// Between two looks at what could not be done, and at the file that `waybill init` writes.
const LOOK: Duration = Duration::from_secs(1);
/// Most workers, workspaces and tokens that the log may ever have named.
const MOST: usize = 200_000;
/// The issuer's own users are signed anew this often.
const OWN: Duration = Duration::from_secs(24 * 60 * 60);

/// Why the issuer stopped.
#[derive(Debug, thiserror::Error)]
pub enum IssuerError {
    /// The log's settings do not work.
    #[error("the event log cannot be used")]
    Log(#[from] LogError),
    /// The keys do not work.
    #[error(transparent)]
    Accounts(#[from] AccountsError),
    /// The health endpoint could not be served.
    #[error("cannot serve health checks on {address}; is the port free?")]
    Health {
        /// Where.
        address: SocketAddr,
        /// Why.
        source: std::io::Error,
    },
    /// The connection was closed for good.
    #[error("requests come in no more: the connection is closed")]
    Closed,
}

/// What could not be done, now.
#[derive(Debug, thiserror::Error)]
enum DoError {
    #[error("the log does not answer")]
    Log(#[from] LogError),
    #[error("the log does not acknowledge")]
    Append(#[from] AppendError),
    #[error(transparent)]
    Accounts(#[from] AccountsError),
}

/// Answers requests until shutdown.
///
/// # Errors
/// [`IssuerError`].
pub async fn run(config: IssuerConfig, shutdown: CancellationToken) -> Result<(), IssuerError> {
    let accounts = Accounts::read(&config.keys, &config.accounts)?;
    let own = [("issuer", config.nats.credentials.clone()), ("claims", config.claims.credentials.clone())];
    renew_own(&accounts, &own)?;
    let health = HealthState::default();
    if let Some(address) = config.health {
        let bound = tokio::net::TcpListener::bind(address).await;
        let listener = bound.map_err(|source| IssuerError::Health { address, source })?;
        tokio::spawn(health::serve(listener, health.clone()));
    }
    let ready = health.component("accounts");
    ready.not_ready("the log and the servers have not answered yet");
    let ca = config.nats.ca_file.as_deref().and_then(|file| std::fs::read_to_string(file).ok());
    let log = EventLog::connect(config.nats).await?;
    tokio::spawn(health::follow(log.connected(), health.component("event log")));
    let system = EventLog::connect(config.claims).await?;
    let mut issuer = Issuer {
        log,
        answers: Answers::subscribe(system.client()).await.map_err(|_| IssuerError::Closed)?,
        system,
        accounts,
        register: Register::default(),
        seen: 0,
        servers: config.servers,
        ca,
        cluster: config.cluster,
        published: None,
    };
    let (mut asks, mut renewals) = tokio::select! {
        () = shutdown.cancelled() => return Ok(()),
        subscribed = issuer.subscribe() => subscribed,
    };
    let (mut look, mut daily) = (interval(LOOK), interval(OWN));
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    tracing::info!("issuer answers");
    loop {
        tokio::select! {
            () = shutdown.cancelled() => return Ok(()),
            _ = look.tick() => match issuer.catch_up(config.seed.as_deref()).await {
                Ok(()) => ready.ready(),
                Err(error) => {
                    tracing::debug!(error = chain(&error), "not everything is done yet, trying again");
                    ready.not_ready(chain(&error));
                }
            },
            _ = daily.tick() => renew_own(&issuer.accounts, &own)?,
            message = asks.next() => issuer.answer(message.ok_or(IssuerError::Closed)?, true).await,
            message = renewals.next() => issuer.answer(message.ok_or(IssuerError::Closed)?, false).await,
        }
    }
}

fn renew_own(
    accounts: &Accounts,
    own: &[(&str, Option<waybill_platform::identity::CredentialsFile>)],
) -> Result<(), AccountsError> {
    let mut files = own.iter().filter_map(|(kind, file)| Some((*kind, file.as_ref()?)));
    files.try_for_each(|(kind, file)| accounts.renew_own(kind, file))
}

struct Issuer {
    log: EventLog,
    /// A connection in the servers' own account.
    system: EventLog,
    /// What the servers say of the accounts.
    answers: Answers,
    accounts: Accounts,
    register: Register,
    /// Sequence of the newest event that the register was made from.
    seen: u64,
    servers: String,
    ca: Option<String>,
    cluster: Option<Cluster>,
    /// Keys that the servers refuse; none before they were asked.
    published: Option<BTreeMap<String, i64>>,
}

impl Issuer {
    async fn subscribe(&self) -> (Subscriber, Subscriber) {
        loop {
            // Several issuers share the work: the log keeps what they say in one order.
            let client = self.log.client();
            let asks = client.queue_subscribe(ASK, "issuer".to_owned()).await;
            let renewals = client.queue_subscribe(format!("{RENEW}.*.*"), "issuer".to_owned()).await;
            match (asks, renewals) {
                (Ok(asks), Ok(renewals)) => return (asks, renewals),
                _ => sleep(LOOK).await,
            }
        }
    }

    /// Reads what was said since, records what `waybill init` made, and has the servers know what the log says.
    async fn catch_up(&mut self, seed: Option<&Path>) -> Result<(), DoError> {
        // The issuer's own account may be the one without imports: then the log is silent.
        self.accounts.complete(self.system.client(), &mut self.answers).await?;
        self.refresh().await?;
        let seed = seed.and_then(|file| std::fs::read(file).ok());
        let seed: Seed = seed.and_then(|text| serde_json::from_slice(&text).ok()).unwrap_or_default();
        for statement in self.register.unsaid(&seed, trace::now()) {
            self.record(statement).await?;
        }
        self.revoke().await
    }

    async fn refresh(&mut self) -> Result<(), DoError> {
        let last = self.log.last_matching(&Filter::Identities).await?;
        if last.is_none_or(|last| last.sequence <= self.seen) {
            return Ok(());
        }
        let mut register = Register::default();
        for message in self.log.lasts(&Filter::Identities, MOST).await?.messages {
            self.seen = self.seen.max(message.sequence);
            match message.decode() {
                Ok(value) => register.fold(Recorded { sequence: message.sequence, at: message.at, value }),
                Err(error) => tracing::warn!(sequence = message.sequence, %error, "an identity cannot be read"),
            }
        }
        self.register = register;
        Ok(())
    }

    /// Has the servers refuse whom the register revokes.
    async fn revoke(&mut self) -> Result<(), DoError> {
        let keys = self.register.revocations(trace::now());
        if self.published.as_ref() != Some(&keys) {
            self.accounts.revoke(self.system.client(), &keys).await?;
            self.published = Some(keys);
        }
        Ok(())
    }

    /// Appends a statement. None if somebody else said something there first.
    async fn record(&mut self, statement: Statement) -> Result<Option<u64>, DoError> {
        let Statement { subject, after, event, actor } = statement;
        let envelope =
            Envelope { time: Some(trace::now()), actor: Some(actor.clone()), ..Envelope::new(Uuid::new_v4(), SOURCE) };
        let new = NewEvent { subject, envelope, event };
        match self.log.append(&new, Expect::Last(after), Some(LIMIT)).await? {
            Appended::Stored { sequence, .. } => {
                tracing::info!(event = %new.event.event_type(), subject = %new.subject, sequence, actor, "recorded");
                self.refresh_to(sequence).await?;
                Ok(Some(sequence))
            }
            Appended::Conflict { .. } => {
                self.refresh().await?;
                Ok(None)
            }
        }
    }

    /// A replica that is behind answers with what was there before.
    async fn refresh_to(&mut self, sequence: u64) -> Result<(), DoError> {
        let mut tries = 50_u32;
        while self.seen < sequence && tries > 0 {
            self.refresh().await?;
            if self.seen < sequence {
                tries = tries.saturating_sub(1);
                sleep(Duration::from_millis(20)).await;
            }
        }
        Ok(())
    }

    async fn answer(&mut self, message: Message, is_ask: bool) {
        let Some(reply) = message.reply.clone() else { return };
        let outcome = if is_ask {
            match serde_json::from_slice(&message.payload) {
                Ok(ask) => self.serve(ask).await,
                Err(error) => Err(Refusal::new("invalid", format!("the request cannot be read: {error}"))),
            }
        } else {
            self.renew(&message).await
        };
        let answer = outcome.unwrap_or_else(|refusal| {
            tracing::info!(code = refusal.code, detail = refusal.detail, subject = %message.subject, "refused");
            Answer::Refused(refusal)
        });
        let text = serde_json::to_vec(&answer).unwrap_or_default();
        if let Err(error) = self.log.client().publish(reply, text.into()).await {
            tracing::warn!(%error, "an answer could not be sent");
        }
    }

    /// New credentials for who asks: the subject says who that is, and the server lets nobody else publish there.
    async fn renew(&mut self, message: &Message) -> Result<Answer, Refusal> {
        let who = message.subject.as_str().strip_prefix(RENEW).and_then(|rest| rest.strip_prefix('.'));
        let (kind, name) = who.and_then(|who| who.split_once('.')).unwrap_or_default();
        let user_key = String::from_utf8_lossy(&message.payload).trim().to_owned();
        if !waybill_schemas::v1::is_user_key(&user_key) {
            return Err(Refusal::new("invalid", "the body is not the public half of a NATS user's key"));
        }
        self.refresh().await.map_err(unavailable)?;
        let invalid = |_| Refusal::new("invalid", "the name is not an id");
        match kind {
            "worker" => {
                let worker_id: WorkerId = name.parse().map_err(invalid)?;
                // A thief of credentials that still run would else live on under a key that retiring does not know.
                if !self.register.is_current(&worker_id, &user_key) {
                    let detail = format!("this is not the key by which worker {worker_id} joined");
                    return Err(Refusal::new("not_allowed", detail));
                }
            }
            "orchestrator" => {
                let workspace: WorkspaceId = name.parse().map_err(invalid)?;
                if !self.register.has_workspace(&workspace) {
                    return Err(Refusal::new("not_found", format!("there is no workspace {workspace}")));
                }
            }
            single if single == name => {}
            _ => return Err(Refusal::new("invalid", "there is no such role")),
        }
        self.admit(kind, name, &user_key, None).await
    }

    async fn serve(&mut self, ask: Ask) -> Result<Answer, Refusal> {
        self.refresh().await.map_err(unavailable)?;
        let (ask, actor) = self.check_right(ask)?;
        // Another issuer may speak first; what it said is then what counts.
        for _ in 0..3 {
            let sequence = match self.register.decide(&ask, &actor, trace::now())? {
                Decision::Said(sequence) => Some(sequence),
                Decision::Say(statement) => self.record(*statement).await.map_err(unavailable)?,
            };
            if let Some(sequence) = sequence {
                self.revoke().await.map_err(unavailable)?;
                return self.conclude(&ask, sequence).await;
            }
        }
        Err(Refusal::new("unavailable", "others change the same at this moment; ask again"))
    }

    /// The request, if there is a right to it, and who asks, as events name them. A node's name that its cluster vouches for
    /// goes before the one that it claims.
    fn check_right(&self, ask: Ask) -> Result<(Ask, String), Refusal> {
        let (by, role) = match &ask {
            Ask::Join { by, .. } => (by, TokenRole::Join),
            Ask::Retire { by, .. }
            | Ask::AddWorkspace { by, .. }
            | Ask::CreateToken { by, .. }
            | Ask::RevokeToken { by, .. } => (by, TokenRole::Admin),
        };
        match by {
            By::Proof(proof) => {
                let actor = format!("token/{}", self.register.authorize(proof, role, trace::now())?);
                Ok((ask, actor))
            }
            By::ServiceAccount(token) => {
                let (Ask::Join { user_key, by, .. }, Some(cluster)) = (&ask, &self.cluster) else {
                    return Err(Refusal::new(
                        "not_allowed",
                        "a service account may have its node join, and nothing else",
                    ));
                };
                let worker_id = check_service_account(cluster, token)?;
                let actor = format!("node/{worker_id}");
                Ok((Ask::Join { by: by.clone(), worker_id: Some(worker_id), user_key: user_key.clone() }, actor))
            }
        }
    }

    async fn conclude(&self, ask: &Ask, sequence: u64) -> Result<Answer, Refusal> {
        match ask {
            Ask::Join { worker_id: Some(worker_id), user_key, .. } => {
                self.admit("worker", worker_id.as_str(), user_key, Some(worker_id)).await
            }
            Ask::AddWorkspace { workspace, user_key: Some(user_key), .. } => {
                if !waybill_schemas::v1::is_user_key(user_key) {
                    return Err(Refusal::new("invalid", "user_key is not the public half of a NATS user's key"));
                }
                self.admit("orchestrator", workspace.as_str(), user_key, None).await
            }
            _ => Ok(Answer::Recorded { sequence }),
        }
    }

    async fn admit(
        &self,
        kind: &str,
        name: &str,
        user_key: &str,
        worker_id: Option<&WorkerId>,
    ) -> Result<Answer, Refusal> {
        let signed = self.accounts.sign(kind, name, user_key);
        let (token, ends_at) = signed.map_err(|error| unavailable(error.into()))?;
        let last = self.log.last(&Subject::SchedulerKeys).await.map_err(|error| unavailable(error.into()))?;
        let scheduler_key = last.and_then(|last| match last.decode().ok()?.event {
            Event::SchedulerKeyPublished(published) => Some(published.sealing_key),
            _ => None,
        });
        Ok(Answer::Admitted(Box::new(Admission {
            token,
            ends_at,
            worker_id: worker_id.cloned(),
            servers: self.servers.clone(),
            ca: self.ca.clone(),
            scheduler_key,
        })))
    }
}

/// The worker that a pod's token is for.
fn check_service_account(cluster: &Cluster, token: &str) -> Result<WorkerId, Refusal> {
    let refused = |why: String| Refusal::new("not_allowed", why);
    let text = std::fs::read(&cluster.keys)
        .map_err(|error| Refusal::new("unavailable", format!("the cluster's keys cannot be read: {error}")))?;
    let keys = serde_json::from_slice(&text)
        .map_err(|_| Refusal::new("unavailable", "the file of the cluster's keys holds no JWKS"))?;
    let accounts = ServiceAccounts { issuer: cluster.issuer.clone(), audience: cluster.audience.clone(), keys };
    let now = trace::now().instant().unix_timestamp();
    let account = accounts.check(token, now).map_err(|error| refused(error.to_string()))?;
    if account.subject != cluster.subject {
        return Err(refused(format!("the token is of {}, and workers are {}", account.subject, cluster.subject)));
    }
    let node = account
        .node
        .ok_or_else(|| refused("the token names no node; is it one that was made for a pod?".to_owned()))?;
    // Names of nodes have dots and no underscores, so that no two become one.
    node.replace('.', "_").parse().map_err(|_| refused("the node's name cannot be a worker's id".to_owned()))
}

fn unavailable(error: DoError) -> Refusal {
    Refusal::new("unavailable", chain(&error))
}
