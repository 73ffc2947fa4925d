//! The node's folder: who may read it, and the access keys in it. Every file is written whole or not at all.

use std::{
    fs::{self, OpenOptions, Permissions},
    io::{self, Write as _},
    os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _, chown},
    path::{Path, PathBuf},
};

use waybill_domain::fold::ContainerKey;
use waybill_schemas::{ContainerId, WorkspaceId};

use super::{key::AccessKey, running::Owner};
use crate::view::Placed;

/// Name of a key's file.
const ACCESS: &str = "access";
/// How often a folder is removed again that somebody writes to meanwhile.
const TRIES: usize = 3;

/// The node's folder, and the group that may use it beside the worker's own user.
#[derive(Debug, Clone)]
pub struct NodeDir {
    root: PathBuf,
    group: Option<u32>,
}

/// A part of the node's folder could not be read or written.
#[derive(Debug, thiserror::Error)]
#[error("cannot {action} {}; check WAYBILL_WORKER_NODE_DIR, and WAYBILL_WORKER_SOCKET_GROUP where it is set", .path.display())]
pub struct NodeDirError {
    action: &'static str,
    path: PathBuf,
    source: io::Error,
}

impl NodeDirError {
    pub(super) fn at(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self { action, path, source }
    }
}

impl NodeDir {
    /// Makes the folder, or takes one that is there: for its owner only, and for the group (its gid) if there is one.
    ///
    /// # Errors
    /// [`NodeDirError`].
    pub fn open(root: &Path, group: Option<u32>) -> Result<Self, NodeDirError> {
        let dir = Self { root: root.to_owned(), group };
        fs::create_dir_all(root).map_err(NodeDirError::at("make the folder", root))?;
        dir.protect(root, 0o700, 0o750)?;
        Ok(dir)
    }

    /// The folder.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Where the access key of a container, or of a workspace, lies.
    pub fn access_file(&self, owner: &Owner) -> PathBuf {
        Self::access_file_in(&self.root, owner)
    }

    /// Where it lies in a folder that somebody else has opened.
    pub fn access_file_in(root: &Path, owner: &Owner) -> PathBuf {
        folder(root, owner).join(ACCESS)
    }

    pub(super) fn group(&self) -> Option<u32> {
        self.group
    }

    /// Gives a new file to the group, if there is one; `alone` and `shared` are its modes without and with.
    pub(super) fn protect(&self, path: &Path, alone: u32, shared: u32) -> Result<(), NodeDirError> {
        let mode = if self.group.is_some() { shared } else { alone };
        let given = match self.group {
            Some(gid) => chown(path, None, Some(gid)),
            None => Ok(()),
        };
        given
            .and_then(|()| fs::set_permissions(path, Permissions::from_mode(mode)))
            .map_err(NodeDirError::at("protect", path))
    }

    /// The key in a workspace's file; a new one where there is none or it is damaged.
    pub(super) fn keep_workspace_key(&self, workspace: &WorkspaceId) -> Result<AccessKey, NodeDirError> {
        let owner = Owner::Workspace(workspace.clone());
        match read_key(&self.access_file(&owner)).filter(|key| key.placement().is_none()) {
            Some(key) => Ok(key),
            None => self.make_key(&owner, None),
        }
    }

    /// The key in a container's file, if it names the placement; else a new one, and what another placement left goes.
    pub(super) fn keep_key(&self, placed: &Placed) -> Result<AccessKey, NodeDirError> {
        let owner = Owner::from(&placed.container);
        let path = self.access_file(&owner);
        if let Some(key) = read_key(&path) {
            if key.placement() == Some(placed.number) {
                return Ok(key);
            }
            self.remove_folder(&placed.container)?;
        }
        self.make_key(&owner, Some(placed.number))
    }

    fn make_key(&self, owner: &Owner, placement: Option<u64>) -> Result<AccessKey, NodeDirError> {
        let path = self.access_file(owner);
        let no_random = || io::Error::other("the system gave no random numbers");
        let key = AccessKey::generate(placement).ok_or_else(no_random);
        let key = key.map_err(NodeDirError::at("make a key for", &path))?;
        self.make_folder(owner)?;
        self.replace(&path, key.expose().as_bytes())?;
        Ok(key)
    }

    /// Removes a placement's folder, with its key and its login files, unless the key there names another placement.
    pub(super) fn remove(&self, placed: &Placed) -> Result<(), NodeDirError> {
        let key = read_key(&self.access_file(&Owner::from(&placed.container)));
        match key.and_then(|key| key.placement()) {
            Some(other) if other != placed.number => Ok(()),
            _ => self.remove_folder(&placed.container),
        }
    }

    /// The key goes first: what is left without one goes at the next start.
    fn remove_folder(&self, container: &ContainerKey) -> Result<(), NodeDirError> {
        let folder = folder(&self.root, &Owner::from(container));
        let removed = absent(fs::remove_file(folder.join(ACCESS))).and_then(|()| remove_folder(&folder));
        removed.map_err(NodeDirError::at("remove", &folder))
    }

    /// Every owner with a key in the folder, which is given to whom the settings say now. What is no key of ours is passed
    /// over; a container's folder without one, beside a workspace's key of ours, is what an end has left, and is removed.
    pub(super) fn keys(&self) -> Result<Vec<(Owner, AccessKey)>, NodeDirError> {
        let mut found = Vec::new();
        for workspace in names::<WorkspaceId>(&self.root)? {
            let whole = Owner::Workspace(workspace.clone());
            let containers = names::<ContainerId>(&folder(&self.root, &whole))?;
            let owners = containers.into_iter().map(|container| Owner::Container(workspace.clone(), container));
            for owner in owners.chain([whole.clone()]) {
                let file = self.access_file(&owner);
                let names_placement = matches!(owner, Owner::Container(..));
                let key = read_key(&file).filter(|key| key.placement().is_some() == names_placement);
                let Some(key) = key else {
                    if read_key(&self.access_file(&whole)).is_some() {
                        self.clear(&owner);
                    }
                    continue;
                };
                self.make_folder(&owner)?;
                self.protect(&file, 0o600, 0o640)?;
                found.push((owner, key));
            }
        }
        Ok(found)
    }

    /// Removes what an end has left. Where that fails, the others are served all the same.
    fn clear(&self, owner: &Owner) {
        if let Owner::Container(workspace, container_id) = owner
            && let Err(error) =
                self.remove_folder(&ContainerKey { workspace: workspace.clone(), container_id: container_id.clone() })
        {
            tracing::error!(%owner, error = waybill_platform::chain(&error), "files of a container that ended are left");
        }
    }

    fn make_folder(&self, owner: &Owner) -> Result<(), NodeDirError> {
        let whole = self.root.join(owner.workspace().as_str());
        for folder in [&whole, &folder(&self.root, owner)] {
            if !folder.is_dir() {
                fs::create_dir(folder).map_err(NodeDirError::at("make the folder", folder))?;
            }
            self.protect(folder, 0o700, 0o750)?;
        }
        Ok(())
    }

    /// Writes the file beside its place and moves it there.
    fn replace(&self, path: &Path, content: &[u8]) -> Result<(), NodeDirError> {
        let beside = path.with_extension("new");
        let write = || {
            let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&beside)?;
            file.write_all(content)?;
            file.sync_all()
        };
        write().map_err(NodeDirError::at("write", path))?;
        self.protect(&beside, 0o600, 0o640)?;
        fs::rename(&beside, path).map_err(NodeDirError::at("write", path))
    }
}

fn read_key(file: &Path) -> Option<AccessKey> {
    fs::read_to_string(file).ok().as_deref().and_then(AccessKey::parse)
}

fn remove_folder(folder: &Path) -> io::Result<()> {
    for _ in 1..TRIES {
        match absent(fs::remove_dir_all(folder)) {
            // Somebody has written a login file meanwhile.
            Err(error) if error.kind() == io::ErrorKind::DirectoryNotEmpty => {}
            removed => return removed,
        }
    }
    absent(fs::remove_dir_all(folder))
}

/// What was not there, or is no folder of a container, need not be removed.
fn absent(removed: io::Result<()>) -> io::Result<()> {
    match removed {
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => Ok(()),
        removed => removed,
    }
}

fn folder(root: &Path, owner: &Owner) -> PathBuf {
    match owner {
        Owner::Workspace(workspace) => root.join(workspace.as_str()),
        Owner::Container(workspace, container) => root.join(workspace.as_str()).join(container.as_str()),
    }
}

/// The folders below a folder whose names are ids.
fn names<T: std::str::FromStr>(folder: &Path) -> Result<Vec<T>, NodeDirError> {
    let entries = fs::read_dir(folder).map_err(NodeDirError::at("list", folder))?;
    let mut names = Vec::new();
    for entry in entries {
        let entry = entry.map_err(NodeDirError::at("list", folder))?;
        let is_folder = entry.file_type().is_ok_and(|kind| kind.is_dir());
        names.extend(entry.file_name().to_str().filter(|_| is_folder).and_then(|name| name.parse().ok()));
    }
    Ok(names)
}

#[cfg(test)]
mod tests {
    use waybill_domain::credentials::Secret;

    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o7777
    }

    fn workspace() -> WorkspaceId {
        "ws".parse().unwrap()
    }

    fn placed(container: &str, number: u64) -> Placed {
        let container = ContainerKey { workspace: workspace(), container_id: container.parse().unwrap() };
        Placed { container, number }
    }

    fn container() -> Owner {
        Owner::from(&placed("c1", 7).container)
    }

    #[test]
    fn keys_are_their_owners_alone_and_kept() {
        let scratch = tempfile::tempdir().unwrap();
        let root = scratch.path().join("deep/node");
        let dir = NodeDir::open(&root, None).unwrap();
        let key = dir.keep_key(&placed("c1", 7)).unwrap();
        let whole = Owner::Workspace(workspace());
        dir.keep_workspace_key(&workspace()).unwrap();
        assert_eq!((mode(&root), mode(&root.join("ws")), mode(&root.join("ws/c1"))), (0o700, 0o700, 0o700));
        assert_eq!((mode(&root.join("ws/access")), mode(&root.join("ws/c1/access"))), (0o600, 0o600));
        assert!(dir.keep_key(&placed("c1", 7)).unwrap().is(&Secret::from(key.expose())));
        let found = dir.keys().unwrap();
        assert_eq!(found.len(), 2);
        assert!(found.iter().any(|(owner, found)| *owner == container() && found.is(&Secret::from(key.expose()))));

        fs::write(dir.access_file(&container()), "").unwrap();
        assert_eq!(dir.keys().unwrap().len(), 1, "a damaged key opens nothing");
        assert!(!dir.keep_key(&placed("c1", 7)).unwrap().is(&Secret::from(key.expose())), "and is replaced");
        dir.remove(&placed("c1", 6)).unwrap();
        assert!(root.join("ws/c1/access").exists(), "it names another placement");
        dir.remove(&placed("c1", 7)).unwrap();
        dir.remove(&placed("c1", 7)).unwrap();
        assert!(!root.join("ws/c1").exists() && root.join("ws/access").exists());
    }

    /// A worker that was killed while it removed a container leaves a folder without a key.
    #[test]
    fn what_an_end_has_left_goes_at_the_next_start() {
        let scratch = tempfile::tempdir().unwrap();
        let dir = NodeDir::open(scratch.path(), None).unwrap();
        let whole = Owner::Workspace(workspace());
        dir.keep_workspace_key(&workspace()).unwrap();
        let left = ["ws/c1", "ws/c2", "elsewhere/c1"].map(|folder| scratch.path().join(folder));
        for folder in &left {
            fs::create_dir_all(folder).unwrap();
            fs::write(folder.join("auth.json"), "{}").unwrap();
        }
        fs::write(left[1].join(ACCESS), "damaged").unwrap();
        let found = dir.keys().unwrap();
        assert!(found.len() == 1 && found[0].0 == whole);
        assert_eq!(left.map(|folder| folder.exists()), [false, false, true], "what is not ours is left alone");
        // A container that is named as the key's file has no folder.
        dir.remove(&placed(ACCESS, 7)).unwrap();
        assert!(dir.access_file(&whole).exists());
    }

    #[test]
    fn another_placement_has_another_key_and_none_of_the_files() {
        let scratch = tempfile::tempdir().unwrap();
        let dir = NodeDir::open(scratch.path(), None).unwrap();
        let old = dir.keep_key(&placed("c1", 7)).unwrap();
        fs::write(scratch.path().join("ws/c1/auth.json"), "{}").unwrap();
        let new = dir.keep_key(&placed("c1", 9)).unwrap();
        assert!(!new.is(&Secret::from(old.expose())) && !scratch.path().join("ws/c1/auth.json").exists());
        let text = fs::read_to_string(dir.access_file(&container())).unwrap();
        assert!(text.starts_with("9.") && new.is(&Secret::from(text)));
    }

    #[test]
    fn a_group_may_read() {
        let scratch = tempfile::tempdir().unwrap();
        // The process's own group: any user may give files to it.
        let group = std::os::unix::fs::MetadataExt::gid(&fs::metadata("/proc/self").unwrap());
        let dir = NodeDir::open(scratch.path(), Some(group)).unwrap();
        dir.keep_key(&placed("c1", 7)).unwrap();
        assert_eq!((mode(scratch.path()), mode(&scratch.path().join("ws/c1"))), (0o750, 0o750));
        assert_eq!(mode(&dir.access_file(&container())), 0o640);
        // Started again without the group.
        let dir = NodeDir::open(scratch.path(), None).unwrap();
        assert_eq!(dir.keys().unwrap().len(), 1);
        assert_eq!((mode(scratch.path()), mode(&scratch.path().join("ws/c1"))), (0o700, 0o700));
        assert_eq!(mode(&dir.access_file(&container())), 0o600);
    }

    #[test]
    fn a_container_named_like_the_key_file_gets_no_key_and_harms_nobody() {
        let scratch = tempfile::tempdir().unwrap();
        let dir = NodeDir::open(scratch.path(), None).unwrap();
        dir.keep_workspace_key(&workspace()).unwrap();
        assert!(dir.keep_key(&placed(ACCESS, 7)).is_err());
        assert_eq!(dir.keys().unwrap().len(), 1);
    }
}
