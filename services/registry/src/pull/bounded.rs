//! What a registry gives, within bounds and verified against its digests: manifests in memory, blobs on their way out.

use std::pin::pin;

use bytes::Bytes;
use reqwest::{
    Response,
    header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, HeaderName},
};
use tokio::io::{AsyncWrite, AsyncWriteExt as _};

use super::{
    digest::{DigestError, Expected, sha256},
    encoding::{Coding, Decoder, PIECE},
    manifest::Document,
    transport::read_bounded,
    trouble::Trouble,
};

/// The largest manifest that registries need to take (OCI distribution specification, "Pushing Manifests").
const MOST_BYTES: usize = 4 * 1024 * 1024;

/// A manifest, which must have the wanted digest if there is one.
pub(super) async fn receive_manifest(answer: Response, wanted: Option<&str>) -> Result<Document, Trouble> {
    let said = said_digest(&answer);
    let content_type =
        header_text(&answer, CONTENT_TYPE).split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    let encoding = header_text(&answer, CONTENT_ENCODING).to_owned();
    let body = read_bounded(answer, MOST_BYTES).await?.ok_or(Trouble::TooLarge)?;
    // A digest that fits what was sent says more than a header.
    let named = wanted.or(said.as_deref());
    let body = match named.is_some_and(|named| verify_digests(&body, None, Some(named)).is_ok()) {
        true => body,
        false => decode_body(&body, &encoding)?,
    };
    let digest = verify_digests(&body, said.as_deref(), wanted)?;
    let content_type = Some(content_type).filter(|text| !text.is_empty());
    Ok(Document { body: Bytes::from(body), digest, content_type })
}

fn decode_body(body: &[u8], encoding: &str) -> Result<Vec<u8>, Trouble> {
    let mut decoder = Decoder::new(Coding::choose(encoding, None, None, body)?);
    let mut content = Vec::new();
    for piece in body.chunks(PIECE) {
        content.extend_from_slice(&decoder.decode(piece)?);
        if content.len() > MOST_BYTES {
            return Err(Trouble::TooLarge);
        }
    }
    Ok(content)
}

/// A blob of the size that its manifest says, written as it comes: a registry must not fill the disk.
pub(super) async fn receive_blob(
    mut answer: Response,
    wanted: &str,
    size: u64,
    out: impl AsyncWrite,
) -> Result<(), Trouble> {
    let said = said_digest(&answer);
    let others = said.as_deref().filter(|said| *said != wanted);
    let mut digests = std::iter::once(wanted).chain(others).map(Expected::new).collect::<Result<Vec<_>, _>>()?;
    let (mut out, mut left) = (pin!(out), size);
    let mut next = answer.chunk().await?;
    let first = next.as_deref().unwrap_or_default();
    let coding = Coding::choose(header_text(&answer, CONTENT_ENCODING), sent_length(&answer), Some(size), first)?;
    let mut decoder = Decoder::new(coding);
    while let Some(part) = next {
        for piece in part.chunks(PIECE) {
            let content = decoder.decode(piece)?;
            let length = u64::try_from(content.len()).unwrap_or(u64::MAX);
            left = left.checked_sub(length).ok_or(DigestError::TooLong)?;
            digests.iter_mut().for_each(|digest| digest.update(&content));
            out.write_all(&content).await?;
        }
        next = answer.chunk().await?;
    }
    // Only flushing tells of a write that failed in the background.
    out.flush().await?;
    if left > 0 {
        return Err(DigestError::TooShort.into());
    }
    Ok(digests.into_iter().try_for_each(Expected::check)?)
}

/// Size that an answer says its content has; none where it says nothing, or of what is encoded on the way.
pub(super) fn said_size(answer: &Response) -> Option<u64> {
    let is_encoded = !matches!(header_text(answer, CONTENT_ENCODING), "" | "identity");
    sent_length(answer).filter(|_| !is_encoded)
}

fn sent_length(answer: &Response) -> Option<u64> {
    header_text(answer, CONTENT_LENGTH).parse().ok()
}

fn header_text(answer: &Response, name: HeaderName) -> &str {
    answer.headers().get(name).and_then(|value| value.to_str().ok()).unwrap_or_default().trim()
}

/// What the registry says the digest is. Some say a word that is none, or nothing.
fn said_digest(answer: &Response) -> Option<String> {
    let header = answer.headers().get("docker-content-digest")?;
    Some(String::from_utf8_lossy(header.as_bytes()).trim().to_owned()).filter(|digest| !digest.is_empty())
}

/// The content's digest: as it was wanted, as the registry says it, or else SHA-256. What is said and what is wanted must
/// both be right.
fn verify_digests(body: &[u8], said: Option<&str>, wanted: Option<&str>) -> Result<String, DigestError> {
    for digest in wanted.into_iter().chain(said) {
        let mut expected = Expected::new(digest)?;
        expected.update(body);
        expected.check()?;
    }
    Ok(wanted.or(said).map_or_else(|| sha256(body), str::to_owned))
}

#[cfg(test)]
mod tests {
    use sha2::{Digest as _, Sha512};

    use super::*;

    #[test]
    fn every_digest_must_be_right() {
        let body = b"{}";
        let hex: String = Sha512::digest(body).iter().map(|byte| format!("{byte:02x}")).collect();
        let (sha256, sha512) = (sha256(body), format!("sha512:{hex}"));
        assert_eq!(sha256, "sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a");
        let wrong = format!("sha256:{}", "0".repeat(64));
        let (s256, s512, no) = (Some(sha256.as_str()), Some(sha512.as_str()), Some(wrong.as_str()));
        let cases = [
            (None, None, s256),
            (s256, None, s256),
            (None, s256, s256),
            (s512, None, s512),
            (s512, s256, s256),
            (s256, s512, s512),
            (no, None, None),
            (None, no, None),
            (no, s256, None),
            (s256, no, None),
            (Some("md5:00"), None, None),
            (Some("sha256:00"), None, None),
            (Some("nothing"), s256, None),
        ];
        for (said, wanted, expected) in cases {
            assert_eq!(verify_digests(body, said, wanted).ok().as_deref(), expected, "{said:?} {wanted:?}");
        }
    }
}
