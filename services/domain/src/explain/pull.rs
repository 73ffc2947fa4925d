//! Pulls that failed, in words: one sentence and one remedy a reason.

use waybill_schemas::{
    Recorded,
    v1::{ImagePullFailed, PullFailure},
};

use super::{
    again::ASK_AGAIN,
    container::View,
    provider::expired,
    reason::rotate,
    story::{Provided, Story},
    verdict::{Code, Hop, Verdict},
};
use crate::decision::Credential;

/// The verdict on a pull that failed with attached credentials, or for which credentials made no difference.
pub(super) fn no_image(view: &View<'_>, story: &Story<'_>, failed: &Recorded<&ImagePullFailed>) -> Verdict {
    let used = story.credential();
    if let Some(verdict) = used.and_then(|used| expired_before(view, story, used, failed)) {
        return verdict;
    }
    let reason = failed.value.reason;
    let detail = failed.value.detail.as_ref().map_or_else(String::new, |detail| format!(": {detail}"));
    let said = format!("{}{detail}", sentence(used, failed.value));
    let again = view.again(story);
    let usual = format!("{} {ASK_AGAIN}", remedy(used, reason));
    let remedy = match (used, depends_on(reason)) {
        (Some(used), Depends::Credentials) => again.after_failure(used, usual),
        (_, Depends::Reference) => again.after_reference(failed.value.image_ref.as_deref(), usual),
        _ => usual,
    };
    Verdict::broken(Hop::Pull, reason.into(), said, remedy).at(failed.sequence, failed.at)
}

/// True if credentials would have made a difference to a pull that went without, for the reason that is given.
pub(crate) fn wants_credentials(reason: PullFailure, cause: Code) -> bool {
    match reason {
        PullFailure::Unauthorized | PullFailure::Denied | PullFailure::NoImageReference => true,
        PullFailure::NotFound => !matches!(cause, Code::PublicRegistry | Code::ImageModified),
        _ => false,
    }
}

/// What may mend a pull besides what the remedy names.
enum Depends {
    Credentials,
    Reference,
    Neither,
}

fn depends_on(reason: PullFailure) -> Depends {
    match reason {
        PullFailure::Unauthorized | PullFailure::Denied | PullFailure::NoLogin => Depends::Credentials,
        PullFailure::NotFound
        | PullFailure::NoImageReference
        | PullFailure::InvalidReference
        | PullFailure::NoPlatform => Depends::Reference,
        PullFailure::UnsupportedChallenge
        | PullFailure::Unreachable
        | PullFailure::Tls
        | PullFailure::TlsUnknownAuthority
        | PullFailure::TlsWrongHost
        | PullFailure::TlsExpired
        | PullFailure::PlainHttp
        | PullFailure::Proxy
        | PullFailure::RateLimited
        | PullFailure::RegistryError
        | PullFailure::DigestMismatch
        | PullFailure::Storage => Depends::Neither,
    }
}

fn expired_before(
    view: &View<'_>,
    story: &Story<'_>,
    used: &Credential,
    failed: &Recorded<&ImagePullFailed>,
) -> Option<Verdict> {
    if !matches!(failed.value.reason, PullFailure::Unauthorized | PullFailure::Denied) {
        return None;
    }
    let token = match story.provider.as_ref().map(|provider| provider.value) {
        Some(Provided::Attached(provider)) => provider.token_expires_at,
        _ => None,
    };
    let ends = [("credentials", used.expires_at), ("registry token", token)];
    let (what, expiry) = ends.into_iter().find_map(|(what, end)| Some((what, end.filter(|end| *end <= failed.at)?)))?;
    Some(expired(view, story, Hop::Pull, (used, what, expiry)).at(failed.sequence, failed.at))
}

fn sentence(used: Option<&Credential>, failed: &ImagePullFailed) -> String {
    let host = used.map_or("the registry", |used| used.registry.as_str());
    let image = failed.image_ref.as_deref().unwrap_or("the image");
    let with = match used {
        Some(used) => format!("with version {} of secret {}", used.version, used.secret_name),
        None => "without credentials from a build".to_owned(),
    };
    match failed.reason {
        PullFailure::Unauthorized => format!("{host} wanted another login for a pull of {image} {with}"),
        PullFailure::Denied => format!("{host} refused a pull of {image} {with}"),
        PullFailure::UnsupportedChallenge => {
            format!("{host} asked for a login in a way that cannot be given, and {image} was not pulled {with}")
        }
        PullFailure::NotFound => format!("{host} found no {image} for a pull {with}"),
        PullFailure::Unreachable => format!("{host} did not answer a pull of {image}"),
        PullFailure::Tls => format!("no TLS connection to {host} came about"),
        PullFailure::TlsUnknownAuthority => format!("the worker does not know the authority of {host}'s certificate"),
        PullFailure::TlsWrongHost => format!("{host} showed a certificate for another host"),
        PullFailure::TlsExpired => format!("the certificate of {host} has expired, or is not valid yet"),
        PullFailure::PlainHttp => format!("{host} speaks plain HTTP, and TLS was tried"),
        PullFailure::Proxy => format!("the proxy on the way to {host} let no request through"),
        PullFailure::RateLimited => format!("{host} asked for patience with a pull of {image} {with}"),
        PullFailure::RegistryError => format!("{host} failed a pull of {image} {with}"),
        PullFailure::DigestMismatch => format!("{host} sent content for {image} that is not what its digest says"),
        PullFailure::NoImageReference => "there was nothing to pull".to_owned(),
        PullFailure::InvalidReference => format!("{image} cannot be pulled"),
        PullFailure::Storage => format!("worker {} could not store {image}", failed.worker_id),
        PullFailure::NoLogin => {
            format!("worker {} had no login for {image}, and did not ask {host}", failed.worker_id)
        }
        PullFailure::NoPlatform => {
            format!("{host} has {image}, but not for the platform of worker {}", failed.worker_id)
        }
    }
}

fn remedy(used: Option<&Credential>, reason: PullFailure) -> String {
    let text = match (reason, used) {
        (PullFailure::Unauthorized, Some(used)) => {
            return rotate(used.secret_name.as_str(), "with a login that this registry takes");
        }
        (PullFailure::Unauthorized, None) => {
            "Build again with credentials for this registry, or with the name of a secret for it."
        }
        (PullFailure::Denied, Some(_)) => {
            "Give the account of the secret pull access to the repository, or the secret an account that has it."
        }
        (PullFailure::Denied, None) => {
            "If the image is private, build again with credentials; if not, give everybody pull access to the repository."
        }
        (PullFailure::UnsupportedChallenge, _) => {
            "Check that the reference names the registry itself and not a web server or proxy in front of it: a registry \
             asks for Basic or Bearer."
        }
        (PullFailure::NotFound, _) => {
            "Check the repository, tag and digest of the image; some registries answer 404 to an account that may not read."
        }
        (PullFailure::Unreachable, _) => {
            "Check DNS, proxy and firewall from the worker's node to the registry, and WAYBILL_WORKER_PULL_SECONDS where the \
             pull took too long."
        }
        (PullFailure::Tls, _) => {
            "Look at the registry's TLS settings and at whatever stands between it and the worker's node, for what is named."
        }
        (PullFailure::TlsUnknownAuthority, _) => {
            "Set WAYBILL_WORKER_CA_FILE to the certificate authority of the registry, and restart the worker."
        }
        (PullFailure::TlsWrongHost, _) => {
            "Name the registry in the image reference as its certificate does, or give it a certificate for that name."
        }
        (PullFailure::TlsExpired, _) => "Renew the certificate of the registry; check the clock of the worker's node.",
        (PullFailure::PlainHttp, _) => {
            "List the registry in WAYBILL_WORKER_PLAIN_HTTP_REGISTRIES if it is to be spoken to without TLS, and restart the \
             worker."
        }
        (PullFailure::Proxy, _) => {
            "Check HTTPS_PROXY, HTTP_PROXY and NO_PROXY in the worker's environment, and the proxy that is named."
        }
        (PullFailure::RateLimited, Some(_)) => {
            "Wait as long as the registry asks for, pull less often or through a mirror, or use an account with a higher limit."
        }
        (PullFailure::RateLimited, None) => {
            "Wait as long as the registry asks for, or pull with credentials, less often, or through a mirror."
        }
        (PullFailure::RegistryError, _) => {
            "Look at the registry for the answer that is named: a policy, a quota or a fault of its own."
        }
        (PullFailure::DigestMismatch, _) => {
            "Look at the registry, and at proxies on the way: something changed the content."
        }
        (PullFailure::NoImageReference, _) => {
            "Pass existing_image_uri or base_image in the build request; then build again."
        }
        (PullFailure::InvalidReference, _) => "Correct the image reference of the build; then build again.",
        (PullFailure::Storage, _) => {
            "Look at the disk space and the permissions of WAYBILL_WORKER_IMAGE_DIR on the worker's node."
        }
        (PullFailure::NoLogin, _) => "Put right on the worker's node, or in the build, what is named.",
        (PullFailure::NoPlatform, _) => {
            "Build the image for the node's platform, or place the container on another node."
        }
    };
    text.to_owned()
}
