//! The placements of this node, and the keys by which programs ask on their behalf.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use waybill_domain::{credentials::Secret, fold::ContainerKey, reference::ImageReference};
use waybill_registry::provider::Provider;
use waybill_schemas::{ContainerId, Timestamp, WorkspaceId};

use super::{
    files::{NodeDir, NodeDirError},
    key::AccessKey,
};
use crate::view::Placed;

/// Whose folder and access file it is.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Owner {
    /// All containers of a workspace on this node.
    Workspace(WorkspaceId),
    /// One container.
    Container(WorkspaceId, ContainerId),
}

impl Owner {
    /// The workspace.
    pub fn workspace(&self) -> &WorkspaceId {
        match self {
            Self::Workspace(workspace) | Self::Container(workspace, _) => workspace,
        }
    }
}

impl From<&ContainerKey> for Owner {
    fn from(container: &ContainerKey) -> Self {
        Self::Container(container.workspace.clone(), container.container_id.clone())
    }
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Workspace(workspace) => workspace.fmt(f),
            Self::Container(workspace, container) => write!(f, "{workspace}/{container}"),
        }
    }
}

/// On whose behalf a key speaks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Asker {
    /// All containers of a workspace on this node.
    Workspace(WorkspaceId),
    /// One placement of a container.
    Placement(Placed),
}

/// A placement's credentials, ready for use.
#[derive(Debug, Clone)]
pub struct Attachment {
    /// Where its logins come from.
    pub provider: Provider,
    /// The image it was attached for.
    pub image: ImageReference,
    /// When the credentials themselves stop working, where known.
    pub expires_at: Option<Timestamp>,
    /// The placement.
    pub placement: u64,
}

/// The placements of this node that have an access key. Clones share them.
#[derive(Clone)]
pub struct Running {
    dir: NodeDir,
    keys: Arc<Mutex<BTreeMap<Owner, AccessKey>>>,
}

impl fmt::Debug for Running {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Running").field("dir", &self.dir).finish_non_exhaustive()
    }
}

impl Running {
    /// The placements whose keys lie in the folder.
    ///
    /// # Errors
    /// [`NodeDirError`].
    pub fn open(dir: NodeDir) -> Result<Self, NodeDirError> {
        let keys = dir.keys()?.into_iter().collect();
        Ok(Self { dir, keys: Arc::new(Mutex::new(keys)) })
    }

    /// The folder with the keys and the socket.
    pub fn dir(&self) -> &NodeDir {
        &self.dir
    }

    /// Gives a placement its access key, and its workspace one where it is missing. The key of an older placement of the
    /// container opens nothing from then on, and its files go; a newer placement's stay, and the older one gets none.
    ///
    /// # Errors
    /// [`NodeDirError`] when a key cannot be written.
    pub fn admit(&self, placed: &Placed) -> Result<(), NodeDirError> {
        let mut keys = self.keys();
        let owner = Owner::from(&placed.container);
        if keys.get(&owner).and_then(AccessKey::placement) > Some(placed.number) {
            return Ok(());
        }
        // The workspace's first: a container of the same name as the key's file must not take its place.
        let whole = self.dir.keep_workspace_key(&placed.container.workspace)?;
        keys.insert(Owner::Workspace(placed.container.workspace.clone()), whole);
        let key = self.dir.keep_key(placed)?;
        keys.insert(owner, key);
        Ok(())
    }

    /// Takes a placement's access key and its login files away; those of another placement stay.
    ///
    /// # Errors
    /// [`NodeDirError`] when the files cannot be removed; the key opens nothing any more all the same.
    pub fn remove(&self, placed: &Placed) -> Result<(), NodeDirError> {
        let mut keys = self.keys();
        let owner = Owner::from(&placed.container);
        let present = keys.get(&owner).and_then(AccessKey::placement);
        if present.is_some_and(|present| present != placed.number) {
            return Ok(());
        }
        let had = keys.remove(&owner).is_some();
        // Files may be left of an earlier try. A folder without a key of ours is somebody else's.
        match had || keys.contains_key(&Owner::Workspace(placed.container.workspace.clone())) {
            true => self.dir.remove(placed),
            false => Ok(()),
        }
    }

    /// Whose key this is.
    pub fn asker(&self, shown: &Secret) -> Option<Asker> {
        // All of them are compared, so that the time tells nothing of the place.
        let keys = self.keys();
        keys.iter().fold(None, |found, (owner, key)| if key.is(shown) { asker(owner, key) } else { found })
    }

    /// The placement of a container that has a key.
    pub fn placement_of(&self, container: &ContainerKey) -> Option<Placed> {
        let number = self.keys().get(&Owner::from(container))?.placement()?;
        Some(Placed { container: container.clone(), number })
    }

    /// The placements of a workspace that have a key.
    pub fn placements_of(&self, workspace: &WorkspaceId) -> Vec<Placed> {
        let mut placements = self.placements();
        placements.retain(|placed| placed.container.workspace == *workspace);
        placements
    }

    /// Every placement that has a key.
    pub fn placements(&self) -> Vec<Placed> {
        let placed = |(owner, key): (&Owner, &AccessKey)| match asker(owner, key) {
            Some(Asker::Placement(placed)) => Some(placed),
            _ => None,
        };
        self.keys().iter().filter_map(placed).collect()
    }

    fn keys(&self) -> MutexGuard<'_, BTreeMap<Owner, AccessKey>> {
        self.keys.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn asker(owner: &Owner, key: &AccessKey) -> Option<Asker> {
    match owner {
        Owner::Workspace(workspace) => Some(Asker::Workspace(workspace.clone())),
        Owner::Container(workspace, container_id) => {
            let container = ContainerKey { workspace: workspace.clone(), container_id: container_id.clone() };
            Some(Asker::Placement(Placed { container, number: key.placement()? }))
        }
    }
}
