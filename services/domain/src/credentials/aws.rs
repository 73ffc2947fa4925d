//! Keys of AWS, and the IAM role that they are to assume.

use waybill_schemas::{Timestamp, v1::CredType};

use super::keys::{Keys, Values, collect_values};
use super::{CredentialError, Credentials, Secret, jwt};
use crate::reference::{EcrRegistry, Registry, RegistryHost};

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
    /// When the keys stop working, as it was given with them.
    pub expires_at: Option<Timestamp>,
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

/// Ids that begin so are temporary and worth nothing without their session token
/// (IAM user guide, "Understanding unique ID prefixes").
const TEMPORARY_KEY: &str = "ASIA";
/// Name of a session whose keys give none.
const SESSION_NAME: &str = "waybill";

const EXPIRATION: &str = "AWS_CREDENTIAL_EXPIRATION";

impl AwsKeys {
    pub(super) fn expires_at(&self) -> Option<Timestamp> {
        let token = self.session_token.as_ref().and_then(jwt::expires_at);
        token.into_iter().chain(self.expires_at).min()
    }

    /// The role's ARN, or the id of lasting keys.
    pub(super) fn identity(&self) -> Option<String> {
        match &self.role {
            Some(role) => Some(role.arn.clone()),
            None if self.session_token.is_some() => None,
            None => Some(self.access_key_id.clone()),
        }
    }

    pub(super) fn to_values(&self) -> Values {
        let role = self.role.as_ref();
        collect_values([
            ("AWS_ACCESS_KEY_ID", Some(Secret::from(self.access_key_id.as_str()))),
            ("AWS_SECRET_ACCESS_KEY", Some(self.secret_access_key.clone())),
            ("AWS_SESSION_TOKEN", self.session_token.clone()),
            (EXPIRATION, self.expires_at.map(|end| Secret::from(end.to_string()))),
            ("AWS_ROLE_ARN", role.map(|role| Secret::from(role.arn.as_str()))),
            ("AWS_EXTERNAL_ID", role.and_then(|role| role.external_id.clone())),
            ("AWS_ROLE_SESSION_NAME", role.map(|role| Secret::from(role.session_name.as_str()))),
        ])
    }
}

/// The region is the host's own: a region among the keys is often just the one that their owner works in.
pub(super) fn read_keys(keys: &Keys, host: &RegistryHost) -> Result<Credentials, CredentialError> {
    let need = |key: &'static str| keys.need_value(CredType::Aws, key, &[key]);
    let (id, secret_access_key) = (need("AWS_ACCESS_KEY_ID")?, need("AWS_SECRET_ACCESS_KEY")?);
    let session_token = keys.first_value(&["AWS_SESSION_TOKEN"]).cloned();
    if session_token.is_none() && id.expose().starts_with(TEMPORARY_KEY) {
        return Err(CredentialError::Incomplete {
            cred_type: CredType::Aws,
            missing: "AWS_SESSION_TOKEN",
            misspelt: false,
        });
    }
    Ok(Credentials::Aws(AwsKeys {
        access_key_id: id.expose().to_owned(),
        secret_access_key,
        session_token,
        region: match host.kind() {
            Registry::Ecr(EcrRegistry { region, .. }) => region,
            // ECR Public issues its tokens here only.
            _ => "us-east-1".to_owned(),
        },
        role: read_role(keys)?,
        expires_at: keys.first_value(&[EXPIRATION]).map(read_expiration).transpose()?,
    }))
}

/// RFC 3339, as the AWS CLI writes it.
fn read_expiration(text: &Secret) -> Result<Timestamp, CredentialError> {
    text.expose().parse().map_err(|_| CredentialError::InvalidValue {
        key: EXPIRATION,
        expected: "an RFC 3339 time such as 2030-01-31T12:00:00Z",
    })
}

const ARN_MAX: usize = 2048;
const NAME_MAX: usize = 64;

/// The role, each part of it as it may be sent to AWS (IAM's API reference, `AssumeRole`).
fn read_role(keys: &Keys) -> Result<Option<AwsRole>, CredentialError> {
    let arn = read_part(keys, "AWS_ROLE_ARN", is_role_arn, "a role's ARN such as arn:aws:iam::123456789012:role/pull")?;
    let external_id = read_part(keys, "AWS_EXTERNAL_ID", is_external_id, "2 to 1224 of A-Z a-z 0-9 _ + = , . @ : / -")?;
    let session_name =
        read_part(keys, "AWS_ROLE_SESSION_NAME", is_session_name, "2 to 64 of A-Z a-z 0-9 _ + = , . @ -")?;
    match (arn, external_id) {
        (Some(arn), external_id) => Ok(Some(AwsRole {
            arn: arn.expose().to_owned(),
            external_id: external_id.cloned(),
            session_name: session_name.map_or(SESSION_NAME, |name| name.expose()).to_owned(),
        })),
        (None, Some(_)) => {
            Err(CredentialError::Incomplete { cred_type: CredType::Aws, missing: "AWS_ROLE_ARN", misspelt: false })
        }
        (None, None) => Ok(None),
    }
}

fn read_part<'k>(
    keys: &'k Keys,
    key: &'static str,
    valid: fn(&str) -> bool,
    expected: &'static str,
) -> Result<Option<&'k Secret>, CredentialError> {
    match keys.first_value(&[key]) {
        Some(value) if !valid(value.expose()) => Err(CredentialError::InvalidValue { key, expected }),
        value => Ok(value),
    }
}

/// `arn:<partition>:iam::<account>:role/<path and name>`.
fn is_role_arn(text: &str) -> bool {
    let mut parts = text.splitn(6, ':');
    let mut next = || parts.next().unwrap_or_default();
    let (arn, partition, service, region, account, resource) = (next(), next(), next(), next(), next(), next());
    let partition_is_one = partition == "aws" || partition.strip_prefix("aws-").is_some_and(is_lower_label);
    let path = resource.strip_prefix("role/").unwrap_or_default();
    let name = path.rsplit('/').next().unwrap_or_default();
    text.len() <= ARN_MAX
        && (arn, service, region) == ("arn", "iam", "")
        && partition_is_one
        && account.len() == 12
        && account.bytes().all(|b| b.is_ascii_digit())
        && path.split('/').all(|part| !part.is_empty())
        && path.bytes().all(|b| is_word(b) || b == b'/')
        && name.len() <= NAME_MAX
}

fn is_lower_label(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
}

fn is_external_id(text: &str) -> bool {
    (2..=1224).contains(&text.len()) && text.bytes().all(|b| is_word(b) || matches!(b, b':' | b'/'))
}

fn is_session_name(text: &str) -> bool {
    (2..=NAME_MAX).contains(&text.len()) && text.bytes().all(is_word)
}

/// What names in IAM are made of.
fn is_word(b: u8) -> bool {
    b.is_ascii_alphanumeric() || b"_+=,.@-".contains(&b)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn role_arns() {
        let long = format!("arn:aws:iam::123456789012:role/{}", "r".repeat(65));
        let cases = [
            ("arn:aws:iam::123456789012:role/pull", true),
            ("arn:aws-cn:iam::123456789012:role/pull", true),
            ("arn:aws-us-gov:iam::123456789012:role/service-role/team/pull_1", true),
            ("arn:aws-iso-b:iam::123456789012:role/a+b=c,d.e@f-g", true),
            ("arn:aws:iam::123456789012:user/pull", false),
            ("arn:aws:iam::123456789012:role/", false),
            ("arn:aws:iam::123456789012:role//pull", false),
            ("arn:aws:iam::123456789012:role/pull/", false),
            ("arn:aws:iam::123456789012:role/pull me", false),
            ("arn:aws:iam::123456789012:role/pull:more", false),
            ("arn:aws:iam::12345678901:role/pull", false),
            ("arn:aws:iam::aws:role/pull", false),
            ("arn:aws:iam:eu-west-1:123456789012:role/pull", false),
            ("arn:aws:sts::123456789012:assumed-role/pull/me", false),
            ("arn:awsx:iam::123456789012:role/pull", false),
            ("arn:aws-:iam::123456789012:role/pull", false),
            ("arn:gcp:iam::123456789012:role/pull", false),
            ("pull", false),
            ("", false),
            (long.as_str(), false),
        ];
        for (text, expected) in cases {
            assert_eq!(is_role_arn(text), expected, "{text}");
        }
    }

    #[test]
    fn ids_and_names() {
        let cases = [
            ("ab", true, true),
            ("a", false, false),
            ("a:b/c", true, false),
            ("a b", false, false),
            ("ä@", false, false),
        ];
        for (text, external_id, session_name) in cases {
            assert_eq!((is_external_id(text), is_session_name(text)), (external_id, session_name), "{text}");
        }
        assert!(is_external_id(&"x".repeat(1224)) && !is_external_id(&"x".repeat(1225)));
        assert!(is_session_name(&"x".repeat(64)) && !is_session_name(&"x".repeat(65)));
    }
}
