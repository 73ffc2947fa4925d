//! The socket's file: made in one move with its permissions, in place of a stale one only; and who may speak to it.

use std::{
    fs, io,
    os::unix::{
        fs::MetadataExt as _,
        net::{UnixListener, UnixStream},
    },
    path::{Path, PathBuf},
};

use super::{
    files::{NodeDir, NodeDirError},
    protocol::SOCKET,
};

/// The socket cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum SocketError {
    /// Another process answers there.
    #[error("{} is served by another process; give each worker a WAYBILL_WORKER_NODE_DIR of its own", .0.display())]
    InUse(PathBuf),
    /// The folder's owner could read what is in it.
    #[error("{} belongs to another user; give the worker a WAYBILL_WORKER_NODE_DIR of its own", .0.display())]
    Foreign(PathBuf),
    /// The file could not be made.
    #[error(transparent)]
    Dir(#[from] NodeDirError),
}

/// Who may ask: the worker's own user, root, and a process whose group is the socket's.
#[derive(Debug, Clone, Copy)]
pub(super) struct Peers {
    pub(super) own_uid: u32,
    pub(super) group: Option<u32>,
}

impl Peers {
    pub(super) fn allow(self, uid: u32, gid: u32) -> bool {
        uid == 0 || uid == self.own_uid || self.group == Some(gid)
    }
}

/// Listens on the folder's socket.
pub(super) fn bind(dir: &NodeDir) -> Result<(UnixListener, PathBuf, Peers), SocketError> {
    let path = dir.root().join(SOCKET);
    if UnixStream::connect(&path).is_ok() {
        return Err(SocketError::InUse(path));
    }
    // Beside its place first: nobody can connect before the permissions are right.
    let beside = path.with_extension("new");
    let listener = listen(&beside).map_err(NodeDirError::at("listen on", &path))?;
    dir.protect(&beside, 0o600, 0o660)?;
    let own_uid = fs::metadata(&beside).map_err(NodeDirError::at("read", &beside))?.uid();
    if fs::metadata(dir.root()).map_err(NodeDirError::at("read", dir.root()))?.uid() != own_uid {
        return Err(SocketError::Foreign(dir.root().to_owned()));
    }
    fs::rename(&beside, &path).map_err(NodeDirError::at("listen on", &path))?;
    Ok((listener, path, Peers { own_uid, group: dir.group() }))
}

fn listen(path: &Path) -> io::Result<UnixListener> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let listener = UnixListener::bind(path)?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn peers() {
        let alone = Peers { own_uid: 7, group: None };
        let shared = Peers { own_uid: 7, group: Some(9) };
        let cases =
            [(7, 1, true, true), (0, 1, true, true), (8, 9, false, true), (8, 7, false, false), (9, 1, false, false)];
        for (uid, gid, to_alone, to_shared) in cases {
            assert_eq!((alone.allow(uid, gid), shared.allow(uid, gid)), (to_alone, to_shared), "{uid} {gid}");
        }
    }

    #[test]
    fn a_stale_socket_is_replaced_and_a_live_one_is_not() {
        let scratch = tempfile::tempdir().unwrap();
        let dir = NodeDir::open(scratch.path(), None).unwrap();
        let (listener, path, peers) = bind(&dir).unwrap();
        assert_eq!((peers.own_uid, peers.group), (fs::metadata("/proc/self").unwrap().uid(), None));
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(matches!(bind(&dir), Err(SocketError::InUse(_))));
        drop(listener);
        assert!(path.exists(), "the file outlives its process");
        bind(&dir).unwrap();
        let shared = NodeDir::open(scratch.path(), Some(fs::metadata(&path).unwrap().gid())).unwrap();
        bind(&shared).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o660);
        // Only root can make this happen: for others the folder cannot be protected in the first place.
        if std::os::unix::fs::chown(scratch.path(), Some(65_533), None).is_ok() {
            fs::remove_file(&path).unwrap();
            assert!(matches!(bind(&dir), Err(SocketError::Foreign(_))));
        }
    }
}
