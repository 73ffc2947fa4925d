//! What registries answer, for the fuzz targets of `tests/fuzz`; compiled with `--cfg fuzzing` only.

use reqwest::header::{HeaderMap, HeaderValue, WWW_AUTHENTICATE};

use super::{challenge::Challenges, login, manifest};

/// Reads a `WWW-Authenticate` header.
///
/// # Panics
/// If the header hides the challenge that follows it.
pub fn read_challenge(value: &[u8]) {
    let Ok(value) = HeaderValue::from_bytes(value) else { return };
    let mut headers = HeaderMap::new();
    headers.append(WWW_AUTHENTICATE, value);
    headers.append(WWW_AUTHENTICATE, HeaderValue::from_static("Basic realm=x"));
    assert!(!Challenges::from_headers(&headers).usable.is_empty(), "a challenge is hidden");
}

/// Reads a token service's answer.
///
/// # Panics
/// If the token cannot stand in a header.
pub fn read_token_answer(body: &[u8]) {
    if let Some((token, _)) = login::read_token(body) {
        assert!(HeaderValue::from_str(token.expose()).is_ok(), "a token that cannot be sent");
    }
}

/// Reads a manifest or an index.
pub fn read_manifest(body: &[u8]) {
    // An error is as good as a document: what must not happen is a panic.
    manifest::can_read(body);
}
