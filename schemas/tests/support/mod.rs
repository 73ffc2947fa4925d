//! Golden files: events as they were written once.

use std::{collections::BTreeMap, fs, path::Path};

use serde::Deserialize;
use serde_json::Value;
use waybill_schemas::{DecodeError, RecordedEvent, decode};

/// One stored message.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Golden {
    /// Name of the file.
    #[serde(skip)]
    pub(crate) name: String,
    pub(crate) subject: String,
    pub(crate) headers: BTreeMap<String, String>,
    pub(crate) body: Value,
}

impl Golden {
    /// Every golden file of every version, in the order of their names.
    pub(crate) fn read() -> Vec<Self> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("golden");
        let versions = fs::read_dir(folder).unwrap().map(|version| version.unwrap().path());
        let files = versions.flat_map(|version| fs::read_dir(version).unwrap().map(|file| file.unwrap().path()));
        let golden = files.map(|file| {
            let golden: Self = serde_json::from_str(&fs::read_to_string(&file).unwrap()).unwrap();
            Self { name: file.file_name().unwrap().to_str().unwrap().to_owned(), ..golden }
        });
        let mut golden: Vec<_> = golden.collect();
        golden.sort_by(|a, b| a.name.cmp(&b.name));
        golden
    }

    /// Decodes the message as if it stood on `subject`.
    pub(crate) fn decode_on(&self, subject: &str) -> Result<RecordedEvent, DecodeError> {
        let headers: Vec<(String, String)> = self.headers.clone().into_iter().collect();
        decode(subject, headers.as_slice(), &serde_json::to_vec(&self.body).unwrap())
    }
}
