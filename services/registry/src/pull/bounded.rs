//! What a registry gives, within bounds and verified against its digests: manifests in memory, blobs on their way out.

use std::pin::pin;

use bytes::Bytes;
use oci_client::errors::DigestError;
use reqwest::Response;
use tokio::io::{AsyncWrite, AsyncWriteExt as _};

use super::{
    digest::{Expected, sha256},
    manifest::Document,
    transport::read_bounded,
    trouble::Trouble,
};

/// The largest manifest that registries need to take (OCI distribution specification, "Pushing Manifests").
const MOST_BYTES: usize = 4 * 1024 * 1024;

/// A manifest, which must have the wanted digest if there is one.
pub(super) async fn manifest(answer: Response, wanted: Option<&str>) -> Result<Document, Trouble> {
    let said = said(&answer)?;
    let body = read_bounded(answer, MOST_BYTES).await?.ok_or(Trouble::TooLarge)?;
    let digest = verify(&body, said.as_deref(), wanted)?;
    Ok(Document { body: Bytes::from(body), digest })
}

/// A blob, written as it comes. `out` takes no more than it was promised, which bounds it.
pub(super) async fn blob(mut answer: Response, wanted: &str, out: impl AsyncWrite) -> Result<(), Trouble> {
    let said = said(&answer)?;
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

fn said(answer: &Response) -> Result<Option<String>, DigestError> {
    let header = answer.headers().get("docker-content-digest").map(|value| value.to_str().map(str::to_owned));
    Ok(header.transpose()?.filter(|digest| !digest.is_empty()))
}

/// The content's digest: as the registry says it, as it was wanted, or else SHA-256. What is said and what is wanted must
/// both be right.
fn verify(body: &[u8], said: Option<&str>, wanted: Option<&str>) -> Result<String, DigestError> {
    for digest in wanted.into_iter().chain(said) {
        let mut expected = Expected::new(digest)?;
        expected.update(body);
        expected.check()?;
    }
    Ok(said.or(wanted).map_or_else(|| sha256(body), str::to_owned))
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
            (s512, s256, s512),
            (s256, s512, s256),
            (no, None, None),
            (None, no, None),
            (no, s256, None),
            (s256, no, None),
            (Some("md5:00"), None, None),
            (Some("nothing"), s256, None),
        ];
        for (said, wanted, expected) in cases {
            assert_eq!(verify(body, said, wanted).ok().as_deref(), expected, "{said:?} {wanted:?}");
        }
    }
}
