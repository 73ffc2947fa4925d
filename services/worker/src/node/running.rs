//! The containers of this node that have credentials, and the keys by which programs ask on their behalf.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use waybill_domain::{credentials::Secret, reference::ImageReference};
use waybill_registry::provider::Provider;
use waybill_schemas::{ContainerId, Timestamp, WorkspaceId};

use super::{
    files::{NodeDir, NodeDirError},
    key::AccessKey,
};

/// On whose behalf somebody asks.
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

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Workspace(workspace) => workspace.fmt(f),
            Self::Container(workspace, container) => write!(f, "{workspace}/{container}"),
        }
    }
}

/// A container's credentials, ready for use.
#[derive(Debug, Clone)]
pub struct Attachment {
    /// Where its logins come from.
    pub provider: Provider,
    /// The image it was attached for.
    pub image: ImageReference,
    /// When the credentials themselves stop working, where known.
    pub expires_at: Option<Timestamp>,
    /// Sequence of the request that it answers: nothing is given for one that came before the container's end.
    pub requested_by: u64,
    /// Sequence of the decision that attached it; an older one never replaces a newer one.
    pub decided_by: u64,
}

/// The containers of this node that have credentials. Clones share them.
#[derive(Clone)]
pub struct Running {
    dir: NodeDir,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    keys: BTreeMap<Owner, AccessKey>,
    attached: BTreeMap<(WorkspaceId, ContainerId), Attachment>,
    /// The decisions that took something away, the newest ones: what is delivered again after them gives nothing back.
    dropped: BTreeMap<(WorkspaceId, ContainerId), u64>,
    /// The ends of containers, the newest ones: what was asked for before them is given no more.
    ended: BTreeMap<(WorkspaceId, ContainerId), u64>,
}

/// Most containers of which it is remembered that something was taken away, and most that ended.
const REMEMBERED: usize = 10_000;

impl fmt::Debug for Running {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Running").field("dir", &self.dir).finish_non_exhaustive()
    }
}

impl Running {
    /// The containers whose keys lie in the folder. Their providers are told as they are asked for.
    ///
    /// # Errors
    /// [`NodeDirError`].
    pub fn open(dir: NodeDir) -> Result<Self, NodeDirError> {
        let keys = dir.keys()?.into_iter().collect();
        Ok(Self { dir, state: Arc::new(Mutex::new(State { keys, ..State::default() })) })
    }

    /// The folder with the keys and the socket.
    pub fn dir(&self) -> &NodeDir {
        &self.dir
    }

    /// Gives a container its credentials in place of those of an earlier decision, and makes its access key and its
    /// workspace's where they are missing. A login that was handed out before stays as good as its registry says.
    ///
    /// # Errors
    /// [`NodeDirError`] when a key cannot be written; what was there before stays.
    pub fn put(&self, workspace: &WorkspaceId, container: &ContainerId, new: Attachment) -> Result<(), NodeDirError> {
        let mut state = self.state();
        let ended = state.ended.get(&(workspace.clone(), container.clone())).copied();
        if state.is_newer(workspace, container, new.decided_by) || ended > Some(new.requested_by) {
            return Ok(());
        }
        // The workspace's first: a container of the same name as the key's file must not take its place.
        for owner in [Owner::Workspace(workspace.clone()), Owner::Container(workspace.clone(), container.clone())] {
            let key = self.dir.keep_key(&owner)?;
            state.keys.insert(owner, key);
        }
        state.attached.insert((workspace.clone(), container.clone()), new);
        Ok(())
    }

    /// Takes a container's credentials, its access key and its login files away.
    ///
    /// # Errors
    /// [`NodeDirError`] when the files cannot be removed; the key opens nothing any more all the same.
    pub fn drop_access(&self, workspace: &WorkspaceId, container: &ContainerId) -> Result<(), NodeDirError> {
        self.remove(&mut self.state(), workspace, container)
    }

    /// As [`drop_access`](Self::drop_access), for a container that ended at a sequence of the log: what it asked for before
    /// is given no more, and what it has asked for since stays.
    ///
    /// # Errors
    /// As [`drop_access`](Self::drop_access).
    pub fn ended(&self, workspace: &WorkspaceId, container: &ContainerId, sequence: u64) -> Result<(), NodeDirError> {
        let mut state = self.state();
        let key = (workspace.clone(), container.clone());
        if state.attached.get(&key).is_some_and(|present| present.requested_by > sequence) {
            return Ok(());
        }
        let last = state.ended.get(&key).copied().unwrap_or(0).max(sequence);
        remember(&mut state.ended, key, last);
        self.remove(&mut state, workspace, container)
    }

    /// Whether a container has a key.
    pub(crate) fn has_key(&self, workspace: &WorkspaceId, container: &ContainerId) -> bool {
        self.state().keys.contains_key(&Owner::Container(workspace.clone(), container.clone()))
    }

    /// As [`drop_access`](Self::drop_access), for a decision that attached nothing; a newer decision's credentials stay.
    ///
    /// # Errors
    /// As [`drop_access`](Self::drop_access).
    pub(crate) fn drop_older(
        &self,
        workspace: &WorkspaceId,
        container: &ContainerId,
        decided_by: u64,
    ) -> Result<(), NodeDirError> {
        let mut state = self.state();
        if state.is_newer(workspace, container, decided_by) {
            return Ok(());
        }
        // Whether there is a key or not: what was attached before can still be delivered, again or late.
        remember(&mut state.dropped, (workspace.clone(), container.clone()), decided_by);
        self.remove(&mut state, workspace, container)
    }

    /// Whose key this is.
    pub fn owner(&self, shown: &Secret) -> Option<Owner> {
        // All of them are compared, so that the time tells nothing of the place.
        let state = self.state();
        state.keys.iter().fold(None, |found, (owner, key)| if key.is(shown) { Some(owner.clone()) } else { found })
    }

    /// A container's credentials, if they are at hand.
    pub fn attachment(&self, workspace: &WorkspaceId, container: &ContainerId) -> Option<Attachment> {
        self.state().attached.get(&(workspace.clone(), container.clone())).cloned()
    }

    /// The containers of a workspace that have a key.
    pub fn containers(&self, workspace: &WorkspaceId) -> Vec<ContainerId> {
        let of_workspace = |owner: &Owner| match owner {
            Owner::Container(of, container) if of == workspace => Some(container.clone()),
            _ => None,
        };
        self.state().keys.keys().filter_map(of_workspace).collect()
    }

    /// Keeps what was read from the log again, unless the container has ended or got a newer decision meanwhile.
    pub(super) fn restore(&self, workspace: &WorkspaceId, container: &ContainerId, found: &Attachment) {
        let mut state = self.state();
        let known = state.keys.contains_key(&Owner::Container(workspace.clone(), container.clone()));
        if known && !state.is_newer(workspace, container, found.decided_by) {
            state.attached.insert((workspace.clone(), container.clone()), found.clone());
        }
    }

    fn remove(&self, state: &mut State, workspace: &WorkspaceId, container: &ContainerId) -> Result<(), NodeDirError> {
        state.attached.remove(&(workspace.clone(), container.clone()));
        let had = state.keys.remove(&Owner::Container(workspace.clone(), container.clone())).is_some();
        // Files may be left of an earlier try. A folder without a key of ours is somebody else's.
        match had || state.keys.contains_key(&Owner::Workspace(workspace.clone())) {
            true => self.dir.remove(workspace, container),
            false => Ok(()),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn is_newer(&self, workspace: &WorkspaceId, container: &ContainerId, than: u64) -> bool {
        let container = (workspace.clone(), container.clone());
        let present = self.attached.get(&container).map(|present| present.decided_by);
        present.max(self.dropped.get(&container).copied()) > Some(than)
    }
}

fn remember(of: &mut BTreeMap<(WorkspaceId, ContainerId), u64>, container: (WorkspaceId, ContainerId), sequence: u64) {
    of.insert(container, sequence);
    if of.len() > REMEMBERED {
        // The older half at once, so that it need not be looked for each time.
        let mut sequences: Vec<u64> = of.values().copied().collect();
        sequences.sort_unstable();
        let middle = sequences.get(sequences.len() / 2).copied().unwrap_or_default();
        of.retain(|_, sequence| *sequence > middle);
    }
}
