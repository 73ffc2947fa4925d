//! Why a request to a registry gave nothing, before it is put into words.

use std::io;

use reqwest::{
    Response, StatusCode,
    header::{CONTENT_TYPE, RETRY_AFTER},
};
use serde::Deserialize;

use super::{challenge::Challenges, digest::DigestError, encoding::Unreadable, guard::Unfit, transport::read_bounded};
use crate::words;

const MOST_WORDS: usize = 256 * 1024;
/// Most codes of one answer that are told.
const MOST_CODES: usize = 3;

/// What came of a request instead of content. `classify` puts it into words.
#[derive(Debug, thiserror::Error)]
pub(super) enum Trouble {
    #[error("an answer that is not the content")]
    Refused(Box<Refusal>),
    #[error("a manifest that is larger than any needs to be")]
    TooLarge,
    #[error(transparent)]
    Encoded(#[from] Unreadable),
    #[error(transparent)]
    Digest(#[from] DigestError),
    /// No answer, or one that broke off.
    #[error(transparent)]
    Transport(#[from] reqwest::Error),
    /// The content could not be written.
    #[error(transparent)]
    Write(#[from] io::Error),
    /// The registry sent us on to a place that is not gone to.
    #[error(transparent)]
    SentTo(#[from] Unfit),
}

/// An answer that is not the content.
#[derive(Debug)]
pub(super) struct Refusal {
    pub(super) status: u16,
    /// The host that answered, where the registry sent us on to it. Only the registry itself is logged in to.
    pub(super) elsewhere: Option<String>,
    /// What the registry wants to see.
    pub(super) challenges: Challenges,
    /// Codes of errors, as the OCI distribution specification has them.
    pub(super) codes: Vec<String>,
    /// The rest of what was said. It may repeat what was sent.
    pub(super) text: String,
    /// Seconds after which to come back.
    pub(super) retry_after: Option<u64>,
    /// True if it is a web page.
    pub(super) is_page: bool,
}

#[derive(Deserialize)]
struct Envelope {
    errors: Vec<Told>,
}

/// Members of an error. Registries leave out some, and write others in types of their own.
#[derive(Deserialize)]
struct Told {
    #[serde(default)]
    code: serde_json::Value,
    #[serde(default)]
    message: serde_json::Value,
}

impl Refusal {
    /// Reads an answer. Of its body at most 256 KiB are.
    pub(super) async fn from_answer(answer: Response, at_registry: bool) -> Self {
        let (status, headers) = (answer.status(), answer.headers());
        let text = |name| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default().trim();
        let (challenges, retry_after) = (Challenges::from_headers(headers), text(RETRY_AFTER).parse().ok());
        let is_page = text(CONTENT_TYPE).to_ascii_lowercase().starts_with("text/html");
        let elsewhere = answer.url().host_str().filter(|_| !at_registry).map(str::to_owned);
        let body = read_bounded(answer, MOST_WORDS).await.ok().flatten().unwrap_or_default();
        let (codes, text) = match serde_json::from_slice::<Envelope>(&body) {
            Ok(Envelope { errors }) if !status.is_server_error() => read_errors(&errors),
            _ => (Vec::new(), String::from_utf8_lossy(&body).into_owned()),
        };
        Self { status: status.as_u16(), elsewhere, challenges, codes, text, retry_after, is_page }
    }

    /// True if a login may change it: not let in, or told that nothing is there.
    pub(super) fn may_want_login(&self) -> bool {
        self.elsewhere.is_none() && matches!(self.status, 401 | 403 | 404)
    }

    /// True if the registry says that a token is over. ECR does so with 403 ("Your authorization token has expired").
    pub(super) fn says_expired(&self) -> bool {
        matches!(self.status, 401 | 403) && self.text.to_ascii_lowercase().contains("expired")
    }
}

fn read_errors(errors: &[Told]) -> (Vec<String>, String) {
    let codes = errors.iter().filter_map(|error| words::read_code(error.code.as_str()?).map(str::to_owned));
    let messages: Vec<&str> = errors.iter().filter_map(|error| error.message.as_str()).collect();
    (codes.take(MOST_CODES).collect(), messages.join("; "))
}

/// True if an answer has the content, or the part of it that was asked for.
pub(super) fn has_content(status: StatusCode) -> bool {
    matches!(status, StatusCode::OK | StatusCode::PARTIAL_CONTENT)
}

impl From<Refusal> for Trouble {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(Box::new(refusal))
    }
}
