//! Asks the worker of this node, from a program that does nothing else meanwhile.

use std::{
    ffi::OsString,
    fs,
    io::{self, BufRead as _, BufReader, Read as _, Write as _},
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    time::Duration,
};

use waybill_domain::credentials::Secret;
use zeroize::Zeroizing;

use super::protocol::{Answer, Error, LIMIT, MAX_BYTES, Request};

/// The worker's own limits end first.
const PATIENCE: Duration = LIMIT.saturating_add(Duration::from_secs(15));

/// There is no answer. `Display` begins with the code, as an [`Error`]'s does.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// A variable of the environment is missing.
    #[error(
        "not_set: {0} is not set; WAYBILL_SOCKET names the worker's socket, WAYBILL_ACCESS_FILE the container's access file \
         (the kubelet needs none where its tokenAttributes hand over a pod's token)"
    )]
    NotSet(&'static str),
    /// The access file cannot be read.
    #[error("no_access_file: the access file {} cannot be read: {}; has the container ended?", .file.display(), .source.kind())]
    NoAccessFile {
        /// The file.
        file: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Nobody is there, or it went away.
    #[error("no_answer: no answer from {}: {}; does the worker run with WAYBILL_WORKER_NODE_DIR, and may this user ask it?", .socket.display(), .source.kind())]
    NoAnswer {
        /// The socket.
        socket: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Something else is served there.
    #[error("not_ours: {} does not answer as a worker does; is it the socket of a worker of this version?", .0.display())]
    NotOurs(PathBuf),
    /// The worker said no.
    #[error(transparent)]
    Refused(#[from] Error),
}

/// Who asks where: a worker's socket, and the access file to show.
#[derive(Debug, Clone)]
pub struct Client {
    /// The worker's socket.
    pub socket: PathBuf,
    /// The file whose content is shown.
    pub access_file: PathBuf,
}

impl Client {
    /// From `WAYBILL_SOCKET` and `WAYBILL_ACCESS_FILE`.
    ///
    /// # Errors
    /// [`ClientError::NotSet`].
    pub fn from_env(get: impl Fn(&str) -> Option<OsString>) -> Result<Self, ClientError> {
        Ok(Self { socket: socket_from_env(&get)?, access_file: path_from_env(&get, "WAYBILL_ACCESS_FILE")? })
    }

    /// Asks a question that is made with the access file's content.
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn ask(&self, question: impl FnOnce(Secret) -> Request) -> Result<Answer, ClientError> {
        let file = &self.access_file;
        let read = fs::read_to_string(file).map(Secret::new);
        let access = read.map_err(|source| ClientError::NoAccessFile { file: file.clone(), source })?;
        ask(&self.socket, &question(Secret::from(access.expose().trim())))
    }
}

/// The worker's socket, from `WAYBILL_SOCKET`.
///
/// # Errors
/// [`ClientError::NotSet`].
pub fn socket_from_env(get: impl Fn(&str) -> Option<OsString>) -> Result<PathBuf, ClientError> {
    path_from_env(get, "WAYBILL_SOCKET")
}

fn path_from_env(get: impl Fn(&str) -> Option<OsString>, key: &'static str) -> Result<PathBuf, ClientError> {
    get(key).filter(|value| !value.is_empty()).map(PathBuf::from).ok_or(ClientError::NotSet(key))
}

/// Asks, and waits for the answer.
///
/// # Errors
/// [`ClientError`]; an error that the worker answers is [`ClientError::Refused`].
pub fn ask(socket: &Path, request: &Request) -> Result<Answer, ClientError> {
    let line =
        exchange(socket, request).map_err(|source| ClientError::NoAnswer { socket: socket.to_owned(), source })?;
    match serde_json::from_slice(&line) {
        Ok(Answer::Error { error }) => Err(error.into()),
        Ok(answer) => Ok(answer),
        Err(_) => Err(ClientError::NotOurs(socket.to_owned())),
    }
}

fn exchange(socket: &Path, request: &Request) -> io::Result<Zeroizing<Vec<u8>>> {
    let mut question = Zeroizing::new(serde_json::to_vec(request).map_err(io::Error::other)?);
    question.push(b'\n');
    let mut stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    // A worker that refuses this user answers and hangs up without reading.
    let sent = stream.write_all(&question);
    let mut line = Zeroizing::new(Vec::new());
    let bound = u64::try_from(MAX_BYTES).map_err(io::Error::other)?;
    let received = BufReader::new(stream).take(bound).read_until(b'\n', &mut line);
    if line.is_empty() {
        sent?;
        received?;
    }
    Ok(line)
}
