//! NATS identities in operator mode: tokens signed with nkeys, and the credentials files that clients take.

mod credentials;
mod token;

pub use credentials::{Credentials, CredentialsFile};
pub use token::{Claims, TokenError};
