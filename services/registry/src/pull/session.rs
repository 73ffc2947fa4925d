//! A login at a registry for the time of one pull: it follows what each refused request asks for, and a token that ends
//! meanwhile is had again.

use std::time::{Duration, Instant};

use reqwest::{
    Method, RequestBuilder, Response, Url,
    header::{ACCEPT, ACCEPT_ENCODING, LOCATION, RANGE},
};
use tokio::io::AsyncWrite;
use waybill_domain::reference::ImageReference;
use waybill_schemas::v1::PullFailure;

use super::{
    PullConfig, PullError, bounded,
    challenge::Challenge,
    classify::classify,
    guard::{Unfit, check_address},
    login::{Access, Grant, Site},
    manifest::{Descriptor, Document},
    transport::{self, Transport},
    trouble::{Refusal, Trouble, has_content},
};
use crate::provider::RegistryLogin;

/// A token is had again this long before its end, or a tenth of its life if that is shorter.
const AHEAD: Duration = Duration::from_secs(10);

const MANIFEST_TYPES: &str = "application/vnd.oci.image.manifest.v1+json, \
    application/vnd.docker.distribution.manifest.v2+json, \
    application/vnd.oci.image.index.v1+json, \
    application/vnd.docker.distribution.manifest.list.v2+json";
const ANY_TYPE: &str = "*/*";

/// Everything a pull asks the registry goes through here.
pub(super) struct Session<'p> {
    site: Site<'p>,
    access: Access,
    /// True if the registry gave something for this access.
    worked: bool,
    until: Option<Instant>,
}

/// A way to log in after a request was refused. Each is tried once for a request.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Try {
    /// As the registry asked.
    Password,
    Token(Grant),
    /// The registry asked for nothing. Some hide what they have from who did not log in.
    UnaskedPassword,
}

/// Why a request came to nothing.
enum Unanswered {
    Trouble(Trouble),
    /// The login that it needs could not be had.
    Login(PullError),
}

/// A request for content.
struct Question<'q> {
    method: Method,
    what: &'q str,
    accept: &'q str,
    /// True if one byte is enough.
    first_byte: bool,
}

impl<'p> Session<'p> {
    /// Greets the registry, and logs in as it asks.
    pub(super) async fn open(
        config: &'p PullConfig,
        image: &'p ImageReference,
        login: &'p RegistryLogin,
    ) -> Result<Self, PullError> {
        let (transport, base) = (Transport::new(config)?, transport::registry_base(image.registry(), config));
        let site = Site { config, image, login, transport, base };
        let mut session = Self { site, access: Access::Anonymous, worked: false, until: None };
        if let Some(given) = session.site.given_access()? {
            session.access = given;
            return Ok(session);
        }
        let challenges = session.site.greet_registry().await?;
        let next = challenges.usable.iter().find_map(|challenge| session.answer_to(challenge, false));
        if let Some(next) = next {
            session.log_in(&next).await?;
        }
        Ok(session)
    }

    /// The manifest that the image reference names, or the one with a digest.
    pub(super) async fn fetch_manifest(&mut self, digest: Option<&str>) -> Result<Document, PullError> {
        let wanted = digest.or(self.site.image.digest());
        let name = wanted.or(self.site.image.tag()).unwrap_or("latest");
        let answer = self.fetch_content(&format!("manifests/{name}"), MANIFEST_TYPES).await?;
        bounded::receive_manifest(answer, wanted).await.map_err(|trouble| self.explain_trouble(&trouble))
    }

    /// A blob, verified while it is written. Other addresses that a manifest may give for it are not asked: they would be the
    /// choice of whoever made the image.
    pub(super) async fn fetch_blob(&mut self, digest: &str, size: u64, out: impl AsyncWrite) -> Result<(), PullError> {
        let answer = self.fetch_content(&format!("blobs/{digest}"), ANY_TYPE).await?;
        bounded::receive_blob(answer, digest, size, out).await.map_err(|trouble| self.explain_trouble(&trouble))
    }

    /// Asks whether the registry gives a blob, without its content. Storage that signs addresses for GET refuses HEAD, and
    /// so do some registries: then one byte is asked for.
    pub(super) async fn check_blob(&mut self, blob: &Descriptor) -> Result<(), PullError> {
        self.stay_logged_in().await?;
        let what = format!("blobs/{}", blob.digest);
        let head = Question { method: Method::HEAD, what: &what, accept: ANY_TYPE, first_byte: false };
        match self.ask_logged_in(&head).await {
            Ok(answer) => match bounded::said_size(&answer).filter(|size| *size > 0 && Some(*size) != blob.size) {
                Some(size) => {
                    let words = format!("has {size} bytes for a blob of which the manifest says another size");
                    Err(PullError::new(PullFailure::DigestMismatch, format!("{}: {words}", self.site.image.registry())))
                }
                None => Ok(()),
            },
            Err(Unanswered::Trouble(Trouble::Refused(_))) => {
                let byte = Question { method: Method::GET, first_byte: true, ..head };
                self.ask_logged_in(&byte).await.map(drop).map_err(|unanswered| self.explain_unanswered(unanswered))
            }
            Err(unanswered) => Err(self.explain_unanswered(unanswered)),
        }
    }

    async fn fetch_content(&mut self, what: &str, accept: &str) -> Result<Response, PullError> {
        self.stay_logged_in().await?;
        let question = Question { method: Method::GET, what, accept, first_byte: false };
        self.ask_logged_in(&question).await.map_err(|unanswered| self.explain_unanswered(unanswered))
    }

    /// Asks, and again after each login that may help.
    async fn ask_logged_in(&mut self, question: &Question<'_>) -> Result<Response, Unanswered> {
        let mut tried = Vec::new();
        loop {
            let trouble = match self.request_content(question).await {
                Ok(answer) => {
                    self.worked = true;
                    return Ok(answer);
                }
                Err(trouble) => trouble,
            };
            let Some(next) = self.next_try(&trouble, &tried) else { return Err(Unanswered::Trouble(trouble)) };
            tracing::debug!("the registry asks for a login that it did not get, logging in");
            self.log_in(&next).await.map_err(Unanswered::Login)?;
            tried.push(next);
        }
    }

    fn explain_unanswered(&self, unanswered: Unanswered) -> PullError {
        match unanswered {
            Unanswered::Trouble(trouble) => self.explain_trouble(&trouble),
            Unanswered::Login(error) => error,
        }
    }

    async fn request_content(&self, question: &Question<'_>) -> Result<Response, Trouble> {
        let Site { config, image, transport, base, .. } = &self.site;
        let url = format!("{base}/v2/{}/{}", image.repository(), question.what);
        let judge = |place: &Url| {
            check_address(place, &config.plain_http)?;
            Ok(transport.guard.admit(place, image.registry(), config)?)
        };
        let ask = |url: Url, at_registry: bool| {
            let request = transport.http.request(question.method.clone(), url).header(ACCEPT, question.accept);
            let request = request.header(ACCEPT_ENCODING, "identity");
            let request = if question.first_byte { request.header(RANGE, "bytes=0-0") } else { request };
            if at_registry { self.access.add_to(request) } else { request }
        };
        follow_redirects(&url, judge, ask).await
    }

    async fn stay_logged_in(&mut self) -> Result<(), PullError> {
        if self.until.is_none_or(|until| until > Instant::now()) {
            return Ok(());
        }
        let Access::Token(_, grant, _) = &self.access else { return Ok(()) };
        tracing::debug!("the registry's token is about to end, logging in again");
        self.log_in(&Try::Token(grant.clone())).await
    }

    /// The next way to log in, by what was refused. The refused request's own challenge counts, whatever the greeting said.
    fn next_try(&self, trouble: &Trouble, tried: &[Try]) -> Option<Try> {
        let Trouble::Refused(refusal) = trouble else { return None };
        if !refusal.may_want_login() {
            return None;
        }
        let mut asked = refusal.challenges.usable.iter().filter_map(|challenge| self.answer_to(challenge, true));
        if let Some(next) = asked.find(|next| !tried.contains(next) && self.may_help(next)) {
            return Some(next);
        }
        let may_hide = refusal.challenges.is_empty()
            && matches!((&self.access, self.site.login), (Access::Anonymous, RegistryLogin::Basic(_)));
        Some(Try::UnaskedPassword).filter(|next| may_hide && !tried.contains(next))
    }

    /// How a challenge would be answered, if it can be.
    fn answer_to(&self, challenge: &Challenge, of_request: bool) -> Option<Try> {
        match (challenge, self.site.login) {
            (_, RegistryLogin::Bearer(_)) | (Challenge::Basic, RegistryLogin::Anonymous) => None,
            (Challenge::Basic, RegistryLogin::Basic(_)) => Some(Try::Password),
            (Challenge::Bearer { .. }, _) => {
                Grant::from_challenge(challenge, self.site.image, of_request).map(Try::Token)
            }
        }
    }

    /// True unless the same thing has just been refused: a password, or a token for the same that never worked.
    fn may_help(&self, next: &Try) -> bool {
        match (&self.access, next) {
            (Access::Basic(_), Try::Password | Try::UnaskedPassword) => false,
            (Access::Token(_, held, _), Try::Token(grant)) => self.worked || held != grant,
            _ => true,
        }
    }

    async fn log_in(&mut self, how: &Try) -> Result<(), PullError> {
        let access = match (how, self.site.login) {
            (Try::Token(grant), _) => self.site.fetch_token(grant).await?,
            (Try::Password | Try::UnaskedPassword, RegistryLogin::Basic(login)) => Access::Basic(login.clone()),
            (Try::Password | Try::UnaskedPassword, _) => Access::Anonymous,
        };
        self.until = match &access {
            Access::Token(_, _, life) => Some(Instant::now() + life.saturating_sub(AHEAD.min(*life / 10))),
            _ => None,
        };
        (self.access, self.worked) = (access, false);
        Ok(())
    }

    fn explain_trouble(&self, trouble: &Trouble) -> PullError {
        let sent_nothing = matches!(self.access, Access::Anonymous);
        let sent = !sent_nothing && !matches!(self.site.login, RegistryLogin::Anonymous);
        classify(trouble, self.site.asker(sent, sent_nothing))
    }
}

impl Access {
    fn add_to(&self, request: RequestBuilder) -> RequestBuilder {
        match self {
            Self::Anonymous => request,
            Self::Basic(login) => request.basic_auth(&login.username, Some(login.password.expose())),
            Self::Given(token) | Self::Token(token, _, _) => request.bearer_auth(token.expose()),
        }
    }
}

const MOST_REDIRECTS: usize = 5;

/// The content's answer, wherever the registry sends the request on. No library follows redirects for us: a registry must not
/// send its callers into the operator's own network, nor off TLS. `ask` makes a request, with credentials if told that it goes
/// to the registry itself: no other host gets any. `judge` looks at every other place before it is asked.
async fn follow_redirects(
    url: &str,
    judge: impl Fn(&Url) -> Result<(), Unfit>,
    ask: impl Fn(Url, bool) -> RequestBuilder,
) -> Result<Response, Trouble> {
    let url = Url::parse(url).map_err(|_| Unfit::NoAddress)?;
    let registry = url.origin();
    let (mut at_registry, mut answer) = (true, ask(url, true).send().await?);
    for _ in 0..MOST_REDIRECTS {
        let Some(next) = next_place(&answer) else { break };
        at_registry = next.origin() == registry;
        if !at_registry {
            judge(&next)?;
        }
        answer = ask(next, at_registry).send().await?;
    }
    if has_content(answer.status()) { Ok(answer) } else { Err(Refusal::from_answer(answer, at_registry).await.into()) }
}

fn next_place(answer: &Response) -> Option<Url> {
    let location = answer.headers().get(LOCATION).filter(|_| answer.status().is_redirection())?;
    answer.url().join(location.to_str().ok()?).ok()
}
