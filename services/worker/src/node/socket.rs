//! The socket's file: made in one move with its permissions, in place of a stale one only; and who may speak to it.

use std::{
    fs::{self, File, OpenOptions, TryLockError},
    io,
    os::unix::{
        fs::{MetadataExt as _, OpenOptionsExt as _},
        net::{UnixListener, UnixStream},
    },
    path::{Path, PathBuf},
};

use waybill_registry::node::SOCKET;

use super::files::{NodeDir, NodeDirError};

/// Name of the file that whoever serves the socket has locked.
const LOCK: &str = "waybill.lock";

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

/// Who may ask: the worker's own user, root, and a process whose group is the socket's. The supplementary groups of a peer
/// (SO_PEERGROUPS) cannot be read without unsafe code.
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

/// The folder's socket, and the lock by which no other process serves it.
#[derive(Debug)]
pub(super) struct Bound {
    pub(super) listener: UnixListener,
    pub(super) path: PathBuf,
    pub(super) peers: Peers,
    pub(super) lock: File,
}

/// Listens on the folder's socket.
pub(super) fn bind(dir: &NodeDir) -> Result<Bound, SocketError> {
    let path = dir.root().join(SOCKET);
    let lock = lock(dir, &path)?;
    // A worker of an earlier version holds no lock.
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
    Ok(Bound { listener, path, peers: Peers { own_uid, group: dir.group() }, lock })
}

/// Two workers that start together would both find nobody there. The lock ends with its process.
fn lock(dir: &NodeDir, socket: &Path) -> Result<File, SocketError> {
    let path = dir.root().join(LOCK);
    let file = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(&path);
    let file = file.map_err(NodeDirError::at("open", &path))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(SocketError::InUse(socket.to_owned())),
        Err(TryLockError::Error(error)) => Err(NodeDirError::at("lock", &path)(error).into()),
    }
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
    fn of_workers_that_start_together_one_serves() {
        let scratch = tempfile::tempdir().unwrap();
        let dir = NodeDir::open(scratch.path(), None).unwrap();
        let start = std::sync::Barrier::new(8);
        let bind_together = || {
            start.wait();
            bind(&dir)
        };
        let bound: Vec<_> = std::thread::scope(|scope| {
            let starting: Vec<_> = (0..8).map(|_| scope.spawn(bind_together)).collect();
            starting.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        assert_eq!(bound.iter().filter(|bound| bound.is_ok()).count(), 1);
        assert!(bound.iter().flatten().all(|bound| UnixStream::connect(&bound.path).is_ok()));
        assert!(bound.iter().all(|bound| matches!(bound, Ok(_) | Err(SocketError::InUse(_)))));
    }

    #[test]
    fn a_stale_socket_is_replaced_and_a_live_one_is_not() {
        let scratch = tempfile::tempdir().unwrap();
        let dir = NodeDir::open(scratch.path(), None).unwrap();
        let bound = bind(&dir).unwrap();
        let (path, peers) = (bound.path.clone(), bound.peers);
        assert_eq!((peers.own_uid, peers.group), (fs::metadata("/proc/self").unwrap().uid(), None));
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(matches!(bind(&dir), Err(SocketError::InUse(_))));
        drop(bound);
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
