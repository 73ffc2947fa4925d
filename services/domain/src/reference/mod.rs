//! Image references: which registry, repository, tag and digest a piece of text names.
//!
//! The rules are those of <https://github.com/distribution/reference>, including Docker Hub's short
//! names, with three differences, each towards refusing: a first component in upper case is not taken
//! for a host (`Team/app`), digests are sha256 or sha512 only, and hosts must fit into DNS.

mod error;
mod grammar;
mod host;
mod registry;

pub use error::ReferenceError;
pub use host::{RegistryHost, secret_name};
pub use registry::{AwsPartition, AzureCloud, EcrRegistry, Registry};

use core::fmt;
use core::str::FromStr;

/// A parsed reference, always with its registry spelled out.
///
/// `Display` writes the full form `registry/repository[:tag][@digest]`, which parses to the same value.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ImageReference {
    registry: RegistryHost,
    repository: String,
    tag: Option<String>,
    digest: Option<String>,
}

impl ImageReference {
    /// Parses what a person or a client wrote: `ubuntu`, `ghcr.io/o/app:1`, `docker://[::1]:5000/app@sha256:…`.
    ///
    /// The registry is the first component when it has a `.` or a `:` or is `localhost`, and Docker
    /// Hub otherwise; no other part of the text has a say in it.
    pub fn parse(text: &str) -> Result<Self, ReferenceError> {
        let text = strip_transport(check_characters(text)?)?;
        let (name, digest) = split_digest(text)?;
        if digest.is_none() && grammar::is_image_id(name) {
            return Err(ReferenceError::BareImageId);
        }
        let (registry, path) = split_registry(name)?;
        let (repository, tag) = split_tag(path)?;
        let repository = match registry == RegistryHost::docker_hub() && !repository.contains('/') {
            true => format!("library/{repository}"),
            false => repository.to_owned(),
        };
        grammar::check_repository(&repository)?;
        Ok(ImageReference { registry, repository, tag: tag.map(str::to_owned), digest: digest.map(str::to_owned) })
    }

    /// The registry's host.
    pub fn registry(&self) -> &RegistryHost {
        &self.registry
    }

    /// The repository, such as `library/ubuntu`.
    pub fn repository(&self) -> &str {
        &self.repository
    }

    /// The tag, if one was written; there is no default here.
    pub fn tag(&self) -> Option<&str> {
        self.tag.as_deref()
    }

    /// The digest, `algorithm:hex`; where there is one it decides what is pulled, not the tag.
    pub fn digest(&self) -> Option<&str> {
        self.digest.as_deref()
    }
}

impl fmt::Display for ImageReference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.registry, self.repository)?;
        if let Some(tag) = &self.tag {
            write!(f, ":{tag}")?;
        }
        if let Some(digest) = &self.digest {
            write!(f, "@{digest}")?;
        }
        Ok(())
    }
}

impl FromStr for ImageReference {
    type Err = ReferenceError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::parse(text)
    }
}

fn check_characters(text: &str) -> Result<&str, ReferenceError> {
    match text.find(|c: char| !c.is_ascii_graphic()) {
        Some(at) => Err(ReferenceError::IllegalCharacter { at }),
        None => Ok(text),
    }
}

fn strip_transport(text: &str) -> Result<&str, ReferenceError> {
    let text = text.strip_prefix("docker://").or_else(|| text.strip_prefix("oci://")).unwrap_or(text);
    match text {
        "" => Err(ReferenceError::Empty),
        _ if text.contains("://") => Err(ReferenceError::UnsupportedScheme),
        _ => Ok(text),
    }
}

/// An `@` may only introduce the digest, which has neither a `/` nor another `@`.
fn split_digest(text: &str) -> Result<(&str, Option<&str>), ReferenceError> {
    let Some((name, digest)) = text.split_once('@') else {
        return Ok((text, None));
    };
    if digest.contains(['/', '@']) {
        return Err(ReferenceError::UserInfo);
    }
    grammar::check_digest(digest)?;
    Ok((name, Some(digest)))
}

fn split_registry(name: &str) -> Result<(RegistryHost, &str), ReferenceError> {
    let is_host = |first: &str| first.contains(['.', ':']) || first.eq_ignore_ascii_case("localhost");
    match name.split_once('/') {
        Some((first, path)) if is_host(first) => Ok((RegistryHost::parse(first)?, path)),
        None if name.starts_with('[') => Err(ReferenceError::MissingRepository),
        _ => Ok((RegistryHost::docker_hub(), name)),
    }
}

/// Repositories have no colon, so the first one starts the tag.
fn split_tag(path: &str) -> Result<(&str, Option<&str>), ReferenceError> {
    let (repository, tag) = match path.split_once(':') {
        Some((repository, tag)) => (repository, Some(tag)),
        None => (path, None),
    };
    if repository.is_empty() {
        return Err(ReferenceError::MissingRepository);
    }
    if let Some(tag) = tag {
        grammar::check_tag(tag)?;
    }
    Ok((repository, tag))
}
