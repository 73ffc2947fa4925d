//! Bodies of builds without a secret, and of what workers report.

use waybill_domain::decision::{Decision, Outcome, SkippedImage};
use waybill_schemas::{
    Event, Subject, Timestamp, WorkerId,
    v1::{self, CredType, CredentialSource, DEFAULT_CHAIN, SaveSkipReason},
};

use crate::world::{container, image, secret, workspace};

/// The word of an enumeration whose `ALL` and `as_str` are the wire's.
pub(crate) fn word<T: Copy>(all: &[T], text: impl Fn(T) -> &'static str, wanted: &str) -> T {
    all.iter().copied().find(|word| text(*word) == wanted).unwrap_or_else(|| panic!("no reason {wanted}"))
}

/// A request that the gateway refused, on its subject.
pub(crate) fn declined(of: &str) -> (Subject, Event) {
    use v1::RefusedOperation as Operation;
    let (operation, field, subject) = match of {
        "build" => {
            let (workspace, image_id) = (workspace(), image());
            (Operation::RecordBuild, "base_image", Subject::RefusedImage { workspace, image_id })
        }
        "request" | "end" => {
            let operation = if of == "end" { Operation::EndContainer } else { Operation::RequestContainer };
            let (workspace, container_id) = (workspace(), container());
            (operation, "worker_id", Subject::RefusedContainer { workspace, container_id })
        }
        "put" | "rotate" => {
            let operation = if of == "put" { Operation::PutSecret } else { Operation::RotateSecret };
            (operation, "registry", Subject::RefusedSecret { workspace: workspace(), secret: secret() })
        }
        "nothing" => (Operation::RecordBuild, "body", Subject::RefusedWorkspace { workspace: workspace() }),
        "stranger" => (Operation::RecordBuild, "Authorization", Subject::RefusedUnowned),
        other => panic!("no request {other}"),
    };
    let event = v1::RequestRefused {
        operation,
        workspace: subject.workspace().cloned(),
        container_id: matches!(subject, Subject::RefusedContainer { .. }).then(container),
        image_id: matches!(subject, Subject::RefusedImage { .. }).then(image),
        secret_name: matches!(subject, Subject::RefusedSecret { .. }).then(secret),
        status: 422,
        code: v1::RefusalCode::InvalidField,
        field: Some(field.to_owned()),
        detail: Some("the tag is malformed".to_owned()),
        remedy: Some("name another tag".to_owned()),
        repeated: None,
    };
    (subject, event.into())
}

/// A build without a secret.
pub(crate) fn skipped(reason: &str) -> Event {
    let reason = word(SaveSkipReason::ALL, SaveSkipReason::as_str, reason);
    let incomplete = reason == SaveSkipReason::IncompleteCredentials;
    let named = reason != SaveSkipReason::NoImageReference;
    let detail = match reason {
        SaveSkipReason::RegistryMismatch => Some("the file has credentials for ghcr.io"),
        _ => None,
    };
    v1::CredentialSecretSkipped {
        workspace: workspace(),
        image_id: image(),
        image_ref: named.then(|| "a.b/team/app:1".to_owned()),
        registry: named.then(|| "a.b".to_owned()),
        secret_name: None,
        cred_type: incomplete.then_some(CredType::Aws),
        source: Some(CredentialSource::BaseImage),
        reason,
        missing_key: incomplete.then(|| "AWS_SECRET_ACCESS_KEY".to_owned()),
        detail: detail.map(str::to_owned),
    }
    .into()
}

/// Who reports of which placement.
pub(crate) struct Report {
    pub(crate) worker: WorkerId,
    pub(crate) placement: u64,
    pub(crate) decided_by: u64,
}

impl Report {
    pub(crate) fn provider(self, name: &str, token_expires_at: Option<Timestamp>) -> Event {
        let custom = name != DEFAULT_CHAIN;
        v1::CredentialProviderAttached {
            workspace: workspace(),
            container_id: container(),
            placement: self.placement,
            image_id: Some(image()),
            worker_id: self.worker,
            provider_name: name.to_owned(),
            cred_type: custom.then_some(CredType::Basic),
            registry: custom.then(|| "a.b".to_owned()),
            secret_name: custom.then(secret),
            version: custom.then_some(1),
            token_expires_at,
            decided_by: self.decided_by,
        }
        .into()
    }

    pub(crate) fn no_provider(self, reason: &str) -> Event {
        v1::CredentialProviderFailed {
            workspace: workspace(),
            container_id: container(),
            placement: self.placement,
            image_id: Some(image()),
            worker_id: self.worker,
            cred_type: Some(CredType::Basic),
            registry: Some("a.b".to_owned()),
            reason: word(v1::ProviderFailure::ALL, v1::ProviderFailure::as_str, reason),
            detail: Some("the cloud's own words".to_owned()),
            decided_by: self.decided_by,
        }
        .into()
    }

    pub(crate) fn pulled(self) -> Event {
        v1::ImagePullSucceeded {
            workspace: workspace(),
            container_id: container(),
            placement: self.placement,
            image_id: Some(image()),
            worker_id: self.worker,
            image_ref: "a.b/team/app:1".to_owned(),
            digest: format!("sha256:{}", "0".repeat(64)),
            decided_by: self.decided_by,
        }
        .into()
    }

    pub(crate) fn not_pulled(self, reason: &str) -> Event {
        v1::ImagePullFailed {
            workspace: workspace(),
            container_id: container(),
            placement: self.placement,
            image_id: Some(image()),
            worker_id: self.worker,
            image_ref: Some("a.b/team/app:1".to_owned()),
            reason: word(v1::PullFailure::ALL, v1::PullFailure::as_str, reason),
            detail: None,
            decided_by: self.decided_by,
        }
        .into()
    }
}

/// What a program asked for a.b, with the container's key or as a pod, and why it was refused, if it was.
pub(crate) fn question(as_pod: bool, reason: &str) -> v1::LoginQuestion {
    let identity = v1::PodIdentity { namespace: "shop".to_owned(), service_account: "web".to_owned() };
    let refused = |reason: &str| word(v1::LoginRefusal::ALL, v1::LoginRefusal::as_str, reason);
    v1::LoginQuestion {
        question: v1::Question::Login,
        asked_with: if as_pod { v1::AskedWith::PodToken } else { v1::AskedWith::ContainerKey },
        program: "skopeo".to_owned(),
        pid: Some(4711),
        run_by: Some("kubelet".to_owned()),
        identity: as_pod.then_some(identity),
        registry: Some("a.b".to_owned()),
        image: None,
        reason: (!reason.is_empty()).then(|| refused(reason)),
        detail: None,
        repeated: None,
    }
}

/// The decision, made otherwise.
pub(crate) fn skipped_instead(decision: &Decision, reason: &str) -> Decision {
    let placement = decision.placement().unwrap().clone();
    let reason = word(v1::AttachSkipReason::ALL, v1::AttachSkipReason::as_str, reason);
    Decision { outcome: Outcome::Skipped { placement, image: SkippedImage::default(), reason }, ..decision.clone() }
}
