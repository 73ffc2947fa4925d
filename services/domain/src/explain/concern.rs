//! What concerns an id: the subjects that an explanation is made from, and what is looked up for it.

use std::collections::BTreeSet;

use waybill_schemas::{ContainerId, Event, ImageId, SecretName, Subject, WorkerId, WorkspaceId};

use super::History;

/// Most requests for one container that are looked at, the newest.
const PLACEMENTS: usize = 20;

/// The ids that something about a container, an image or a secret may name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Concern {
    /// Owner of all of them.
    pub workspace: WorkspaceId,
    /// The container.
    pub container: Option<ContainerId>,
    /// Sequence of the oldest request for it that is looked at.
    pub from: u64,
    /// The images that it was requested with, or the image.
    pub images: BTreeSet<ImageId>,
    /// The secrets that their builds name or that it was given, or the secret.
    pub secrets: BTreeSet<SecretName>,
    /// The workers that it was placed on; none for every worker.
    pub workers: Option<BTreeSet<WorkerId>>,
}

impl Concern {
    /// What concerns a container, as far as a history tells.
    pub fn from_container(history: &History, workspace: &WorkspaceId, container_id: &ContainerId) -> Self {
        let mut concern = Self::new(workspace, Some(BTreeSet::new()));
        concern.container = Some(container_id.clone());
        let requests: Vec<_> = history
            .events()
            .filter_map(|recorded| match &recorded.value.event {
                Event::ContainerRequested(request)
                    if request.workspace == *workspace && request.container_id == *container_id =>
                {
                    Some((recorded.sequence, request))
                }
                _ => None,
            })
            .collect();
        let kept = requests.iter().rev().take(PLACEMENTS);
        concern.from = kept.clone().next_back().map_or(0, |(sequence, _)| *sequence);
        for (_, request) in kept {
            concern.images.extend(request.image_id.clone());
            concern.workers.get_or_insert_default().insert(request.worker_id.clone());
        }
        concern.add_secrets(history);
        concern
    }

    /// What concerns an image, as far as a history tells.
    pub fn from_image(history: &History, workspace: &WorkspaceId, image_id: &ImageId) -> Self {
        let mut concern = Self::new(workspace, Some(BTreeSet::new()));
        concern.images.insert(image_id.clone());
        concern.add_secrets(history);
        concern
    }

    /// What concerns a secret.
    pub fn from_secret(workspace: &WorkspaceId, secret_name: &SecretName) -> Self {
        let mut concern = Self::new(workspace, None);
        concern.secrets.insert(secret_name.clone());
        concern
    }

    fn new(workspace: &WorkspaceId, workers: Option<BTreeSet<WorkerId>>) -> Self {
        let (images, secrets) = (BTreeSet::new(), BTreeSet::new());
        Self { workspace: workspace.clone(), container: None, from: 0, images, secrets, workers }
    }

    /// The secrets that builds of the images and decisions about the container name.
    fn add_secrets(&mut self, history: &History) {
        for recorded in history.events() {
            let names = match &recorded.value.subject {
                Subject::Image { workspace, image_id, .. } => {
                    *workspace == self.workspace && self.images.contains(image_id)
                }
                Subject::ContainerDecision { .. } => self.covers(recorded.sequence, &recorded.value.subject),
                _ => false,
            };
            if names && !matches!(recorded.value.event, Event::CredentialSecretSkipped(_)) {
                self.secrets.extend(recorded.value.event.secret_name().cloned());
            }
        }
    }

    /// True if a message on a subject at a sequence concerns the id.
    pub fn covers(&self, sequence: u64, subject: &Subject) -> bool {
        let mine = subject.workspace().is_none_or(|workspace| *workspace == self.workspace);
        let on = |worker: &WorkerId| self.workers.as_ref().is_none_or(|workers| workers.contains(worker));
        mine && match subject {
            Subject::Secret { secret, .. } => self.secrets.contains(secret),
            Subject::Image { image_id, .. } => self.images.contains(image_id),
            Subject::Container { container_id, .. } => {
                self.container.as_ref() == Some(container_id) && sequence >= self.from
            }
            Subject::ContainerDecision { container_id, placement, .. }
            | Subject::ContainerOutcome { container_id, placement, .. }
            | Subject::ContainerQuestion { container_id, placement, .. } => {
                self.container.as_ref() == Some(container_id) && *placement >= self.from
            }
            Subject::SecretDecision { worker_id, secret, .. } | Subject::SecretOutcome { worker_id, secret, .. } => {
                self.secrets.contains(secret) && on(worker_id)
            }
            Subject::NodeQuestion { worker_id } => self.container.is_some() && sequence >= self.from && on(worker_id),
            Subject::Worker { worker_id } => self.workers.as_ref().is_some_and(|workers| workers.contains(worker_id)),
            Subject::WorkerIdentity { worker_id } => {
                self.workers.as_ref().is_some_and(|workers| workers.contains(worker_id))
            }
            Subject::Workspace { .. } | Subject::Token { .. } => false,
            Subject::RefusedContainer { container_id, .. } => self.container.as_ref() == Some(container_id),
            Subject::RefusedImage { image_id, .. } => self.images.contains(image_id),
            Subject::RefusedSecret { secret, .. } => self.secrets.contains(secret),
            Subject::RefusedWorkspace { .. } | Subject::RefusedUnowned => true,
            Subject::SchedulerKeys | Subject::Quarantine { .. } | Subject::Archive { .. } => false,
        }
    }
}
