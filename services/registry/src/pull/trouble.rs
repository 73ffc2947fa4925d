//! Why a request to a registry gave nothing, before it is put into words.

use std::io;

use oci_client::errors::{DigestError, OciEnvelope};
use reqwest::{Response, StatusCode};

use super::{
    challenge::{self, Challenge},
    place::Unfit,
    transport::read_bounded,
};

const MOST_WORDS: usize = 256 * 1024;

/// What came of a request instead of content.
#[derive(Debug)]
pub(super) enum Trouble {
    /// 401 from the registry itself, and what it wants to see.
    Unauthorized(Challenge),
    /// 401 from this other host, which the registry sent us on to.
    UnauthorizedElsewhere(String),
    /// An error as the OCI distribution specification has it.
    Codes(OciEnvelope),
    /// Any other answer: status and body.
    Status(u16, String),
    /// A manifest that is larger than any needs to be.
    TooLarge,
    /// Content that is not what its digest says.
    Digest(DigestError),
    /// No answer, or one that broke off.
    Transport(reqwest::Error),
    /// The content could not be written.
    Write(io::Error),
    /// The registry sent us on to a place that is not gone to.
    SentTo(Unfit),
}

impl Trouble {
    /// Of an answer that is not the content. Only the registry itself is logged in to.
    pub(super) async fn of(answer: Response, at_registry: bool) -> Self {
        let status = answer.status();
        match answer.url().host_str() {
            Some(host) if status == StatusCode::UNAUTHORIZED && !at_registry => {
                return Self::UnauthorizedElsewhere(host.to_owned());
            }
            _ if status == StatusCode::UNAUTHORIZED => return Self::Unauthorized(challenge::of(answer.headers())),
            _ => {}
        }
        let body = read_bounded(answer, MOST_WORDS).await.ok().flatten().unwrap_or_default();
        match serde_json::from_slice(&body) {
            Ok(envelope) if status.is_client_error() => Self::Codes(envelope),
            _ => Self::Status(status.as_u16(), String::from_utf8_lossy(&body).into_owned()),
        }
    }
}

impl From<DigestError> for Trouble {
    fn from(error: DigestError) -> Self {
        Self::Digest(error)
    }
}

impl From<reqwest::Error> for Trouble {
    fn from(error: reqwest::Error) -> Self {
        Self::Transport(error)
    }
}

impl From<io::Error> for Trouble {
    fn from(error: io::Error) -> Self {
        Self::Write(error)
    }
}

impl From<Unfit> for Trouble {
    fn from(unfit: Unfit) -> Self {
        Self::SentTo(unfit)
    }
}
