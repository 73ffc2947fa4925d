//! What a registry gives, within bounds and verified against its digests: manifests in memory, blobs on their way out.

use std::{io::Read as _, pin::pin};

use bytes::Bytes;
use flate2::read::MultiGzDecoder;
use reqwest::{
    Response,
    header::{CONTENT_ENCODING, CONTENT_TYPE},
};
use tokio::io::{AsyncWrite, AsyncWriteExt as _};

use super::{
    digest::{DigestError, Expected, sha256},
    manifest::Document,
    transport::read_bounded,
    trouble::Trouble,
};

/// The largest manifest that registries need to take (OCI distribution specification, "Pushing Manifests").
const MOST_BYTES: usize = 4 * 1024 * 1024;

/// A manifest, which must have the wanted digest if there is one.
pub(super) async fn manifest(answer: Response, wanted: Option<&str>) -> Result<Document, Trouble> {
    let said = said(&answer);
    let content_type = answer.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let content_type = content_type.map(|text| text.split(';').next().unwrap_or_default().trim().to_ascii_lowercase());
    let is_compressed = is_compressed(&answer);
    let body = read_bounded(answer, MOST_BYTES).await?.ok_or(Trouble::TooLarge)?;
    // Proxies compress although nobody asked. Digests are of what was compressed.
    let body = match is_compressed && body.starts_with(&[0x1f, 0x8b]) {
        true => decompress(&body)?,
        false => body,
    };
    let digest = verify(&body, said.as_deref(), wanted)?;
    Ok(Document { body: Bytes::from(body), digest, content_type })
}

fn decompress(body: &[u8]) -> Result<Vec<u8>, Trouble> {
    let bound = u64::try_from(MOST_BYTES).unwrap_or(u64::MAX).saturating_add(1);
    let mut text = Vec::new();
    MultiGzDecoder::new(body).take(bound).read_to_end(&mut text).map_err(|_| Trouble::Compressed)?;
    if text.len() > MOST_BYTES { Err(Trouble::TooLarge) } else { Ok(text) }
}

/// A blob, written as it comes. `out` takes no more than it was promised, which bounds it.
pub(super) async fn blob(mut answer: Response, wanted: &str, out: impl AsyncWrite) -> Result<(), Trouble> {
    let said = said(&answer);
    let others = said.as_deref().filter(|said| *said != wanted);
    let mut digests = std::iter::once(wanted).chain(others).map(Expected::new).collect::<Result<Vec<_>, _>>()?;
    let mut out = pin!(out);
    while let Some(part) = answer.chunk().await? {
        digests.iter_mut().for_each(|digest| digest.update(&part));
        out.write_all(&part).await?;
    }
    // Only flushing tells of a write that failed in the background.
    out.flush().await?;
    Ok(digests.into_iter().try_for_each(Expected::check)?)
}

/// Size that an answer says its content has; none where it says nothing, or of what is compressed on the way.
pub(super) fn said_size(answer: &Response) -> Option<u64> {
    let length = answer.headers().get(reqwest::header::CONTENT_LENGTH)?.to_str().ok()?.trim().parse().ok()?;
    (!is_compressed(answer)).then_some(length)
}

fn is_compressed(answer: &Response) -> bool {
    let encoding = answer.headers().get(CONTENT_ENCODING).and_then(|value| value.to_str().ok()).unwrap_or_default();
    !matches!(encoding.trim(), "" | "identity")
}

/// What the registry says the digest is. Some say a word that is none, or nothing.
fn said(answer: &Response) -> Option<String> {
    let header = answer.headers().get("docker-content-digest")?;
    Some(String::from_utf8_lossy(header.as_bytes()).trim().to_owned()).filter(|digest| !digest.is_empty())
}

/// The content's digest: as it was wanted, as the registry says it, or else SHA-256. What is said and what is wanted must
/// both be right.
fn verify(body: &[u8], said: Option<&str>, wanted: Option<&str>) -> Result<String, DigestError> {
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
            assert_eq!(verify(body, said, wanted).ok().as_deref(), expected, "{said:?} {wanted:?}");
        }
    }
}
