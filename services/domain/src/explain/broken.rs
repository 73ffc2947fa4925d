//! Hops that broke after the build: the decision, the provider and the pull, each in words with its remedy.

use waybill_schemas::{
    Event, ImageId, PublicSealingKey, Recorded, Timestamp, WorkerId,
    v1::{
        AttachSkipReason, ContainerCredentialsAttached, ContainerCredentialsSkipped, CredentialProviderAttached,
        CredentialProviderFailed, ImagePullFailed, ProviderFailure, PullFailure,
    },
};

use super::{
    history::History,
    verdict::{Code, Hop, Verdict},
};

/// Why the scheduler withheld credentials that exist. None for the other skips.
pub(super) fn withheld(
    history: &History,
    requested: u64,
    decision: &Recorded<&ContainerCredentialsSkipped>,
) -> Option<Verdict> {
    let worker = &decision.value.worker_id;
    let verdict = match decision.value.reason {
        AttachSkipReason::NoImageId
        | AttachSkipReason::BuildContainer
        | AttachSkipReason::NoSecretForImage
        | AttachSkipReason::ContainerEnded => return None,
        // The build broke first, and its own reason says more.
        AttachSkipReason::CredentialsUnusable => return None,
        AttachSkipReason::UnknownWorker => {
            let since = match registrations(history, worker).find(|(sequence, _)| *sequence > requested) {
                Some((sequence, _)) => format!("it did so later, at sequence {sequence}"),
                None => "it has not since either".to_owned(),
            };
            Verdict::broken(
                Hop::Attached,
                Code::UnknownWorker,
                format!("worker {worker} had not registered its key when the container asked; {since}"),
                format!("Start `waybill worker --id {worker}`, check the worker_id of the request, and ask again."),
            )
        }
        AttachSkipReason::SecretExpired => {
            let sentence = match decision.value.image_event {
                Some(rotation) if rotation > requested => {
                    format!("the credentials that the rotation at sequence {rotation} brought had expired by then")
                }
                _ => "the saved credentials had expired when the container asked".to_owned(),
            };
            let remedy = match &decision.value.image_id {
                Some(image_id) => format!("{}, or build again; then ask for the container again.", rotate(image_id)),
                None => "Build again with new credentials, then ask for the container again.".to_owned(),
            };
            Verdict::broken(Hop::Attached, Code::SecretExpired, sentence, remedy)
        }
        AttachSkipReason::SecretRevoked => {
            let when = match decision.value.image_event {
                Some(revoked) if revoked > requested => {
                    format!("at sequence {revoked}, while the container had them, and its worker is told to drop them")
                }
                Some(revoked) => format!("at sequence {revoked}, before the container asked"),
                None => "before the container asked".to_owned(),
            };
            Verdict::broken(
                Hop::Attached,
                Code::SecretRevoked,
                format!("the credentials were revoked {when}"),
                "Build again with new credentials, then ask for the container again.",
            )
        }
        AttachSkipReason::UnsealFailed => Verdict::broken(
            Hop::Attached,
            Code::UnsealFailed,
            "the scheduler cannot open the saved credentials: they are sealed to another key than its present one, or by \
             another gateway",
            "If the gateway's or the scheduler's sealing key was replaced, build again; then ask for the container again.",
        ),
    };
    Some(verdict.at(decision.sequence, decision.at))
}

/// The direct way to other credentials for an image, as the beginning of a remedy.
pub(super) fn rotate(image_id: &ImageId) -> String {
    format!("Give the image new credentials with `waybill secrets rotate {image_id} --creds FILE`")
}

/// Why the worker has no provider for attached credentials.
pub(super) fn no_provider(
    history: &History,
    attached: &ContainerCredentialsAttached,
    failed: &Recorded<&CredentialProviderFailed>,
) -> Verdict {
    let CredentialProviderFailed { reason, detail, worker_id, .. } = failed.value;
    let words = detail.as_deref().unwrap_or("no more is known");
    let verdict = match reason {
        ProviderFailure::UnsealFailed => {
            sealed_to_another_key(history, Hop::Provider, worker_id, attached, failed.sequence).unwrap_or_else(|| {
                Verdict::broken(
                    Hop::Provider,
                    Code::UnsealFailed,
                    format!("worker {worker_id} cannot open the credentials: {words}"),
                    format!(
                        "Check WAYBILL_SCHEDULER_SEALING_KEY and the sealing key of worker {worker_id}; restart it, so that it registers its key, and ask again."
                    ),
                )
            })
        }
        ProviderFailure::UnparsableCredentials => Verdict::broken(
            Hop::Provider,
            Code::UnparsableCredentials,
            format!(
                "worker {worker_id} opened {} bytes marshalled as {} credentials and cannot use them: {words}",
                attached.credentials_length, attached.cred_type
            ),
            "Build again with what is named put right. POST /v1/builds writes the JSON \
             {\"registry\",\"type\",\"credentials\"} that is sealed.",
        ),
        ProviderFailure::TokenExchangeFailed => exchange(attached, failed, words),
        ProviderFailure::Unsupported => Verdict::broken(
            Hop::Provider,
            Code::Unsupported,
            format!("worker {worker_id} has no provider for {} credentials: {words}", attached.cred_type),
            "Upgrade the worker, or pass credentials of another kind, such as user:password.",
        ),
        ProviderFailure::RegistryMismatch => Verdict::broken(
            Hop::Provider,
            Code::RegistryMismatch,
            format!("the credentials are for another registry than the one that the image is pulled from: {words}"),
            "Build again with credentials for the image's own registry.",
        ),
        ProviderFailure::CredentialsWithheld => Verdict::broken(
            Hop::Provider,
            Code::UnsealFailed,
            format!("worker {worker_id} was given no credentials: {words}"),
            "Ask for the container again.",
        ),
    };
    verdict.at(failed.sequence, failed.at)
}

fn exchange(
    attached: &ContainerCredentialsAttached,
    failed: &Recorded<&CredentialProviderFailed>,
    words: &str,
) -> Verdict {
    if let Some(expiry) = attached.expires_at.filter(|expiry| *expiry <= failed.at) {
        return expired(Hop::Provider, attached, "credentials", expiry);
    }
    Verdict::broken(
        Hop::Provider,
        Code::TokenExchangeFailed,
        format!("no registry token could be had for the {} credentials: {words}", attached.cred_type),
        format!(
            "Where the cloud refused: check with it that these credentials are active and may read the registry. {}, or build again with good ones. Where it did not answer: check DNS, proxy and firewall from the worker's node to it. Then ask for the container again.",
            rotate(&attached.image_id)
        ),
    )
}

/// The worker registered another key than the one that the credentials are sealed to.
fn sealed_to_another_key(
    history: &History,
    hop: Hop,
    worker_id: &WorkerId,
    attached: &ContainerCredentialsAttached,
    failed: u64,
) -> Option<Verdict> {
    let sequence = replaced_key(history, worker_id, attached, failed)?;
    Some(Verdict::broken(
        hop,
        Code::WorkerKeyReplaced,
        format!(
            "worker {worker_id} registered a new key at sequence {sequence}; the credentials are sealed to the old one"
        ),
        "Ask for the container again: the credentials are sealed to the new key then.",
    ))
}

/// The registration that replaced the key that the credentials are sealed to, before the worker gave up.
fn replaced_key(
    history: &History,
    worker: &WorkerId,
    attached: &ContainerCredentialsAttached,
    failed: u64,
) -> Option<u64> {
    let sealed_to = &attached.credentials.recipient;
    let (sequence, key) = registrations(history, worker).take_while(|(sequence, _)| *sequence < failed).last()?;
    (key != sealed_to && sequence > attached.requested_by).then_some(sequence)
}

fn registrations<'h>(history: &'h History, worker: &'h WorkerId) -> impl Iterator<Item = (u64, &'h PublicSealingKey)> {
    history.events().filter_map(move |recorded| match &recorded.value.event {
        Event::WorkerRegistered(e) if e.worker_id == *worker => Some((recorded.sequence, &e.sealing_key)),
        _ => None,
    })
}

fn expired(hop: Hop, attached: &ContainerCredentialsAttached, what: &str, expiry: Timestamp) -> Verdict {
    Verdict::broken(
        hop,
        Code::ExpiredBeforePull,
        format!("the {what} expired at {expiry}, after they were attached and before they were used"),
        format!(
            "{}, or build again, with ones that live longer than a container takes to start; then ask again.",
            rotate(&attached.image_id)
        ),
    )
}

/// Why a pull failed that had attached credentials, or for which credentials made no difference.
pub(super) fn no_image(
    history: &History,
    attached: Option<&ContainerCredentialsAttached>,
    provider: Option<&CredentialProviderAttached>,
    failed: &Recorded<&ImagePullFailed>,
) -> Verdict {
    let refused = matches!(failed.value.reason, PullFailure::Unauthorized | PullFailure::Denied);
    let past = |expiry: Option<Timestamp>| expiry.filter(|expiry| refused && *expiry <= failed.at);
    if let Some(attached) = attached {
        let token = provider.and_then(|provider| provider.token_expires_at);
        let mut ends = [("credentials", attached.expires_at), ("registry token", token)].into_iter();
        if let Some((what, expiry)) = ends.find_map(|(what, end)| Some((what, past(end)?))) {
            return expired(Hop::Pull, attached, what, expiry).at(failed.sequence, failed.at);
        }
    }
    if failed.value.reason == PullFailure::NoLogin
        && let Some(verdict) = attached.and_then(|attached| {
            sealed_to_another_key(history, Hop::Pull, &failed.value.worker_id, attached, failed.sequence)
        })
    {
        return verdict.at(failed.sequence, failed.at);
    }
    let host = attached.map_or("the registry", |attached| attached.registry.as_str());
    let image = failed.value.image_ref.as_deref().unwrap_or("the image");
    let with = if attached.is_some() { "with the attached credentials" } else { "without credentials" };
    let words = failed.value.detail.as_deref().map_or_else(String::new, |detail| format!(": {detail}"));
    let (code, sentence, remedy) = match failed.value.reason {
        PullFailure::Unauthorized => (
            Code::Unauthorized,
            format!("{host} answered 401 to a pull of {image} {with}{words}"),
            "Build again with credentials for this registry, then ask again.",
        ),
        PullFailure::Denied => (
            Code::Denied,
            format!("{host} answered 403 to a pull of {image} {with}{words}"),
            "The account may not read this repository: grant it pull access, then ask for the container again.",
        ),
        PullFailure::NotFound => (
            Code::NotFound,
            format!("{host} answered 404 to a pull of {image} {with}{words}"),
            "Check the repository, tag and digest of the image; some registries answer 404 to whoever may not read.",
        ),
        PullFailure::Unreachable => (
            Code::Unreachable,
            format!("{host} did not answer a pull of {image}{words}"),
            "Check DNS, proxy and firewall from the worker's node to the registry, and WAYBILL_WORKER_PULL_SECONDS where \
             the pull took too long; then ask for the container again.",
        ),
        PullFailure::Tls => (
            Code::Tls,
            format!("the certificate of {host} was not accepted{words}"),
            "Set WAYBILL_WORKER_CA_FILE to the registry's certificate authority.",
        ),
        PullFailure::RateLimited => (
            Code::RateLimited,
            format!("{host} answered 429 to a pull of {image}{words}"),
            "Pull with credentials, less often, or through a mirror.",
        ),
        PullFailure::RegistryError => (
            Code::RegistryError,
            format!("{host} failed a pull of {image}{words}"),
            "Look at the registry; then ask for the container again.",
        ),
        PullFailure::DigestMismatch => (
            Code::DigestMismatch,
            format!("{host} sent content for {image} that is not what its digest says{words}"),
            "Look at the registry, and at proxies on the way: something changed the content.",
        ),
        PullFailure::NoImageReference => (
            Code::NoImageReference,
            "no build recorded what to pull".to_owned(),
            "Pass existing_image_uri or base_image in the build request, then ask for the container again.",
        ),
        PullFailure::InvalidReference => (
            Code::InvalidReference,
            format!("{image} cannot be pulled{words}"),
            "Correct the image reference of the build.",
        ),
        PullFailure::Storage => (
            Code::Storage,
            format!("the worker could not store {image}{words}"),
            "Look at the disk space and the permissions of WAYBILL_WORKER_IMAGE_DIR on the worker's node.",
        ),
        PullFailure::NoLogin => (
            Code::NoLogin,
            format!("the worker had no login for {image}, and did not ask {host}{words}"),
            "Put right on the worker's node or in the build what is named; then ask for the container again.",
        ),
        PullFailure::NoPlatform => (
            Code::NoPlatform,
            format!("{host} has {image}, but not for the platform of the worker's node{words}"),
            "Build the image for the node's platform, or place the container on another node.",
        ),
    };
    let remedy = match attached.filter(|_| failed.value.reason == PullFailure::Unauthorized) {
        Some(attached) => format!(
            "The credentials are wrong or revoked. {}, or build again with good ones; then ask again.",
            rotate(&attached.image_id)
        ),
        None => remedy.to_owned(),
    };
    Verdict::broken(Hop::Pull, code, sentence, remedy).at(failed.sequence, failed.at)
}
