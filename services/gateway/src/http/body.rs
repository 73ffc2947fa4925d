//! A request's body: bounded in size and time, in memory that is erased when it is dropped.

use std::collections::BTreeMap;

use axum::{
    body::{Body, BodyDataStream, Bytes},
    http::{HeaderMap, StatusCode, header},
};
use futures_util::StreamExt as _;
use serde::de::DeserializeOwned;
use zeroize::{Zeroize as _, Zeroizing};

use super::{json, problem::Problem};
use crate::{config::Limits, refusals::witness};

/// How much of a refused body is read to its end, so that the client sees why it was refused.
const DISCARDED_BYTES: usize = 16 * 1024 * 1024;

/// Reads a JSON body.
pub(super) async fn read<T: DeserializeOwned>(headers: &HeaderMap, body: Body, limits: Limits) -> Result<T, Problem> {
    json::parse(&receive(headers, body, limits).await?)
}

/// The text of a JSON body. What it names is noted, for the case that it is refused.
pub(super) async fn receive(headers: &HeaderMap, body: Body, limits: Limits) -> Result<Zeroizing<Vec<u8>>, Problem> {
    check_media_type(headers, "application/json", "send `Content-Type: application/json`")?;
    let bytes = read_in_time(headers, body, limits).await?;
    witness::note_body(&bytes);
    Ok(bytes)
}

/// The fields of a form.
pub(crate) struct Form(BTreeMap<String, Zeroizing<String>>);

impl Form {
    /// A field's value; empty where there is none.
    pub(crate) fn get(&self, name: &str) -> &str {
        self.0.get(name).map_or("", |value| value.as_str())
    }
}

/// Reads the body that a browser makes of a form.
pub(crate) async fn read_form(headers: &HeaderMap, body: Body, limits: Limits) -> Result<Form, Problem> {
    check_media_type(headers, "application/x-www-form-urlencoded", "send the form of the page")?;
    let bytes = read_in_time(headers, body, limits).await?;
    let fields = form_urlencoded::parse(&bytes);
    Ok(Form(fields.map(|(name, value)| (name.into_owned(), Zeroizing::new(value.into_owned()))).collect()))
}

async fn read_in_time(headers: &HeaderMap, body: Body, limits: Limits) -> Result<Zeroizing<Vec<u8>>, Problem> {
    let reading = collect(body, declared_length(headers), limits.body_bytes);
    tokio::time::timeout(limits.body, reading).await.unwrap_or_else(|_| {
        let detail = format!("the body did not arrive within {} ms", limits.body.as_millis());
        Err(Problem::new(StatusCode::REQUEST_TIMEOUT, "body_timeout", detail)
            .in_own_words()
            .remedy("send the request again"))
    })
}

fn check_media_type(headers: &HeaderMap, expected: &str, remedy: &'static str) -> Result<(), Problem> {
    let media = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let essence = media.split(';').next().unwrap_or_default().trim();
    if essence.eq_ignore_ascii_case(expected) {
        return Ok(());
    }
    let detail = format!("the body must be {expected}");
    let problem = Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "media_type", detail);
    Err(problem.in_own_words().field("Content-Type").remedy(remedy))
}

fn declared_length(headers: &HeaderMap) -> Option<usize> {
    headers.get(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// The whole body in one buffer that never moves, so that no copy is left behind by growing it.
async fn collect(body: Body, declared: Option<usize>, limit: usize) -> Result<Zeroizing<Vec<u8>>, Problem> {
    let mut chunks = body.into_data_stream();
    if declared.is_some_and(|declared| declared > limit) {
        discard(&mut chunks).await;
        return Err(too_large(limit));
    }
    let mut bytes = Zeroizing::new(Vec::with_capacity(declared.unwrap_or(limit).min(limit)));
    while let Some(chunk) = chunks.next().await {
        let chunk = chunk.map_err(|_| unreadable())?;
        if chunk.len() > limit.saturating_sub(bytes.len()) {
            discard(&mut chunks).await;
            return Err(too_large(limit));
        }
        bytes.extend_from_slice(&chunk);
        erase(chunk);
    }
    Ok(bytes)
}

/// Reads on, within reason: closing while the client still sends would destroy the answer on its way.
async fn discard(chunks: &mut BodyDataStream) {
    let mut left = DISCARDED_BYTES;
    while let Some(Ok(chunk)) = chunks.next().await {
        left = left.saturating_sub(chunk.len());
        erase(chunk);
        if left == 0 {
            return;
        }
    }
}

/// Best effort: the connection's buffer is erased where nobody else holds it.
fn erase(chunk: Bytes) {
    if let Ok(mut chunk) = chunk.try_into_mut() {
        chunk.as_mut().zeroize();
    }
}

fn unreadable() -> Problem {
    Problem::new(StatusCode::BAD_REQUEST, "body_unreadable", "the body ended too early")
        .remedy("send the request again")
}

fn too_large(limit: usize) -> Problem {
    let detail = format!("the body is larger than {limit} bytes");
    Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "body_too_large", detail)
        .in_own_words()
        .remedy("send only the credentials that the image needs; WAYBILL_GATEWAY_BODY_LIMIT sets the limit")
}
