//! Waybill's wire contract: ids, subjects, the CloudEvents envelope, every event, and the vault's keys.
//!
//! The contract for other languages is generated from these types: `schemas/json/*.json` and
//! `schemas/asyncapi.yaml` (`cargo run -p waybill-schemas --example generate`; a test fails when they drift).
//!
//! A stored event outlives the code that wrote it. To change one, add a module beside [`v1`] with the new
//! shape, teach [`decode()`] its `ce-type`, convert the old shape into the new one there, and add a golden
//! file. Golden files are never edited.

pub mod contract;
mod decode;
mod derive;
mod envelope;
mod event;
mod filter;
mod ids;
mod sealed;
mod sealing_key;
mod subject;
mod timestamp;
pub mod v1;

pub use decode::{DecodeError, MAX_BODY_BYTES, Recorded, RecordedEvent, decode};
pub use derive::{Derivation, derived_id};
pub use envelope::{Envelope, Headers, TraceParent, header};
pub use event::{Event, EventType};
pub use filter::{Filter, VAULT_BUCKET, VaultFilter, VaultKey};
pub use ids::{
    ContainerId, ID_PATTERN, IdError, ImageId, RequestId, SECRET_NAME_PATTERN, SecretName, WorkerId, WorkspaceId,
};
pub use sealed::Sealed;
pub use sealing_key::{PublicSealingKey, SEALING_KEY_PATTERN, SealingKeyError};
pub use subject::{Subject, SubjectError};
pub use timestamp::Timestamp;
pub use uuid::Uuid;
