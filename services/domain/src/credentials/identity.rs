//! The account that credentials belong to: what tells two accounts of one registry apart.

use waybill_schemas::v1::CredType;

use super::Parsed;

/// Name of the account: user name, AWS access key id, Google client e-mail, Azure client id. Never a password. None where the
/// keys change their identity at each issue (temporary AWS keys, bare tokens): then whoever names the secret says whose it is.
pub fn account_identity(parsed: &Parsed) -> Option<String> {
    let value = |name: &str| parsed.values.get(name).map(|value| value.expose().to_owned());
    match parsed.cred_type {
        CredType::Basic | CredType::Token => value("USERNAME"),
        CredType::Aws => {
            value("AWS_ROLE_ARN").or_else(|| value("AWS_ACCESS_KEY_ID").filter(|id| !id.starts_with("ASIA")))
        }
        CredType::Azure => value("AZURE_CLIENT_ID"),
        CredType::Gcp => {
            let key = value("GOOGLE_APPLICATION_CREDENTIALS")?;
            let key: serde_json::Value = serde_json::from_str(&key).ok()?;
            ["client_email", "client_id", "audience"].iter().find_map(|name| key.get(name)?.as_str().map(str::to_owned))
        }
        CredType::Public | CredType::Unknown => None,
    }
}
