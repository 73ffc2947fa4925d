//! Why an image has no credentials: the first hop, in the words of what the builds said.

use waybill_schemas::{
    Event, ImageId, Recorded, Timestamp, WorkspaceId,
    v1::{CredentialSecretRevoked, CredentialSecretSaved, CredentialSecretSkipped, SaveSkipReason},
};

use super::{
    history::History,
    verdict::{Code, Hop, Verdict},
};
use crate::rotate::InUse;

/// What the builds of an image said before a place in the log, and the first credentials saved after it.
#[derive(Debug, Default)]
pub(super) struct Builds<'h> {
    /// The sequence before which they stand.
    before: u64,
    /// The newest saved credentials before.
    pub(super) saved: Option<Recorded<&'h CredentialSecretSaved>>,
    /// What took those away before that, unless others were saved since.
    pub(super) revoked: Option<Recorded<&'h CredentialSecretRevoked>>,
    /// The newest build before that saved none.
    pub(super) skipped: Option<Recorded<&'h CredentialSecretSkipped>>,
    /// The first credentials saved after.
    pub(super) saved_after: Option<Recorded<&'h CredentialSecretSaved>>,
    /// The newest rotation or effective revocation after: sequence and time.
    pub(super) changed_after: Option<(u64, Timestamp)>,
    /// Rotations that came too late to count.
    pub(super) overtaken: Vec<u64>,
}

impl<'h> Builds<'h> {
    /// Those of an image in a workspace, before a sequence.
    pub(super) fn before(
        sequence: u64,
        history: &'h History,
        workspace: &'h WorkspaceId,
        image_id: &'h ImageId,
    ) -> Self {
        let mut builds = Self { before: sequence, ..Self::default() };
        let mut in_use = InUse::default();
        for recorded in history.builds(workspace, image_id) {
            let Recorded { sequence: place, at, value } = recorded;
            let before = place < sequence;
            let changes = in_use.take(place, &value.event);
            match &value.event {
                Event::CredentialSecretSkipped(skipped) if before => {
                    builds.skipped = Some(Recorded { sequence: place, at, value: skipped });
                }
                Event::CredentialSecretRotated(_) if !changes => builds.overtaken.push(place),
                Event::CredentialSecretRevoked(revoked) if changes => {
                    if before {
                        builds.saved = None;
                        builds.revoked = Some(Recorded { sequence: place, at, value: revoked });
                    } else {
                        builds.changed_after = Some((place, at));
                    }
                }
                event => {
                    let Some(saved) = event.saved() else { continue };
                    let saved = Recorded { sequence: place, at, value: saved };
                    if before {
                        (builds.saved, builds.revoked) = (Some(saved), None);
                        continue;
                    }
                    builds.saved_after.get_or_insert(saved);
                    if matches!(event, Event::CredentialSecretRotated(_)) {
                        builds.changed_after = Some((place, at));
                    }
                }
            }
        }
        builds
    }
}

/// Why there were no credentials for an image when a container asked, or when the question is asked.
pub(super) fn no_credentials(
    history: &History,
    workspace: &WorkspaceId,
    image_id: &ImageId,
    builds: &Builds<'_>,
) -> Verdict {
    if let Some(revoked) = &builds.revoked {
        return revoked_before(image_id, revoked);
    }
    if let (Some(after), None) = (&builds.saved_after, &builds.saved) {
        return saved_after(image_id, after.sequence, after.at);
    }
    if let Some(saved) = &builds.saved {
        return not_read_in_time(saved.sequence, saved.at);
    }
    let prefix = format!("waybill.events.image.{workspace}.{image_id}.");
    let skipped = builds.skipped.as_ref().map_or(0, |skipped| skipped.sequence);
    let counts = |unreadable: &Recorded<&str>| (skipped..builds.before).contains(&unreadable.sequence);
    if let Some(unreadable) = history.unreadable(&prefix).filter(counts).last() {
        return quarantined(Hop::Saved, unreadable);
    }
    if let Some(skipped) = &builds.skipped {
        return skipped_build(skipped.value, skipped.sequence, skipped.at);
    }
    match history.elsewhere() {
        [] => Verdict::broken(
            Hop::Saved,
            Code::NothingBuilt,
            format!("no build of image {image_id} is recorded in workspace {workspace}"),
            "Check the image id, and that the builder calls POST /v1/builds after each build.",
        ),
        workspaces => {
            let names: Vec<&str> = workspaces.iter().map(WorkspaceId::as_str).collect();
            Verdict::broken(
                Hop::Saved,
                Code::OtherWorkspace,
                format!("image {image_id} was built in workspace {}, not in {workspace}", names.join(", ")),
                format!("Ask for the container in that workspace, or build the image in {workspace}."),
            )
        }
    }
}

fn revoked_before(image_id: &ImageId, revoked: &Recorded<&CredentialSecretRevoked>) -> Verdict {
    let Recorded { sequence, at, value: CredentialSecretRevoked { registry, reason, .. } } = revoked;
    let why = reason.as_deref().map_or_else(String::new, |reason| format!(" ({reason})"));
    Verdict::broken(
        Hop::Saved,
        Code::SecretRevoked,
        format!("the credentials of image {image_id} for {registry} were revoked{why}, and none were saved since"),
        "Build again with new credentials; containers asked for later get those.",
    )
    .at(*sequence, *at)
}

fn saved_after(image_id: &ImageId, sequence: u64, at: Timestamp) -> Verdict {
    Verdict::broken(
        Hop::Saved,
        Code::SavedAfterRequest,
        format!("the credentials of image {image_id} were saved after the container asked for them"),
        "Ask for the container again: it gets them now. Have the orchestrator wait for the build's answer.",
    )
    .at(sequence, at)
}

/// Credentials that were there, and that the scheduler did not know of.
fn not_read_in_time(sequence: u64, at: Timestamp) -> Verdict {
    Verdict::broken(
        Hop::Saved,
        Code::Quarantined,
        format!("credentials were saved at sequence {sequence}, but the scheduler could not read them when it decided"),
        format!("If `waybill quarantine list` has them, `waybill quarantine retry {sequence}`; then ask for the container again."),
    )
    .at(sequence, at)
}

/// A message that cannot be read, at a hop.
pub(super) fn quarantined(hop: Hop, unreadable: Recorded<&str>) -> Verdict {
    let Recorded { sequence, at, value: error } = unreadable;
    Verdict::broken(
        hop,
        Code::Quarantined,
        format!("the event at sequence {sequence} cannot be read and is in quarantine: {error}"),
        format!("Look at it with `waybill quarantine show {sequence}`; publish it anew as the schema says, or upgrade and `waybill quarantine retry {sequence}`."),
    )
    .at(sequence, at)
}

/// What a build that saved nothing means. Where nothing was needed, it is still the answer to why nothing is there.
pub(super) fn skipped_build(skipped: &CredentialSecretSkipped, sequence: u64, at: Timestamp) -> Verdict {
    let image = skipped.image_ref.as_deref().map_or_else(|| "the image".to_owned(), str::to_owned);
    let registry = skipped.registry.as_deref().unwrap_or("its registry");
    let (code, sentence, remedy) = match skipped.reason {
        SaveSkipReason::NoCredentialsProvided => (
            Code::NoCredentialsProvided,
            format!("the build carried no credentials for {image}"),
            "Check that the SDK passes existing_image_creds or base_image_creds in the build request; then build again."
                .to_owned(),
        ),
        SaveSkipReason::NoImageReference => (
            Code::NoImageReference,
            "the build named no image reference, so there was nothing to save credentials for".to_owned(),
            "Pass existing_image_uri or base_image in the build request.".to_owned(),
        ),
        SaveSkipReason::ImageModified => (
            Code::ImageModified,
            format!("the build changed {image}: what it made is pulled from the platform's registry, not from {registry}"),
            "If the container pulls the original image, report the build with modified: false.".to_owned(),
        ),
        SaveSkipReason::PublicRegistry => (
            Code::PublicRegistry,
            format!("{registry} is a public registry, so no credentials were saved"),
            "If the image is private, pass its credentials with the registry that it is on.".to_owned(),
        ),
        SaveSkipReason::IncompleteCredentials => {
            let missing = skipped.missing_key.as_deref().unwrap_or("a key");
            let kind = skipped.cred_type.map_or_else(String::new, |kind| format!("{kind} "));
            (
                Code::IncompleteCredentials,
                format!("the {kind}credentials of the build were incomplete: {missing} is missing"),
                format!("Add {missing} to the credentials in the build request; then build again."),
            )
        }
        SaveSkipReason::RegistryMismatch => (
            Code::RegistryMismatch,
            format!("the credentials of the build are for another registry than {registry}, where {image} is pulled from"),
            format!("Pass credentials for {registry}, or name the image on the registry that they are for."),
        ),
        SaveSkipReason::UnrecognizedCredentials => (
            Code::UnrecognizedCredentials,
            format!("the credentials of the build for {image} are of no known kind"),
            "Pass them as user:password, or with the keys of a kind that POST /v1/builds knows (/openapi.json).".to_owned(),
        ),
        SaveSkipReason::ExpiredCredentials => (
            Code::ExpiredCredentials,
            format!("the credentials for {image} had expired when the build gave them"),
            "Have the builder fetch new credentials for each build.".to_owned(),
        ),
    };
    Verdict::broken(Hop::Saved, code, sentence, remedy).at(sequence, at)
}
