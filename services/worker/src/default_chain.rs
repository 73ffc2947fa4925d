//! The default chain: the node's own logins, from a Docker configuration file, for images that came without credentials.
//!
//! They are never a second try for credentials that were supplied and failed.

use std::{fs::File, io::Read as _, path::Path};

use waybill_domain::{
    credentials::{CredentialError, CredentialInput, DockerConfig, Secret, marshal, parse_for},
    provider::{Login, plan_to_try},
    reference::ImageReference,
};
use waybill_schemas::v1::PullFailure;
use zeroize::Zeroizing;

use crate::{provider::RegistryLogin, pull::PullError};

/// Largest file that is read, in bytes.
const MOST: u64 = 256 * 1024;

/// Why a node's Docker configuration cannot be used. No variant repeats what is in it.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NodeLoginsError {
    /// The file cannot be read.
    #[error("it cannot be read: {0}")]
    Unreadable(std::io::ErrorKind),
    /// It is too large.
    #[error("it has more than {MOST} bytes")]
    TooLarge,
    /// It keeps credentials in a program.
    #[error("it names a program (credsStore), which a worker does not run; log in without credsStore")]
    Store,
    /// What it holds cannot be used.
    #[error("{0}")]
    Credentials(CredentialError),
}

/// Reads the node's file. It is read again for each pull, so that a new login counts at once.
pub(crate) fn read(file: &Path) -> Result<DockerConfig, NodeLoginsError> {
    let unreadable = |error: std::io::Error| NodeLoginsError::Unreadable(error.kind());
    let mut text = Zeroizing::new(String::new());
    let opened = File::open(file).map_err(unreadable)?;
    opened.take(MOST.saturating_add(1)).read_to_string(&mut text).map_err(unreadable)?;
    if u64::try_from(text.len()).is_ok_and(|length| length > MOST) {
        return Err(NodeLoginsError::TooLarge);
    }
    let config = DockerConfig::read(&text).map_err(NodeLoginsError::Credentials)?;
    if config.has_store() { Err(NodeLoginsError::Store) } else { Ok(config) }
}

/// The node's login for an image without credentials; anonymous where there is no file, or none for its registry.
pub(crate) fn login(file: Option<&Path>, image: &ImageReference) -> Result<RegistryLogin, PullError> {
    let Some(file) = file else { return Ok(RegistryLogin::Anonymous) };
    let found = read(file).and_then(|config| of_image(config, image));
    found.map_err(|error| {
        let detail = format!("WAYBILL_WORKER_DOCKER_CONFIG: {}: {error}", file.display());
        PullError::new(PullFailure::Unauthorized, detail)
    })
}

fn of_image(config: DockerConfig, image: &ImageReference) -> Result<RegistryLogin, NodeLoginsError> {
    let parsed = match parse_for(&CredentialInput::Docker(Ok(config)), image) {
        Ok(parsed) => parsed,
        Err(CredentialError::None | CredentialError::NoEntry { .. }) => return Ok(RegistryLogin::Anonymous),
        Err(error) => return Err(NodeLoginsError::Credentials(error)),
    };
    let written: Secret = marshal(&parsed, image.registry());
    Ok(match plan_to_try(&written).map(|plan| plan.login) {
        Ok(Login::Basic(login)) => RegistryLogin::Basic(login),
        Ok(Login::Bearer(token)) => RegistryLogin::Bearer(token),
        // A Docker configuration holds no other kind; a registry that serves everyone needs none.
        _ => RegistryLogin::Anonymous,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const HELD: &str = r#"{"auths":{"a.b":{"auth":"dTpwdw=="},"a.b/team":{"auth":"dDpwdw=="},"t.b":{"identitytoken":"it"}},
        "credHelpers":{"h.b":"x"}}"#;

    fn told(login: Result<RegistryLogin, PullError>) -> String {
        match login {
            Ok(RegistryLogin::Anonymous) => "anonymous".to_owned(),
            Ok(RegistryLogin::Basic(login)) => format!("{}:{}", login.username, login.password.expose()),
            Ok(RegistryLogin::Bearer(token)) => token.expose().to_owned(),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn the_entry_for_the_image_counts_and_no_other_host_s() {
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
            assert_eq!(told(login(Some(&file), &image)), expected, "{image}");
            assert_eq!(told(login(None, &image)), "anonymous", "off unless configured");
        }
        let told = told(login(Some(&file), &ImageReference::parse("h.b/app").unwrap()));
        assert!(
            told.starts_with("unauthorized: WAYBILL_WORKER_DOCKER_CONFIG: ") && told.contains("credHelpers"),
            "{told}"
        );
    }

    #[test]
    fn what_cannot_be_used_is_told_without_what_is_in_it() {
        let dir = tempfile::tempdir().unwrap();
        let cases = [
            (r#"{"credsStore":"x"}"#, "credsStore"),
            (r#"{"hunter2":1}"#, "no Docker configuration"),
            (r#"{"auths":{"a.b":{"auth":"hunter2!"}}}"#, "auth"),
            (&format!(r#"{{"auths":{{}},"x":"{}"}}"#, "hunter2".repeat(40_000)), "more than"),
        ];
        for (number, (text, expected)) in cases.into_iter().enumerate() {
            let file = dir.path().join(format!("{number}.json"));
            std::fs::write(&file, text).unwrap();
            let told = told(login(Some(&file), &ImageReference::parse("a.b/app").unwrap()));
            assert!(told.contains(expected) && !told.contains("hunter2"), "{text:.40}: {told}");
        }
        let told = told(login(Some(&dir.path().join("gone")), &ImageReference::parse("a.b/app").unwrap()));
        assert!(told.contains("cannot be read"), "{told}");
    }
}
