//! A request's body: bounded in size and time, and never repeated in an error.

use axum::{
    body::Body,
    http::{HeaderMap, StatusCode, header},
};
use serde::de::DeserializeOwned;
use zeroize::Zeroizing;

use super::problem::Problem;
use crate::config::Limits;

/// Longest name of an unknown field that is repeated.
const MAX_NAME: usize = 64;

/// Reads a JSON body.
pub(super) async fn read<T: DeserializeOwned>(headers: &HeaderMap, body: Body, limits: Limits) -> Result<T, Problem> {
    check_media_type(headers)?;
    let reading = axum::body::to_bytes(body, limits.body_bytes);
    let bytes = match tokio::time::timeout(limits.body, reading).await {
        Ok(Ok(bytes)) => Zeroizing::new(bytes.to_vec()),
        Ok(Err(error)) if is_too_large(&error) => return Err(too_large(limits.body_bytes)),
        Ok(Err(_)) => {
            return Err(Problem::new(StatusCode::BAD_REQUEST, "body-unreadable", "the body ended too early"));
        }
        Err(_) => {
            let detail = format!("the body did not arrive within {} s", limits.body.as_secs());
            return Err(Problem::new(StatusCode::REQUEST_TIMEOUT, "body-timeout", detail));
        }
    };
    parse(&bytes)
}

fn check_media_type(headers: &HeaderMap) -> Result<(), Problem> {
    let media = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let essence = media.split(';').next().unwrap_or_default().trim();
    if essence.eq_ignore_ascii_case("application/json") {
        return Ok(());
    }
    Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "media-type", "the body must be application/json")
        .field("Content-Type")
        .remedy("send `Content-Type: application/json`"))
}

fn is_too_large(error: &axum::Error) -> bool {
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        if cause.to_string().contains("length limit exceeded") {
            return true;
        }
        source = cause.source();
    }
    false
}

fn too_large(limit: usize) -> Problem {
    let detail = format!("the body is larger than {limit} bytes");
    Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "body-too-large", detail)
}

fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Problem> {
    if std::str::from_utf8(bytes).is_err() {
        return Err(Problem::new(StatusCode::BAD_REQUEST, "malformed-json", "the body is not UTF-8"));
    }
    let mut deserializer = serde_json::Deserializer::from_slice(bytes);
    let value = serde_path_to_error::deserialize(&mut deserializer).map_err(|error| problem(&error))?;
    deserializer.end().map_err(|error| malformed(&error))?;
    Ok(value)
}

/// serde's own words can quote values; only names of fields and the place are taken from them.
fn problem(error: &serde_path_to_error::Error<serde_json::Error>) -> Problem {
    let inner = error.inner();
    if inner.classify() != serde_json::error::Category::Data {
        return malformed(inner);
    }
    let text = inner.to_string();
    let name = text.split('`').nth(1).unwrap_or_default();
    let name: String = name.chars().take(MAX_NAME).collect();
    if text.starts_with("unknown field") {
        return Problem::invalid(name, "there is no such field").remedy("remove it; the fields are in /openapi.json");
    }
    if text.starts_with("missing field") {
        return Problem::invalid(name, "the field is missing").remedy("add it");
    }
    if text.starts_with("duplicate field") {
        return Problem::invalid(name, "the field is given twice").remedy("give it once");
    }
    let path = error.path().to_string();
    let field = if path == "." { "body".to_owned() } else { path.chars().take(MAX_NAME).collect() };
    Problem::invalid(field, "the value has the wrong type or form").remedy("see the field's type in /openapi.json")
}

fn malformed(error: &serde_json::Error) -> Problem {
    let detail = format!("the body is not JSON: line {} column {}", error.line(), error.column());
    Problem::new(StatusCode::BAD_REQUEST, "malformed-json", detail)
}
