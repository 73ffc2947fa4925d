//! NATS identities in operator mode: tokens signed with nkeys, the credentials files that clients take, how they are renewed,
//! and what is asked of the issuer, which signs them.

mod credentials;
mod issuer;
mod renewal;
mod service_account;
mod token;

pub use credentials::{Credentials, CredentialsFile};
pub use issuer::{
    ASK, Admission, Answer, Ask, By, NewToken, RENEW, Refusal, Seed, ask_issuer, lifetime, proof, recorded_hash,
};
pub(crate) use renewal::keep_renewed;
pub use renewal::{RenewError, renew};
pub use service_account::{KeySet, ServiceAccount, ServiceAccountError, ServiceAccounts};
pub use token::{Claims, TokenError, user_claims};
