//! AWS ECR Public: its own service, whose tokens are for `public.ecr.aws` (GetAuthorizationToken of `ecr-public`).

use aws_sdk_ecrpublic::Client;
use aws_types::SdkConfig;

use super::{ProviderError, aws::Call, ecr::Grant};

/// Asks for a token, at `endpoint` if there is one. AWS has this service in `us-east-1` only.
pub(super) async fn ask(
    shared: &SdkConfig,
    endpoint: Option<&str>,
    call: &Call<'_>,
) -> Result<Option<Grant>, ProviderError> {
    let mut builder = aws_sdk_ecrpublic::config::Builder::from(shared);
    builder.set_endpoint_url(endpoint.map(str::to_owned));
    let answer = call.make(Client::from_conf(builder.build()).get_authorization_token().send()).await?;
    Ok(answer.authorization_data.map(|data| (data.authorization_token, data.expires_at.map(|at| at.secs()))))
}
