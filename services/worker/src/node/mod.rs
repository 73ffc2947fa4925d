//! A container's logins for the programs of its node: a socket that answers who shows the container's access key.
//!
//! In the node's folder lie `waybill.sock`, and for each container `<workspace>/<container>/access`: whoever can read that
//! file may ask on behalf of the placement that it names. `<workspace>/access` speaks for all containers of a workspace,
//! and a pod by its service account token for whom the rules of [`PodIdentities`] name.

mod answer;
mod asked;
mod attached;
mod files;
mod identity;
mod key;
mod running;
mod select;
mod server;
mod socket;

pub use answer::Answerer;
pub use asked::Asked;
pub(crate) use attached::nothing_attached;
pub use attached::{Attached, Attachments};
pub use files::{NodeDir, NodeDirError};
pub use identity::PodIdentities;
pub use running::{Asker, Attachment, Owner, Running};
pub use server::{NodeError, Server};
pub use socket::SocketError;

pub use crate::view::Placed;
