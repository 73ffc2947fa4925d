//! The default chain: the node's own logins, from a Docker configuration file and the programs that it names, for images
//! that came without credentials.
//!
//! They are never a second try for credentials that were supplied and failed.

use std::{fs::File, io::Read as _, path::Path};

use waybill_domain::{
    credentials::{CredentialError, Credentials, DockerConfig, read_text},
    reference::ImageReference,
};
use waybill_schemas::v1::PullFailure;
use zeroize::Zeroizing;

use crate::{helper, provider::RegistryLogin, pull::PullError};

/// Largest file that is read, in bytes.
const MOST: u64 = 256 * 1024;

/// Why a node's Docker configuration cannot be used, in words that repeat nothing of what is in it.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct NodeLoginsError(String);

impl From<CredentialError> for NodeLoginsError {
    fn from(error: CredentialError) -> Self {
        Self(error.to_string())
    }
}

/// Reads the node's file. It is read again for each pull, so that a new login counts at once.
///
/// # Errors
/// [`NodeLoginsError`].
pub fn read(file: &Path) -> Result<DockerConfig, NodeLoginsError> {
    let unreadable = |error: std::io::Error| NodeLoginsError(format!("it cannot be read: {}", error.kind()));
    let mut bytes = Zeroizing::new(Vec::new());
    let opened = File::open(file).map_err(unreadable)?;
    opened.take(MOST.saturating_add(1)).read_to_end(&mut bytes).map_err(unreadable)?;
    if u64::try_from(bytes.len()).is_ok_and(|length| length > MOST) {
        return Err(NodeLoginsError(format!("it has more than {MOST} bytes")));
    }
    let text = read_text(&bytes).ok_or(CredentialError::DockerConfig)?;
    Ok(DockerConfig::read(text.expose())?)
}

/// The node's login for an image without credentials; anonymous where there is no file, or none for its registry.
///
/// # Errors
/// [`PullError`] with `no_login` where the file or a program that it names cannot be used.
pub async fn login(file: Option<&Path>, image: &ImageReference) -> Result<RegistryLogin, PullError> {
    let Some(file) = file else { return Ok(RegistryLogin::Anonymous) };
    let (own_file, own_image) = (file.to_owned(), image.clone());
    // A program may take a while, and other containers are served meanwhile.
    let reading = tokio::task::spawn_blocking(move || read(&own_file).and_then(|config| of_image(config, &own_image)));
    let found = reading.await.unwrap_or_else(|_| Err(NodeLoginsError("reading it was broken off".to_owned())));
    found.map_err(|error| {
        let detail = format!("WAYBILL_WORKER_DOCKER_CONFIG: {}: {error}", file.display());
        PullError::new(PullFailure::NoLogin, detail)
    })
}

fn of_image(config: DockerConfig, image: &ImageReference) -> Result<RegistryLogin, NodeLoginsError> {
    // A program that is named is the operator's, and nobody else is tried in its place.
    let input = helper::credentials(config, image).map_err(|error| NodeLoginsError(error.to_string()))?;
    match Credentials::parse(&input, image).map(|parsed| parsed.credentials) {
        Ok(Credentials::Basic(login)) => Ok(RegistryLogin::Basic(login)),
        Ok(Credentials::Token(token)) => Ok(token.into()),
        // A Docker configuration holds no other kind; a registry that serves everyone needs none.
        Ok(_)
        | Err(
            CredentialError::None
            | CredentialError::Empty { .. }
            | CredentialError::Public
            | CredentialError::NoEntry { .. },
        ) => Ok(RegistryLogin::Anonymous),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HELD: &str = r#"{"auths":{"a.b":{"auth":"dTpwdw=="},"a.b/team":{"auth":"dDpwdw=="},"t.b":{"identitytoken":"it"}},
        "credHelpers":{"h.b":"waybill-none"}}"#;

    fn told(login: Result<RegistryLogin, PullError>) -> String {
        match login {
            Ok(RegistryLogin::Anonymous) => "anonymous".to_owned(),
            Ok(RegistryLogin::Basic(login)) => format!("{}:{}", login.username, login.password.expose()),
            Ok(RegistryLogin::Bearer(token)) => token.expose().to_owned(),
            Err(error) => error.to_string(),
        }
    }

    #[tokio::test]
    async fn the_entry_for_the_image_counts_and_no_other_host_s() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("config.json");
        std::fs::write(&file, HELD).unwrap();
        let cases = [
            ("a.b/app", "u:pw"),
            ("a.b/team/app:1", "t:pw"),
            ("t.b/app", "<token>:it"),
            ("c.d/app", "anonymous"),
            ("a.b.c/app", "anonymous"),
            ("a.b:5000/app", "anonymous"),
        ];
        for (image, expected) in cases {
            let image = ImageReference::parse(image).unwrap();
            assert_eq!(told(login(Some(&file), &image).await), expected, "{image}");
            assert_eq!(told(login(None, &image).await), "anonymous", "off unless configured");
        }
        let told = told(login(Some(&file), &ImageReference::parse("h.b/app").unwrap()).await);
        assert!(
            told.starts_with("no_login: WAYBILL_WORKER_DOCKER_CONFIG: ")
                && told.contains("docker-credential-waybill-none (credHelpers) cannot be started"),
            "{told}"
        );
    }

    #[tokio::test]
    async fn what_cannot_be_used_is_told_without_what_is_in_it() {
        let dir = tempfile::tempdir().unwrap();
        let cases = [
            (r#"{"credsStore":"waybill-none"}"#, "docker-credential-waybill-none (credsStore)"),
            (r#"{"credHelpers":{"a.b":"/bin/hunter2"}}"#, "credHelpers"),
            (r#"{"hunter2":1}"#, "no Docker configuration"),
            (r#"{"auths":{"a.b":{"auth":"hunter2!"}}}"#, "auth"),
            (&format!(r#"{{"auths":{{}},"x":"{}"}}"#, "hunter2".repeat(40_000)), "more than"),
        ];
        for (number, (text, expected)) in cases.into_iter().enumerate() {
            let file = dir.path().join(format!("{number}.json"));
            std::fs::write(&file, text).unwrap();
            let told = told(login(Some(&file), &ImageReference::parse("a.b/app").unwrap()).await);
            assert!(told.contains(expected) && !told.contains("hunter2"), "{text:.40}: {told}");
        }
        let told = told(login(Some(&dir.path().join("gone")), &ImageReference::parse("a.b/app").unwrap()).await);
        assert!(told.contains("cannot be read"), "{told}");
    }
}
