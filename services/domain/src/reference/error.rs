//! What can be wrong with an image reference or a registry host.

/// Why a reference or a registry host was refused.
///
/// No variant carries any part of the input: people paste `user:password@host/image`, and an error
/// ends up in logs and answers. The caller knows which field it parsed and names that.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReferenceError {
    /// Nothing was given, or only a `docker://` or `oci://` prefix.
    #[error("the image reference is empty; give one such as registry.example.com/team/app:1.2")]
    Empty,
    /// A character no reference may contain: a space, a control character, or anything outside ASCII.
    #[error("the image reference has an illegal character at byte {at}; use printable ASCII without spaces")]
    IllegalCharacter {
        /// Byte offset in what was given.
        at: usize,
    },
    /// A URL or a transport other than `docker://` and `oci://`.
    #[error("the image reference has an unsupported scheme; only docker:// and oci:// may precede it")]
    UnsupportedScheme,
    /// Something that looks like `user:password@` before the registry host.
    #[error("the image reference contains a login before an @; remove it and send the credentials in their own field")]
    UserInfo,
    /// The host is not a domain name, IPv4 address or bracketed IPv6 address.
    #[error("the registry host is malformed; use a domain name, an IPv4 address or an IPv6 address in brackets")]
    InvalidHost,
    /// The host is one bare word, which in a reference would be part of a Docker Hub repository.
    #[error("the registry host has neither a dot nor a port; write its full domain name or host:port")]
    UnqualifiedHost,
    /// The brackets do not hold an IPv6 address (zone ids and dotted IPv4 parts are not in the grammar).
    #[error(
        "the registry host is not a valid IPv6 address; write it as [2001:db8::1], without a zone or a dotted part"
    )]
    InvalidIpv6,
    /// The host name is longer than DNS allows (RFC 1035: 253 in all, 63 a label).
    #[error("the registry host is too long; a domain name has at most 253 characters and 63 between two dots")]
    HostTooLong,
    /// The port is not a number from 1 to 65535.
    #[error("the registry port is invalid; use a number from 1 to 65535")]
    InvalidPort,
    /// There is a host, a tag or a digest, but no repository.
    #[error("the image reference has no repository; write registry/repository:tag")]
    MissingRepository,
    /// The repository has upper-case letters.
    #[error("the repository must be lower case; a registry host without a dot needs a port to be taken as a host")]
    UppercaseRepository,
    /// The repository breaks the component grammar.
    #[error(
        "the repository is malformed; its components are a-z and 0-9, joined by one '.', one or two '_' or any number of '-'"
    )]
    InvalidRepository,
    /// The repository is longer than 255 characters.
    #[error("the repository has {length} characters; at most 255 are allowed")]
    RepositoryTooLong {
        /// Its length, in characters.
        length: usize,
    },
    /// 64 hexadecimal digits alone are an image id, not a repository.
    #[error("64 hexadecimal digits alone are an image id and cannot be pulled; give repository@sha256:<id>")]
    BareImageId,
    /// The tag breaks the grammar `[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}`.
    #[error(
        "the tag is malformed; it has 1 to 128 characters of A-Z, a-z, 0-9, '_', '.' and '-', and starts with none of '.' and '-'"
    )]
    InvalidTag,
    /// The digest's algorithm is neither sha256 nor sha512.
    #[error("the digest's algorithm is not supported; use sha256 or sha512")]
    UnsupportedDigestAlgorithm,
    /// The digest is not its algorithm's number of lower-case hexadecimal digits.
    #[error("the digest is malformed; write sha256: and 64, or sha512: and 128, lower-case hexadecimal digits")]
    InvalidDigest,
}
