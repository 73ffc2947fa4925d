//! From a question to its answer: whose key, which credentials, and a login from their provider.

use std::{collections::BTreeMap, sync::Arc};

use futures_util::{StreamExt as _, stream};
use time::OffsetDateTime;
use waybill_domain::{
    credentials::{BasicLogin, Secret},
    fold::ContainerKey,
    identity::Target,
    reference::{ImageReference, RegistryHost},
};
use waybill_registry::{
    node::{Answer, Code, Error, GivenLogin, Request},
    provider::{Issued, ProviderError, RegistryLogin},
};
use waybill_schemas::WorkspaceId;

use super::{
    asked::Asked,
    attached::Attached,
    identity::PodIdentities,
    running::{Asker, Attachment, Owner, Running},
    select::select,
};
use crate::view::Placed;

/// Containers that are looked up in the log at once.
const AT_ONCE: usize = 16;

/// Answers questions.
#[derive(Clone)]
pub struct Answerer {
    running: Running,
    attached: Arc<dyn Attached>,
    identities: Option<Arc<PodIdentities>>,
}

impl std::fmt::Debug for Answerer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Answerer").field("running", &self.running).finish_non_exhaustive()
    }
}

impl Answerer {
    /// Answers who has a key of `running` with what is `attached`.
    pub fn new(running: Running, attached: Arc<dyn Attached>) -> Self {
        Self { running, attached, identities: None }
    }

    /// The placements that are served.
    pub fn running(&self) -> &Running {
        &self.running
    }

    /// Answers pods too, by their service accounts.
    #[must_use]
    pub fn with_identities(mut self, identities: Option<Arc<PodIdentities>>) -> Self {
        self.identities = identities;
        self
    }

    /// Answers one question. A login comes from its provider each time, so it is as new as it must be.
    pub async fn answer(&self, request: &Request) -> Answer {
        self.answer_noting(request, &mut Asked::new(Some(request))).await
    }

    /// As [`answer`](Self::answer), and notes what it finds out about the asker, also where it is broken off.
    pub(super) async fn answer_noting(&self, request: &Request, asked: &mut Asked) -> Answer {
        let answer = match request {
            Request::Get { access, registry, image } => {
                self.get(access, registry.as_deref(), image.as_deref(), asked).await.map(Answer::Login)
            }
            Request::Pod { token, annotations, image } => {
                self.get_for_pod(token, annotations, image, asked).await.map(Answer::Login)
            }
            Request::List { access } => self.list(access, asked).await.map(|logins| Answer::Logins { logins }),
            Request::End { access } => self.end(access, asked).await.map(|()| Answer::Ended { ended: true }),
        };
        answer.unwrap_or_else(|error| {
            tracing::debug!(%error, "a program of the node is refused");
            Answer::Error { error }
        })
    }

    /// Tells whoever keeps the facts.
    pub(super) fn tell(&self, asked: Asked) {
        self.attached.asked(asked);
    }

    async fn get(
        &self,
        access: &Secret,
        registry: Option<&str>,
        image: Option<&str>,
        asked: &mut Asked,
    ) -> Result<GivenLogin, Error> {
        let asker = self.asker(access, asked)?;
        let (host, repository) = read_names(registry, image, asked)?;
        let given = match asker {
            Asker::Placement(placed) => {
                let given = self.login_of(&placed, host, asked).await?;
                // An exchange takes its time, and the placement may be over by now.
                self.asker(access, asked)?;
                given
            }
            Asker::Workspace(workspace) => {
                let host =
                    host.ok_or_else(|| Error::because(Code::BadRequest, "with a workspace's key, name a registry"))?;
                let given = self.login_in(&workspace, &host, repository.as_deref(), asked).await?;
                self.asker(access, asked)?;
                given
            }
        };
        log_given(&given, asked);
        Ok(given)
    }

    async fn get_for_pod(
        &self,
        token: &Secret,
        annotations: &BTreeMap<String, String>,
        image: &str,
        asked: &mut Asked,
    ) -> Result<GivenLogin, Error> {
        let (host, repository) = read_names(None, Some(image), asked)?;
        let words = "this worker knows no pods; set WAYBILL_WORKER_POD_IDENTITIES";
        let identities = self.identities.as_ref().ok_or_else(|| Error::because(Code::TokenRefused, words))?;
        let identity = identities.identify(token).await?;
        asked.note_identity(&identity);
        let Target { workspace, container } = identities.find_target(&identity, annotations)?;
        asked.workspace = Some(workspace.clone());
        let given = match (container, host) {
            (Some(container_id), host) => {
                let container = ContainerKey { workspace, container_id };
                let words = format!("container {} of the pod's rule does not run here", container.container_id);
                let not_here = || Error::because(Code::NotFound, words.clone());
                let placed = self.running.placement_of(&container).ok_or_else(not_here)?;
                let given = self.login_of(&placed, host, asked).await?;
                // As above: a placement that is over has no logins.
                if self.running.placement_of(&container).as_ref() != Some(&placed) {
                    return Err(not_here());
                }
                given
            }
            (None, Some(host)) => self.login_in(&workspace, &host, repository.as_deref(), asked).await?,
            (None, None) => return Err(Error::because(Code::BadRequest, "name an image")),
        };
        log_given(&given, asked);
        Ok(given)
    }

    /// A placement's login, for its own registry where none is named.
    async fn login_of(
        &self,
        placed: &Placed,
        host: Option<RegistryHost>,
        asked: &mut Asked,
    ) -> Result<GivenLogin, Error> {
        asked.note_placed(placed);
        let attachment = self.attached.attached(placed).await?;
        let host = host.unwrap_or_else(|| attachment.provider.registry().clone());
        asked.asked.registry = Some(host.to_string());
        let given = login(&attachment, &host).await?;
        // Invariant 8: an exchange takes its time, and what was withdrawn meanwhile is not handed out.
        self.attached.attached(placed).await?;
        Ok(given)
    }

    /// The login that a workspace's containers have for an image.
    async fn login_in(
        &self,
        workspace: &WorkspaceId,
        host: &RegistryHost,
        repository: Option<&str>,
        asked: &mut Asked,
    ) -> Result<GivenLogin, Error> {
        let attached = self.attachments(workspace).await?;
        let selected = select(&attached, host, repository);
        if let [only] = selected.as_slice() {
            let mut placements = self.running.placements_of(workspace);
            placements.retain(|placed| placed.number == only.placement);
            placements.iter().for_each(|placed| asked.note_placed(placed));
        }
        let given = one_login(&selected, host).await?;
        // As above: at least one container must still have what was exchanged.
        let attached = self.attachments(workspace).await?;
        let still = select(&attached, host, repository);
        let is_kept = still.iter().any(|left| selected.iter().any(|before| before.placement == left.placement));
        if is_kept { Ok(given) } else { Err(no_credentials(host)) }
    }

    /// Hosts with one login; those with several, or none that can be told, are left out.
    async fn list(&self, access: &Secret, asked: &mut Asked) -> Result<BTreeMap<String, String>, Error> {
        let attached = match self.asker(access, asked)? {
            Asker::Placement(placed) => match self.attached.attached(&placed).await {
                Err(error) if error.code == Code::NotFound => Vec::new(),
                found => vec![found?],
            },
            Asker::Workspace(workspace) => self.attachments(&workspace).await?,
        };
        let mut logins = BTreeMap::new();
        for registry in attached.iter().map(|attachment| attachment.provider.registry()) {
            if let Ok(given) = one_login(&select(&attached, registry, None), registry).await {
                logins.insert(given.registry, given.username);
            }
        }
        Ok(logins)
    }

    async fn end(&self, access: &Secret, asked: &mut Asked) -> Result<(), Error> {
        let Asker::Placement(placed) = self.asker(access, asked)? else {
            return Err(Error::because(Code::BadRequest, "a workspace does not end; show the container's own key"));
        };
        // What is not recorded is not done, so that whoever says so can say it again.
        self.attached.ended(&placed).await?;
        let owner = Owner::from(&placed.container);
        self.running.remove(&placed).map_err(|error| {
            tracing::warn!(%owner, placement = placed.number, error = waybill_platform::chain(&error), "files are left");
            Error::because(Code::Unavailable, error.to_string())
        })?;
        tracing::info!(%owner, placement = placed.number, "container ended, its logins are forgotten");
        Ok(())
    }

    fn asker(&self, access: &Secret, asked: &mut Asked) -> Result<Asker, Error> {
        let none =
            || Error::because(Code::NoAccess, "the access key opens nothing; is the container still running here?");
        let asker = self.running.asker(access).ok_or_else(none)?;
        asked.note_asker(&asker);
        Ok(asker)
    }

    /// Every container's that can be told; the reason of one that cannot, where there is no other.
    async fn attachments(&self, workspace: &WorkspaceId) -> Result<Vec<Attachment>, Error> {
        let placements = stream::iter(self.running.placements_of(workspace));
        let read = placements.map(async |placed| self.attached.attached(&placed).await);
        let read: Vec<_> = read.buffered(AT_ONCE).collect().await;
        let (mut found, mut failed) = (Vec::new(), None);
        for attachment in read {
            match attachment {
                Ok(attachment) => found.push(attachment),
                // One that has ended meanwhile has nothing to say.
                Err(error) if matches!(error.code, Code::NotFound | Code::NoAccess) => {}
                Err(error) => failed = Some(error),
            }
        }
        match failed {
            Some(error) if found.is_empty() => Err(error),
            _ => Ok(found),
        }
    }
}

/// The host and the repository that a question names.
fn read_names(
    registry: Option<&str>,
    image: Option<&str>,
    asked: &mut Asked,
) -> Result<(Option<RegistryHost>, Option<String>), Error> {
    let (host, repository) = match (registry, image) {
        (None, None) => return Ok((None, None)),
        (Some(registry), None) => {
            let host = RegistryHost::parse(registry);
            (host.map_err(|error| Error::because(Code::BadRequest, format!("registry: {error}")))?, None)
        }
        (None, Some(image)) => {
            let image = ImageReference::parse(image);
            let image = image.map_err(|error| Error::because(Code::BadRequest, format!("image: {error}")))?;
            asked.asked.image = Some(image.to_string());
            (image.registry().clone(), Some(image.repository().to_owned()))
        }
        (Some(_), Some(_)) => {
            return Err(Error::because(Code::BadRequest, "name a registry or an image, not both"));
        }
    };
    asked.asked.registry = Some(host.to_string());
    Ok((Some(host), repository))
}

fn log_given(given: &GivenLogin, asked: &Asked) {
    let workspace = asked.workspace.as_ref().map(WorkspaceId::as_str);
    let container_id = asked.placed.as_ref().map(|placed| placed.container.container_id.as_str());
    tracing::info!(workspace, container_id, registry = given.registry, "login given to a program of the node");
}

fn no_credentials(host: &RegistryHost) -> Error {
    Error::because(Code::NotFound, format!("there are no credentials for {host}"))
}

/// The login that all of these give. Different ones are refused: a guess would pull as somebody else.
async fn one_login(selected: &[&Attachment], host: &RegistryHost) -> Result<GivenLogin, Error> {
    let (first, others) = selected.split_first().ok_or_else(|| no_credentials(host))?;
    let given = login(first, host).await?;
    for other in others {
        let other = login(other, host).await?;
        if (&other.username, &other.password) != (&given.username, &given.password) {
            let words = "containers of the workspace have different logins for";
            return Err(Error::because(Code::Ambiguous, format!("{words} {host}; ask with a container's own key")));
        }
    }
    Ok(given)
}

async fn login(attachment: &Attachment, host: &RegistryHost) -> Result<GivenLogin, Error> {
    // A token that has just been issued is given whatever it says of its end, as it is used for a pull.
    let end = attachment.expires_at;
    let is_over = end.is_some_and(|end| end.instant() <= OffsetDateTime::now_utc());
    if is_over && attachment.provider.registry() == host {
        let words = "have run out; report a build with new ones";
        return Err(Error::because(Code::Expired, format!("the credentials for {host} {words}")));
    }
    let Issued { login, expires_at, .. } = attachment.provider.login(host).await.map_err(|error| {
        let code = match &error {
            ProviderError::OtherHost { .. } => Code::NotFound,
            _ => Code::ExchangeFailed,
        };
        Error::because(code, error.to_string())
    })?;
    let BasicLogin { username, password } = expressible(login, host)?;
    let expires_at = expires_at.into_iter().chain(end).min();
    Ok(GivenLogin { username, password, expires_at, registry: host.to_string() })
}

/// A registry's bearer token has no place where a user name and a password are asked for: the user name `<token>` of
/// Docker's helpers announces an identity token, which is exchanged and never sent to a registry.
fn expressible(login: RegistryLogin, host: &RegistryHost) -> Result<BasicLogin, Error> {
    match login {
        RegistryLogin::Basic(login) => Ok(login),
        RegistryLogin::Bearer(_) => {
            let words = "is a bearer token, which no user name and password can express";
            Err(Error::because(Code::NotExpressible, format!("the login for {host} {words}")))
        }
        RegistryLogin::Anonymous => Err(no_credentials(host)),
    }
}

#[cfg(test)]
pub(super) mod tests;
