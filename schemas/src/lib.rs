//! Waybill's wire contract: ids, subjects, the CloudEvents envelope, every event, and the vault's keys.
//!
//! The contract for other languages is generated from these types: `schemas/json/*.json` and
//! `schemas/asyncapi.yaml` (`cargo run -p waybill-schemas --example generate`; a test fails when they drift).
//!
//! # Adding a version of an event
//!
//! A stored event outlives the code that wrote it: version 1 of an event is read for ever, and its golden files in
//! `schemas/golden/v1` are never edited. To change the shape of an event, such as `ContainerEnded`:
//!
//! 1. Write the new shape in a module `v2` beside [`v1`], and make it the body of the event's variant in `event.rs`, so
//!    that everything past [`decode()`] knows the newest version only.
//! 2. Teach `decode.rs` the `ce-type` `waybill.v2.ContainerEnded`, and convert the v1 shape into the v2 one there.
//!    `ce_type` and `dataschema` name the version that is written now.
//! 3. Derive the new schema in `examples/generate/contract/schema.rs`, generate, and add `schemas/golden/v2/ContainerEnded.*.json`.
//! 4. Upgrade every reader before the first writer: a reader without the version quarantines the event, and
//!    `QuarantineRetried` has it read again after the upgrade.
//!
//! A new word in a set of words, or a new event type, is added in place and follows step 4; a new event type also takes
//! its place in [`Subject::event_types`], `examples/generate/contract/channels.rs` and the tables of `tests/agreement.rs`.

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
pub use filter::{Filter, SERVICE_PREFIX, VAULT_BUCKET, VaultFilter, VaultKey, covers};
pub use ids::{
    ContainerId, ID_PATTERN, IdError, ImageId, RequestId, SECRET_NAME_PATTERN, SecretName, TokenId, WorkerId,
    WorkspaceId,
};
pub use sealed::Sealed;
pub use sealing_key::{PublicSealingKey, SEALING_KEY_PATTERN, SealingKeyError};
pub use subject::{Subject, SubjectError};
pub use timestamp::Timestamp;
pub use uuid::Uuid;
