//! Registry credentials: what kind they are, whether they are complete, and the form in which they travel.
//!
//! [`parse`] turns what a client gave into typed credentials bound to a registry host, [`marshal`] writes them for the
//! journey, [`unmarshal`] reads them where they are used. A value leaves this module through [`Secret::expose`] only;
//! no `Debug` form and no error holds one.

mod azure;
mod docker_config;
mod error;
mod family;
mod federation;
mod google;
mod identity;
mod input;
mod json;
mod jwt;
mod keys;
mod login;
mod marshal;
mod named;
mod node;
mod parse;
mod role;
mod secret;

pub use azure::AzureKeys;
pub use docker_config::{CredentialHelper, DockerConfig, DockerLogin};
pub use error::{CredentialError, UnmarshalError};
pub use federation::ExternalAccount;
pub use google::{GoogleKeys, GoogleUser, ServiceAccount};
pub use identity::account_identity;
pub use input::CredentialInput;
pub use json::{JsonError, JsonProblem};
pub use jwt::expires_at as jwt_expires_at;
pub use login::{AwsKeys, AwsRole, BasicLogin, GoogleLogin, TokenLogin};
pub use marshal::{Marshalled, marshal, unmarshal};
pub use parse::{Parsed, parse, parse_for};
pub use secret::Secret;
