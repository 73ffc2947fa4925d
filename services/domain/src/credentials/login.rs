//! What a provider needs of the credentials, by kind.

use super::{GoogleKeys, Marshalled, Secret, UnmarshalError};

/// A user name and a password.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BasicLogin {
    /// The user name.
    pub username: String,
    /// The password.
    pub password: Secret,
}

/// A token that was not exchanged for anything yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TokenLogin {
    /// Sent to the registry as it is.
    Bearer(Secret),
    /// Given to the registry's token service as the password of a user (GHCR, NGC).
    Login(BasicLogin),
}

/// AWS keys and the region whose ECR issues the registry's token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AwsKeys {
    /// The access key id. Not secret, but an account's.
    pub access_key_id: String,
    /// The secret access key.
    pub secret_access_key: Secret,
    /// The session token of temporary keys.
    pub session_token: Option<Secret>,
    /// The region, such as `eu-west-1`.
    pub region: String,
    /// The role to ask as, if not as the keys' owner.
    pub role: Option<AwsRole>,
}

/// An IAM role that keys may assume.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AwsRole {
    /// Its ARN, such as `arn:aws:iam::123456789012:role/pull`.
    pub arn: String,
    /// What its owner agreed on with whoever assumes it.
    pub external_id: Option<Secret>,
    /// The session's name in the account's records.
    pub session_name: String,
}

/// Google credentials: a token that works as it is, or keys that one is had for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum GoogleLogin {
    /// An access token.
    Token(Secret),
    /// A key file.
    Keys(GoogleKeys),
}

impl Marshalled {
    /// The login of `basic` credentials.
    ///
    /// # Errors
    /// [`UnmarshalError::Incomplete`] with the key that is missing.
    pub fn basic(&self) -> Result<BasicLogin, UnmarshalError> {
        self.login_with("PASSWORD")
    }

    /// The token of `token` credentials.
    ///
    /// # Errors
    /// [`UnmarshalError::Incomplete`] with the key that is missing.
    pub fn token(&self) -> Result<TokenLogin, UnmarshalError> {
        match self.value("USERNAME") {
            Some(_) => self.login_with("TOKEN").map(TokenLogin::Login),
            None => self.required("TOKEN").cloned().map(TokenLogin::Bearer),
        }
    }

    /// The keys of `aws` credentials.
    ///
    /// # Errors
    /// [`UnmarshalError::Incomplete`] with the key that is missing.
    pub fn aws(&self) -> Result<AwsKeys, UnmarshalError> {
        Ok(AwsKeys {
            access_key_id: self.required("AWS_ACCESS_KEY_ID")?.expose().to_owned(),
            secret_access_key: self.required("AWS_SECRET_ACCESS_KEY")?.clone(),
            session_token: self.value("AWS_SESSION_TOKEN").cloned(),
            region: self.required("AWS_REGION")?.expose().to_owned(),
            role: self.role(),
        })
    }

    fn role(&self) -> Option<AwsRole> {
        let session_name = self.value("AWS_ROLE_SESSION_NAME").map_or("waybill", |name| name.expose());
        Some(AwsRole {
            arn: self.value("AWS_ROLE_ARN")?.expose().to_owned(),
            external_id: self.value("AWS_EXTERNAL_ID").cloned(),
            session_name: session_name.to_owned(),
        })
    }

    /// The access token of `gcp` credentials, or else their key file.
    ///
    /// # Errors
    /// [`UnmarshalError`] with the key or the field of the key file that is missing or cannot be used.
    pub fn google(&self) -> Result<GoogleLogin, UnmarshalError> {
        match (self.value("GCP_ACCESS_TOKEN"), self.value("GOOGLE_APPLICATION_CREDENTIALS")) {
            (None, Some(file)) => GoogleKeys::parse(file, self.value("GOOGLE_SUBJECT_TOKEN")).map(GoogleLogin::Keys),
            _ => self.required("GCP_ACCESS_TOKEN").cloned().map(GoogleLogin::Token),
        }
    }

    fn login_with(&self, password: &'static str) -> Result<BasicLogin, UnmarshalError> {
        Ok(BasicLogin {
            username: self.required("USERNAME")?.expose().to_owned(),
            password: self.required(password)?.clone(),
        })
    }
}
