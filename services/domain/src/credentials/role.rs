//! The IAM role that AWS keys are to assume: what a client may say of it (IAM's API reference, `AssumeRole`).

use waybill_schemas::v1::CredType;

use super::{CredentialError, Secret, keys::Keys};

const ARN_MAX: usize = 2048;
const NAME_MAX: usize = 64;

/// Role, external id and session name, each as it may be sent to AWS.
pub(super) fn values(keys: &Keys) -> Result<[Option<Secret>; 3], CredentialError> {
    let role = one(keys, "AWS_ROLE_ARN", is_role_arn, "a role's ARN such as arn:aws:iam::123456789012:role/pull")?;
    let external_id = one(keys, "AWS_EXTERNAL_ID", is_external_id, "2 to 1224 of A-Z a-z 0-9 _ + = , . @ : / -")?;
    let session_name = one(keys, "AWS_ROLE_SESSION_NAME", is_session_name, "2 to 64 of A-Z a-z 0-9 _ + = , . @ -")?;
    if role.is_none() && external_id.is_some() {
        return Err(CredentialError::Incomplete { cred_type: CredType::Aws, missing: "AWS_ROLE_ARN" });
    }
    Ok([role, external_id, session_name])
}

fn one(
    keys: &Keys,
    key: &'static str,
    valid: fn(&str) -> bool,
    expected: &'static str,
) -> Result<Option<Secret>, CredentialError> {
    match keys.first(&[key]) {
        Some(value) if !valid(value.expose()) => Err(CredentialError::InvalidValue { key, expected }),
        value => Ok(value.cloned()),
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
