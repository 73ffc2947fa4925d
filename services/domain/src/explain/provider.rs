//! Providers that could not be made, in words: one sentence and one remedy a reason.

use waybill_schemas::{Event, Timestamp, v1::ProviderFailure};

use super::{
    again::ASK_AGAIN,
    container::View,
    reason::rotate,
    story::Story,
    verdict::{Code, Hop, Verdict},
};
use crate::decision::Credential;

/// What a worker reported instead of a provider.
pub(super) struct Failed<'f> {
    pub(super) reason: ProviderFailure,
    pub(super) detail: Option<&'f str>,
    pub(super) sequence: u64,
    pub(super) at: Timestamp,
}

/// The verdict on credentials that a worker could not make a provider of.
pub(super) fn no_provider(view: &View<'_>, story: &Story<'_>, used: &Credential, failed: &Failed<'_>) -> Verdict {
    let expiry = used.expires_at.filter(|expiry| *expiry <= failed.at);
    if let (ProviderFailure::TokenExchangeFailed, Some(expiry)) = (failed.reason, expiry) {
        return expired(view, story, Hop::Provider, (used, "credentials", expiry)).at(failed.sequence, failed.at);
    }
    let new_key = (failed.reason == ProviderFailure::UnsealFailed).then(|| new_key(view, story, failed)).flatten();
    let (said, usual) = match new_key {
        Some(registered) => (
            format!(
                "worker {} registered another key at sequence {registered}, and its grant of the secret was sealed to the one \
                 before",
                story.worker()
            ),
            "Ask for the container again: the grant is sealed to the worker's present key then.".to_owned(),
        ),
        None => (sentence(story, used, failed.reason), format!("{} {ASK_AGAIN}", remedy(story, used, failed))),
    };
    let detail = failed.detail.map_or_else(String::new, |detail| format!(": {detail}"));
    let remedy = view.again(story).after_failure(used, usual);
    Verdict::broken(Hop::Provider, failed.reason.into(), format!("{said}{detail}"), remedy)
        .at(failed.sequence, failed.at)
}

fn sentence(story: &Story<'_>, used: &Credential, reason: ProviderFailure) -> String {
    let worker = story.worker();
    let Credential { secret_name, version, cred_type, credentials_length, registry, .. } = used;
    match reason {
        ProviderFailure::UnsealFailed => {
            format!("version {version} of secret {secret_name} cannot be opened for worker {worker}")
        }
        ProviderFailure::SecretMissing => {
            format!("the vault holds no grant of version {version} of secret {secret_name} for worker {worker}")
        }
        ProviderFailure::UnparsableCredentials => {
            format!("worker {worker} opened {credentials_length} bytes of {cred_type} credentials and cannot use them")
        }
        ProviderFailure::TokenExchangeUnreachable => {
            format!(
                "the cloud could not be asked for a registry token for version {version} of secret {secret_name} ({cred_type})"
            )
        }
        ProviderFailure::TokenExchangeFailed => {
            format!("no registry token could be had for version {version} of secret {secret_name} ({cred_type})")
        }
        ProviderFailure::Unsupported => format!("worker {worker} has no provider for {cred_type} credentials"),
        ProviderFailure::CredentialsWithheld => {
            format!(
                "worker {worker} says that it was given no credentials, and version {version} of secret {secret_name} was attached"
            )
        }
        ProviderFailure::RegistryMismatch => {
            format!(
                "secret {secret_name} is for {registry}, and the credentials in it or the image are for another registry"
            )
        }
    }
}

fn remedy(story: &Story<'_>, used: &Credential, failed: &Failed<'_>) -> String {
    let (worker, name) = (story.worker(), used.secret_name.as_str());
    match failed.reason {
        ProviderFailure::UnsealFailed => format!(
            "Compare `waybill keys list` with the keys in the scheduler's key folder, and restart worker {worker}, so that it \
             registers its present key. If a key is gone for good, give the secret a new version: `waybill secrets rotate \
             {name} --creds FILE`."
        ),
        ProviderFailure::SecretMissing => format!(
            "If the vault was restored from an older backup than the log, the version is lost; give the secret a new one: \
             `waybill secrets rotate {name} --creds FILE`."
        ),
        ProviderFailure::UnparsableCredentials => rotate(name, "with what is named put right"),
        ProviderFailure::TokenExchangeFailed => refused_exchange(name, failed.detail.unwrap_or_default()),
        ProviderFailure::TokenExchangeUnreachable => {
            "Check DNS, proxy and firewall of the worker's node where the cloud did not answer, or wait where it asked for \
             patience; the credentials may be right."
                .to_owned()
        }
        ProviderFailure::Unsupported => {
            format!("Upgrade worker {worker}, or give the secret credentials of another kind, such as user:password.")
        }
        ProviderFailure::CredentialsWithheld => format!("Look at the log of worker {worker} for this placement."),
        ProviderFailure::RegistryMismatch => "Build again with credentials for the image's own registry.".to_owned(),
    }
}

/// What clouds say when they give no token, and what to do about it. The first entry of which a phrase is said counts.
const REFUSALS: [(&[&str], &str); 5] = [
    (
        &["AccessDenied", "is not authorized to perform", "getAccessToken' denied"],
        "The cloud knows the account and does not let it have a token: allow what is named (for ECR \
         ecr:GetAuthorizationToken), or use an account that may.",
    ),
    (
        &["ExpiredToken", "has expired", "are expired", "expired or revoked"],
        "They have expired, or were withdrawn at the cloud: issue new ones.",
    ),
    (
        &["SignatureDoesNotMatch", "InvalidSignature", "Invalid JWT Signature", "Invalid client secret"],
        "The secret part does not belong to the account: copy both again from where they were issued.",
    ),
    (
        &[
            "UnrecognizedClient",
            "InvalidClientTokenId",
            "security token included in the request is invalid",
            "account not found",
            "not found in the directory",
        ],
        "The cloud does not know the account, or no longer: use one that is active.",
    ),
    (
        &["rejected by the attribute condition"],
        "Correct the attribute condition of the identity pool's provider, or use a token that fits it.",
    ),
];

fn refused_exchange(name: &str, detail: &str) -> String {
    let refusal = REFUSALS.iter().find(|(phrases, _)| phrases.iter().any(|phrase| detail.contains(phrase)));
    let usual = "Check with the cloud that these credentials are active and may read the registry.";
    let what = refusal.map_or(usual, |(_, what)| what);
    format!("{what} Others go to the secret with `waybill secrets rotate {name} --creds FILE`.")
}

/// A registration with another key between the decision and the failure.
fn new_key(view: &View<'_>, story: &Story<'_>, failed: &Failed<'_>) -> Option<u64> {
    let mut keys = view.history.events().filter_map(|recorded| match &recorded.value.event {
        Event::WorkerRegistered(event) if event.worker_id == *story.worker() && recorded.sequence < failed.sequence => {
            Some((recorded.sequence, &event.sealing_key))
        }
        _ => None,
    });
    let (sequence, newest) = keys.next_back()?;
    let before = keys.rfind(|(sequence, _)| *sequence < story.number())?;
    (sequence > story.number() && before.1 != newest).then_some(sequence)
}

/// The verdict on credentials or a token that ended between the decision and their use.
pub(super) fn expired(
    view: &View<'_>,
    story: &Story<'_>,
    hop: Hop,
    (used, what, expiry): (&Credential, &str, Timestamp),
) -> Verdict {
    let Credential { secret_name, version, .. } = used;
    let usual = format!(
        "{} {ASK_AGAIN}",
        rotate(secret_name.as_str(), "with credentials that live longer than a container takes to start")
    );
    let sentence = format!(
        "the {what} of secret {secret_name}, version {version}, expired at {expiry}, after they were attached and before they \
         were used"
    );
    let remedy = view.again(story).after_expiry(used, usual);
    Verdict::broken(hop, Code::ExpiredBeforePull, sentence, remedy)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_refusal_of_a_cloud_has_its_own_remedy() {
        let cases = [
            (
                "AccessDeniedException: User: arn:aws:iam::1:user/u is not authorized to perform: ecr:x",
                "allow what is named",
            ),
            ("ExpiredTokenException", "issue new ones"),
            ("invalid_client: client secret keys for app are expired", "issue new ones"),
            ("SignatureDoesNotMatch", "copy both again"),
            ("invalid_client: Invalid client secret provided.", "copy both again"),
            (
                "UnrecognizedClientException: The security token included in the request is invalid",
                "does not know the account",
            ),
            ("invalid_grant: Invalid grant: account not found", "does not know the account"),
            ("The given credential is rejected by the attribute condition.", "attribute condition"),
            ("something else", "Check with the cloud"),
            ("", "Check with the cloud"),
        ];
        for (detail, expected) in cases {
            let remedy = refused_exchange("s", detail);
            assert!(remedy.contains(expected) && remedy.contains("waybill secrets rotate s"), "{detail}: {remedy}");
        }
    }
}
