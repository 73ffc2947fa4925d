//! AWS STS: a role's temporary keys in exchange for somebody's own (AssumeRole).

use aws_credential_types::Credentials;
use aws_sdk_sts::Client;
use aws_types::SdkConfig;
use time::OffsetDateTime;
use waybill_domain::credentials::AwsRole;

use super::{ProviderError, aws::Call};

/// A role's keys.
pub(super) struct Session {
    pub(super) keys: Credentials,
    /// When they stop working.
    pub(super) expires_at: Option<OffsetDateTime>,
}

/// Asks STS in the region of the keys, at `endpoint` if there is one.
pub(super) fn client(shared: &SdkConfig, endpoint: Option<&str>, fips: bool) -> Client {
    let mut builder = aws_sdk_sts::config::Builder::from(shared).use_fips(fips);
    builder.set_endpoint_url(endpoint.map(str::to_owned));
    Client::from_conf(builder.build())
}

/// Assumes the role for the time that STS gives by itself (an hour).
pub(super) async fn assume(client: &Client, role: &AwsRole, call: &Call<'_>) -> Result<Session, ProviderError> {
    let external_id = role.external_id.as_ref().map(|id| id.expose().to_owned());
    let request = client.assume_role().role_arn(&role.arn).role_session_name(&role.session_name);
    let answer = call.make(request.set_external_id(external_id).send()).await?;
    let keys = answer.credentials().ok_or_else(|| call.unusable("an answer without keys"))?;
    let expires_at = OffsetDateTime::from_unix_timestamp(keys.expiration().secs()).ok();
    let (id, secret, token) = (keys.access_key_id(), keys.secret_access_key(), keys.session_token());
    Ok(Session { keys: Credentials::new(id, secret, Some(token.to_owned()), None, "waybill"), expires_at })
}

#[cfg(test)]
mod tests {
    use aws_sdk_sts::config::endpoint::{DefaultResolver, Params, ResolveEndpoint as _};

    /// Each region has its own, the partitions' first ones too.
    #[tokio::test]
    async fn which_sts_is_asked() {
        let cases = [
            ("us-east-1", false, "https://sts.us-east-1.amazonaws.com"),
            ("eu-west-1", false, "https://sts.eu-west-1.amazonaws.com"),
            ("us-east-2", true, "https://sts-fips.us-east-2.amazonaws.com"),
            ("us-gov-west-1", true, "https://sts.us-gov-west-1.amazonaws.com"),
            ("cn-north-1", false, "https://sts.cn-north-1.amazonaws.com.cn"),
            ("us-iso-east-1", false, "https://sts.us-iso-east-1.c2s.ic.gov"),
            ("eusc-de-east-1", false, "https://sts.eusc-de-east-1.amazonaws.eu"),
        ];
        for (region, fips, expected) in cases {
            let params = Params::builder().region(region.to_owned()).use_fips(fips).build().unwrap();
            let endpoint = DefaultResolver::new().resolve_endpoint(&params).await.unwrap();
            assert_eq!(endpoint.url(), expected, "{region}");
        }
    }
}
