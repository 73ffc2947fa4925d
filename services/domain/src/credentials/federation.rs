//! Google's workload identity federation: a token of another identity service stands in for a key (AIP-4117).
//!
//! The file says where on a machine that token is found. A worker looks nowhere, since it would be its own node's: the token
//! comes with the file, as `GOOGLE_SUBJECT_TOKEN`.

use std::collections::BTreeMap;

use serde::{Deserialize, de::IgnoredAny};

use super::keys::{Values, collect_values};
use super::{
    CredentialError, Secret,
    google::{missing_error, require_text, unreadable_error},
};

/// The only place where such tokens are exchanged.
pub(super) const STS: &str = "https://sts.googleapis.com/v1/token";
const IMPERSONATION: &str = "https://iamcredentials.googleapis.com/v1/projects/-/serviceAccounts/";
const GENERATE: &str = ":generateAccessToken";

/// A file of type `external_account`, and the token that it is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExternalAccount {
    /// The provider in a pool of workload identities that is to accept the token.
    pub audience: String,
    /// What kind of token it is, such as `urn:ietf:params:oauth:token-type:jwt`.
    pub subject_token_type: String,
    /// The token.
    pub subject_token: Secret,
    /// The service account to act as, if not as the identity itself.
    pub service_account: Option<String>,
}

#[derive(Deserialize)]
struct File {
    audience: Option<Secret>,
    subject_token_type: Option<Secret>,
    token_url: Option<Secret>,
    service_account_impersonation_url: Option<Secret>,
    credential_source: Option<BTreeMap<String, IgnoredAny>>,
    workforce_pool_user_project: Option<IgnoredAny>,
    client_secret: Option<IgnoredAny>,
}

/// What would have to be said at the exchange, and is not.
const OF_WORKFORCE: &str =
    "only workload identity pools are exchanged; pass a service account's key or GCP_ACCESS_TOKEN";

/// Sources of which no token can be handed over.
const UNSUPPORTED: [(&str, &str, &str); 2] = [
    (
        "environment_id",
        "GOOGLE_APPLICATION_CREDENTIALS.credential_source.environment_id",
        "a worker's own cloud identity is not lent out, and it signs no request to AWS for Google; \
         pass a service account's key or GCP_ACCESS_TOKEN",
    ),
    (
        "certificate",
        "GOOGLE_APPLICATION_CREDENTIALS.credential_source.certificate",
        "a worker reads no file that credentials name; pass a service account's key or GCP_ACCESS_TOKEN",
    ),
];

impl ExternalAccount {
    /// Reads the file; `token` is what came with it.
    pub(super) fn parse(text: &Secret, token: Option<&Secret>) -> Result<Self, CredentialError> {
        let file: File = serde_json::from_str(text.expose()).map_err(|error| unreadable_error(&error))?;
        let has = |part: &str| file.credential_source.as_ref().is_some_and(|source| source.contains_key(part));
        if let Some((_, key, problem)) = UNSUPPORTED.iter().find(|(part, _, _)| has(part)) {
            return Err(CredentialError::UnsupportedValue { key, problem });
        }
        let of_workforce = [
            (file.workforce_pool_user_project, "GOOGLE_APPLICATION_CREDENTIALS.workforce_pool_user_project"),
            (file.client_secret, "GOOGLE_APPLICATION_CREDENTIALS.client_secret"),
        ];
        if let Some((_, key)) = of_workforce.into_iter().find(|(given, _)| given.is_some()) {
            return Err(CredentialError::UnsupportedValue { key, problem: OF_WORKFORCE });
        }
        let impersonation = file.service_account_impersonation_url.as_ref();
        check_token_url(file.token_url.as_ref())?;
        Ok(Self {
            audience: require_text(file.audience, "GOOGLE_APPLICATION_CREDENTIALS.audience")?,
            subject_token_type: require_text(
                file.subject_token_type,
                "GOOGLE_APPLICATION_CREDENTIALS.subject_token_type",
            )?,
            service_account: impersonation.map(|url| service_account(url.expose())).transpose()?,
            subject_token: token
                .filter(|token| !token.is_empty())
                .cloned()
                .ok_or_else(|| missing_error("GOOGLE_SUBJECT_TOKEN"))?,
        })
    }

    /// The fields of the file that are used.
    pub(super) fn file_values(&self) -> Values {
        let text = |text: &str| Some(Secret::from(text));
        let url = self.service_account.as_ref().map(|account| format!("{IMPERSONATION}{account}{GENERATE}"));
        collect_values([
            ("type", text("external_account")),
            ("audience", text(&self.audience)),
            ("subject_token_type", text(&self.subject_token_type)),
            ("token_url", text(STS)),
            ("service_account_impersonation_url", url.map(Secret::new)),
        ])
    }
}

/// A token is never exchanged anywhere but at Google.
fn check_token_url(url: Option<&Secret>) -> Result<(), CredentialError> {
    let url =
        url.filter(|url| !url.is_empty()).ok_or_else(|| missing_error("GOOGLE_APPLICATION_CREDENTIALS.token_url"))?;
    match url.expose() == STS {
        true => Ok(()),
        false => Err(CredentialError::InvalidValue {
            key: "GOOGLE_APPLICATION_CREDENTIALS.token_url",
            expected: "https://sts.googleapis.com/v1/token; another one is the operator's to set, as \
                       WAYBILL_GOOGLE_TOKEN_ENDPOINT",
        }),
    }
}

/// The account in an address that is exactly Google's. Nothing else of it is used.
fn service_account(url: &str) -> Result<String, CredentialError> {
    let account = url.strip_prefix(IMPERSONATION).and_then(|rest| rest.strip_suffix(GENERATE));
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_' | b'@');
    let legal = |account: &&str| !account.is_empty() && !account.starts_with('.') && account.bytes().all(plain);
    account.filter(legal).map(str::to_owned).ok_or(CredentialError::InvalidValue {
        key: "GOOGLE_APPLICATION_CREDENTIALS.service_account_impersonation_url",
        expected: "https://iamcredentials.googleapis.com/v1/projects/-/serviceAccounts/<address>:generateAccessToken",
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::credentials::GoogleKeys;

    /// As `gcloud iam workload-identity-pools create-cred-config` writes it.
    const FILE: &str = r#"{"type":"external_account","audience":"//iam.googleapis.com/projects/1/locations/global/workloadIdentityPools/p/providers/x",
        "subject_token_type":"urn:ietf:params:oauth:token-type:jwt","token_url":"https://sts.googleapis.com/v1/token",
        "credential_source":{"file":"/var/run/token","format":{"type":"text"}},"universe_domain":"googleapis.com",
        "service_account_impersonation_url":"https://iamcredentials.googleapis.com/v1/projects/-/serviceAccounts/a@p.iam.gserviceaccount.com:generateAccessToken"}"#;

    /// Whom the keys ask, and as which account; or what is wrong.
    fn said(text: &str, token: Option<&str>) -> String {
        let parsed = GoogleKeys::parse(&Secret::from(text), token.map(Secret::from).as_ref());
        assert!(!format!("{parsed:?}").contains("hunter2"), "{parsed:?}");
        let asked = |keys: GoogleKeys| {
            let GoogleKeys::External(account) = &keys else { panic!("{keys:?}") };
            let account = account.service_account.clone().unwrap_or_default();
            Ok(format!("{} {account}", keys.token_endpoint()))
        };
        parsed.and_then(asked).unwrap_or_else(|error| error.to_string())
    }

    #[test]
    fn a_file_is_good_with_the_token_that_it_is_about() {
        let account = "https://sts.googleapis.com/v1/token a@p.iam.gserviceaccount.com";
        let source = |source: &str| FILE.replace(r#"{"file":"/var/run/token","format":{"type":"text"}}"#, source);
        let without = |field: &str| FILE.replace(&format!("\"{field}\""), "\"other\"");
        let (token, sts) = (Some("hunter2"), "https://sts.googleapis.com/v1/token ");
        let cases = [
            (FILE.to_owned(), token, account),
            (source(r#"{"url":"http://169.254.169.254/hunter2","headers":{"a":"b"}}"#), token, account),
            (source(r#"{"executable":{"command":"/bin/hunter2"}}"#), token, account),
            (without("credential_source"), token, account),
            (without("service_account_impersonation_url"), token, sts),
            (FILE.to_owned(), None, "add GOOGLE_SUBJECT_TOKEN"),
            (FILE.to_owned(), Some(""), "add GOOGLE_SUBJECT_TOKEN"),
            (without("audience"), token, "add GOOGLE_APPLICATION_CREDENTIALS.audience"),
            (without("subject_token_type"), token, "add GOOGLE_APPLICATION_CREDENTIALS.subject_token_type"),
            (without("token_url"), token, "add GOOGLE_APPLICATION_CREDENTIALS.token_url"),
            (source(r#"{"environment_id":"aws1","url":"hunter2"}"#), token, "it signs no request to AWS"),
            (source(r#"{"certificate":{}}"#), token, "credential_source.certificate is not supported"),
            (source("[]"), token, "expected a JSON object"),
            (
                FILE.replace("universe_domain", "workforce_pool_user_project"),
                token,
                "workforce_pool_user_project is not supported",
            ),
            (FILE.replace("universe_domain", "client_secret"), token, "client_secret is not supported"),
            (r#"{"type":"external_account","type":"hunter2"}"#.to_owned(), token, "expected a JSON object"),
        ];
        for (text, token, expected) in cases {
            let said = said(&text, token);
            assert!(said.contains(expected), "{text}: {said}");
        }
    }

    #[test]
    fn it_leads_nowhere_but_to_google() {
        for url in [
            "http://sts.googleapis.com/v1/token",
            "https://sts.googleapis.com/v1/token/",
            "https://sts.googleapis.com:443/v1/token",
            "https://sts.googleapis.com.evil.example/v1/token",
            "https://sts.evil.example/v1/token",
            "https://169.254.169.254/v1/token",
            "https://oauth2.googleapis.com/token",
        ] {
            let text = FILE.replace(STS, url);
            assert!(said(&text, Some("hunter2")).contains("token_url is malformed; expected https://sts."), "{url}");
        }
        let good = format!("{IMPERSONATION}a@p.iam.gserviceaccount.com{GENERATE}");
        for url in [
            "http://iamcredentials.googleapis.com/v1/projects/-/serviceAccounts/a@p:generateAccessToken",
            "https://iamcredentials.evil.example/v1/projects/-/serviceAccounts/a@p:generateAccessToken",
            "https://iamcredentials.googleapis.com/v1/projects/other/serviceAccounts/a@p:generateAccessToken",
            "https://iamcredentials.googleapis.com/v1/projects/-/serviceAccounts/a@p:generateIdToken",
            "https://iamcredentials.googleapis.com/v1/projects/-/serviceAccounts/a/../b:generateAccessToken",
            "https://iamcredentials.googleapis.com/v1/projects/-/serviceAccounts/..:generateAccessToken",
            "https://iamcredentials.googleapis.com/v1/projects/-/serviceAccounts/a?b=c:generateAccessToken",
            "https://iamcredentials.googleapis.com/v1/projects/-/serviceAccounts/:generateAccessToken",
        ] {
            let said = said(&FILE.replace(&good, url), Some("hunter2"));
            assert!(said.contains("service_account_impersonation_url is malformed"), "{url}: {said}");
        }
    }
}
