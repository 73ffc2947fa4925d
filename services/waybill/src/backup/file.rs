//! The file of a backup: a line of JSON, chunks with their lengths, and a checksum of everything before it.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, BufReader, BufWriter, Read, Write},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest as _, Sha256};

/// Largest chunk and longest first line that are read: a damaged length costs no memory.
const MOST: usize = 4 * 1024 * 1024;
const CHECKSUM: usize = 32;

/// What a backup is of.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Header {
    /// Layout of the file.
    waybill_backup: u32,
    /// Name of the stream.
    pub(super) stream: String,
    /// Its configuration.
    pub(super) config: Value,
    /// Its first and last message, by sequence and time.
    pub(super) state: Value,
}

impl Header {
    pub(super) fn new(stream: &str, config: Value, state: Value) -> Self {
        Self { waybill_backup: 1, stream: stream.to_owned(), config, state }
    }

    /// Sequence of the last message.
    pub(super) fn last_sequence(&self) -> u64 {
        self.state.get("last_seq").and_then(Value::as_u64).unwrap_or_default()
    }
}

/// A backup that is being written: beside its place until it is whole.
pub(super) struct Writer {
    file: BufWriter<File>,
    digest: Sha256,
    place: PathBuf,
    beside: PathBuf,
}

impl Writer {
    /// Begins a file that only this user can read. One that is there stays.
    pub(super) fn create(place: &Path) -> io::Result<Self> {
        if place.exists() {
            return Err(io::Error::new(io::ErrorKind::AlreadyExists, format!("{} exists", place.display())));
        }
        let beside = place.with_extension("part");
        let file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&beside)?;
        Ok(Self { file: BufWriter::new(file), digest: Sha256::new(), place: place.to_owned(), beside })
    }

    pub(super) fn header(&mut self, header: &Header) -> io::Result<()> {
        let mut line = serde_json::to_vec(header)?;
        line.push(b'\n');
        self.put(&line)
    }

    pub(super) fn chunk(&mut self, chunk: &[u8]) -> io::Result<()> {
        let length = u32::try_from(chunk.len()).map_err(io::Error::other)?;
        self.put(&length.to_be_bytes())?;
        self.put(chunk)
    }

    /// Writes the checksum, and moves the file to its place once it is on disk.
    pub(super) fn finish(mut self) -> io::Result<()> {
        self.put(&0_u32.to_be_bytes())?;
        let checksum = self.digest.finalize();
        self.file.write_all(&checksum)?;
        self.file.into_inner().map_err(io::IntoInnerError::into_error)?.sync_all()?;
        fs::rename(&self.beside, &self.place)
    }

    fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.digest.update(bytes);
        self.file.write_all(bytes)
    }
}

/// A backup that was checked.
pub(super) struct Reader {
    file: BufReader<File>,
    digest: Sha256,
    pub(super) header: Header,
}

impl Reader {
    /// Reads the whole file once to compare its checksum, and opens it at its first chunk.
    ///
    /// # Errors
    /// [`io::ErrorKind::InvalidData`] for a file that is no backup, cut short or changed.
    pub(super) fn open(place: &Path) -> io::Result<Self> {
        let mut checked = Self::begin(place)?;
        while checked.chunk()?.is_some() {}
        let mut expected = [0; CHECKSUM];
        checked.file.read_exact(&mut expected)?;
        let is_end = checked.file.read(&mut [0])? == 0;
        if checked.digest.finalize().as_slice() != expected || !is_end {
            return Err(invalid("its checksum does not fit: it was changed or cut short"));
        }
        Self::begin(place)
    }

    fn begin(place: &Path) -> io::Result<Self> {
        let mut file = BufReader::new(File::open(place)?);
        let mut line = Vec::new();
        for byte in file.by_ref().take(u64::try_from(MOST).unwrap_or(u64::MAX)).bytes() {
            let byte = byte?;
            line.push(byte);
            if byte == b'\n' {
                break;
            }
        }
        let header = serde_json::from_slice(&line).map_err(|_| invalid("it is no backup of Waybill"))?;
        let mut digest = Sha256::new();
        digest.update(&line);
        Ok(Self { file, digest, header })
    }

    /// The next chunk; none after the last.
    pub(super) fn chunk(&mut self) -> io::Result<Option<Vec<u8>>> {
        let mut length = [0; 4];
        self.file.read_exact(&mut length)?;
        self.digest.update(length);
        let length = usize::try_from(u32::from_be_bytes(length)).map_err(io::Error::other)?;
        if length == 0 {
            return Ok(None);
        }
        if length > MOST {
            return Err(invalid("a chunk is longer than any that is written"));
        }
        let mut chunk = vec![0; length];
        self.file.read_exact(&mut chunk)?;
        self.digest.update(&chunk);
        Ok(Some(chunk))
    }
}

fn invalid(reason: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, reason.to_owned())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use serde_json::json;

    use super::*;

    #[test]
    fn a_backup_is_read_as_it_was_written_or_not_at_all() {
        let folder = tempfile::tempdir().unwrap();
        let place = folder.path().join("log.backup");
        let mut writer = Writer::create(&place).unwrap();
        writer.header(&Header::new("WAYBILL", json!({}), json!({ "last_seq": 7 }))).unwrap();
        writer.chunk(b"one").unwrap();
        writer.chunk(&[7; 1000]).unwrap();
        assert!(!place.exists(), "it is not there before it is whole");
        writer.finish().unwrap();
        assert_eq!(fs::metadata(&place).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(Writer::create(&place).err().unwrap().kind(), io::ErrorKind::AlreadyExists);

        let mut reader = Reader::open(&place).unwrap();
        assert_eq!((reader.header.stream.as_str(), reader.header.last_sequence()), ("WAYBILL", 7));
        assert_eq!(reader.chunk().unwrap().unwrap(), b"one");
        assert_eq!(reader.chunk().unwrap().unwrap(), [7; 1000]);
        assert_eq!(reader.chunk().unwrap(), None);

        let whole = fs::read(&place).unwrap();
        let mut damaged: Vec<Vec<u8>> =
            vec![whole[..whole.len() - 1].to_vec(), [&whole[..], b"x"].concat(), Vec::new()];
        for at in [0, 5, 60, whole.len() / 2, whole.len() - 1] {
            let mut changed = whole.clone();
            changed[at] ^= 0x40;
            damaged.push(changed);
        }
        for bytes in damaged {
            fs::write(&place, bytes).unwrap();
            assert!(Reader::open(&place).is_err());
        }
    }
}
