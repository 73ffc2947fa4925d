//! An account on a registry, and the two forms in which programs want it.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// A user and a password; `Debug` shows the user only.
#[derive(Clone, PartialEq, Eq)]
pub struct Login {
    user: String,
    password: String,
}

impl Login {
    /// An account's user and password; the user may not contain `:` (RFC 7617).
    pub fn new(user: impl Into<String>, password: impl Into<String>) -> Self {
        Self { user: user.into(), password: password.into() }
    }

    /// The user's name.
    pub fn user(&self) -> &str {
        &self.user
    }

    /// The password in clear.
    pub fn password(&self) -> &str {
        &self.password
    }

    /// Base64 of `user:password`, as in an `Authorization: Basic` header and in an authfile.
    pub fn basic(&self) -> String {
        STANDARD.encode(format!("{}:{}", self.user, self.password))
    }

    /// Reads what [`Login::basic`] writes.
    pub fn from_basic(encoded: &str) -> Option<Self> {
        let decoded = String::from_utf8(STANDARD.decode(encoded.trim()).ok()?).ok()?;
        decoded.split_once(':').map(|(user, password)| Self::new(user, password))
    }

    /// The content of a containers-auth.json(5) file for one registry host.
    pub fn authfile(&self, host: &str) -> String {
        serde_json::json!({ "auths": { host: { "auth": self.basic() } } }).to_string()
    }
}

impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Login").field("user", &self.user).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_may_contain_colons() {
        let login = Login::new("ada", "a:b:c");
        assert_eq!(Login::from_basic(&login.basic()), Some(login));
    }

    #[test]
    fn debug_keeps_the_password() {
        assert_eq!(format!("{:?}", Login::new("ada", "lovelace")), r#"Login { user: "ada", .. }"#);
    }
}
