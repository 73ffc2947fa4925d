//! From a question to its answer: whose key, which credentials, and a login from their provider.

use std::{collections::BTreeMap, sync::Arc};

use futures_util::{StreamExt as _, stream};
use time::OffsetDateTime;
use waybill_domain::{
    credentials::{BasicLogin, Secret},
    reference::{ImageReference, RegistryHost},
};
use waybill_registry::{
    node::{Answer, Code, Error, GivenLogin, Request},
    provider::{Issued, ProviderError, RegistryLogin},
};
use waybill_schemas::WorkspaceId;

use super::{
    attached::Attached,
    running::{Asker, Attachment, Owner, Running},
    select::select,
};

/// Containers that are looked up in the log at once.
const AT_ONCE: usize = 16;

/// Answers questions.
#[derive(Clone)]
pub struct Answerer {
    running: Running,
    attached: Arc<dyn Attached>,
}

impl std::fmt::Debug for Answerer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Answerer").field("running", &self.running).finish_non_exhaustive()
    }
}

impl Answerer {
    /// Answers who has a key of `running` with what is `attached`.
    pub fn new(running: Running, attached: Arc<dyn Attached>) -> Self {
        Self { running, attached }
    }

    /// The placements that are served.
    pub fn running(&self) -> &Running {
        &self.running
    }

    /// Answers one question. A login comes from its provider each time, so it is as new as it must be.
    pub async fn answer(&self, request: &Request) -> Answer {
        let answer = match request {
            Request::Get { access, registry, image } => {
                self.get(access, registry.as_deref(), image.as_deref()).await.map(Answer::Login)
            }
            Request::List { access } => self.list(access).await.map(|logins| Answer::Logins { logins }),
            Request::End { access } => self.end(access).await.map(|()| Answer::Ended { ended: true }),
        };
        answer.unwrap_or_else(|error| {
            tracing::debug!(%error, "a program of the node is refused");
            Answer::Error { error }
        })
    }

    async fn get(&self, access: &Secret, registry: Option<&str>, image: Option<&str>) -> Result<GivenLogin, Error> {
        let asker = self.asker(access)?;
        let (host, repository) = asked(registry, image)?;
        let (owner, given) = match asker {
            Asker::Placement(placed) => {
                let attachment = self.attached.attached(&placed).await?;
                let host = host.unwrap_or_else(|| attachment.provider.registry().clone());
                let given = login(&attachment, &host).await?;
                // An exchange takes its time, and the placement may be over by now.
                self.asker(access)?;
                (Owner::from(&placed.container), given)
            }
            Asker::Workspace(workspace) => {
                let host = host.ok_or_else(|| Code::BadRequest.because("with a workspace's key, name a registry"))?;
                let attached = self.attachments(&workspace).await?;
                let given = one_login(&select(&attached, &host, repository.as_deref()), &host).await?;
                (Owner::Workspace(workspace), given)
            }
        };
        tracing::info!(%owner, registry = given.registry, "login given to a program of the node");
        Ok(given)
    }

    /// Hosts with one login; those with several, or none that can be told, are left out.
    async fn list(&self, access: &Secret) -> Result<BTreeMap<String, String>, Error> {
        let attached = match self.asker(access)? {
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

    async fn end(&self, access: &Secret) -> Result<(), Error> {
        let Asker::Placement(placed) = self.asker(access)? else {
            return Err(Code::BadRequest.because("a workspace does not end; show the container's own key"));
        };
        // What is not recorded is not done, so that whoever says so can say it again.
        self.attached.ended(&placed).await?;
        let owner = Owner::from(&placed.container);
        self.running.remove(&placed).map_err(|error| {
            tracing::warn!(%owner, placement = placed.number, error = waybill_platform::chain(&error), "files are left");
            Code::Unavailable.because(error.to_string())
        })?;
        tracing::info!(%owner, placement = placed.number, "container ended, its logins are forgotten");
        Ok(())
    }

    fn asker(&self, access: &Secret) -> Result<Asker, Error> {
        let none = || Code::NoAccess.because("the access key opens nothing; is the container still running here?");
        self.running.asker(access).ok_or_else(none)
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
fn asked(registry: Option<&str>, image: Option<&str>) -> Result<(Option<RegistryHost>, Option<String>), Error> {
    match (registry, image) {
        (None, None) => Ok((None, None)),
        (Some(registry), None) => {
            let host = RegistryHost::parse(registry);
            host.map(|host| (Some(host), None)).map_err(|error| Code::BadRequest.because(format!("registry: {error}")))
        }
        (None, Some(image)) => {
            let image =
                ImageReference::parse(image).map_err(|error| Code::BadRequest.because(format!("image: {error}")))?;
            Ok((Some(image.registry().clone()), Some(image.repository().to_owned())))
        }
        (Some(_), Some(_)) => Err(Code::BadRequest.because("name a registry or an image, not both")),
    }
}

/// The login that all of these give. Different ones are refused: a guess would pull as somebody else.
async fn one_login(selected: &[&Attachment], host: &RegistryHost) -> Result<GivenLogin, Error> {
    let none = || Code::NotFound.because(format!("there are no credentials for {host}"));
    let (first, others) = selected.split_first().ok_or_else(none)?;
    let given = login(first, host).await?;
    for other in others {
        let other = login(other, host).await?;
        if (&other.username, &other.password) != (&given.username, &given.password) {
            let words = "containers of the workspace have different logins for";
            return Err(Code::Ambiguous.because(format!("{words} {host}; ask with a container's own key")));
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
        return Err(Code::Expired.because(format!("the credentials for {host} {words}")));
    }
    let Issued { login, expires_at, .. } = attachment.provider.login(host).await.map_err(|error| {
        let code = match &error {
            ProviderError::OtherHost { .. } => Code::NotFound,
            _ => Code::ExchangeFailed,
        };
        code.because(error.to_string())
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
            Err(Code::NotExpressible.because(format!("the login for {host} {words}")))
        }
        RegistryLogin::Anonymous => Err(Code::NotFound.because(format!("there are no credentials for {host}"))),
    }
}

#[cfg(test)]
pub(super) mod tests;
