//! Why credentials cannot be used, without ever saying what they are.

use waybill_schemas::v1::CredType;

use super::json::JsonError;
use crate::reference::ReferenceError;

/// Why there are no credentials in what a client gave, or in what was sealed.
///
/// No variant carries a value or an unknown key: only fixed names and registry hosts.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CredentialError {
    /// Nothing was given, or nothing but empty values.
    #[error("no credentials were given; pass them with the build request")]
    None,
    /// Known keys were given, and none of them has a value.
    #[error("the credentials have no value in {keys}; is a variable not set where they come from?")]
    Empty {
        /// Names of the keys.
        keys: String,
    },
    /// The registry gives its images to everyone: none are needed.
    #[error("the registry gives its images to everyone; no credentials are needed")]
    Public,
    /// Keys or a type that mean nothing to this version.
    #[error("the credentials are of no known kind; pass USERNAME and PASSWORD, TOKEN, or the keys of a cloud")]
    Unrecognized,
    /// A part is missing.
    #[error("the {cred_type} credentials are incomplete; add {missing}{}", if *misspelt { ", which a key here almost is" } else { "" })]
    Incomplete {
        /// Kind of the credentials that were recognised.
        cred_type: CredType,
        /// Name of the first key that is missing.
        missing: &'static str,
        /// True if a key is there whose name is almost that one.
        misspelt: bool,
    },
    /// The credentials say that they are for another registry.
    #[error("the credentials are for {claimed}, but the image is on {image}; pass those of {image}")]
    RegistryMismatch {
        /// The host they name, or the service their keys belong to.
        claimed: String,
        /// Registry host of the image.
        image: String,
    },
    /// A Docker configuration file has entries, and none for the image: nobody claims that one is meant for it.
    #[error(
        "the Docker configuration has credentials for {held}, but none for {image}; log in to {image} if it wants any"
    )]
    NoEntry {
        /// The hosts it has entries for.
        held: String,
        /// Registry and repository of the image, or the registry alone.
        image: String,
    },
    /// A Docker configuration file says that a program has them.
    #[error(
        "the Docker configuration keeps the credentials for {image} in a program ({field}), which cannot run here; log in \
         without {field}, so that they are in the file, or pass the keys"
    )]
    NeedsHelper {
        /// Field of the file that names the program.
        field: &'static str,
        /// Registry host of the image.
        image: String,
    },
    /// Not a Docker configuration file.
    #[error("this is no Docker configuration; pass a JSON object with auths, as `docker login` writes it")]
    DockerConfig,
    /// The text has none of the accepted forms.
    #[error("the credentials are neither a JSON object nor user:password; pass one of them, or an object of keys")]
    InvalidForm,
    /// The text starts like JSON, but is not the object expected.
    #[error(
        r#"the credentials start like JSON but are not {{"registry", "type", "credentials"}}; pass that, JSON-encoded once"#
    )]
    InvalidJson(#[source] JsonError),
    /// The structured form lacks a field.
    #[error("the structured credentials lack the field {field}; add it")]
    MissingField {
        /// Name of the field.
        field: &'static str,
    },
    /// `type` is none of the known words.
    #[error("the type of the credentials is unknown; use aws, gcp, azure, token, basic, public or unknown")]
    UnknownType,
    /// `registry` is not a host.
    #[error("the registry that the credentials name is not a host")]
    InvalidRegistry(#[source] ReferenceError),
    /// `registry` of sealed credentials is a host, but not in its one spelling.
    #[error("the registry that the credentials are bound to is not a host in canonical form")]
    NotCanonical,
    /// A value cannot be used.
    #[error("the value of {key} is malformed; expected {expected}")]
    InvalidValue {
        /// Name of the key.
        key: &'static str,
        /// What a valid value looks like.
        expected: &'static str,
    },
    /// A value asks for what no worker does.
    #[error("{key} is not supported: {problem}")]
    UnsupportedValue {
        /// Name of the key, and of the field in it.
        key: &'static str,
        /// Why not, and what to pass instead.
        problem: &'static str,
    },
}
