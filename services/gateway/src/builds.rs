//! Recording a build: a version of a secret where it brings credentials, then what it says of its image.

use std::sync::Arc;

use uuid::Uuid;
use waybill_domain::save::{BuildDecision, SavePlan, SaveSkip, Target, skip_bound_elsewhere, skip_refused};
use waybill_platform::log::{Expect, NewEvent};
use waybill_schemas::{
    Derivation, Event, ImageId, Recorded, RecordedEvent, RequestId, SecretName, Subject, WorkspaceId, derived_id,
    v1::{CredType, CredentialSecretSkipped, ImageSecretNamed, SecretVersion, Verified},
};

use crate::{
    idempotency::is_same_build,
    port::{Unverified, Verifies, verified_from},
    record::{Cause, Receipt, RecordError, Recorder, Session, Written, unacknowledged},
    versions::{Origin, Saved, VersionRequest, read_head, save_and_name, secret_subject},
};

/// A build that is decided, as far as that depends on the request alone.
pub(crate) struct Build {
    pub(crate) workspace: WorkspaceId,
    pub(crate) image_id: ImageId,
    /// Derived from the idempotency key, or fresh.
    pub(crate) request: RequestId,
    /// True if the request had a key.
    pub(crate) repeatable: bool,
    pub(crate) decision: BuildDecision,
    /// Who asks the registry about the credentials, where that was wanted.
    pub(crate) verifies: Option<Arc<dyn Verifies>>,
}

/// What is recorded of a build.
pub(crate) struct BuildReceipt {
    /// Receipt of the image's event.
    pub(crate) receipt: Receipt,
    /// What the registry said of the credentials, where it was asked and that is still known.
    pub(crate) verified: Option<Verified>,
    /// What was dropped from the credentials of the request.
    pub(crate) note: Option<String>,
}

impl Build {
    fn note(&self) -> Option<String> {
        match &self.decision {
            BuildDecision::Save(plan) => plan.new.note.clone(),
            BuildDecision::Name { .. } | BuildDecision::Skip(_) => None,
        }
    }

    fn subject(&self) -> Subject {
        let (workspace, image_id) = (self.workspace.clone(), self.image_id.clone());
        Subject::Image { workspace, image_id, build: self.request.clone() }
    }
}

/// Records a build, or finds what an earlier request with the same key recorded.
pub(crate) async fn record_build(recorder: &Recorder, actor: &str, build: &Build) -> Result<BuildReceipt, RecordError> {
    if build.repeatable
        && let Some(recorded) = recorder.begin(actor).last(&build.subject()).await?
    {
        return replay(&recorder.begin(actor), build, &recorded).await;
    }
    // The registry has a time of its own.
    let verified = ask_registry(build).await;
    let session = recorder.begin(actor);
    let decided = match &build.decision {
        BuildDecision::Save(plan) => save(&session, build, plan, verified.as_ref()).await?,
        BuildDecision::Name { target, secret_name } => {
            Decided::to_say(name(&session, build, target, secret_name).await?)
        }
        BuildDecision::Skip(skip) => Decided::to_say(skipped(build, skip)),
    };
    let written = match decided {
        Decided::Written(written) => written,
        Decided::ToSay { event, cause } => {
            session.append(image_event(&session, build, *event, cause), Expect::Last(0)).await?
        }
    };
    match written {
        Written::Stored(receipt) => Ok(BuildReceipt { receipt: *receipt, verified, note: build.note() }),
        Written::Conflict(Some(recorded)) => replay(&session, build, &recorded).await,
        Written::Conflict(None) => Err(unacknowledged("another request with the same key is being recorded")),
    }
}

/// How far what a build says of its image is.
enum Decided {
    /// It is to be said.
    ToSay {
        event: Box<Event>,
        /// The event that saved the version, where the build brought one.
        cause: Option<Cause>,
    },
    /// It went into the log with the version.
    Written(Written),
}

impl Decided {
    fn to_say(event: Event) -> Self {
        Self::ToSay { event: Box::new(event), cause: None }
    }
}

fn image_event(session: &Session, build: &Build, event: Event, cause: Option<Cause>) -> NewEvent {
    let id = cause.map_or_else(Uuid::new_v4, |cause| derived_id(cause.event_id, &Derivation::Naming));
    NewEvent { subject: build.subject(), envelope: session.envelope(id, cause), event }
}

async fn ask_registry(build: &Build) -> Option<Verified> {
    let (Some(verifies), BuildDecision::Save(plan)) = (&build.verifies, &build.decision) else { return None };
    let (workspace, image) = (build.workspace.clone(), plan.target.reference.clone());
    let asked = Unverified { workspace, image, credentials: plan.new.credentials.clone() };
    let verified = verified_from(verifies.verify(&asked).await);
    tracing::info!(
        image_id = %build.image_id,
        accepted = verified.digest.is_some(),
        reason = crate::port::refusal_code(&verified),
        "credentials tried at the registry"
    );
    Some(verified)
}

/// Saves the credentials that a build brings, and says what the build says of its image where it can go with that.
async fn save(
    session: &Session,
    build: &Build,
    plan: &SavePlan,
    verified: Option<&Verified>,
) -> Result<Decided, RecordError> {
    let (subject, target) = (build.subject(), &plan.target);
    let name_version = |secret_name: &SecretName, stored: &SecretVersion| {
        named(build, target, secret_name.clone(), Some((stored.version, stored.cred_type)))
    };
    let naming = |secret_name: &SecretName, stored: &SecretVersion, cause: Cause| {
        image_event(session, build, name_version(secret_name, stored), Some(cause))
    };
    let request = VersionRequest {
        workspace: &build.workspace,
        naming: &plan.naming,
        new: &plan.new,
        verified,
        origin: Origin::Build { image_id: &build.image_id, subject: &subject },
    };
    Ok(match save_and_name(session, &request, Some(&naming)).await? {
        Saved::New { named: Some(written), .. } => Decided::Written(written),
        Saved::New { secret_name, stored, receipt, named: None } => {
            let event = Box::new(name_version(&secret_name, &stored));
            Decided::ToSay { event, cause: Some((&receipt).into()) }
        }
        Saved::Unchanged { secret_name, stored, .. } => Decided::to_say(name_version(&secret_name, &stored)),
        Saved::BoundElsewhere { secret_name, bound_to } => {
            Decided::to_say(skipped(build, &skip_bound_elsewhere(target.clone(), secret_name, &bound_to)))
        }
        Saved::Refused { secret_name } => {
            let why = verified.and_then(|verified| verified.detail.clone()).unwrap_or_default();
            Decided::to_say(skipped(build, &skip_refused(target.clone(), secret_name, plan.new.cred_type, why)))
        }
    })
}

/// What a build that only names a secret says of its image.
async fn name(
    session: &Session,
    build: &Build,
    target: &Target,
    secret_name: &SecretName,
) -> Result<Event, RecordError> {
    let head = read_head(session, &secret_subject(&build.workspace, secret_name)).await?;
    tracing::debug!(image_id = %build.image_id, %secret_name, secret_found = head.is_some(), "secret looked up");
    match head.filter(|head| head.head.registry != target.registry()) {
        Some(head) => {
            Ok(skipped(build, &skip_bound_elsewhere(target.clone(), secret_name.clone(), &head.head.registry)))
        }
        None => Ok(named(build, target, secret_name.clone(), None)),
    }
}

fn named(build: &Build, target: &Target, secret_name: SecretName, version: Option<(u64, CredType)>) -> Event {
    ImageSecretNamed {
        workspace: build.workspace.clone(),
        image_id: build.image_id.clone(),
        image_ref: target.reference.to_string(),
        registry: target.registry(),
        secret_name,
        source: target.source,
        version: version.map(|(version, _)| version),
        cred_type: version.map(|(_, cred_type)| cred_type),
    }
    .into()
}

fn skipped(build: &Build, skip: &SaveSkip) -> Event {
    let target = skip.target.as_ref();
    CredentialSecretSkipped {
        workspace: build.workspace.clone(),
        image_id: build.image_id.clone(),
        image_ref: target.map(|target| target.reference.to_string()),
        registry: target.map(Target::registry),
        secret_name: skip.secret_name.clone(),
        cred_type: skip.cred_type,
        source: target.map(|target| target.source),
        reason: skip.reason,
        missing_key: skip.missing_key.clone(),
        detail: skip.detail.clone(),
    }
    .into()
}

/// What an earlier request with the same key recorded, if it was the same request.
async fn replay(
    session: &Session,
    build: &Build,
    recorded: &Recorded<RecordedEvent>,
) -> Result<BuildReceipt, RecordError> {
    if !is_same_build(&recorded.value.event, &build.decision) {
        return Err(RecordError::KeyReused);
    }
    let receipt = Receipt::from_recorded(recorded, true);
    let verified = match &receipt.event {
        Event::ImageSecretNamed(named) if build.verifies.is_some() => {
            let head = read_head(session, &secret_subject(&named.workspace, &named.secret_name)).await?;
            let stored = head.and_then(|head| head.head.stored).filter(|stored| Some(stored.version) == named.version);
            stored.and_then(|stored| stored.verified)
        }
        _ => None,
    };
    Ok(BuildReceipt { receipt, verified, note: build.note() })
}
